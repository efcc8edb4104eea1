"""How text is laid out for a terminal of 80 columns: wrapping, tables, colour where it is asked for."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 80
_CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


class Paint:
    """Puts colour on words, or does not."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def __call__(self, text: str, colour: str) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.enabled else text


PLAIN = Paint(False)


def fill(text: str, indent: str = "", following: str | None = None) -> str:
    """`text` wrapped at the width of the report, never inside a word."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if following is None else following,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(rows: Sequence[Sequence[str]], paint: Paint = PLAIN, colours: Sequence[Sequence[str]] = ()) -> str:
    """Rows of cells in aligned columns, the first row being the header; `colours` names one for each cell, or ""."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if number == 0:
            cells = [paint(cell, "bold") for cell in cells]
        elif colours:
            cells = [paint(c, colour) if colour else c for c, colour in zip(cells, colours[number - 1], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def plural(count: int, what: str) -> str:
    """`1 state`, `69,711 states`; what is too long to be read is rounded."""
    digits = str(count)
    said = f"{count:,}" if len(digits) <= 15 else f"{int(digits[:3]) / 100:.1f}·10^{len(digits) - 1}"
    return f"{said} {what}{'' if count == 1 else 's'}"


def sentence(text: str) -> str:
    """`text` with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def named(property_: str, kind: str) -> str:
    """A property with the way in which it is broken, where that says more."""
    return f"{property_} ({kind})" if kind and kind != property_ else property_

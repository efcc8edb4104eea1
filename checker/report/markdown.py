"""Markdown: the few forms that pages are made of, and which of their parts depend on the version of the solver."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from checker.report.layout import fill

_BEGIN, _END = "<!-- z3 -->", "<!-- /z3 -->"
_MARKED = re.compile(f"{_BEGIN}.*?{_END}", re.DOTALL)


def depending(text: str, depends: bool = True) -> str:
    """`text` of one line, marked as depending on the version of the solver if it does."""
    return f"{_BEGIN}{text}{_END}" if depends else text


def depending_lines(lines: Sequence[str], depends: bool = True) -> list[str]:
    """The same for whole lines."""
    return [_BEGIN, "", *lines, "", _END] if depends else list(lines)


def independent(text: str) -> str:
    """A page without what depends on the version of the solver."""
    return _MARKED.sub("…", text)


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells, the first being the header."""
    head, *rest = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [_row(head), _row(["---"] * len(head)), *map(_row, rest)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def block(lines: Iterable[str], language: str = "text") -> list[str]:
    """A fenced block; long lines are wrapped and go on indented."""
    return [f"```{language}", *(fill(line, "", "    ") for line in lines), "```"]


def listed(names: Sequence[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last

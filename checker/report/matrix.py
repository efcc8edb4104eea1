"""The matrix of machines and omissions as text of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from checker.matrix import COMPLETE, Cell, Load, broken, holding, letters, loads
from checker.report.layout import PLAIN, Paint, fill, table

_MARKS = ". nothing; ? unknown; ~ nothing, but not all is tested; - not possible"


def render(name: str, size: str, use_case: str, cells: Sequence[Cell], paint: Paint = PLAIN) -> str:
    """The table, what its letters and numbers mean, and what follows for each step. `size`: the bounds, in words."""
    machines = list(dict.fromkeys(cell.machine for cell in cells))
    variants = list(dict.fromkeys(cell.without for cell in cells))
    short = letters()
    at = {(cell.machine, cell.without): cell for cell in cells}
    rows = [["", *(str(k) for k in range(1, len(machines) + 1))]]
    colours = []
    for variant in variants:
        found = [at[machine, variant] for machine in machines]
        rows.append([f"without {variant}" if variant != COMPLETE else "complete", *map(_said, found)])
        colours.append(["", *("red" if cell.violated else "" for cell in found)])
    shown = {name for cell in cells for name in (*cell.violated, *cell.exposed)}
    lines = [fill(f"{paint(name, 'bold')}, {use_case}, {size}", "", "  "), "", table(rows, paint, colours), ""]
    lines += [f"  {k:2}  {machine}" for k, machine in enumerate(machines, 1)]
    legend = ", ".join(f"{short[name]} {name}" for name in short if name in shown)
    lines += [
        "",
        fill(f"violated: {legend}; small letters: exposed; {_MARKS}", "", "  "),
        "",
    ]
    return "\n".join([*lines, *(fill(line, "  ", "    ") for line in follows(cells))])


def _said(cell: Cell) -> str:
    return "-" if cell.impossible else broken(cell) or "."


def follows(cells: Sequence[Cell]) -> Iterator[str]:
    """What follows for each step, and what does not count."""
    machines, sound = dict.fromkeys(cell.machine for cell in cells), holding(cells)
    if not sound:
        yield "With all its steps it holds on none of these machines: nothing follows for any step."
        return
    found = loads(cells)
    yield from (f"{step}: {_about(load)}" for step, load in found.items())
    if any(load.undecided for load in found.values()):
        yield "undecided: nothing breaks, but something is unknown, not possible, or no longer put to the test"
    if rest := [machine for machine in machines if machine not in sound]:
        yield f"not counted, as it does not hold there with all its steps: {', '.join(rest)}"


def _about(load: Load) -> str:
    """What follows for one step."""
    undecided = f"undecided on {', '.join(load.undecided)}"
    if not load.needed and not load.idle:
        return "undecided on all of them"
    if not load.needed:
        return f"protects nothing; {undecided}" if load.undecided else "protects nothing on any of these machines"
    if not load.idle:
        return f"needed; {undecided}" if load.undecided else "needed on all of them"
    if len(load.idle) < len(load.needed):
        said = f"needed, but protects nothing on {', '.join(load.idle)}"
    else:
        said = f"needed on {', '.join(load.needed)}; elsewhere it protects nothing"
    return f"{said}; {undecided}" if load.undecided else said

"""The matrix of machines and omissions as text of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from checker.matrix import COMPLETE, Cell, broken, holding, letters, needed
from checker.report.layout import PLAIN, Paint, fill, plural, table
from models.protocol import Strategy
from models.scenario import Scenario


def render(strategy: Strategy, scenario: Scenario, use_case: str, cells: Sequence[Cell], paint: Paint = PLAIN) -> str:
    """The table, what its letters and numbers mean, and what follows for each step."""
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
    scope = f"{use_case}, {plural(scenario.sites, 'site')}, {plural(scenario.cpus, 'CPU')}"
    shown = {name for cell in cells for name in (*cell.violated, *cell.exposed)}
    lines = [fill(f"{paint(strategy.name, 'bold')}, {scope}", "", "  "), "", table(rows, paint, colours), ""]
    lines += [f"  {k:2}  {machine}" for k, machine in enumerate(machines, 1)]
    legend = ", ".join(f"{short[name]} {name}" for name in short if name in shown)
    lines += [
        "",
        fill(f"violated: {legend}; small letters: exposed; . nothing; ? unknown; - not possible", "", "  "),
        "",
    ]
    sound = holding(cells)
    lines += [fill(about(step, where, sound), "  ", "    ") for step, where in needed(cells).items()]
    broken = [machine for machine in machines if machine not in sound]
    if broken:
        lines.append(
            fill(f"not counted, as it does not hold there with all its steps: {', '.join(broken)}", "  ", "    ")
        )
    return "\n".join(lines)


def _said(cell: Cell) -> str:
    return "-" if cell.impossible else broken(cell) or "."


def about(step: str, where: Sequence[str], machines: Sequence[str]) -> str:
    """What follows for one step, of the `machines` on which the whole holds, from those `where` it is needed."""
    if not where:
        return f"{step}: protects nothing on any of these machines"
    if len(where) == len(machines):
        return f"{step}: needed on all of them"
    rest = [machine for machine in machines if machine not in where]
    if len(rest) < len(where):
        return f"{step}: needed, but protects nothing on {', '.join(rest)}"
    return f"{step}: needed on {', '.join(where)}; elsewhere it protects nothing"

"""The matrix of machines and omissions as text of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from checker.matrix import COMPLETE, Cell, holding, letters, needed
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
        rows.append(
            [f"without {variant}" if variant != COMPLETE else "complete", *(_said(cell, short) for cell in found)]
        )
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
    lines += [_about(step, where, sound) for step, where in needed(cells).items()]
    broken = [machine for machine in machines if machine not in sound]
    if broken:
        lines.append(
            fill(f"not counted, as it does not hold there with all its steps: {', '.join(broken)}", "  ", "    ")
        )
    return "\n".join(lines)


def _said(cell: Cell, short: dict[str, str]) -> str:
    if cell.impossible:
        return "-"
    text = "".join(short[name] for name in cell.violated) + "".join(short[name].lower() for name in cell.exposed)
    return text + ("?" if cell.unknown else "") or "."


def _about(step: str, where: Sequence[str], machines: Sequence[str]) -> str:
    """What follows for one step."""
    if not where:
        return fill(f"{step}: protects nothing on any of these machines", "  ", "    ")
    if len(where) == len(machines):
        return fill(f"{step}: needed on all of them", "  ", "    ")
    rest = [machine for machine in machines if machine not in where]
    if len(rest) < len(where):
        return fill(f"{step}: needed, but protects nothing on {', '.join(rest)}", "  ", "    ")
    return fill(f"{step}: needed on {', '.join(where)}; elsewhere it protects nothing", "  ", "    ")

"""On which promise of the CPU does each step rest? The strategy, whole and without each step, on every machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from checker.search.engine import Engine
from checker.search.result import Limits, Report
from checker.verdict import EXPOSED, UNKNOWN, VIOLATED, check
from models.machines.fetch import Machine
from models.plan import plan
from models.properties import PROPERTIES
from models.protocol import Strategy
from models.scenario import Scenario
from models.system.errors import ScenarioError

COMPLETE = ""  # the variant from which nothing is left out


@dataclass(frozen=True)
class Cell:
    """What one variant of a strategy does on one machine.

    `without`: the label of the step that is left out, or `COMPLETE`. `violated`, `exposed`, `unknown`: properties, in
    their order. `impossible`: why the machine cannot run it, or "".
    """

    machine: str
    without: str
    violated: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    impossible: str = ""


def matrix(
    strategy: Strategy,
    scenario: Scenario,
    machines: Sequence[Machine],
    use_case: str = "livepatch",
    limits: Limits | None = None,
    engine: Engine | None = None,
    report: Report | None = None,
) -> Iterator[Cell]:
    """Every cell, machine by machine. Raises ModelError for whatever is wrong with the strategy."""
    for machine in machines:
        here = replace(scenario, machine=machine)
        for label in (COMPLETE, *plan(strategy, scenario).labels):
            changed = replace(here, without=here.without | {label}) if label else here
            try:
                result = check(strategy, changed, use_case=use_case, engine=engine, limits=limits, report=report)
            except ScenarioError as reason:
                yield Cell(machine.name, label, impossible=reason.message)
                continue
            found = {
                kind: tuple(v.property for v in result.results[0].verdicts if v.verdict == kind)
                for kind in (VIOLATED, EXPOSED, UNKNOWN)
            }
            yield Cell(machine.name, label, found[VIOLATED], found[EXPOSED], found[UNKNOWN])


def letters() -> dict[str, str]:
    """A letter for each property."""
    found: dict[str, str] = {}
    for name in PROPERTIES:
        found[name] = next(c for c in name.upper() if c.isalpha() and c not in found.values())
    return found


def broken(cell: Cell) -> str:
    """A cell in letters: capitals for what is violated, small ones for what is exposed, "?" for what is unknown."""
    short = letters()
    text = "".join(short[name] for name in cell.violated) + "".join(short[name].lower() for name in cell.exposed)
    return text + ("?" if cell.unknown else "")


def needed(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """For each step, the machines on which something breaks without it, of those on which nothing does with it."""
    sound = holding(cells)
    steps = dict.fromkeys(cell.without for cell in cells if cell.without != COMPLETE)
    return {
        step: [c.machine for c in cells if c.without == step and c.violated and c.machine in sound] for step in steps
    }


def holding(cells: Sequence[Cell]) -> list[str]:
    """The machines on which the complete strategy holds."""
    return [c.machine for c in cells if c.without == COMPLETE and not (c.violated or c.unknown or c.impossible)]

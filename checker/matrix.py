"""On which promise of the CPU does each step rest? A strategy or program, whole and without each step, on every machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from checker.search.engine import Engine
from checker.search.result import Limits, Report
from checker.verdict import EXPOSED, UNKNOWN, VIOLATED, check, uninterrupted, untested
from models.compose import compose
from models.machines.fetch import Machine, first_of
from models.model import Model, Subject
from models.properties import PROPERTIES
from models.scenario import Scenario
from models.system.errors import ModelError, ScenarioError

COMPLETE = ""  # the variant from which nothing is left out


@dataclass(frozen=True)
class Cell:
    """What one variant of a strategy or program does on one machine.

    `without`: the label of the step that is left out, or `COMPLETE`. `violated`, `exposed`, `unknown`: properties, in
    their order; `untested`: where nothing is violated, the required ones that nothing puts to the test. `impossible`: why
    the machine cannot run it, or "".
    """

    machine: str
    without: str
    violated: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
    impossible: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is certain that nothing is violated, and not for want of a test."""
        return not (self.violated or self.unknown or self.untested or self.impossible)


def complete_model(subject: Subject, scenario: Scenario) -> Model:
    """The model from which steps are left out, on the usual machine. Raises ModelError for whatever is wrong with `subject`."""
    return compose(subject, replace(scenario, machine=first_of(subject.isa)))


def matrix(
    subject: Subject,
    scenario: Scenario,
    machines: Sequence[Machine],
    use_case: str = "livepatch",
    limits: Limits | None = None,
    engine: Engine | None = None,
    report: Report | None = None,
) -> Iterator[Cell]:
    """Every cell, machine by machine. Raises ModelError for whatever is wrong with the strategy or program."""
    complete = complete_model(subject, scenario)
    labels = (COMPLETE, *complete.labels)
    for machine in machines:
        here = replace(scenario, machine=machine)
        for label in labels:
            changed = replace(here, without=here.without | {label}) if label else here
            try:
                made = check(subject, changed, use_case=use_case, engine=engine, limits=limits, report=report)
            except ModelError as reason:
                if not (label or isinstance(reason, ScenarioError)):
                    raise
                yield Cell(machine.name, label, impossible=reason.message)
                continue
            result = uninterrupted(made)
            verdicts = result.results[0].verdicts
            found = {
                kind: tuple(v.property for v in verdicts if v.verdict == kind) for kind in (VIOLATED, EXPOSED, UNKNOWN)
            }
            idle = () if found[VIOLATED] else untested(result, complete)
            yield Cell(machine.name, label, found[VIOLATED], found[EXPOSED], found[UNKNOWN], idle)


def letters() -> dict[str, str]:
    """A letter for each property."""
    found: dict[str, str] = {}
    for name in PROPERTIES:
        found[name] = next(c for c in name.upper() if c.isalpha() and c not in found.values())
    return found


def broken(cell: Cell) -> str:
    """A cell in letters: capitals for what is violated, small ones for what is exposed.

    "?" stands for what is unknown, "~" for what is not tested.
    """
    short = letters()
    text = "".join(short[name] for name in cell.violated) + "".join(short[name].lower() for name in cell.exposed)
    return text + ("?" if cell.unknown else "") + ("~" if cell.untested else "")


def holding(cells: Sequence[Cell]) -> list[str]:
    """The machines on which the complete strategy holds."""
    return [c.machine for c in cells if c.without == COMPLETE and c.holds]


@dataclass(frozen=True)
class Load:
    """What a step carries, on the machines on which the complete strategy holds.

    `needed`: where something breaks without it; `idle`: where nothing does; `undecided`: where nothing is seen to break, but
    some of it is unknown, untested or impossible.
    """

    needed: tuple[str, ...]
    idle: tuple[str, ...]
    undecided: tuple[str, ...]


def loads(cells: Sequence[Cell]) -> dict[str, Load]:
    """The load of each step, by its label."""
    sound = holding(cells)
    steps = dict.fromkeys(cell.without for cell in cells if cell.without != COMPLETE)
    return {step: _load([c for c in cells if c.without == step and c.machine in sound]) for step in steps}


def _load(cells: Sequence[Cell]) -> Load:
    needed, idle = [c for c in cells if c.violated], [c for c in cells if c.holds]
    undecided = [c for c in cells if c not in needed and c not in idle]
    return Load(*(tuple(c.machine for c in some) for some in (needed, idle, undecided)))

"""For tests of strategies: assertions about what comes out, interleavings written by hand, and generated ones.

Plain functions: nothing has to be registered with pytest. Only `interleavings` needs hypothesis, which is not installed
with the command itself (`pip install hypothesis`). See docs/testing.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from checker.verdict import UNKNOWN, CheckResult, check
from models.model import Model, Subject
from models.system.errors import ModelError
from models.system.evaluate import Evaluator, State, Step
from models.system.system import Invariant, Mark

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

    from checker.trace import Trace

Checkable = Subject | str | os.PathLike[str]  # a strategy or program, a shipped name, or a file
_RANKS = 4  # moves of one actor that a single number tells apart; few states have more
_LENGTH = 16  # the larger, the longer the schedules


# ---- what comes out -------------------------------------------------------------------------------------------------


def assert_holds(strategy: Checkable, *, use_case: str | None = None, **scenario: Any) -> CheckResult:
    """Everything that is required holds, in one use case or in both. Returns the whole answer.

    `scenario`: as `checker.check` takes it (`cpus=3`, `machine="x86-amd"`, `without=["sync-1"]`, `limits=…`,
    `proof=True`). Raises AssertionError with the report and its shortest traces, also where the answer is inconclusive or
    vacuous; ModelError for whatever is wrong with the strategy, ScenarioError for a scenario that there is not, KeyError
    for an unknown name, TypeError for an unknown field.
    """
    __tracebackhide__ = True
    result = _checked(strategy, use_case, scenario)
    if not result.holds:
        raise AssertionError(_said(f"{result.strategy.name} {_why_not(result)}", result))
    return result


def assert_violates(strategy: Checkable, broken: str, *, use_case: str | None = None, **scenario: Any) -> Trace:
    """A property is violated: `broken` is its name, or name and kind (`old-or-new/missed`). Returns a shortest trace.

    An exposure, which the use case accepts, is no violation. Raises AssertionError that says what came out instead, with
    the report; ValueError where there is no such property; and what `assert_holds` raises.
    """
    __tracebackhide__ = True
    name, _, kind = _property(broken).partition("/")
    result = _checked(strategy, use_case, scenario)
    found = [v for v in result.violations if v.verdict.property == name and kind in ("", v.verdict.kind)]
    if not found:
        instead = "; ".join(_came_out(result))
        raise AssertionError(_said(f"{result.strategy.name} does not violate {broken}: {instead}", result))
    return min((v.trace for v in found), key=lambda trace: len(trace.steps))


def assert_expected(strategy: Checkable) -> None:
    """Every expectation comes out as declared: those of a strategy, or of all in a file (`file.py:name`: of one).

    Raises AssertionError with the line of each expectation that does not, also where it says nothing or is vacuous; and
    what `assert_holds` raises.
    """
    from checker.catalogue import compare

    __tracebackhide__ = True
    subjects = _subjects(strategy)
    names = ", ".join(subject.name for subject in subjects)
    if not any(subject.expects for subject in subjects):
        raise AssertionError(f"{names}: nothing is declared there, no expectation to compare with")
    wrong = []
    for subject, expect in ((s, e) for s in subjects for e in s.expects):
        for met in compare(subject, expect):
            says = met.difference or (f"vacuous: {met.vacuous}" if met.vacuous else "")
            if says:
                wrong.append(f"{expect.where}: {met.strategy}, {met.use_case}, {met.scenario}: {says}")
    if wrong:
        raise AssertionError("\n  ".join([f"{names}: not as declared", *wrong]))


def _checked(strategy: Checkable, use_case: str | None, scenario: dict[str, Any]) -> CheckResult:
    return check(_loaded(strategy), use_case=use_case, **_fields(scenario))


def _fields(scenario: dict[str, Any]) -> dict[str, Any]:
    """Fields of a scenario as a test likes to write them: a machine by name, one label or several."""
    from models.machines.fetch import machine

    fields = dict(scenario)
    if isinstance(fields.get("machine"), str):
        fields["machine"] = machine(fields["machine"])
    if "without" in fields:
        labels = fields["without"]
        fields["without"] = frozenset([labels] if isinstance(labels, str) else labels)
    return fields


def _loaded(strategy: Checkable) -> Subject:
    from models.library import load

    return load(os.fspath(strategy)) if isinstance(strategy, str | os.PathLike) else strategy


def _subjects(strategy: Checkable) -> Sequence[Subject]:
    from pathlib import Path

    from models.library import is_path, load_file, validate

    if not isinstance(strategy, str | os.PathLike):
        return [validate(strategy)]
    name = os.fspath(strategy)
    return load_file(Path(name)) if is_path(name) and ".py:" not in name else [_loaded(name)]


def _property(broken: str) -> str:
    """`broken`, if it names a property. Raises ValueError."""
    from difflib import get_close_matches

    from models.properties import PROPERTIES

    name = broken.partition("/")[0]
    if name not in PROPERTIES:
        near = get_close_matches(name, PROPERTIES, 1)
        hint = f"did you mean “{near[0]}”?" if near else f"there are {', '.join(PROPERTIES)}"
        raise ValueError(f"there is no property “{name}”; {hint}")
    return broken


def _why_not(result: CheckResult) -> str:
    """Why a check does not hold."""
    if result.violations:
        broken = (f"{v.verdict.property}/{v.verdict.kind} ({v.use_case})" for v in result.violations)
        return f"does not hold: violated: {', '.join(broken)}"
    required = [v for r in result.results for v in r.verdicts if v.required]
    notes = dict.fromkeys(v.note for v in required if v.verdict == UNKNOWN)
    if notes:
        return f"is not known to hold; the answer is inconclusive: {'; '.join(notes)}"
    vacuous = dict.fromkeys(f"{v.property}: {', '.join(v.vacuous)}" for v in required if v.vacuous)
    return f"holds, but vacuously: {'; '.join(vacuous)}"


def _came_out(result: CheckResult) -> Iterable[str]:
    """For each use case, everything that is not simply as it should be."""
    for found in result.results:
        parts = [f"{v.property}/{v.kind} is {v.verdict}" for v in (*found.violated, *found.exposed)]
        parts += [f"{v.property} is unknown ({v.note})" for v in found.verdicts if v.verdict == UNKNOWN]
        yield f"{found.use_case}: {', '.join(parts) or 'everything holds'}"


def _said(head: str, result: CheckResult) -> str:
    from checker.report.text import render

    return f"{head}\n\n{render(result)}"


# ---- interleavings --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Schedule:
    """A run of a model: the states it went through (one more than steps), and what it broke on its way."""

    model: Model
    states: tuple[State, ...]
    steps: tuple[Step, ...]
    marks: tuple[Mark, ...]
    broken: tuple[Invariant, ...]

    @property
    def violated(self) -> set[tuple[str, str]]:
        """Property and kind of everything that was broken, whether or not a use case accepts it."""
        found = {(m.property, m.kind) for m in self.marks if not m.premise}
        return found | {(i.property, i.kind) for i in self.broken}

    @property
    def names(self) -> list[str]:
        """The steps by name: `run(model, schedule.names)` takes them again."""
        return [name_of(step) for step in self.steps]

    def __repr__(self) -> str:
        """Numbered sentences, and what broke."""
        from checker.trace import Narrator

        narrator = Narrator(self.model)
        numbers = {id(action): k for k, action in enumerate(self.model.system.actions)}
        lines = [f"Schedule of {len(self.steps)} step{'' if len(self.steps) == 1 else 's'}:"]
        for number, step in enumerate(self.steps, 1):
            taken = (numbers[id(step.action)], step.instance, step.choice)
            told = narrator.step(self.states[number - 1], taken, self.states[number])
            lines.append(f"{number:3}  {told.says}")
        met: list[Mark | Invariant] = [*(m for m in self.marks if not m.premise), *self.broken]
        lines += [f"  => {m.property}/{m.kind} is broken: {m.says}" for m in dict.fromkeys(met)]
        return "\n".join(lines if met else [*lines, "  => nothing is broken"])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis prints a failing example: not field by field."""
        printer.text(repr(self))


class NotEnabled(ValueError):
    """A step cannot happen where a schedule asks for it; the message says what can."""


def model_of(strategy: Checkable, **scenario: Any) -> Model:
    """The composed model of a strategy or program, for `run` and `interleavings`.

    `scenario`: fields of a Scenario, as for `assert_holds`. Raises what `assert_holds` raises, but AssertionError.
    """
    from models.compose import compose
    from models.scenario import usual

    subject = _loaded(strategy)
    return compose(subject, replace(usual(subject.isa), **_fields(scenario)))


def run(model: Model, names: Iterable[str]) -> Schedule:
    """Take steps one by one, by name: `patcher: claim`, `cpu 0: arrive (site 1)`.

    The actor and what stands in brackets may be left out where only one enabled step is then meant. Raises NotEnabled,
    with the number of the step and those that are enabled there.
    """
    __tracebackhide__ = True
    evaluator = Evaluator(model.system)
    taken = _Taken(model, evaluator)
    for number, name in enumerate(names, 1):
        enabled = list(evaluator.transitions(taken.states[-1]))
        meant = [s for s in enabled if name == name_of(s)] or [s for s in enabled if name in _short_names(s)]
        if len(meant) != 1:
            problem = "is more than one step" if meant else "is not enabled"
            what = meant or enabled
            listed = "".join(f"\n  {name_of(step)}" for step in what) or "\n  nothing: the model has come to its end"
            raise NotEnabled(
                f"step {number}: “{name}” {problem} there; {'it may be' if meant else 'enabled is'}{listed}"
            )
        taken.take(meant[0])
    return taken.schedule()


def name_of(step: Step) -> str:
    """What a step is called: who takes it, what it is, and what is chosen."""
    action = step.action
    who = action.who if step.instance is None else f"cpu {step.instance}"
    return f"{who}: {action.name}" + (f" ({action.choice.labels[step.choice]})" if action.choice else "")


def _short_names(step: Step) -> set[str]:
    """What else a step may be called."""
    who, _, what = name_of(step).partition(": ")
    return {what, step.action.name, f"{who}: {step.action.name}"}


class _Taken:
    """A schedule in the making."""

    def __init__(self, model: Model, evaluator: Evaluator) -> None:
        self.model, self.evaluator = model, evaluator
        self.states = [evaluator.initial()]
        self.steps: list[Step] = []
        self.marks: list[Mark] = []
        self.broken = list(evaluator.broken(self.states[0]))

    def take(self, step: Step) -> None:
        self.marks += self.evaluator.marks(step, self.states[-1])
        self.broken += self.evaluator.broken(step.state)
        self.steps.append(step)
        self.states.append(step.state)

    def schedule(self) -> Schedule:
        return Schedule(self.model, tuple(self.states), tuple(self.steps), tuple(self.marks), tuple(self.broken))


def interleavings(model: Model, most: int = 60) -> SearchStrategy[Schedule]:
    """A hypothesis strategy: legal schedules of `model` of up to `most` steps; they shrink to short ones.

    Raises ModuleNotFoundError where hypothesis is not installed, ModelError for fewer than no steps.
    """
    from hypothesis import strategies as st

    if most < 0:
        raise ModelError(f"a schedule of at most {most} steps cannot be")
    evaluator = Evaluator(model.system)

    @lru_cache(maxsize=20_000)  # shrinking comes by the same states again and again
    def enabled(state: State) -> list[Step]:
        return list(evaluator.transitions(state))

    @st.composite
    def schedules(draw: DrawFn) -> Schedule:
        return _drawn(draw, _Taken(model, evaluator), enabled, most)

    return schedules()


def _drawn(draw: DrawFn, taken: _Taken, enabled: Callable[[State], list[Step]], most: int) -> Schedule:
    """One number for each step, so that leaving a number out leaves a step out.

    It says whose turn it is, and which of the moves that this actor has; where it has none of that number, nothing
    happens. So the steps of the others keep their meaning when one is left out. After 0 comes, perhaps, the end.
    """
    from hypothesis import strategies as st

    actors = [None, *range(len(taken.model.system.instances))]
    moves = len(actors) * _RANKS
    numbers, ends = st.integers(0, moves), st.integers(0, _LENGTH - 1)
    while len(taken.steps) < most:
        here = enabled(taken.states[-1])
        number = draw(numbers) if here else 0
        if number == 0:
            if not here or draw(ends) == 0:
                break
            continue
        rank, actor = divmod(number - 1, len(actors))
        mine = [step for step in here if step.instance == actors[actor]]
        if rank == _RANKS - 1 and len(mine) > _RANKS:
            rank += draw(st.integers(0, len(mine) - _RANKS))
        if rank < len(mine):
            taken.take(mine[rank])
    return taken.schedule()

"""From one search to verdicts: for each use case, what each property's answer is and what it rests on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from checker.search.engine import Engine, search
from checker.search.generate import Unsupported
from checker.search.result import INTERRUPTED, Exploration, Limits, Path, Report, TooLarge
from checker.trace import Narrator, Trace
from models.compose import compose
from models.model import Model, Subject
from models.properties import (
    BALANCED,
    CLAIMED,
    COMPLETES,
    FREED,
    PROPERTIES,
    is_accepted,
    is_required,
)
from models.protocol import USE_CASES
from models.scenario import Scenario, usual
from models.system.errors import ModelError
from models.system.system import Invariant, Mark

if TYPE_CHECKING:
    from checker.proving import Proving

PROVED, VERIFIED, VIOLATED, EXPOSED, UNKNOWN = "proved", "verified", "violated", "exposed", "unknown"


@dataclass(frozen=True)
class PropertyVerdict:
    """The answer for one property in one use case.

    `verdict`: proved (any number of CPUs), verified (this finite instance, exhaustively), violated, exposed (broken in a
    way that the use case accepts) or unknown.
    `kind`: how it is broken. `note`: why it holds trivially, or why it is unknown. `vacuous`: what was never put to
    the test. `trace`: an index into the check's traces.
    """

    property: str
    required: bool
    verdict: str
    kind: str = ""
    note: str = ""
    vacuous: tuple[str, ...] = ()
    trace: int | None = None


@dataclass(frozen=True)
class UseCaseResult:
    """All verdicts for one use case."""

    use_case: str
    verdicts: tuple[PropertyVerdict, ...]

    @property
    def violated(self) -> list[PropertyVerdict]:
        return [v for v in self.verdicts if v.verdict == VIOLATED]

    @property
    def exposed(self) -> list[PropertyVerdict]:
        return [v for v in self.verdicts if v.verdict == EXPOSED]

    def verdict(self, property_: str) -> PropertyVerdict:
        """The verdict on one property. Raises KeyError for an unknown one."""
        for verdict in self.verdicts:
            if verdict.property == property_:
                return verdict
        raise KeyError(property_)


@dataclass(frozen=True)
class Violation:
    """A required property that is broken, with its shortest trace."""

    use_case: str
    verdict: PropertyVerdict
    trace: Trace


@dataclass
class CheckResult:
    """The outcome of checking one strategy in one scenario, for all use cases at once."""

    model: Model
    exploration: Exploration
    results: tuple[UseCaseResult, ...]
    traces: list[Trace]
    idle: tuple[str, ...]  # names of actions that never fired; empty where the search is not complete
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    proving: Proving | None = None  # what became of the proof, where one was asked for
    witnesses: list[Trace] = field(default_factory=list)  # runs that put a property to the test, where asked for

    @property
    def strategy(self) -> Subject:
        """The strategy or program that was checked."""
        return self.model.subject

    @property
    def holds(self) -> bool:
        """Whether every required property holds: nothing violated, unknown or vacuous."""
        return self.exit_status == 0

    @property
    def exit_status(self) -> int:
        """0 holds, 1 violated, 4 inconclusive, 5 vacuous."""
        required = [v for result in self.results for v in result.verdicts if v.required]
        if any(v.verdict == VIOLATED for v in required):
            return 1
        if any(v.verdict == UNKNOWN for v in required):
            return 4
        return 5 if any(v.vacuous for v in required) else 0

    @property
    def violations(self) -> list[Violation]:
        return [
            Violation(result.use_case, v, self.traces[v.trace])
            for result in self.results
            for v in result.violated
            if v.trace is not None
        ]

    def result(self, use_case: str) -> UseCaseResult:
        """The result for one use case. Raises KeyError for one that was not checked."""
        for result in self.results:
            if result.use_case == use_case:
                return result
        raise KeyError(use_case)


def untested(result: CheckResult, complete: Model) -> tuple[str, ...]:
    """The required properties that nothing puts to the test in `result`, whose model is `complete` without some steps.

    Also those about which only what is left out claimed something.
    """
    verdicts = [v for found in result.results for v in found.verdicts if v.required]
    lost = {v.property for v in verdicts if complete.claims(v.property) and not result.model.claims(v.property)}
    return tuple(dict.fromkeys(v.property for v in verdicts if v.vacuous or v.property in lost))


def check(
    strategy: Subject | str,
    scenario: Scenario | None = None,
    *,
    use_case: str | None = None,
    engine: Engine | None = None,
    limits: Limits | None = None,
    report: Report | None = None,
    proof: bool = False,
    witnesses: bool = False,
    **changes: object,
) -> CheckResult:
    """Check a strategy (or its name, or its file) by searching the whole space of one scenario.

    `changes` are fields of the scenario (`cpus=2`, `transition="nop:call"`); `use_case` limits the answer to one.
    With `proof`, what the search did not see broken is also tried to be proved for any number of CPUs; with
    `witnesses`, a shortest run is told that puts each property to the test.
    Raises ModelError for whatever is wrong with the strategy, ScenarioError for an engine that cannot search it,
    KeyError for an unknown name.
    """
    began = time.monotonic()
    if isinstance(strategy, str):
        from models.library import load

        strategy = load(strategy)
    if use_case is not None and use_case not in USE_CASES:
        raise ModelError(f"unknown use case “{use_case}”; there are {', '.join(USE_CASES)}")
    scenario = replace(scenario or usual(strategy.isa), **changes)  # type: ignore[arg-type]
    model = compose(strategy, scenario)
    try:
        answer = search(model.system, engine or Engine(), limits or Limits(), report)
    except Unsupported as reason:
        raise ModelError(f"{strategy.name}: the search cannot handle {reason}") from reason
    result = judge_search(model, answer.reached.outcome, [use_case] if use_case else list(USE_CASES))
    result.witnesses = _witnesses(model, answer.reached.outcome) if witnesses else []
    answer.reached.close()
    result.notes += [answer.note] if answer.note else []
    if proof:
        add_proof(result)
    result.seconds = time.monotonic() - began
    return result


def uninterrupted(result: CheckResult) -> CheckResult:
    """One answer of several that are to be compared: raises KeyboardInterrupt where somebody stopped the search."""
    if result.exploration.stopped == INTERRUPTED:
        raise KeyboardInterrupt
    return result


def add_proof(result: CheckResult) -> None:
    """Try to prove what is verified; what could be is then called proved."""
    if not any(v.verdict == VERIFIED for r in result.results for v in r.verdicts):
        return
    from checker.proving import prove_model

    proving = result.proving = prove_model(result.model, result.exploration)
    result.results = tuple(
        replace(r, verdicts=tuple(_with_proof(v, proving) for v in r.verdicts)) for r in result.results
    )


def _with_proof(verdict: PropertyVerdict, proving: Proving) -> PropertyVerdict:
    is_proved = verdict.verdict == VERIFIED and proving.covers(verdict.property)
    return replace(verdict, verdict=PROVED) if is_proved else verdict


def judge_search(model: Model, exploration: Exploration, use_cases: Sequence[str]) -> CheckResult:
    """The verdicts that one search supports."""
    teller = Narrator(model)
    judged = _Judge(model, exploration, teller)
    results = tuple(UseCaseResult(u, tuple(judged.verdict(u, p) for p in PROPERTIES)) for u in use_cases)
    idle = tuple(a.name for k, a in enumerate(model.system.actions) if k not in exploration.fired and not a.fault)
    return CheckResult(model, exploration, results, judged.traces, idle if exploration.complete else ())


def _witnesses(model: Model, exploration: Exploration) -> list[Trace]:
    """For each property that some execution puts to the test, a shortest run to such a one."""
    teller, told = Narrator(model), []
    for name in PROPERTIES:
        ways = [("", p, m) for m, p in exploration.marks.items() if m.premise and m.property == name]
        with contextlib.suppress(TooLarge):  # too large to go back over: there is no run to tell
            told += [teller.tell(path, mark) for _, path, mark in ([shortest(ways)] if ways else [])]
    return told


Reason = Mark | Invariant | str
Way = tuple[str, Path, Reason]  # how a property is broken: kind, a path, and what is met at its end


def shortest(ways: Sequence[Way]) -> Way:
    """The way with the shortest path; of several, the first in frontier order. Raises TooLarge."""
    least = min(path.length for _, path, _ in ways)
    found = [way for way in ways if way[1].length == least]
    return min(found, key=lambda way: (way[1].order, way[0])) if len(found) > 1 else found[0]


class _Judge:
    """Collects what a search found by property, and tells each trace once."""

    def __init__(self, model: Model, exploration: Exploration, teller: Narrator) -> None:
        self.model, self.exploration, self.teller = model, exploration, teller
        self.traces: list[Trace] = []
        self.told: dict[int, int] = {}
        self.broken: dict[str, list[Way]] = {name: [] for name in PROPERTIES}
        met: list[tuple[Mark | Invariant, Path]] = [*exploration.marks.items(), *exploration.broken.items()]
        for reason, path in met:
            if not (isinstance(reason, Mark) and reason.premise):
                self.broken[reason.property].append((reason.kind, path, reason))
        if exploration.progress is not None:
            path, says = exploration.progress
            kind = "lasso" if path.cycle or path.rests else "deadlock"
            self.broken[COMPLETES].append((kind, path, says))
        self.tested = {m.property for m in exploration.marks if m.premise}

    def verdict(self, use_case: str, name: str) -> PropertyVerdict:
        required = is_required(use_case, name)
        ways = self.broken[name]
        fatal = [way for way in ways if not is_accepted(use_case, name, way[0])]
        if fatal or ways:
            try:
                kind, path, reason = shortest(fatal or ways)
                trace = self.tell(path, reason, name, kind)
            except TooLarge as why:
                return PropertyVerdict(name, required, UNKNOWN, note=f"it is broken, but {why}")
            return PropertyVerdict(name, required, VIOLATED if fatal else EXPOSED, kind, trace=trace)
        if not self.exploration.complete:
            return PropertyVerdict(name, required, UNKNOWN, note=f"the search met a limit: {self.exploration.stopped}")
        if name == COMPLETES and self.model.system.progress is None:
            return PropertyVerdict(name, required, VERIFIED, note="no thread comes to an end")
        if name == COMPLETES:
            if not self.exploration.progress_known:
                note = self.exploration.progress_note or "the question of progress was not answered"
                return PropertyVerdict(name, required, UNKNOWN, note=note)
            return PropertyVerdict(name, required, VERIFIED)
        note = self.model.trivial(name)
        vacuous = () if note or name in self.tested else (self.untested(name),)
        return PropertyVerdict(name, required, VERIFIED, note=note, vacuous=vacuous)

    def tell(self, path: Path, reason: Reason, name: str, kind: str) -> int:
        key = id(reason)
        if key not in self.told:
            self.told[key] = len(self.traces)
            self.traces.append(self.teller.tell(path, reason, name, kind))
        return self.told[key]

    def untested(self, name: str) -> str:
        what = {
            CLAIMED: "no CPU ever traps",
            FREED: "no CPU ever enters the code that is freed",
            BALANCED: "no call is ever executed",
        }
        return what.get(name, "no execution ever puts it to the test")

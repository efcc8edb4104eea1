"""Which steps carry load: a strategy or program without each step in turn, what breaks, and which lemma falls first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from checker.carried import Carrier
from checker.search.engine import Engine
from checker.search.result import INTERRUPTED, Limits, Report
from checker.trace import Narrator, Trace, path_of
from checker.verdict import UNKNOWN, CheckResult, Violation, check, untested
from models.compose import StrategyModel, compose, of_strategy
from models.model import Subject
from models.properties import COMPLETES
from models.scenario import Scenario
from models.system.evaluate import Evaluator, State, members_of
from proofs.induction import variables
from proofs.lemma import Lemma


@dataclass(frozen=True)
class Fallen:
    """A lemma that stops being true: after `step` steps of the trace (0: from the start) it is false for the first time."""

    lemma: Lemma
    step: int


@dataclass(frozen=True)
class Falls:
    """What becomes of the complete strategy's lemmas on a trace of the strategy without a step (see `carried`).

    `fallen`: in the order in which they fall. `unasked`: lemmas that read, in some state before they fell, what could
    not be carried over, so that they may have been false before.
    """

    fallen: tuple[Fallen, ...]
    unasked: tuple[Lemma, ...]


@dataclass(frozen=True)
class Omission:
    """A strategy or program without one step.

    `violations`: what is violated that was not with it; safety before progress, short before long. `untested`: where there
    are none, the required properties that nothing puts to the test any more. `falls`: what becomes of the lemmas on the
    first trace; None where nothing breaks, and where there is no proof in written lemmas.
    """

    label: str
    line: str
    violations: tuple[Violation, ...]
    result: CheckResult
    untested: tuple[str, ...] = ()
    falls: Falls | None = None

    @property
    def trace(self) -> Trace | None:
        return self.violations[0].trace if self.violations else None

    @property
    def inconclusive(self) -> bool:
        return any(v.verdict == UNKNOWN for r in self.result.results for v in r.verdicts)

    @property
    def redundant(self) -> bool:
        """Whether it is certain that nothing more breaks without the step, and not for want of a test."""
        return not (self.violations or self.inconclusive or self.untested)


def omissions(
    subject: Subject,
    scenario: Scenario,
    use_case: str = "livepatch",
    limits: Limits | None = None,
    known: Collection[tuple[str, str]] = (),
    engine: Engine | None = None,
    whole: CheckResult | None = None,
    report: Report | None = None,
) -> Iterator[Omission]:
    """Check `subject` without each labelled step of its own; `known` is broken already, and does not count.

    `whole`: the result with all steps, whose lemmas are followed where it is proved. Raises ModelError.
    """
    complete = whole.model if whole else compose(subject, scenario)
    lemmas = written_lemmas(whole) if whole else ()
    for label, line in complete.labels.items():
        changed = replace(scenario, without=scenario.without | {label})
        result = check(subject, changed, use_case=use_case, engine=engine, limits=limits, report=report)
        new = [v for v in result.violations if (v.verdict.property, v.verdict.kind) not in known]
        new.sort(key=lambda v: (v.verdict.property == COMPLETES, len(v.trace.steps)))
        falls = None
        if whole and lemmas and new:
            falls = follow(of_strategy(whole.model), lemmas, of_strategy(result.model), new[0].trace)
        idle = () if new else untested(result, complete)
        yield Omission(label, str(line), tuple(new), result, idle, falls)
        if result.exploration.stopped == INTERRUPTED:
            return


def written_lemmas(whole: CheckResult) -> tuple[Lemma, ...]:
    """The lemmas of a proof that somebody wrote; none where there is no such proof."""
    tried = whole.proving.tried if whole.proving else None
    proof = tried.proof if tried else None
    return proof.invariant.lemmas if proof and proof.invariant.origin == "written" else ()


def follow(complete: StrategyModel, lemmas: Sequence[Lemma], changed: StrategyModel, trace: Trace) -> Falls:
    """Which lemmas of `complete` are false along a trace of `changed`, the same strategy without a step, and from where.

    Raises ReplayError where the trace is none of `changed`.
    """
    carry, evaluator = Carrier(complete, changed), Evaluator(complete.system)
    fallen: dict[Lemma, int] = {}
    unasked: dict[Lemma, None] = {}
    for number, state in enumerate(Narrator(changed).follow(path_of(changed, trace))):
        carried = carry(state)
        for lemma in lemmas:
            if lemma in fallen:
                continue
            if variables(lemma.holds) & carried.missing:
                unasked[lemma] = None
            elif not holds(evaluator, lemma, carried.state):
                fallen[lemma] = number
    return Falls(tuple(Fallen(lemma, step) for lemma, step in fallen.items()), tuple(unasked))


def holds(evaluator: Evaluator, lemma: Lemma, state: State) -> bool:
    """Whether a lemma is true in a state: of every instance, or of every two, that it is about."""
    if not lemma.about:
        return bool(evaluator.value(lemma.holds, state))
    system = evaluator.system
    for who in permutations(range(len(system.instances)), len(lemma.about)):
        fits = all(i in members_of(system, c) for i, c in zip(who, lemma.about, strict=True))
        if fits and not evaluator.value(lemma.holds, state, who[0], 0, who[1] if len(who) > 1 else None):
            return False
    return True

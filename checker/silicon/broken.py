"""Which failures that the model predicts does this machine show? Strategies without a step, one after another, on silicon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from checker.silicon.asking import Question
from checker.silicon.compare import Comparison
from checker.silicon.operations import Setting
from models.machines.fetch import X86_PRESETS, Gate
from models.plan import plan
from models.properties import BACK, FREED, STALE
from models.protocol import Strategy, Sync
from models.scenario import Scenario

PATIENCE = 1.0  # seconds: a step that was left out may leave the patcher waiting for ever
_CORNERS = ("x86-coherent", "x86-amd", "x86-buffered-ascending", "x86-stale-instruction", "x86-buffered")


@dataclass
class Failure:
    """One way to break a property, what was seen of it, and, where nothing was, why that may be."""

    property: str
    kind: str
    seen: int
    why: str = ""


@dataclass
class Variant:
    """A strategy without a step (`without` is "" for the whole), at all alignments together."""

    strategy: str
    without: str
    failures: list[Failure] = field(default_factory=list)
    executions: int = 0
    trials: int = 0
    not_allowed: int = 0
    not_compared: int = 0
    waits: str = ""  # the step at which the patcher waited in vain


def variants(
    strategy: Strategy,
    scenario: Scenario,
    settings: Sequence[Setting],
    cpus: Sequence[int],
    executions: int,
    seconds: float,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[Variant]:
    """`strategy` whole, and without each of its labels, one by one. Raises CannotAsk, Failed, ScenarioError."""
    for label in ("", *plan(strategy, replace(scenario, cpus=1)).labels):
        left = scenario.without | ({label} if label else frozenset())
        questions = [Question(strategy, replace(scenario, without=left), setting) for setting in settings]
        report(f"{strategy.name} without {label}" if label else strategy.name)
        found = [q.ask(cpus, executions, seconds, patience=PATIENCE) for q in questions]
        yield _variant(strategy.name, label, questions, found)


def _variant(name: str, label: str, questions: Sequence[Question], found: Sequence[Comparison]) -> Variant:
    predicted = {broken for q in questions for broken in q.allowed().breaks}
    seen = {broken for comparison in found for broken in comparison.breaks}
    variant = Variant(name, label)
    for property_, kind in sorted(predicted | seen):
        times = sum(comparison.breaks[property_, kind] for comparison in found)
        hidden = property_ in (STALE, BACK) and any(name == FREED for name, _ in seen)
        why = (
            ""
            if times
            else "ends in code that is free, and counts as that"
            if hidden
            else explain(questions, (property_, kind))
        )
        variant.failures.append(Failure(property_, kind, times, why))
    for comparison in found:
        variant.executions += comparison.observation.executions
        variant.trials += comparison.observation.trials
        variant.not_allowed += comparison.not_allowed
        variant.not_compared += comparison.not_compared
        variant.waits = comparison.waits or variant.waits
    return variant


def _waits_for_callees(question: Question) -> bool:
    """Whether the patcher has syncs that end when nobody is inside a site any more."""
    plan = question.allowed().model.plan
    return bool(plan.uses(Sync)) and plan.scenario.machine.gate is Gate.INTERRUPT


def explain(questions: Sequence[Question], broken: tuple[str, str]) -> str:
    """Why a failure that the model predicts may not be seen: which weaker machines do not have it at any alignment."""
    without = [
        name
        for name in _CORNERS
        if not any(
            broken in q.allowed(X86_PRESETS[name]).breaks or q.allowed(X86_PRESETS[name]).undefined for q in questions
        )
    ]
    if not without and broken[0] == FREED and any(map(_waits_for_callees, questions)):
        return "is possible on every preset, but here a sync waits for who is in what will be freed, too"
    if not without:
        return "is possible on every preset, but in a short window: a matter of timing"
    return f"needs fetches that {', '.join(without)} {'does' if len(without) == 1 else 'do'} not have"

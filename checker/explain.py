"""Which steps carry load: the strategy without each of its steps in turn, and what breaks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from checker.search.engine import Engine
from checker.search.result import INTERRUPTED, Limits
from checker.trace import Trace
from checker.verdict import UNKNOWN, CheckResult, check
from models.plan import plan
from models.properties import COMPLETES
from models.protocol import Strategy
from models.scenario import Scenario


@dataclass(frozen=True)
class Omission:
    """The strategy without one step.

    `broken`: property and kind of what is violated; safety before progress, short before long.
    """

    label: str
    line: str
    broken: tuple[tuple[str, str], ...]
    trace: Trace | None
    result: CheckResult

    @property
    def inconclusive(self) -> bool:
        return any(v.verdict == UNKNOWN for r in self.result.results for v in r.verdicts)


def omissions(
    strategy: Strategy,
    scenario: Scenario,
    use_case: str = "livepatch",
    limits: Limits | None = None,
    known: Collection[tuple[str, str]] = (),
    engine: Engine | None = None,
) -> Iterator[Omission]:
    """Check `strategy` without each labelled step of its own; `known` is broken already, and does not count.

    Raises ModelError.
    """
    made = plan(strategy, scenario)
    lines = {p.label: str(p.step.where) for p in reversed(made.steps)}
    for label in made.labels:
        changed = replace(scenario, without=scenario.without | {label})
        result = check(strategy, changed, use_case=use_case, engine=engine, limits=limits)
        new = [v for v in result.violations if (v.verdict.property, v.verdict.kind) not in known]
        found = sorted(new, key=lambda v: (v.verdict.property == COMPLETES, len(v.trace.steps)))
        yield Omission(
            label,
            lines[label],
            tuple((v.verdict.property, v.verdict.kind) for v in found),
            found[0].trace if found else None,
            result,
        )
        if result.exploration.stopped == INTERRUPTED:
            return

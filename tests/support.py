"""What several test files share: one check per scenario and process, and the words for what came out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from checker.verdict import EXPOSED, VERIFIED, VIOLATED, CheckResult, PropertyVerdict, check
from models.library import shipped, subjects_in
from models.machines.fetch import X86_PRESETS
from models.protocol import Strategy
from models.scenario import Scenario
from tests import mutants

STRATEGIES = {s.name: s for s in (*shipped().values(), *subjects_in(mutants))}


@cache
def _checked(name: str, scenario: Scenario) -> CheckResult:
    return check(STRATEGIES[name], scenario)


def scenario(*, machine: str = "x86-linux", without: Iterable[str] = (), **changes: object) -> Scenario:
    """A scenario on a preset machine, without some steps."""
    return Scenario(machine=X86_PRESETS[machine], without=frozenset(without), **changes)  # type: ignore[arg-type]


def checked(strategy: Strategy | str, **changes: object) -> CheckResult:
    """Check a strategy, shipped or one of the mutants, in a scenario (see `scenario`): once per process."""
    name = strategy if isinstance(strategy, str) else strategy.name
    return _checked(name, scenario(**changes))  # type: ignore[arg-type]


def required(result: CheckResult, use_case: str = "livepatch") -> list[PropertyVerdict]:
    """The verdicts that the use case rests on."""
    return [v for v in result.result(use_case).verdicts if v.required]


def violated(result: CheckResult, use_case: str = "livepatch") -> set[str]:
    """The violated properties; nothing may be unknown."""
    assert not result.exploration.stopped, result.exploration.stopped
    return {v.property for v in result.result(use_case).verdicts if v.verdict == VIOLATED}


def exposed(result: CheckResult, use_case: str = "livepatch") -> set[str]:
    """The exposures, as `property/kind` where a use case accepts only some kinds of it."""
    return {
        v.property if v.property == "never-back" else f"{v.property}/{v.kind}"
        for v in result.result(use_case).verdicts
        if v.verdict == EXPOSED
    }


def holds(result: CheckResult, use_case: str = "livepatch") -> bool:
    """Whether every required property holds, at most exposed, and none for want of a test."""
    return all(v.verdict in (VERIFIED, EXPOSED) and not v.vacuous for v in required(result, use_case))

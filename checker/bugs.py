"""Published bugs, run: found where they were, with the published steps in the trace, and gone where they were fixed."""

from __future__ import annotations

from dataclasses import dataclass

from checker.catalogue import differences
from checker.trace import Trace
from checker.verdict import EXPOSED, PROVED, CheckResult, check, uninterrupted
from models.bug import Bug
from models.library import scenario_of
from models.model import Subject
from models.properties import COMPLETES
from models.protocol import Expect


@dataclass(frozen=True)
class Examined:
    """A bug before and after its fix.

    `trace`: the shortest one that breaks the bug's property. `at`: for each sentence in `bug.shows` the number, from 1,
    of the step of the trace that says it, or None. `difference`: what is not as the bug's file expects, before or after.
    """

    bug: Bug
    before: CheckResult
    after: CheckResult
    trace: Trace | None
    at: tuple[int | None, ...]
    difference: str

    @property
    def ok(self) -> bool:
        return not self.difference

    @property
    def unproved(self) -> tuple[str, ...]:
        """Of what the fix is required to keep, the properties that are not proved for any number of CPUs.

        Where no thread comes to an end, there is nothing to prove of `completes`.
        """
        required = (
            v
            for r in self.after.results
            if r.use_case in self.bug.fixed.use_cases
            for v in r.verdicts
            if v.required and v.verdict not in (PROVED, EXPOSED)
        )
        endless = self.after.model.system.progress is None
        return tuple(dict.fromkeys(v.property for v in required if not (endless and v.property == COMPLETES)))

    @property
    def fix_is_proved(self) -> bool:
        """Whether all that the fix is required to keep is proved for any number of CPUs."""
        return not self.unproved


def examine(bug: Bug, proof: bool = True) -> Examined:
    """Check both sides. Raises ModelError for whatever is wrong with either."""
    before, wrong_before = _side(bug.before, bug.found, False)
    after, wrong_after = _side(bug.after, bug.fixed, proof)
    name, _, kind = bug.breaks.partition("/")
    traces = [
        before.traces[v.trace]
        for use_case in bug.found.use_cases
        for v in before.result(use_case).violated
        if v.property == name and v.trace is not None and kind in ("", v.kind)
    ]
    trace = traces[0] if traces else None
    at = _found_in(trace, bug) if trace else (None,) * len(bug.shows)
    said = [f"before the fix: {text}" for text in wrong_before] + [f"after the fix: {text}" for text in wrong_after]
    said += [
        f"no step of the trace says “{text}” (after those before it)"
        for text, where in zip(bug.shows, at, strict=True)
        if where is None
    ]
    return Examined(bug, before, after, trace, at, "; ".join(said))


def _side(strategy: Subject, expect: Expect, proof: bool) -> tuple[CheckResult, list[str]]:
    result = uninterrupted(check(strategy, scenario_of(strategy, expect), proof=proof))
    found = (differences(expect, result.result(use_case)) for use_case in expect.use_cases)
    return result, list(dict.fromkeys(filter(None, found)))


def _found_in(trace: Trace, bug: Bug) -> tuple[int | None, ...]:
    """Where the trace says what was published, each sentence after the one before it; the last may be its reason."""
    found: list[int | None] = []
    number = 0
    for text in bug.shows:
        later = (k for k, step in enumerate(trace.steps, 1) if k > number and text in step.says)
        where = next(later, None)
        found.append(where)
        number = where or number
    return tuple(found)

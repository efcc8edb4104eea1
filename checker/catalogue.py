"""Strategies against what they declare of themselves: every expectation is checked, and told whether it is met."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from checker.search.result import Limits
from checker.verdict import EXPOSED, UNKNOWN, VIOLATED, CheckResult, UseCaseResult, check, uninterrupted
from checker.workers import workers
from models.library import is_path, load, load_file, scenario_of, shipped
from models.machines.fetch import X86_LINUX
from models.model import Subject
from models.properties import is_required
from models.protocol import Expect, Strategy
from models.system.errors import ModelError, ScenarioError


@dataclass(frozen=True)
class Met:
    """How one expectation came out for one use case: what differs ("" if nothing does), and the size of the search."""

    strategy: str
    use_case: str
    scenario: str
    expected: str
    difference: str
    inconclusive: bool
    vacuous: str
    idle: tuple[str, ...]
    states: int
    seconds: float
    where: str  # file:line of the expectation

    @property
    def ok(self) -> bool:
        return not self.difference


def differences(expect: Expect, result: UseCaseResult) -> str:
    """What of `expect` is not as it was found, in words; "" if all is."""
    said = []
    for verdict, wanted, found in (
        (VIOLATED, expect.violated, result.violated),
        (EXPOSED, expect.exposed, result.exposed),
    ):
        names = {f"{v.property}/{v.kind}" for v in found}
        for want in wanted:
            if not any(_matches(name, want) for name in names):
                said.append(f"{want} is not {verdict}")
        said += [f"{name} is {verdict}" for name in sorted(names) if not any(_matches(name, want) for want in wanted)]
    said += [f"{v.property} is unknown ({v.note})" for v in result.verdicts if v.verdict == UNKNOWN]
    return "; ".join(said)


def _matches(found: str, wanted: str) -> bool:
    return found == wanted or found.partition("/")[0] == wanted


def describe(expect: Expect, strategy: Subject) -> str:
    """The scenario of an expectation, by what is unusual about it."""
    if isinstance(strategy, Strategy):
        parts = ["own sequence" if strategy.rounds else expect.transition]
        size = f"{expect.cpus}×{expect.sites}"
    else:
        parts, size = [], f"{expect.cpus} CPUs"
    if expect.rounds != 1:
        parts.append(f"{expect.rounds} rounds")
    machine = scenario_of(strategy, expect).machine
    if machine != X86_LINUX:
        parts.append(machine.name)
    parts += [f"without {label}" for label in expect.without]
    parts += [word for word, on in (("preempt", expect.preempt), ("nmi", expect.nmi)) if on]
    return ", ".join([*parts, size])


def compare(strategy: Subject, expect: Expect, limits: Limits | None = None) -> list[Met]:
    """Check one expectation, for each of its use cases. Raises ModelError."""
    try:
        result = uninterrupted(check(strategy, scenario_of(strategy, expect), limits=limits))
    except ScenarioError as error:
        raise ModelError(f"{strategy.name} expects: {error.message}", expect.where) from error
    return [met(strategy, expect, result, use_case) for use_case in expect.use_cases]


def met(strategy: Subject, expect: Expect, result: CheckResult, use_case: str) -> Met:
    """How an expectation came out, given the check."""
    found = result.result(use_case)
    parts = [*(f"{name} violated" for name in expect.violated), *(f"{name} exposed" for name in expect.exposed)]
    vacuous = [
        f"{v.property}: {', '.join(v.vacuous)}"
        for v in found.verdicts
        if v.vacuous and is_required(use_case, v.property)
    ]
    return Met(
        strategy.name,
        use_case,
        describe(expect, strategy),
        ", ".join(parts) or "holds",
        differences(expect, found),
        any(v.verdict == UNKNOWN for v in found.verdicts),
        "" if found.violated else "; ".join(vacuous),
        result.idle,
        result.exploration.states,
        result.seconds,
        str(expect.where),
    )


def run(names: Sequence[str] = (), limits: Limits | None = None) -> Iterator[Met]:
    """Every expectation of the named strategies (all that are shipped, by default), in order, on all cores.

    Raises KeyError for an unknown name and ModelError for a file that does not work.
    """
    jobs = list(_jobs(names))
    work = partial(_work, limits=limits)
    cores = min(os.cpu_count() or 1, len(jobs))
    if cores < 2:
        for job in jobs:
            yield from work(job)
        return
    with workers(cores) as pool:
        for found in pool.map(work, jobs):
            yield from found


def _jobs(names: Sequence[str]) -> Iterable[tuple[str, int]]:
    for name in names or list(shipped()):
        strategies = load_file_strategies(name) if is_path(name) else [(name, load(name))]
        for called, strategy in strategies:
            for k in range(len(strategy.expects)):
                yield called, k


def load_file_strategies(name: str) -> list[tuple[str, Subject]]:
    """All strategies of a file, or the one that `file.py:name` picks, each with a name that finds it again."""
    if ".py:" in name:
        return [(name, load(name))]
    from pathlib import Path

    return [(f"{name}:{strategy.name}", strategy) for strategy in load_file(Path(name))]


def _work(job: tuple[str, int], limits: Limits | None) -> list[Met]:
    strategy = load(job[0])
    return compare(strategy, strategy.expects[job[1]], limits)

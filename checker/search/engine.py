"""Which engine answers: the choice between searching in Python, the product, and the native search.

`auto` starts in Python, which answers small questions before a compiler would have started. When the space proves
large, the product engine answers where it applies; where it does not, or where explicit search was asked for (by
threads or symmetry), the native one takes over. Without a C compiler Python goes on, and a note says so.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from math import factorial, prod

from checker.search import python
from checker.search.generate import Unsupported
from checker.search.pairs import Pairs
from checker.search.progress import Reached, check_progress
from checker.search.result import Exploration, Limits, Report
from models.system.errors import ScenarioError
from models.system.system import TransitionSystem

AUTO, PRODUCT, PYTHON, NATIVE = ENGINES = ("auto", "product", "python", "native")
HAND_OVER = 20_000  # states: as long as a compiled kernel takes to be loaded and given its tables
_WORTH_COUNTING = 100_000  # pairs, to know how large a table will be
_WORTH_SEARCHING = 30_000_000  # states, to answer what the product cannot


@dataclass(frozen=True)
class Engine:
    """What the user asked for. None: as the engine sees fit (every core; symmetry on).

    `compact`: where there is no room for more states, search again with hashes instead.
    """

    name: str = AUTO
    threads: int | None = None
    symmetry: bool | None = None
    compact: bool = False

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise ScenarioError(f"unknown engine “{self.name}”; there are {', '.join(ENGINES)}")
        if self.name in (PYTHON, PRODUCT):
            for given, what in (
                (self.symmetry is True, "symmetry reduction"),
                ((self.threads or 1) > 1, "more than one thread"),
                (self.compact, "hash compaction"),
            ):
                if given:
                    raise ScenarioError(f"the {self.name} engine has no {what}; the native one has")

    @property
    def is_explicit(self) -> bool:
        """Whether options were given that only make sense where states are stored one by one."""
        return self.threads is not None or self.symmetry is not None or self.compact


@dataclass(frozen=True)
class Answer:
    """A finished search with its answer on progress, and what is to be said about the choice of the engine."""

    reached: Reached
    note: str = ""


def search(system: TransitionSystem, engine: Engine, limits: Limits, report: Report | None = None) -> Answer:
    """Search `system` and answer the question of progress.

    Raises Unsupported for a system that no engine, or not the one that was asked for, can search.
    """
    pairs = Pairs(system)
    if engine.name == PYTHON:
        return Answer(_finished(python.run(pairs, limits, report)))
    if engine.name == PRODUCT:
        return Answer(_finished(_product(pairs, limits, report)))
    if engine.name == NATIVE or engine.symmetry or engine.compact:
        return _native(pairs, engine, limits, report)
    first = python.run(pairs, _until_hand_over(limits), report)
    stored = first.outcome.explored
    if stored <= HAND_OVER or (limits.states is not None and stored > limits.states) or not _is_full(first):
        return Answer(_finished(first))
    if not engine.is_explicit:
        with contextlib.suppress(Unsupported):
            reached = _finished(_product(pairs, limits, report))
            outcome = reached.outcome
            if outcome.progress_known or not outcome.complete or outcome.states > _WORTH_SEARCHING:
                return Answer(reached)
    return _native(pairs, engine, limits, report)


def _until_hand_over(limits: Limits) -> Limits:
    states = HAND_OVER if limits.states is None else min(limits.states, HAND_OVER)
    return Limits(states, limits.seconds, limits.memory)


def _is_full(run: python.Run) -> bool:
    """Whether a search stopped because of its limit on states, and of nothing else."""
    return run.outcome.stopped == Limits(HAND_OVER).exceeded(run.outcome.explored, 0)


def _finished(reached: Reached) -> Reached:
    with contextlib.suppress(KeyboardInterrupt):  # progress then stays unknown; the rest is known
        check_progress(reached)
    return reached


def _product(pairs: Pairs, limits: Limits, report: Report | None) -> Reached:
    from checker.search import product

    return product.run(pairs, limits, report)


def _native(pairs: Pairs, engine: Engine, limits: Limits, report: Report | None) -> Answer:
    from checker.search import native
    from checker.search.build import NoCompiler

    how = native.How(engine.threads or cores(), engine.symmetry is not False)
    try:
        counted = _counted(pairs)
        total = counted.states if counted.complete else 0
        expected = _stored(pairs, counted.states, how.symmetry)
        run = native.run(pairs, how, limits, report, expected=expected, total=total)
        if engine.compact and run.is_full:  # states themselves are better evidence, as long as there is room for them
            run.close()
            run = native.run(pairs, replace(how, compact=True), limits, report, total=total)
        return Answer(_finished(run))
    except (NoCompiler, Unsupported) as reason:
        note = f"no native search: {reason}; the Python engine answers"
        return Answer(_finished(python.run(pairs, limits, report)), note)


def expected_states(pairs: Pairs, symmetry: bool) -> int:
    """How many states will be stored, where the product knows it (about, under symmetry); else 0.

    A table that need not grow makes the search up to half as fast again.
    """
    return _stored(pairs, _counted(pairs).states, symmetry)


def _stored(pairs: Pairs, states: int, symmetry: bool) -> int:
    orders = prod(factorial(n) for n in pairs.system.counts.values())
    return min(states // (orders if symmetry else 1), _WORTH_SEARCHING)


def _counted(pairs: Pairs) -> Exploration:
    """The product of a system, as far as it is worth it; empty and incomplete where the space is none."""
    from checker.search import product

    try:
        return product.run(pairs, Limits(states=_WORTH_COUNTING)).outcome
    except Unsupported as reason:
        return Exploration("product", stopped=str(reason))


def cores() -> int:
    """The processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1

"""Every way to run a search, and what is the same whichever way it is run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path as File
from unittest.mock import patch

import pytest

from checker.search import build, native, python, tables
from checker.search.native import How
from checker.search.pairs import Pairs
from checker.search.progress import check_progress
from checker.search.result import Exploration, Limits, Taken
from checker.search.tables import Tables
from models.system.expressions import BOOL, FALSE, Bits, Choice, every, some
from models.system.system import Builder, Fairness, Invariant, Mark, Progress, TransitionSystem
from models.system.visitor import each
from tests.checker.reference import assert_is_a_counterexample, cannot_finish, fair_part, survey

Steps = tuple[Taken, ...]
HOWS = [How(threads, symmetry) for symmetry in (False, True) for threads in (1, 2)]
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))), reason="needs a C compiler"
)
MOST_NARROW, MOST_WIDE = 63, 127  # bits of a state


@dataclass(frozen=True)
class Answers:
    """What a search says of a system, with every path in full. `progress`: its steps, cycle, whether it rests, why."""

    states: int
    transitions: int
    depth: int
    fired: frozenset[int]
    marks: dict[Mark, Steps]
    broken: dict[Invariant, Steps]
    progress_known: bool
    progress: tuple[Steps, int, bool, str] | None


def answers(outcome: Exploration) -> Answers:
    """All that an outcome says, but for how it was come by."""
    progress = None
    if outcome.progress is not None:
        path, says = outcome.progress
        progress = (path.steps, path.cycle, path.rests, says)
    for path in (*outcome.marks.values(), *outcome.broken.values()):
        assert len(path.steps) == path.length
    return Answers(
        outcome.states,
        outcome.transitions,
        outcome.depth,
        frozenset(outcome.fired),
        {mark: path.steps for mark, path in outcome.marks.items()},
        {invariant: path.steps for invariant, path in outcome.broken.items()},
        outcome.progress_known,
        progress,
    )


@cache
def by_python(system: TransitionSystem) -> Answers:
    """What the Python engine says."""
    run = python.explore(system)
    check_progress(run)
    assert run.outcome.complete
    return answers(run.outcome)


def natively(
    system: TransitionSystem, how: How, limits: Limits | None = None, expected: Answers | None = None
) -> tuple[Exploration, Answers]:
    """What the native engine says; it has to be complete where there is no limit.

    With `expected` its counts are compared before it is asked for more: a wrong table may send it round for ever.
    """
    run = native.run(Pairs(system), how, limits or Limits())
    outcome = run.outcome
    assert limits is not None or outcome.complete, outcome.stopped
    for name in ("states", "transitions", "depth", "fired") if expected else ():
        a, b = getattr(outcome, name), getattr(expected, name)
        assert a == b, f"{name}: {a!r}, expected {b!r}"
    check_progress(run)
    found = answers(outcome)
    run.close()
    return outcome, found


def assert_same(found: Answers, expected: Answers) -> None:
    """One difference is enough, and is named."""
    for name in Answers.__dataclass_fields__:
        a, b = getattr(found, name), getattr(expected, name)
        assert a == b, f"{name}: {a!r}, expected {b!r}"


def assert_engines_agree(system: TransitionSystem, hows: list[How] | None = None) -> None:
    """The native engine says what the Python engine says, in every way to run it."""
    expected = by_python(system)
    for how in HOWS if hows is None else hows:
        outcome, found = natively(system, how, expected=expected)
        assert_same(found, expected)
        assert outcome.explored <= outcome.states
        assert outcome.symmetry or outcome.explored == outcome.states


def assert_agrees_with_the_reference(system: TransitionSystem) -> None:
    """All engines agree, and what they say is true."""
    assert_engines_agree(system)
    reference = survey(system)
    stuck, fair = cannot_finish(reference), fair_part(reference)
    outcome, found = natively(system, How())
    assert (found.states, found.transitions) == (len(reference.edges), reference.transitions)
    assert (found.depth, found.fired) == (reference.depth, frozenset(reference.fired))
    assert found.marks == reference.marks
    assert found.broken == reference.broken
    assert found.progress_known
    assert (found.progress is not None) == bool(stuck or fair)
    if outcome.progress is not None:
        assert_is_a_counterexample(reference, outcome.progress[0])


# ---- other kernels, other layouts -----------------------------------------------------------------------------------


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """The text with each first part, which has to be there once, replaced by the second."""
    for old, new in changes:
        assert text.count(old) == 1, f"{text.count(old)} times in the kernel: {old}"
        text = text.replace(old, new)
    return text


SMALL = {"CHUNK": 2, "BATCH": 4, "FIRST_LINES": 2}


def small_kernel() -> str:
    """The kernel with little of everything: small systems too start threads, fill batches and let the table grow."""
    text = replaced(
        build.KERNEL.read_text(encoding="utf-8"),
        ("end - from < 16 * CHUNK", "end - from < 2"),
        ("room = 64 * LINE", "room = LINE"),
        ("l->size * 2 : 64", "l->size * 2 : 2"),
    )
    for name, value in SMALL.items():
        text, found = re.subn(rf"^#define {name} +(\(.*?\)|\d+)", f"#define {name} {value}", text, flags=re.MULTILINE)
        assert found == 1, f"there is no {name} in the kernel"
    return text


@contextmanager
def kernel(text: str, directory: File) -> Iterator[None]:
    """The native engine with another kernel, which is built and kept in `directory`."""
    source = directory / "kernel.c"
    source.write_text(text, encoding="utf-8")
    with ExitStack() as stack:
        stack.enter_context(patch.object(build, "KERNEL", source))
        stack.enter_context(patch.object(build, "_loaded", {}))
        stack.enter_context(patch.dict(os.environ, XDG_CACHE_HOME=str(directory)))
        yield


def spread(made: Tables, bits: int) -> Tables:
    """The same tables for states of so many bits: the instances' are moved up as far as they go, apart from each other."""
    top = bits
    for k in reversed(range(len(made.groups))):
        group = made.groups[k]
        top -= group.bits * group.instances
        made.groups[k] = replace(group, shift=top)
        top -= (top - made.shared_bits) // 2
    assert top >= made.shared_bits
    made.bits = bits
    return made


@contextmanager
def states_of(bits: int) -> Iterator[None]:
    """Every state of a native search takes `bits` bits."""
    with patch.object(native, "tabulate", lambda pairs: spread(tables.tabulate(pairs), bits)):
        yield


# ---- systems --------------------------------------------------------------------------------------------------------


def relay(count: int, others: int = 1, ends: str = "stuck") -> TransitionSystem:
    """A patcher in four steps with broadcasts, CPUs of two kinds that step over shared values, marks, an invariant.

    `ends`: whether the patcher gets "stuck", may have to wait for ever on a "cycle", or always comes to the "goal".
    """
    b = Builder("relay")
    cpu, dog = b.component("cpu", count), b.component("dog", others)
    at = b.variable("at", Bits(3), 0)
    baton = b.variable("baton", Bits(2), 0)
    place = b.variable("place", Bits(3), 5, cpu)
    seen = b.variable("seen", BOOL, 0, cpu)
    barks = b.variable("barks", Bits(2), 1, dog)
    choice = Choice("which", ("left", "right"))
    high = Mark("p", "high", place == 6, False, "is high")
    low = Mark("p", "low", (place == 0) & (at == 2), False, "is low")
    loud = Mark("q", "loud", (barks == 2) & (baton == 2), False, "is loud")
    patcher = Fairness.PATCHER
    b.action(
        "shake", guard=at == 0, effects=[(at, 1)], broadcast=[(place, each(place) + 3)], says="s", fairness=patcher
    )
    b.action(
        "turn",
        guard=(at == 1) & every(cpu, each(place) < 6),
        effects=[(at, 2)],
        broadcast=[(seen, ~each(seen)), (barks, each(barks) + 1)],
        says="t",
        fairness=patcher,
    )
    b.action("idle", guard=at == 1, effects=[(at, at)], says="i", fairness=patcher)
    b.action("jump", guard=at == 1, effects=[(at, 3)], says="j", fairness=patcher)
    b.action(
        "end",
        guard=(at == 2) & every(cpu, each(seen)) & every(dog, each(barks) < (2 if ends == "cycle" else 3)),
        effects=[(at, 4)],
        says="e",
        fairness=patcher,
    )
    b.action("fall", guard=at == 3, effects=[(at, 4)], broadcast=[(place, 3)], says="f", fairness=patcher)
    b.action("down", actor=cpu, guard=~(place == 0), effects=[(place, place - 1)], says="d", marks=[high])
    b.action("up", actor=cpu, guard=place < 4, effects=[(place, place + 2)], says="u", choice=choice, marks=[low])
    b.action("look", actor=cpu, guard=~seen & ~(at == 4), effects=[(seen, 1)], says="l", fairness=Fairness.TASK)
    b.action("pass", actor=cpu, guard=(place == 2) & (at == 2), effects=[(baton, baton + 1), (place, 7)], says="p")
    task = Fairness.NONE if ends == "stuck" else Fairness.TASK
    b.action("bark", actor=dog, guard=barks < 3, effects=[(barks, barks + 1)], says="b", marks=[loud], fairness=task)
    if ends != "stuck":
        after = 2 if ends == "cycle" else 0
        b.action("rest", actor=dog, guard=barks == 3, effects=[(barks, after)], says="r", fairness=Fairness.TASK)
        b.action("calm", actor=dog, guard=barks == 3, effects=[(barks, 0)], says="c")
    b.halted = some(cpu, (each(place) == 1) & each(seen)) if ends == "stuck" else FALSE
    b.invariant("q", "k", every(cpu, (each(place) < 7) | ~each(seen)), "somebody who saw is too high")
    b.progress = Progress("completes", at == 4, "it ends")
    return b.build()


def counters(count: int, limit: int, width: int = 3) -> TransitionSystem:
    """`count` instances, each counting up to `limit` by itself; the last step of each is marked."""
    b = Builder("counters")
    cpu = b.component("cpu", count)
    n = b.variable("n", Bits(width), 0, cpu)
    mark = Mark("p", "top", n == limit - 1, False, "gets to the top")
    b.action("count", actor=cpu, guard=n < limit, effects=[(n, n + 1)], says="counts", marks=[mark])
    return b.build()


def halting(count: int) -> TransitionSystem:
    """CPUs that count and halt the system; one invariant is broken only there. The patcher could always finish."""
    b = Builder("halting")
    cpu = b.component("cpu", count)
    at = b.variable("at", Bits(2), 0)
    n = b.variable("n", Bits(2), 0, cpu)
    b.action("step", guard=at < 2, effects=[(at, at + 1)], says="s", fairness=Fairness.PATCHER)
    b.action("count", actor=cpu, guard=n < 3, effects=[(n, n + 1)], says="c")
    b.action("back", actor=cpu, guard=(n == 1) & (at == 1), effects=[(n, 0)], says="b")
    b.halted = some(cpu, each(n) == 2)
    b.invariant("p", "k", every(cpu, each(n) < 2), "a count is too high")
    b.invariant("q", "k", every(cpu, each(n) < 3), "nobody gets there")
    b.progress = Progress("completes", at == 2, "it ends")
    return b.build()


def errand() -> TransitionSystem:
    """Two CPUs, of which one may raise a flag; what the other can do then, it could not have come to by itself."""
    b = Builder("errand")
    cpu = b.component("cpu", 2)
    flag = b.variable("flag", BOOL, 0)
    n = b.variable("n", Bits(2), 0, cpu)
    b.action("raise", actor=cpu, guard=~flag & (n == 0), effects=[(flag, 1), (n, 2)], says="r")
    b.action("early", actor=cpu, guard=~flag & (n == 0), effects=[(n, 1)], says="e")
    b.action("late", actor=cpu, guard=flag & (n == 0), effects=[(n, 3)], says="l")
    b.action("later", actor=cpu, guard=flag & (n == 1), effects=[(n, 3)], says="l")
    return b.build()

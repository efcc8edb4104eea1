"""Claims: it is never proved that a patcher finishes that may wait for ever.

What the search says of 1, 2 and 3 instances is the truth that proofs are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checker.verdict import PROVED, VERIFIED, VIOLATED, check
from models.library import shipped
from models.properties import COMPLETES
from models.scenario import Scenario
from models.system.expressions import BOOL, every, some
from models.system.system import TransitionSystem
from models.system.visitor import each
from tests.proofs.waits import (
    ACKNOWLEDGE,
    NEVER,
    NONE,
    PATCHER,
    TASK,
    Waiting,
    drawn_waits,
    finishes,
    finishes_naively,
    is_proved,
    tried,
    waiting,
)

COUNTS = (1, 2, 3)
READY = (TASK, "busy", ("ready",))


def violated(system: TransitionSystem) -> bool:
    """Whether some number of instances may wait for ever; where it is one or two, the naive search says so too."""
    for n in (1, 2):
        assert finishes(system, n) == finishes_naively(system, n)
    return not all(finishes(system, n) for n in COUNTS)


# ---- drawn systems --------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 10**9))
def test_where_it_is_proved_that_the_patcher_finishes_it_does(seed: int) -> None:
    system = drawn_waits(seed)
    if is_proved(system):
        assert all(finishes(system, n) for n in COUNTS)
        assert finishes_naively(system, 1)


def test_much_is_proved_and_much_is_violated() -> None:
    """The test above would say nothing otherwise."""
    systems = [drawn_waits(seed) for seed in range(80)]
    proved = [s for s in systems if is_proved(s)]
    rankings = [proof.ranking for s in proved if (proof := tried(s).proof) and proof.ranking]
    assert len(proved) >= 15
    assert sum(bool(ranking.waits) for ranking in rankings) >= 5
    assert sum(not finishes(s, 1) for s in systems) >= 15
    assert sum(all(finishes(s, n) for n in COUNTS) for s in systems) <= len(proved) + 10


# ---- where a lazy argument would lie --------------------------------------------------------------------------------


def lying() -> Iterator[TransitionSystem]:
    """Systems in which the patcher may wait for ever."""
    yield waiting("a helpful kind may also lead away", (TASK, "busy", ("away", "ready")), (TASK, "away", ("busy",)))
    yield waiting("a helpful step is not always enabled", (NONE, "busy", ("away",)), (TASK, "away", ("ready",)))
    yield waiting(
        "enabled again and again, but it may rest between",
        READY,
        (NONE, "busy", ("away",)),
        (NONE, "away", ("busy",)),
    )
    yield waiting("only what need not happen helps", (NONE, "busy", ("ready",)))
    yield waiting("only what happens a few times helps", (NEVER, "busy", ("ready",)))
    yield waiting("consent is taken back", READY, (NONE, "ready", ("busy",)))
    yield waiting("consent is taken back by a fair step", READY, (ACKNOWLEDGE, "ready", ("busy",)))
    yield waiting(
        "two kinds starve each other",
        (TASK, "busy", ("away",)),
        (ACKNOWLEDGE, "away", ("busy",)),
        (NONE, "busy", ("ready",)),
    )
    yield waiting(
        "a kind leads in a circle",
        (TASK, "busy", ("away",)),
        (TASK, "away", ("lost",)),
        (TASK, "lost", ("busy",)),
        (TASK, "lost", ("ready",)),
    )
    yield going_back()
    yield stray()
    yield shut(False)
    w = Waiting("the patcher need not go on", [READY])
    w.patcher("wait", "wait", "done", w.ready, NONE)
    yield w.system(waits=False)
    w = Waiting("the patcher is busy with broadcasts", [READY])
    w.b.action("again", guard=w.at == "wait", broadcast=[(w.place, "busy")], says="", fairness=PATCHER)
    yield w.system()
    w = Waiting("what a device allows and takes back", [READY])
    device = w.b.component("device", 1)
    up = w.b.variable("up", BOOL, 0, device)
    w.b.action("turn", actor=device, effects=[(up, ~up)], says="", fairness=TASK)
    w.patcher("wait", "wait", "done", w.ready & every(device, each(up)))
    yield w.system(waits=False)
    yield opened_by_cpus(True)


def going_back() -> TransitionSystem:
    w = Waiting("the patcher goes back", [READY], late=True)
    w.patcher("wait", "wait", "late", w.ready)
    w.patcher("back", "late", "ask")
    return w.system(waits=False)


def stray() -> TransitionSystem:
    w = Waiting("the patcher strays to where it has no next step", [READY], late=True)
    w.patcher("stray", "wait", "late")
    return w.system()


def shut(is_open: bool) -> TransitionSystem:
    """The patcher waits for something shared that nobody changes."""
    w = Waiting("it is open" if is_open else "it is shut", [READY])
    w.patcher("wait", "wait", "done", w.ready & w.b.variable("open", BOOL, int(is_open)))
    return w.system(waits=False)


def opened_by_cpus(shuts: bool) -> TransitionSystem:
    """CPUs write what the patcher waits for."""
    w = Waiting("CPUs open and shut" if shuts else "CPUs open", [READY])
    door = w.b.variable("open", BOOL, 0)
    w.patcher("wait", "wait", "done", w.ready & door)
    w.b.action("open", actor=w.cpu, guard=~door, effects=[(door, 1)], says="", fairness=TASK)
    if shuts:
        w.b.action("shut", actor=w.cpu, guard=door, effects=[(door, 0)], says="", fairness=TASK)
    return w.system(waits=False)


def halting() -> TransitionSystem:
    """The search asks nothing of a system that halts; a proof says of every run that it reaches the goal."""
    w = Waiting("a CPU may halt the system", [READY, (NONE, "busy", ("lost",))])
    w.b.halted = some(w.cpu, each(w.place) == "lost")
    w.patcher("wait", "wait", "done", every(w.cpu, ~(each(w.place) == "busy")))
    return w.system(waits=False)


LIES = {system.name: system for system in lying()}
WEAK = {system.name: system for system in (opened_by_cpus(False), halting())}
RIGHT = {
    system.name: system
    for system in (
        waiting("a step that may also stay is none", (TASK, "busy", ("busy", "ready"))),
        waiting("consent is taken back a few times", READY, (NEVER, "ready", ("busy",))),
        waiting(
            "enabled again and again",
            (ACKNOWLEDGE, "busy", ("ready",)),
            (NONE, "busy", ("away",)),
            (TASK, "away", ("busy",)),
        ),
        waiting(
            "another kind leaves the circle",
            (TASK, "busy", ("away",)),
            (TASK, "away", ("lost",)),
            (TASK, "lost", ("busy",)),
            (ACKNOWLEDGE, "lost", ("ready",)),
        ),
        waiting(
            "a stage",
            (ACKNOWLEDGE, "busy", ("ready",)),
            (NONE, "busy", ("away",)),
            (TASK, "away", ("busy",)),
            (ACKNOWLEDGE, "lost", ("busy",)),
            start="lost",
        ),
    )
}


@pytest.mark.parametrize("name", LIES)
def test_a_patcher_that_may_wait_for_ever_is_not_proved_to_finish(name: str) -> None:
    assert violated(LIES[name])
    assert not is_proved(LIES[name])
    assert tried(LIES[name]).no_progress


@pytest.mark.parametrize("name", WEAK)
def test_the_argument_is_too_weak_for_some(name: str) -> None:
    """Nothing is said of them that is wrong; instances that write shared values, and runs that halt, are beyond it."""
    assert not violated(WEAK[name])
    assert not is_proved(WEAK[name])
    assert tried(WEAK[name]).no_progress


@pytest.mark.parametrize("name", RIGHT)
def test_the_argument_is_strong_enough_for_others(name: str) -> None:
    assert not violated(RIGHT[name])
    assert is_proved(RIGHT[name])


# ---- what is shipped ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_progress_is_proved_of_every_shipped_strategy_whose_patcher_finishes(name: str) -> None:
    """Where a CPU may crash, the patcher finishes in every run that goes on; that is verified, not proved."""
    result = check(name, Scenario(), proof=True)
    found = result.exploration
    assert found.progress_known
    expected = VIOLATED if found.progress else VERIFIED if found.broken else PROVED
    assert {r.verdict(COMPLETES).verdict for r in result.results} == {expected}

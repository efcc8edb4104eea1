"""Claims: what is handed to the proofs is enough for instances that meet, and a proof covers just what was asked of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from checker.proving import claims_of, prove_model, prove_system
from checker.search import python
from models.compose import compose
from models.library import load
from models.scenario import Scenario
from models.system.expressions import BOOL, Bits, every, read, some
from models.system.system import Builder, Fairness, Invariant, TransitionSystem
from models.system.visitor import each


def lock(takes: int = 1) -> TransitionSystem:
    """CPUs that take a lock one after the other; or, when broken, up to `takes` of them at once."""
    b = Builder("lock")
    cpu = b.component("cpu", 2)
    held = b.variable("held", Bits(2), 0)
    inside = b.variable("inside", BOOL, 0, cpu)
    alone = b.variable("alone", BOOL, 1, cpu)
    free = held < takes
    b.action(
        "enter",
        actor=cpu,
        guard=~inside & free,
        effects=[(held, held + 1), (inside, 1)],
        says="",
        fairness=Fairness.TASK,
    )
    b.action("leave", actor=cpu, guard=inside, effects=[(held, held - 1), (inside, 0)], says="", fairness=Fairness.TASK)
    b.action("look", actor=cpu, guard=inside & (held > 1), effects=[(alone, 0)], says="")
    b.invariant("alone", "", every(cpu, each(alone)), "somebody else was inside")
    return b.build()


def broken_at(system: TransitionSystem) -> list[int]:
    """The numbers of CPUs, up to four, with which something breaks."""
    return [
        n for n in range(1, 5) if python.explore(system.resized(dict.fromkeys(system.components, n))).outcome.broken
    ]


def test_a_lock_is_proved_by_looking_at_two() -> None:
    """One CPU alone does not tell: while it is inside, another might leave twice."""
    system = lock()
    assert broken_at(system) == []
    found = python.explore(system).outcome
    tried, reason = prove_system(system, found)
    assert reason == "" and tried is not None and tried.proof is not None
    assert tried.proof.invariant.index == 2
    assert set(map(id, tried.proof.claims)) == set(map(id, claims_of(system)))


@pytest.mark.parametrize("takes", [2, 3])
def test_a_lock_that_lets_several_in_is_never_proved(takes: int) -> None:
    system = lock(takes)
    assert broken_at(system) == [2, 3, 4]
    one = python.explore(system.resized(dict.fromkeys(system.components, 1))).outcome
    tried, _ = prove_system(system, one)  # what one CPU does not break
    assert tried is None or tried.proof is None or not tried.proof.claims


def tokens(count: int) -> TransitionSystem:
    """So many tokens; it breaks when they are all taken and every CPU has one: with just so many CPUs."""
    b = Builder("tokens")
    cpu = b.component("cpu", 2)
    taken, bad = b.variable("taken", Bits(2), 0), b.variable("bad", BOOL, 0)
    mine = b.variable("mine", BOOL, 0, cpu)
    b.action("take", actor=cpu, guard=~mine & (taken < count), effects=[(taken, taken + 1), (mine, 1)], says="")
    b.action("end", guard=~bad & (taken == count) & every(cpu, each(mine)), effects=[(bad, 1)], says="")
    b.invariant("never", "", every(cpu, ~bad | ~each(mine)), "every CPU had a token")
    return b.build()


@pytest.mark.parametrize("count", [1, 2])
def test_what_breaks_with_one_number_of_cpus_only_is_not_proved(count: int) -> None:
    system = tokens(count)
    assert broken_at(system) == [count]
    searched = system.resized(dict.fromkeys(system.components, 3))
    tried, _ = prove_system(searched, python.explore(searched).outcome)
    assert tried is None or tried.proof is None or not tried.proof.claims


def test_what_breaks_does_not_keep_the_rest_from_being_proved() -> None:
    system = lock()
    inside = next(v for v in system.variables if v.name == "inside")
    (cpu,) = system.components
    more = Invariant("idle", "", every(cpu, ~read(inside, bound=True)), "somebody was inside")
    system = replace(system, invariants=(*system.invariants, more))
    found = python.explore(system).outcome
    assert list(found.broken) == [more]
    tried, _ = prove_system(system, found)
    assert tried is not None and tried.proof is not None
    assert [claim.property for claim in tried.proof.claims] == ["alone"]


def test_a_lock_with_one_cpu_is_proved_as_well() -> None:
    """How many instances the system has does not matter, only how many there may be."""
    system = lock()
    system = system.resized(dict.fromkeys(system.components, 1))
    tried, _ = prove_system(system, python.explore(system).outcome)
    assert tried is not None and tried.proof is not None
    assert set(map(id, tried.proof.claims)) == set(map(id, claims_of(system)))


def test_what_stands_in_the_way_is_named() -> None:
    b = Builder("first come")
    cpu = b.component("cpu", 2)
    up = b.variable("up", BOOL, 0, cpu)
    b.action("rise", actor=cpu, effects=[(up, 1)], says="")
    b.action("go on", guard=some(cpu, each(up)), says="")
    tried, reason = prove_system(b.build(), None)
    assert tried is None
    assert "“go on”" in reason


def test_a_proof_covers_no_property_that_breaks() -> None:
    proving = prove_model(compose(load("nop-then-back"), Scenario(sites=1)))
    assert proving.covers("no-torn-instruction") and proving.covers("completes")
    assert not proving.covers("old-or-new") and proving.why_not("old-or-new")

"""Claims: of systems drawn at random, nothing is proved that one, two or three instances break; and what proofs rest on.

The claims are those that hold with one instance of each component, which is all that the invariants are learned from.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.system.expressions import BOOL, FALSE, Bits, Choice, every, parameter
from models.system.system import Builder, Mark, TransitionSystem
from models.system.visitor import each
from proofs import prove as proving
from proofs.induction import Conditions
from proofs.lemma import Invariant
from proofs.prove import Proof, prove
from proofs.shape import Shape
from tests.checker.drawn import drawn
from tests.proofs.crowds import crowd
from tests.proofs.instances import NOTHING, Question, assert_safe_at, attempt, holding, lemma, questions

SEEDS = range(150)


def lies(system: TransitionSystem, most: int = 3) -> list[Question]:
    """Claims that hold for one instance of each component, that more break, and that are proved all the same."""
    alone = holding(system, 1)
    broken = [q for q in alone if any(q not in holding(system, n) for n in range(2, most + 1))]
    return broken if broken and isinstance(attempt(system, 1, 1, broken), Proof) else []


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 10**9))
def test_what_more_instances_break_is_not_proved(seed: int) -> None:
    assert not lies(crowd(seed))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**9), st.sampled_from([crowd, drawn]), st.integers(1, 2))
def test_what_is_proved_holds_for_any_number(
    seed: int, draw: Callable[[int], TransitionSystem], instances: int
) -> None:
    system = draw(seed)
    claims = holding(system, instances)
    if system.components and isinstance(attempt(system, instances, 1, claims), Proof):
        for n in (1, 2, 3):
            assert set(claims) <= set(holding(system, n))


def test_many_drawn_systems_are_tempting_and_many_are_proved() -> None:
    """The two tests above would say nothing otherwise."""
    systems = [crowd(seed) for seed in SEEDS]
    tempting = [s for s in systems if set(holding(s, 1)) - set(holding(s, 2))]
    proofs = [found for s in systems[:40] if isinstance(found := attempt(s, 1, 1, holding(s, 1)), Proof)]
    assert len(tempting) >= 5
    assert sum(bool(found.invariant.lemmas) for found in proofs) >= 5


@pytest.mark.parametrize("damage", ["no steps of others", "no obstacles"])
def test_a_damaged_proof_lies_about_a_drawn_system(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Conditions.steps
    if damage == "no obstacles":
        monkeypatch.setattr(proving, "shape", lambda system: Shape((), (), 1))
    else:
        monkeypatch.setattr(Conditions, "steps", lambda self, few: (s for s in steps(self, few) if s[0] == few))
    assert any(lies(crowd(seed)) for seed in SEEDS)


# ---- known holes ----------------------------------------------------------------------------------------------------


def test_a_lemma_with_a_quantifier_is_refused() -> None:
    """Said of the k instances it says less than of all: assumed of k + 1 it is stronger than what was shown of k."""
    b = Builder("alike")
    cpu = b.component("cpu", 1)
    up, g = b.variable("up", BOOL, 0, cpu), b.variable("g", BOOL, 0)
    b.action("rise", actor=cpu, guard=~g, effects=[(up, 1)], says="rises")
    b.action("close", actor=cpu, guard=~up, effects=[(g, 1)], says="closes")
    b.action("look", actor=cpu, says="looks", marks=[Mark("never", "", g & up, False, "is up")])
    system = b.build()
    assert_safe_at(system, 1)
    alike = lemma(every(cpu, each(up)) | every(cpu, ~each(up)))
    found = prove(system, Invariant((alike, lemma(~(g & up), cpu)), "written", 1), questions(system))
    assert not isinstance(found, Proof)


def test_a_lemma_that_no_obligation_reads_is_no_part_of_a_proof() -> None:
    """It speaks of two instances where the invariant speaks of one."""
    b = Builder("idle")
    cpu = b.component("cpu", 1)
    b.variable("up", BOOL, 0, cpu)
    found = prove(b.build(), Invariant((lemma(FALSE, cpu, cpu),), "written", 1), [])
    assert not isinstance(found, Proof)


@pytest.mark.parametrize("name", ["next g", "up@0"])
def test_names_of_variables_do_not_matter(name: str) -> None:
    """They are also names of the solver's unknowns: two variables become one."""
    b = Builder("names")
    cpu = b.component("cpu", 1)
    g, other = b.variable("g", BOOL, 0), b.variable(name, BOOL, 0)
    up = b.variable("up", BOOL, 0, cpu)
    b.action("rise", actor=cpu, guard=~other, effects=[(up, 1)], says="rises")
    b.action("set", guard=~g, effects=[(g, 1)], says="sets")
    b.action("look", actor=cpu, says="looks", marks=[Mark("never", "", up & ~other, False, "is up")])
    b.invariant("never", "", ~g, "is set")
    system = b.build()
    assert_safe_at(system)
    for claim in questions(system):
        for lemmas in ((), (lemma(~g), lemma(~other))):
            assert not isinstance(prove(system, Invariant(lemmas, "written", 1), [claim]), Proof)


def test_a_variable_may_be_called_choice() -> None:
    b = Builder("choice")
    b.component("cpu", 1)
    g, which = b.variable("choice", Bits(1), 0), Choice("which", ("a", "b"))
    b.action("choose", choice=which, says="", marks=[Mark("never", "", ~(parameter(which) == g), False, "differs")])
    system = b.build()
    assert_safe_at(system)
    assert not isinstance(prove(system, NOTHING, questions(system)), Proof)


def test_claims_of_another_system_are_refused() -> None:
    """The same system made twice: the second one's claims are none of the first's, and no obligation asks for them."""

    def rising() -> TransitionSystem:
        b = Builder("rising")
        cpu = b.component("cpu", 1)
        up = b.variable("up", BOOL, 0, cpu)
        b.action("rise", actor=cpu, effects=[(up, 1)], says="rises")
        b.invariant("never", "", every(cpu, ~each(up)), "is up")
        return b.build()

    assert_safe_at(rising())
    with pytest.raises((ValueError, KeyError)):
        prove(rising(), NOTHING, questions(rising()))

"""Claims: bounded model checking and k-induction, which know no search, say the same as the search.

Each shipped strategy, and some of each family without one of their steps, with one CPU and one site.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import z3

from checker.search.python import explore
from models.compose import compose
from models.library import load, shipped
from models.plan import plan
from models.scenario import Scenario
from models.system.expressions import Bits, Choice, every, parameter
from models.system.system import Builder, Invariant, Mark, TransitionSystem
from models.system.visitor import each
from proofs import unroll
from proofs.encode import Taken, take
from proofs.infer import infer
from proofs.unroll import GaveUp, Question, bounded, inductive
from tests.checker.drawn import drawn
from tests.checker.reference import survey
from tests.proofs.claims import composed, holding

DEPTH = 20
SMALL = Scenario(cpus=1, sites=1)
# of each family one; always-iterator and permanent share the steps of nop-then-back
FAMILIES = (
    "batched-stubs",
    "careful-call-to-call",
    "nop-then-back",
    "stop-machine-frees",
    "text-poke-batch",
    "text-poke-batch-to-probe",
)


def questions(system: TransitionSystem) -> list[Question]:
    """Everything that can be asked, premises too: there are more of them."""
    return [*dict.fromkeys(mark for _, mark in system.marks()), *system.invariants]


@cache
def searched(system: TransitionSystem) -> dict[Question, int]:
    """The shortest lengths that the search reports."""
    outcome = explore(system).outcome
    assert outcome.complete
    return {**{m: p.length for m, p in outcome.marks.items()}, **{i: p.length for i, p in outcome.broken.items()}}


def within(lengths: dict[Question, int], asked: Iterable[Question], depth: int) -> dict[Question, int | None]:
    """What is to be found within a depth."""
    return {claim: length if (length := lengths.get(claim, depth + 1)) <= depth else None for claim in asked}


def assert_agrees(system: TransitionSystem, depth: int = DEPTH) -> None:
    asked = questions(system)
    found, expected = bounded(system, asked, depth), within(searched(system), asked, depth)
    differ = [f"{q.property} {q.kind}: {found[q]}, expected {expected[q]}" for q in asked if found[q] != expected[q]]
    assert not differ, f"{system.name}: {differ}"


def assert_proves_nothing_false(system: TransitionSystem, ks: Iterable[int]) -> None:
    lengths, asked = searched(system), questions(system)
    for k in ks:
        proved = inductive(system, asked, k)
        wrong = [f"{q.property} {q.kind}: broken after {lengths[q]}" for q in proved if q in lengths]
        said = f"{len(proved)} of {len(asked) - len(lengths)} are {k}-inductive"
        assert not wrong, f"{system.name}: {said}, {wrong}"


def without_each_step(name: str) -> list[TransitionSystem]:
    strategy = load(name)
    labels = plan(strategy, SMALL).labels
    return [compose(strategy, replace(SMALL, without=frozenset({label}))).system for label in labels]


# ---- strategies -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_the_shortest_runs_of_a_strategy_are_as_long_as_the_search_says(name: str) -> None:
    system = composed(name, SMALL).system
    assert_agrees(system)
    assert_proves_nothing_false(system, (4,))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_without_one_of_its_steps_too(name: str) -> None:
    for system in without_each_step(name):
        assert_agrees(system)
        assert_proves_nothing_false(system, (2,))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["careful-call-to-call", "text-poke-batch"])
@pytest.mark.parametrize("cpus", [1, 2, 3])
def test_an_invariant_that_was_found_is_inductive_where_all_cpus_are_explicit(name: str, cpus: int) -> None:
    system = composed(name, SMALL).system
    rows, claims = holding(system)
    lemmas = infer(system, rows, claims).lemmas
    assert lemmas
    said: list[Question] = []
    for lemma in lemmas:
        holds = every(lemma.about[0], each(lemma.holds)) if lemma.about else lemma.holds
        said.append(Invariant(lemma.name, "", holds, lemma.says))
    (cpu,) = system.components
    proved = inductive(system.resized({cpu: cpus}), [*claims, *said], 1)
    assert proved == {*claims, *said}
    assert not inductive(system.resized({cpu: cpus}), claims, 1) >= set(claims), "they rest on the lemmas"


# ---- any system -----------------------------------------------------------------------------------------------------

SEEDS = range(40)


def assert_agrees_with_the_reference(system: TransitionSystem, depth: int = 5) -> None:
    """On the reference evaluator, which takes systems of every shape."""
    found = survey(system)
    lengths: dict[Question, int] = {mark: len(path) for mark, path in found.marks.items()}
    lengths.update((claim, len(path)) for claim, path in found.broken.items())
    asked = questions(system)
    assert bounded(system, asked, depth) == within(lengths, asked, depth)
    for k in (1, 3):
        assert not inductive(system, asked, k) & lengths.keys()


def choosy() -> TransitionSystem:
    """Where a run has to choose first this and then that."""
    b = Builder("choosy")
    cpu = b.component("cpu", 2)
    n = b.variable("n", Bits(2), 0)
    which = Choice("which", ("nothing", "one", "two"))
    b.action("add", actor=cpu, effects=[(n, n | parameter(which))], says="adds", choice=which)
    for k in range(4):
        b.invariant("sum", str(k), ~(n == k), "is the sum")
    return b.build()


def some_systems() -> Iterator[TransitionSystem]:
    yield from (counter()[0], counter(halts=True)[0], choosy())
    yield from map(drawn, SEEDS)


def test_small_systems_agree_with_the_evaluator() -> None:
    for system in some_systems():
        assert_agrees_with_the_reference(system)


def counter(halts: bool = False) -> tuple[TransitionSystem, dict[str, Question]]:
    """Two CPUs count to seven; the marked step changes nothing."""
    b = Builder("counter")
    cpu = b.component("cpu", 2)
    n = b.variable("n", Bits(3), 0)
    seen = b.variable("seen", Bits(3), 0, cpu)
    b.action("count", actor=cpu, guard=n < 6, effects=[(n, n + 1)], says="counts")
    b.action("see", actor=cpu, effects=[(seen, n)], says="sees")
    marks = {f"see {k}": Mark("seen", str(k), seen == k, False, "is met") for k in (0, 3)}
    b.action("look", actor=cpu, says="looks", marks=list(marks.values()))
    for k in (4, 6, 7):
        b.invariant("count", str(k), ~(n == k), "is counted to")
    b.invariant("both", "", every(cpu, ~(each(seen) == 2)) | every(cpu, each(seen) == 2), "one sees two alone")
    if halts:
        b.halted = n == 3
    system = b.build()
    return system, {**marks, **{f"{i.property} {i.kind}".strip(): i for i in system.invariants}}


def test_lengths_are_counted_as_the_search_counts_them() -> None:
    system, claims = counter()
    expected = {"see 0": 1, "see 3": 5, "count 4": 4, "count 6": 6, "count 7": None, "both": 3}
    assert bounded(system, claims.values(), 10) == {claims[name]: length for name, length in expected.items()}
    assert bounded(system, claims.values(), 5)[claims["count 6"]] is None
    assert bounded(system, claims.values(), 0) == dict.fromkeys(claims.values())


def test_a_halted_state_has_no_successor() -> None:
    system, claims = counter(halts=True)
    found = bounded(system, claims.values(), 10)
    assert (found[claims["see 0"]], found[claims["count 4"]]) == (1, None)


def test_a_solver_that_may_not_work_says_nothing() -> None:
    system, claims = counter()
    with pytest.raises(GaveUp):
        bounded(system, claims.values(), 10, work=1)
    with pytest.raises(GaveUp):
        inductive(system, claims.values(), 2, work=1)


def test_some_claims_need_longer_runs_and_some_need_simple_ones() -> None:
    b = Builder("a ring, and a way that nobody goes")
    b.component("cpu", 1)
    n = b.variable("n", Bits(3), 0)
    for here, there in ((0, 1), (1, 0), (2, 3), (4, 5), (5, 4), (5, 6)):
        b.action(f"{here} to {there}", guard=n == here, effects=[(n, there)], says="goes")
    for k in (3, 6, 7):
        b.invariant("at", str(k), ~(n == k), "is there")
    system = b.build()
    three, six, seven = system.invariants
    assert inductive(system, [three, six, seven], 1) == {seven}
    assert inductive(system, [three, six, seven], 2) == {three, seven}
    assert inductive(system, [three, six, seven], 3) == {three, six, seven}
    assert inductive(system, [three, six, seven], 3, simple=False) == {three, seven}


def test_claims_that_rest_on_a_claim_that_fails_are_not_proved() -> None:
    b = Builder("two counters")
    b.component("cpu", 1)
    m, n = b.variable("m", Bits(3), 0), b.variable("n", Bits(3), 0)
    b.action("count", guard=m < 7, effects=[(m, m + 1)], says="counts")
    b.action("follow", guard=m == 7, effects=[(n, 1)], says="follows")
    b.invariant("few", "", m < 7, "counted to seven")
    b.invariant("rests", "", n == 0, "followed")
    system = b.build()
    for k in range(1, 5):
        assert inductive(system, system.invariants, k) == set()


# ---- the comparison can fail ----------------------------------------------------------------------------------------


def test_steps_that_are_encoded_wrongly_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_choice(system: TransitionSystem, *args: Any) -> Taken:
        taken = take(system, *args)
        fixed = () if taken.choice is None else (taken.choice == 0,)
        return replace(taken, enabled=(*taken.enabled, *fixed))

    def never_halted(system: TransitionSystem, *args: Any) -> Taken:
        taken = take(system, *args)
        return replace(taken, enabled=taken.enabled[:-1])

    def ever_enabled(system: TransitionSystem, *args: Any) -> Taken:
        return replace(take(system, *args), enabled=())

    def still(system: TransitionSystem, *args: Any) -> Taken:
        return replace(taken := take(system, *args), after=taken.frame)

    for wrong in (first_choice, never_halted, ever_enabled, still):
        monkeypatch.setattr(unroll, "take", wrong)
        with pytest.raises(AssertionError):
            test_small_systems_agree_with_the_evaluator()
            pytest.fail(f"{wrong.__name__} is not seen")


def test_one_choice_for_the_whole_run_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgotten(self: Any, length: int) -> None:
        self.choices.clear()
        extend(self, length)

    extend = unroll._Runs.extend
    monkeypatch.setattr(unroll._Runs, "extend", forgotten)
    with pytest.raises(AssertionError):
        test_small_systems_agree_with_the_evaluator()


def test_an_induction_step_that_never_fails_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    system = composed("nop-then-back", SMALL).system
    assert_proves_nothing_false(system, (1,))
    monkeypatch.setattr(unroll._Runs, "transition", lambda self: z3.BoolVal(False))
    with pytest.raises(AssertionError, match="1-inductive"):
        assert_proves_nothing_false(system, (1,))

"""The product engine against the search and the reference: the same counts, traces and verdicts, or none at all."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given

from checker.search import native, product, python
from checker.search.build import NoCompiler
from checker.search.generate import Unsupported
from checker.search.pairs import Pairs
from checker.search.progress import check_progress
from checker.search.result import INTERRUPTED, Exploration, Limits, Path
from models.compose import compose
from models.library import shipped
from models.scenario import Scenario
from models.system.expressions import BOOL, Bits, every, some
from models.system.system import Builder, Fairness, Mark, Progress, TransitionSystem
from models.system.visitor import each
from tests.checker.reference import survey
from tests.checker.test_search import QUICK, shipped_scenarios, systems


def multiplied(system: TransitionSystem) -> Exploration:
    """The outcome of the product engine, with its answer on progress. Raises Unsupported."""
    run = product.run(Pairs(system), Limits())
    check_progress(run)
    return run.outcome


def searched(system: TransitionSystem) -> Exploration:
    run = python.explore(system)
    check_progress(run)
    return run.outcome


def told(path: Path | None) -> Any:
    return None if path is None else (path.steps, path.cycle, path.rests)


def assert_same(found: Exploration, wanted: Exploration) -> None:
    """Everything that two engines say of one system, except how they did it."""
    assert (found.states, found.transitions, found.depth) == (wanted.states, wanted.transitions, wanted.depth)
    assert found.fired == wanted.fired
    assert {m: told(p) for m, p in found.marks.items()} == {m: told(p) for m, p in wanted.marks.items()}
    assert {i: told(p) for i, p in found.broken.items()} == {i: told(p) for i, p in wanted.broken.items()}
    if found.progress_known and wanted.progress_known:
        assert (found.progress is None) == (wanted.progress is None)
        if found.progress and wanted.progress:
            assert told(found.progress[0]) == told(wanted.progress[0])
            assert found.progress[1] == wanted.progress[1]


# ---- where it applies -----------------------------------------------------------------------------------------------


@QUICK
@given(systems(wild=False))
def test_it_says_of_drawn_systems_what_the_search_says(system: TransitionSystem) -> None:
    try:
        found = multiplied(system)
    except Unsupported as reason:
        assume("halts the system in two ways" not in str(reason))  # the one shape that even tame systems can have
        raise
    assert_same(found, searched(system))


@QUICK
@given(systems(wild=True))
def test_of_any_system_it_says_what_the_search_says_or_refuses(system: TransitionSystem) -> None:
    try:
        found = multiplied(system)
    except Unsupported:
        return
    assert_same(found, searched(system))


@pytest.mark.parametrize(("name", "scenario"), shipped_scenarios(), ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize(("cpus", "sites"), [(1, 1), (2, 1), (1, 2)])
def test_it_applies_to_every_shipped_strategy_and_says_what_the_search_says(
    name: str, scenario: Scenario, cpus: int, sites: int
) -> None:
    system = compose(shipped()[name], replace(scenario, cpus=cpus, sites=sites)).system
    assert_same(multiplied(system), searched(system))


@pytest.mark.parametrize("name", ["careful-call-to-call", "text-poke-batch", "stop-machine-frees-early"])
@pytest.mark.parametrize("without", [(), ("sync-1",), ("sync-2",), ("claim",)])
def test_it_says_what_the_native_search_says_of_larger_systems(name: str, without: tuple[str, ...]) -> None:
    from models.plan import plan

    if not set(without) <= set(plan(shipped()[name], Scenario()).labels):
        pytest.skip("this strategy has no such step")
    system = compose(shipped()[name], Scenario(cpus=3, sites=1, without=frozenset(without))).system
    try:
        run = native.run(Pairs(system), native.How(), Limits())
    except NoCompiler as reason:
        pytest.skip(str(reason))
    check_progress(run)
    assert_same(multiplied(system), run.outcome)


def test_many_cpus_cost_no_more_than_one() -> None:
    """The number of states is exact where nobody could count them: here it is checked against its own formula."""
    strategy = shipped()["careful-call-to-call"]
    began = time.monotonic()
    found = {n: multiplied(compose(strategy, Scenario(cpus=n, sites=1)).system) for n in (1, 2, 3, 64)}
    assert time.monotonic() - began < 30
    assert found[64].explored == found[1].explored
    assert found[64].states > 10**64
    assert [m.kind for m in found[64].marks if not m.premise] == [m.kind for m in found[1].marks if not m.premise]
    assert found[3].states == searched(compose(strategy, Scenario(cpus=3, sites=1)).system).states


def test_an_instance_that_is_halted_on_entry_counts_with_what_the_others_could_do() -> None:
    """A broadcast that halts whoever was at 1: two halted instances are reached, which no step of theirs could do."""
    b = Builder("halting broadcast")
    cpu = b.component("cpu", 3)
    at = b.variable("at", Bits(2), 0)
    n = b.variable("n", Bits(2), 0, cpu)
    b.action("rise", actor=cpu, guard=n == 0, effects=[(n, 1)], says="rises")
    b.action("break", actor=cpu, guard=(n == 1) & (at == 1), effects=[(n, 2)], says="breaks")
    b.action("poke", guard=at == 0, effects=[(at, 1)], broadcast=[(n, each(n) + each(n))], says="pokes")
    b.halted = some(cpu, each(n) == 2)
    b.invariant("p", "k", every(cpu, ~(each(n) == 2)), "it is halted")
    system = b.build()
    with pytest.raises(Unsupported):  # halted by its own step, and on entry: the two counts would overlap
        multiplied(system)
    b.actions.pop(1)
    system = b.build()
    found = multiplied(system)
    reference = survey(system)
    assert (found.states, found.transitions, found.depth) == (
        len(reference.edges),
        reference.transitions,
        reference.depth,
    )
    assert {i: p.steps for i, p in found.broken.items()} == reference.broken


# ---- where it does not ----------------------------------------------------------------------------------------------


def lock(count: int) -> TransitionSystem:
    """Instances that take turns: each changes what the others see."""
    b = Builder("lock")
    cpu = b.component("cpu", count)
    held = b.variable("held", BOOL, 0)
    inside = b.variable("inside", BOOL, 0, cpu)
    b.action("take", actor=cpu, guard=~held & ~inside, effects=[(held, 1), (inside, 1)], says="takes the lock")
    b.action("drop", actor=cpu, guard=inside, effects=[(held, 0), (inside, 0)], says="drops it")
    return b.build()


def test_it_refuses_instances_that_change_what_others_see() -> None:
    with pytest.raises(Unsupported, match="changes shared values"):
        multiplied(lock(2))
    assert searched(lock(3)).states == 4


def test_it_refuses_a_patcher_that_comes_back() -> None:
    b = Builder("circle")
    b.component("cpu", 1)
    at = b.variable("at", BOOL, 0)
    b.action("turn", guard=at == at, effects=[(at, ~at)], says="turns", fairness=Fairness.PATCHER)
    with pytest.raises(Unsupported, match="comes back"):
        multiplied(b.build())


def test_it_refuses_a_patcher_with_a_choice() -> None:
    b = Builder("fork")
    b.component("cpu", 1)
    at = b.variable("at", Bits(2), 0)
    for to in (1, 2):
        b.action(f"go to {to}", guard=at == 0, effects=[(at, to)], says="goes", fairness=Fairness.PATCHER)
    with pytest.raises(Unsupported, match="a choice of steps"):
        multiplied(b.build())


def test_what_is_no_question_about_one_instance_stays_open() -> None:
    """Two instances that withhold in turn keep the patcher waiting, though neither does so for ever."""
    b = Builder("in turn")
    cpu = b.component("cpu", 2)
    done = b.variable("done", BOOL, 0)
    away = b.variable("away", BOOL, 0, cpu)
    b.action(
        "finish", guard=~done & every(cpu, ~each(away)), effects=[(done, 1)], says="ends", fairness=Fairness.PATCHER
    )
    b.action("leave", actor=cpu, guard=~away, effects=[(away, 1)], says="leaves", fairness=Fairness.TASK)
    b.action("return", actor=cpu, guard=away, effects=[(away, 0)], says="returns", fairness=Fairness.TASK)
    b.progress = Progress("completes", done, "it ends")
    system = b.build()
    found, whole = multiplied(system), searched(system)
    assert not found.progress_known and found.progress is None and "one instance" in found.progress_note
    assert whole.progress_known and whole.progress is not None and whole.progress[0].cycle
    assert (found.states, found.transitions) == (whole.states, whole.transitions)


def test_a_limit_leaves_it_incomplete() -> None:
    system = compose(shipped()["careful-call-to-call"], Scenario()).system
    run = product.run(Pairs(system), Limits(states=100))
    check_progress(run)
    assert not run.outcome.complete and not run.outcome.progress_known
    assert 0 < run.outcome.states < multiplied(system).states


def test_ctrl_c_keeps_what_is_known() -> None:
    system = compose(shipped()["careful-call-to-call"], Scenario()).system

    def report(at: Any) -> None:
        if at.depth > 5:
            raise KeyboardInterrupt

    outcome = product.run(Pairs(system), Limits(), report).outcome
    assert outcome.stopped == INTERRUPTED and outcome.states > 0


# ---- wrong engines are seen -----------------------------------------------------------------------------------------


def wrong_states(self: product.Run, phase: Any) -> int:
    return len(next(iter(phase.live.values())))


def wrong_cast(self: Pairs, action: int, pair: Any) -> int:
    return int(pair[2])


def wrong_left(self: Any, state: int) -> float:
    return 0


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (product.Run, "_states", wrong_states),
        (product.Run, "_deepest", lambda self, phase: 0),
        (product.Run, "_transitions", lambda self, phase: 1),
        (Pairs, "cast", wrong_cast),
        (Pairs, "allows", lambda self, action, pair: True),
        (product._Guide, "left", wrong_left),
    ],
)
def test_a_wrong_product_is_seen(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, wrong: Any) -> None:
    system = compose(shipped()["nop-then-back"], Scenario(cpus=2, sites=1)).system
    right = searched(system)
    for path in (*right.marks.values(), *right.broken.values()):
        assert path.steps  # found before anything is damaged
    assert_same(multiplied(system), right)
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises((AssertionError, ValueError)):  # a path that leads astray ends at no marked step
        assert_same(multiplied(system), right)


def test_marks_need_every_other_instance_alive() -> None:
    """A step that is marked after another instance has halted the system does not count."""
    b = Builder("halting")
    cpu = b.component("cpu", 2)
    n = b.variable("n", Bits(2), 0, cpu)
    mark = Mark("p", "k", n == 1, False, "is marked")
    b.action("halt", actor=cpu, guard=n == 0, effects=[(n, 1)], says="halts")
    b.action("late", actor=cpu, guard=n == 1, effects=[(n, 2)], says="is marked", marks=[mark])
    b.halted = some(cpu, each(n) == 1)
    found = multiplied(b.build())
    assert mark not in found.marks and found.fired == {0}
    assert_same(found, searched(b.build()))

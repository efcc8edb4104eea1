"""The native engine says what the Python engine and the reference say, in every way to build and to run it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from math import comb
from pathlib import Path

import pytest
from hypothesis import given

from checker.search import build, native, python
from checker.search.generate import Unsupported
from checker.search.native import How
from checker.search.pairs import Pairs
from checker.search.progress import check_progress
from checker.search.result import INTERRUPTED, Limits, Progressing, TooLarge
from models.compose import compose
from models.library import shipped
from models.scenario import Scenario
from models.system.expressions import BOOL, Bits, Choice, every, parameter
from models.system.system import Builder, Fairness, Mark, Progress, TransitionSystem
from models.system.visitor import each
from tests.checker.engines import (
    HOWS,
    MOST_NARROW,
    MOST_WIDE,
    answers,
    assert_agrees_with_the_reference,
    assert_engines_agree,
    assert_same,
    by_python,
    counters,
    kernel,
    natively,
    needs_compiler,
    relay,
    small_kernel,
    states_of,
)
from tests.checker.test_search import QUICK, shipped_scenarios, systems

pytestmark = needs_compiler
Limited = pytest.MonkeyPatch


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small kernel is kept."""
    return tmp_path_factory.mktemp("small")


@pytest.fixture(params=["as it is", "wide", "small, 63 bits", "small, wide"])
def engine(request: pytest.FixtureRequest, small: Path) -> Iterator[str]:
    """The shipped kernel, and one that starts threads and grows its table for a few states; narrow and wide."""
    with contextlib.ExitStack() as stack:
        if "small" in request.param:
            stack.enter_context(kernel(small_kernel(), small))
        if "63" in request.param:
            stack.enter_context(states_of(MOST_NARROW))
        if "wide" in request.param:
            stack.enter_context(states_of(MOST_WIDE))
        yield request.param


def composed(name: str, **changes: object) -> TransitionSystem:
    """A shipped strategy's system."""
    return compose(shipped()[name], replace(Scenario(), **changes)).system  # type: ignore[arg-type]


def searched(system: TransitionSystem, how: How, limits: Limits | None = None, levels: bool = True) -> native.Run:
    """A search by the native engine, with the answer on progress."""
    run = native.run(Pairs(system), how, limits or Limits(), levels=levels)
    check_progress(run)
    return run


# ---- the same answers -----------------------------------------------------------------------------------------------


@QUICK
@given(systems(wild=False))
def test_it_agrees_with_the_reference_and_python_on_systems_of_a_composed_shape(
    engine: str, system: TransitionSystem
) -> None:
    assert_agrees_with_the_reference(system)


@QUICK
@given(systems(wild=True))
def test_it_agrees_with_the_reference_and_python_on_any_system(engine: str, system: TransitionSystem) -> None:
    assert_agrees_with_the_reference(system)


@pytest.mark.parametrize("ends", ["stuck", "cycle", "goal"])
def test_it_agrees_with_the_reference_and_python_where_everything_happens(engine: str, ends: str) -> None:
    assert_agrees_with_the_reference(relay(1, 1, ends))


@pytest.mark.parametrize(
    "system", [relay(2, 2), relay(1, 2, "cycle"), relay(1, 2, "goal"), counters(4, 3)], ids=lambda s: s.name
)
def test_it_agrees_with_the_python_engine_on_several_of_a_kind(engine: str, system: TransitionSystem) -> None:
    assert_engines_agree(system)


def test_the_relay_has_something_of_everything() -> None:
    """What the comparisons above rest on."""
    for ends in ("stuck", "cycle", "goal"):
        system = relay(1, 1, ends)
        found = by_python(system)
        assert len(found.marks) == 3 and len(found.broken) == 1
        assert found.fired == set(range(len(system.actions)))
    assert [by_python(relay(1, 1, ends)).progress is None for ends in ("stuck", "cycle", "goal")] == [
        False,
        False,
        True,
    ]
    progress = by_python(relay(1, 2, "cycle")).progress
    assert progress is not None and progress[1] > 2


@pytest.mark.parametrize(("name", "scenario"), shipped_scenarios(), ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("cpus", [1, 2])
def test_it_agrees_with_the_python_engine_on_what_is_shipped(name: str, scenario: Scenario, cpus: int) -> None:
    hows = HOWS if cpus == 1 else [How(symmetry=False), How(2)]
    assert_engines_agree(compose(shipped()[name], replace(scenario, cpus=cpus)).system, hows)


@pytest.mark.parametrize(
    ("name", "cpus", "sites"),
    [("careful-call-to-call", 2, 2), ("careful-call-to-call", 3, 1), ("nop-then-back", 3, 1), ("nop-then-back", 2, 2)],
)
def test_it_agrees_with_the_python_engine_on_more_of_what_is_shipped(name: str, cpus: int, sites: int) -> None:
    assert_engines_agree(composed(name, cpus=cpus, sites=sites))


# ---- symmetry and threads -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "limit"), [(1, 5), (2, 5), (3, 4), (6, 2), (9, 1), (18, 1)])
def test_symmetry_stores_multisets_and_counts_products(count: int, limit: int) -> None:
    outcome, _ = natively(counters(count, limit), How(symmetry=True))
    assert outcome.states == (limit + 1) ** count
    assert outcome.transitions == count * limit * (limit + 1) ** (count - 1)
    assert outcome.explored == comb(count + limit, limit)


@pytest.mark.parametrize("name", ["careful-call-to-call", "nop-then-back", "permanent", "text-poke-batch"])
@pytest.mark.parametrize("cpus", [1, 2, 3])
def test_symmetry_stores_less_where_there_is_any_and_says_whether_there_is(name: str, cpus: int) -> None:
    run = searched(composed(name, cpus=cpus, sites=1), How(symmetry=True))
    outcome = run.outcome
    several = any(group.instances > 1 for group in run.tables.groups)
    assert outcome.symmetry == several == (cpus > 1)
    assert (outcome.explored < outcome.states) == several


def test_four_cpus_are_many_times_fewer_states_by_symmetry() -> None:
    system = composed("careful-call-to-call", cpus=4, sites=1)
    full, found = natively(system, How(symmetry=False))
    reduced, same = natively(system, How(symmetry=True))
    assert full.explored == full.states == reduced.states > 1_000_000
    assert 15 * reduced.explored <= full.explored <= 24 * reduced.explored
    assert_same(same, found)


@pytest.mark.parametrize("symmetry", [False, True])
@pytest.mark.parametrize("bits", [MOST_NARROW, MOST_WIDE])
def test_any_number_of_threads_gives_the_same_answers(symmetry: bool, bits: int) -> None:
    system = composed("careful-call-to-call", cpus=3, sites=1) if not symmetry else relay(3, 2)
    with states_of(bits):
        first, expected = natively(system, How(1, symmetry))
        assert first.explored > first.depth * 2048 // 2, "levels too small to start threads for"
        for threads in (2, 3, 1000):
            outcome, found = natively(system, How(threads, symmetry))
            assert_same(found, expected)
            assert outcome.explored == first.explored


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_one(threads: int) -> None:
    assert_engines_agree(counters(2, 3), [How(threads)])


# ---- a growing table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [None, MOST_NARROW, MOST_WIDE])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_table_that_has_grown_many_times_has_lost_nothing(bits: int | None, threads: int) -> None:
    """From 65,536 slots to four million."""
    with states_of(bits) if bits else contextlib.nullcontext():
        outcome, _ = natively(counters(7, 6), How(threads, symmetry=False))
    assert outcome.states == outcome.explored == 7**7 == 823_543
    assert outcome.transitions == 7 * 6 * 7**6


def test_threads_store_no_state_twice() -> None:
    """It takes bad luck: once in a few hundred thousand states, where a line is looked at while others write to it."""
    found = {natively(counters(7, 6), How(threads, symmetry=False))[0].states for threads in (2, 3) for _ in range(4)}
    assert found == {7**7}


def test_more_than_a_million_states_are_counted_exactly() -> None:
    outcome, _ = natively(counters(7, 7), How(1, symmetry=False))
    assert (outcome.states, outcome.transitions, outcome.depth) == (8**7, 7 * 7 * 8**6, 49)


# ---- limits ---------------------------------------------------------------------------------------------------------


def assert_is_part_of(run: native.Run, system: TransitionSystem) -> None:
    """A stopped search claims nothing that the whole one denies."""
    outcome, whole = run.outcome, by_python(system)
    assert not outcome.complete and not outcome.progress_known and outcome.progress is None
    assert 1 <= outcome.explored <= outcome.states <= whole.states
    assert outcome.transitions <= whole.transitions
    assert outcome.depth <= whole.depth
    assert outcome.fired <= whole.fired
    found = answers(outcome)
    assert found.marks == {mark: whole.marks[mark] for mark in found.marks}
    assert found.broken == {invariant: whole.broken[invariant] for invariant in found.broken}


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("limits", [Limits(states=1), Limits(states=5000), Limits(seconds=0)], ids=str)
def test_a_limit_stops_the_search_and_says_which(how: How, limits: Limits) -> None:
    system = relay(2, 2)
    run = searched(system, how, limits)
    assert run.outcome.stopped == limits.exceeded(run.outcome.explored, 1)
    assert_is_part_of(run, system)


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("bits", [MOST_NARROW, MOST_WIDE])
def test_a_small_budget_stops_the_search_and_says_so(how: How, bits: int, monkeypatch: Limited) -> None:
    system = counters(6, 7)
    monkeypatch.setattr(native, "budget_of", lambda _: 1200 << 10)
    with states_of(bits):
        run = searched(system, replace(how, symmetry=False))
    outcome = run.outcome
    assert outcome.stopped.startswith("no room for more states in ")
    assert 10_000 < outcome.explored == outcome.states < 8**6
    assert outcome.transitions <= 6 * 7 * 8**5 and not outcome.progress_known


def test_a_budget_too_small_to_begin_stops_at_once(monkeypatch: Limited) -> None:
    monkeypatch.setattr(native, "budget_of", lambda _: 1)
    run = searched(relay(2, 1), How())
    assert run.outcome.stopped.startswith("no room for more states in ")
    assert run.outcome.explored == 1
    run.close()


def test_a_budget_that_no_machine_has_is_out_of_memory(monkeypatch: Limited) -> None:
    monkeypatch.setattr(native, "budget_of", lambda _: 1 << 60)
    run = searched(relay(2, 1), How())
    assert run.outcome.stopped == "out of memory" and not run.outcome.progress_known
    run.close()


@pytest.mark.parametrize("ends", ["stuck", "cycle", "goal"])
@pytest.mark.parametrize("how", HOWS, ids=str)
def test_without_levels_the_same_paths_are_found_by_searching_again(how: How, ends: str) -> None:
    system = relay(2, 1, ends)
    expected = by_python(system)
    run = searched(system, how, levels=False)
    assert run.outcome.complete and not run.levels
    assert not run.outcome.progress_known and "no memory for the question" in run.outcome.progress_note
    assert_same(answers(run.outcome), replace(expected, progress=None, progress_known=False))


def test_where_memory_for_levels_runs_out_the_search_goes_on_without_them(monkeypatch: Limited) -> None:
    """There is room for the table, but not for every state a second time."""
    system = counters(7, 6)
    monkeypatch.setattr(native, "budget_of", lambda _: 11 << 20)
    run = searched(system, How(symmetry=False))
    outcome = run.outcome
    assert outcome.complete and not run.levels and outcome.states == 7**7
    (path,) = outcome.marks.values()
    assert path.length == 6 and path.steps == ((0, 0, 0),) * 6
    (path,) = searched(system, How(symmetry=False)).outcome.marks.values()
    monkeypatch.setattr(native, "budget_of", lambda _: 1)
    with pytest.raises(TooLarge, match="no memory for a path of 5 steps"):
        _ = path.steps


def test_where_there_is_no_memory_for_a_path_it_says_so(monkeypatch: Limited) -> None:
    run = searched(relay(2, 1), How())
    monkeypatch.setattr(run.search, "library", NoLayers(run.search.library))
    with pytest.raises(TooLarge, match="no memory to find a path"):
        _ = next(iter(run.outcome.marks.values())).steps


class NoLayers:
    """A library that has no memory for layers."""

    def __init__(self, library: object) -> None:
        self.library = library

    def __getattr__(self, name: str) -> object:
        return (lambda *_: 0) if name == "search_layers" else getattr(self.library, name)


def test_a_path_that_somebody_stops_looking_for_is_not_found(monkeypatch: Limited) -> None:
    """Ctrl-C while the same search is done again for a path."""
    run = searched(counters(2, 5), How(), levels=False)
    (path,) = run.outcome.marks.values()

    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Limits, "exceeded", interrupt)
    with pytest.raises((KeyboardInterrupt, TooLarge)):
        _ = path.steps


def test_a_search_that_has_given_its_memory_back_has_no_paths_any_more() -> None:
    run = searched(relay(2, 1), How())
    run.close()
    run.close()
    with pytest.raises(TooLarge, match="given its memory back"):
        _ = next(iter(run.outcome.marks.values())).steps


@pytest.mark.parametrize("after", [1, 2, 20])
def test_an_interrupted_search_says_what_it_has_found_so_far(after: int) -> None:
    system = relay(2, 2)
    seen: list[Progressing] = []

    def report(progressing: Progressing) -> None:
        seen.append(progressing)
        if len(seen) == after:
            raise KeyboardInterrupt

    run = native.run(Pairs(system), How(), Limits(), report)
    check_progress(run)
    assert run.outcome.stopped == INTERRUPTED
    assert run.outcome.explored == seen[-1].states
    assert_is_part_of(run, system)


def test_the_progress_line_hears_of_every_level() -> None:
    seen: list[Progressing] = []
    run = native.run(Pairs(relay(2, 1)), How(), Limits(), seen.append)
    assert [p.states for p in seen] == sorted(p.states for p in seen)
    assert seen[-1] == Progressing(run.outcome.explored, run.outcome.depth, 0)
    assert {p.depth for p in seen} >= set(range(1, run.outcome.depth + 1))


# ---- hash compaction ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [MOST_NARROW, 90, MOST_WIDE])
@pytest.mark.parametrize("symmetry", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_hash_compaction_finds_the_same_but_is_never_complete(
    bits: int, symmetry: bool, threads: int, monkeypatch: Limited
) -> None:
    monkeypatch.setattr(native, "budget_of", lambda _: 32 << 20)
    for system in (relay(2, 2), relay(1, 2, "cycle"), counters(5, 6), composed("nop-then-back", cpus=2, sites=1)):
        with states_of(bits):
            outcome, found = natively(system, How(threads, symmetry, compact=True), Limits())
        assert outcome.compact and not outcome.complete
        said = outcome.stopped.removeprefix("hash compaction: ").removesuffix(
            " states are expected to have been taken for others"
        )
        assert 0 <= float(said) < 0.01
        assert_same(found, replace(by_python(system), progress=None, progress_known=False))


def test_compaction_misses_no_more_than_it_says_where_states_have_127_bits(monkeypatch: Limited) -> None:
    """18 instances, each of which goes from 0 to one of 70 numbers; two of them have."""
    b = Builder("scattered")
    cpu = b.component("cpu", 18)
    n = b.variable("n", Bits(7), 0, cpu)
    choice = Choice("which", tuple(f"v{k}" for k in range(70)))
    b.action("go", actor=cpu, guard=n == 0, effects=[(n, parameter(choice) + 1)], says="goes", choice=choice)
    monkeypatch.setattr(native, "budget_of", lambda _: 128 << 20)
    run = native.run(Pairs(b.build()), How(2, False, True), Limits(), depth=1)
    assert run.tables.bits == 127
    missed = 1 + 18 * 70 + comb(18, 2) * 70 * 70 - run.outcome.states
    assert missed <= 10 + 10 * run.statistics.omitted


def test_what_compaction_expects_to_miss_grows_with_what_is_stored(monkeypatch: Limited) -> None:
    monkeypatch.setattr(native, "budget_of", lambda _: 8 << 20)

    def missed(system: TransitionSystem) -> float:
        return float(natively(system, How(symmetry=False, compact=True), Limits())[0].stopped.split()[2])

    small, large = missed(counters(5, 6)), missed(counters(6, 7))
    assert 0 < small < large < 1


def test_compaction_stops_where_its_table_is_full(monkeypatch: Limited) -> None:
    monkeypatch.setattr(native, "budget_of", lambda _: 1 << 20)
    outcome, _ = natively(counters(7, 6), How(compact=True, symmetry=False), Limits())
    assert outcome.stopped.startswith("no room for more states in ")
    assert 10_000 < outcome.states < 7**7


# ---- what the engine has no room for --------------------------------------------------------------------------------


def test_a_system_without_instances_is_for_the_python_engine() -> None:
    b = Builder("patcher alone")
    at = b.variable("at", BOOL, 0)
    b.action("step", guard=~at, effects=[(at, 1)], says="goes on", fairness=Fairness.PATCHER)
    b.progress = Progress("completes", at, "it ends")
    with pytest.raises(Unsupported, match="a system without instances"):
        native.run(Pairs(b.build()), How(), Limits())


def test_nineteen_instances_and_states_of_128_bits_are_refused() -> None:
    with pytest.raises(Unsupported, match="more than 18 instances"):
        native.run(Pairs(counters(19, 1)), How(), Limits())
    with pytest.raises(Unsupported, match=r"states of \d+ bits"):
        native.run(Pairs(counters(18, 200, 8)), How(), Limits())


@pytest.mark.parametrize(("count", "limit", "bits"), [(15, 15, 61), (16, 15, 65), (18, 127, 127)])
def test_states_are_narrow_as_long_as_they_fit(count: int, limit: int, bits: int, monkeypatch: Limited) -> None:
    """The wide kernel is used from 64 bits on, and up to 127."""
    loaded: list[bool] = []
    library = build.library

    def noted(wide: bool, compact: bool) -> object:
        loaded.append(wide)
        return library(wide, compact)

    monkeypatch.setattr(native, "budget_of", lambda _: 8 << 20)
    monkeypatch.setattr(build, "library", noted)
    for compact in (False, True):
        run = native.run(Pairs(counters(count, limit, 8)), How(compact=compact), Limits(states=2000))
        assert run.outcome.explored > 2000 and run.outcome.stopped == "more than 2,000 states"
        assert run.tables.bits == bits
    assert loaded == [bits > 63] * 2


def many_shared_values() -> TransitionSystem:
    """A patcher that goes through sixteen shared values, and a CPU that is seen at the last of them."""
    b = Builder("many shared values")
    cpu = b.component("cpu", 1)
    at = b.variable("at", Bits(4), 0)
    n = b.variable("n", BOOL, 0, cpu)
    b.action("step", guard=at < 15, effects=[(at, at + 1)], says="s", fairness=Fairness.PATCHER)
    b.action("up", actor=cpu, guard=~n, effects=[(n, 1)], says="u")
    mark = Mark("p", "k", n & (at == 15), False, "m")
    b.action("see", actor=cpu, guard=n, effects=[(n, 1)], says="s", marks=[mark])
    return b.build()


def test_more_shared_values_than_a_packed_state_holds_stop_the_python_engine(monkeypatch: Limited) -> None:
    monkeypatch.setattr(python, "_SHARED_BITS", 3)
    outcome = python.explore(many_shared_values()).outcome
    assert outcome.stopped == "more than 7 different shared values"


def test_more_shared_values_than_the_python_engine_holds_still_have_paths(monkeypatch: Limited) -> None:
    """Or at least say that they have none."""
    monkeypatch.setattr(python, "_SHARED_BITS", 3)
    run = native.run(Pairs(many_shared_values()), How(), Limits())
    assert run.outcome.states == 32
    (path,) = run.outcome.marks.values()
    with contextlib.suppress(TooLarge):
        assert len(path.steps) == 17


def test_thirty_one_moves_of_the_patcher_are_told_apart_and_thirty_two_refused() -> None:
    assert_engines_agree(many_moves(31))
    with pytest.raises(Unsupported, match="more than 31 moves"):
        native.run(Pairs(many_moves(32)), How(), Limits())


def many_moves(count: int) -> TransitionSystem:
    """A patcher with `count` moves at once; each asks something else of two CPUs, and sets another number."""
    b = Builder("many moves")
    cpu = b.component("cpu", 2)
    at = b.variable("at", Bits(6), 0)
    x = b.variable("x", Bits(5), 0, cpu)
    for k in range(count):
        guard = (at == 0) if k == count - 1 else (at == 0) & every(cpu, each(x) < k + 1)
        b.action(f"m{k}", guard=guard, effects=[(at, k + 1)], broadcast=[(x, k % 7)] * (k % 2), says="m")
    choice = Choice("which", ("one", "two"))
    b.action("up", actor=cpu, guard=x < 31, effects=[(x, x + 1)], says="u", choice=choice)
    return b.build()

"""Random schedules on the reference evaluator stay inside what the search explored and reported, for all that is shipped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from checker.search.python import Run, Space, explore
from checker.testing import Schedule, interleavings
from models.compose import StrategyModel, compose
from models.library import scenario_of, shipped
from models.scenario import Scenario
from models.system.evaluate import Evaluator, State

FEW = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


@dataclass(frozen=True)
class Explored:
    """A model and everything that the search knows of it."""

    model: StrategyModel
    run: Run


@lru_cache(maxsize=4)
def explored(name: str, scenario: Scenario) -> Explored:
    model = compose(shipped()[name], scenario)
    return Explored(model, explore(model.system))


def packed(space: Space, state: State) -> int | None:
    """`state` as the search packs it; None where it holds values that the search never met. Nothing is interned."""
    number = space.pairs.shared_numbers.get(state.shared)
    if number is None:
        return None
    for component, shift, values in zip(space.instances, space.shifts, state.instances, strict=True):
        part = space.pairs.local_numbers[component].get(values)
        if part is None:
            return None
        number |= part << shift
    return number


def scenarios() -> list[tuple[str, Scenario]]:
    """Each shipped strategy in its usual scenario, and in each other that it expects something of, at 2 CPUs × 1 site."""
    found: dict[tuple[str, Scenario], None] = {}
    for name, strategy in shipped().items():
        found[name, Scenario(cpus=2, sites=1)] = None
        for expect in strategy.expects:
            if expect.without or expect.nmi or expect.machine != "x86-linux":
                found[name, replace(scenario_of(strategy, expect), cpus=2, sites=1)] = None
    return list(found)


def assert_was_explored(found: Explored, schedule: Schedule) -> None:
    """Every state is among those found, every step fired, and everything that broke or was tested was reported."""
    for state in schedule.states:
        number = packed(found.run.space, state)
        assert number is not None and number in found.run.parent, "a state that the search never reached"
    assert len(schedule.steps) + 1 == len(schedule.states)
    actions = {action: k for k, action in enumerate(found.model.system.actions)}
    assert {actions[step.action] for step in schedule.steps} <= found.run.outcome.fired
    assert set(schedule.marks) <= set(found.run.outcome.marks)
    assert set(schedule.broken) <= set(found.run.outcome.broken)
    for invariant in schedule.broken:
        assert len(found.run.outcome.broken[invariant].steps) <= len(schedule.steps), (
            "a shorter trace than the shortest"
        )


@pytest.mark.parametrize(("name", "scenario"), scenarios(), ids=lambda v: v if isinstance(v, str) else v.machine.name)
def test_schedules_stay_inside_what_was_explored(name: str, scenario: Scenario) -> None:
    found = explored(name, scenario)
    assert found.run.outcome.complete

    @FEW
    @given(interleavings(found.model, 50))
    def stays(schedule: Schedule) -> None:
        assert_was_explored(found, schedule)

    stays()


@settings(FEW, max_examples=20)
@given(st.sampled_from(scenarios()[:6]), st.randoms(use_true_random=False), st.integers(20, 100))
def test_long_walks_stay_inside_what_was_explored(chosen: tuple[str, Scenario], random: Random, length: int) -> None:
    """Walked here, by `Evaluator.transitions` alone, to be independent of `interleavings`."""
    found = explored(*chosen)
    evaluator = Evaluator(found.model.system)
    state = evaluator.initial()
    for _ in range(length):
        enabled = list(evaluator.transitions(state))
        if not enabled:
            break
        step = random.choice(enabled)
        assert set(evaluator.marks(step, state)) <= set(found.run.outcome.marks)
        state = step.state
        assert packed(found.run.space, state) in found.run.parent
        assert set(evaluator.broken(state)) <= set(found.run.outcome.broken)


def test_packing_interns_nothing_and_gives_back_the_initial_state() -> None:
    found = explored("nop-then-back", Scenario(cpus=2, sites=1))
    before = len(found.run.space.pairs.shared), [len(v) for v in found.run.space.pairs.local.values()]
    initial = Evaluator(found.model.system).initial()
    assert packed(found.run.space, initial) == found.run.space.pack(*found.run.space.pairs.initial())
    assert packed(found.run.space, State(tuple(99 for _ in initial.shared), initial.instances)) is None
    strange = tuple(tuple(99 for _ in values) for values in initial.instances)
    assert packed(found.run.space, State(initial.shared, strange)) is None
    assert before == (len(found.run.space.pairs.shared), [len(v) for v in found.run.space.pairs.local.values()])


def test_a_schedule_knows_what_it_broke_and_reads_as_a_list_of_steps() -> None:
    model = compose(shipped()["nop-then-back"], Scenario(cpus=1, sites=1))
    shortest = find(
        interleavings(model, 12),
        lambda s: ("old-or-new", "missed") in s.violated,
        settings=settings(
            max_examples=2_000,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert len(shortest.steps) >= 6
    assert repr(shortest).startswith("Schedule(") and "patcher: " in repr(shortest)

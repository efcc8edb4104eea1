"""The search against the reference: exact counts, shortest traces, strong fairness, on systems small enough to see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from checker.search.progress import check_progress
from checker.search.python import explore
from checker.search.result import Exploration, Limits
from models.compose import compose
from models.library import scenario_of, shipped
from models.scenario import Scenario
from models.system.expressions import (
    BOOL,
    FALSE,
    Bits,
    Choice,
    Component,
    Expr,
    Operand,
    both,
    every,
    if_else,
    parameter,
    some,
)
from models.system.system import Builder, Fairness, Mark, Progress, TransitionSystem
from models.system.visitor import each
from tests.checker.reference import assert_is_a_counterexample, cannot_finish, fair_part, survey

QUICK = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # every fault known has a small test of its own
)


def searched(system: TransitionSystem) -> Exploration:
    """The outcome of the search, with the answer on progress."""
    run = explore(system)
    check_progress(run)
    return run.outcome


def counters(count: int, limit: int) -> TransitionSystem:
    """`count` instances, each counting up to `limit` by itself; nothing of the patcher."""
    b = Builder("counters")
    cpu = b.component("cpu", count)
    n = b.variable("n", Bits(3), 0, cpu)
    b.action("count", actor=cpu, guard=n < limit, effects=[(n, n + 1)], says="counts")
    return b.build()


def withholding(fairness: Fairness, count: int = 1, spin: Fairness = Fairness.NONE) -> TransitionSystem:
    """A patcher that waits for a bit that each CPU clears (`fairness`) only while it is at home; CPUs come and go."""
    b = Builder("withholding")
    cpu = b.component("cpu", count)
    done = b.variable("done", BOOL, 0)
    owes = b.variable("owes", BOOL, 1, cpu)
    away = b.variable("away", BOOL, 0, cpu)
    b.action(
        "finish", guard=~done & every(cpu, ~each(owes)), effects=[(done, 1)], says="ends", fairness=Fairness.PATCHER
    )
    b.action("leave", actor=cpu, guard=~away, effects=[(away, 1)], says="leaves", fairness=spin)
    b.action("return", actor=cpu, guard=away, effects=[(away, 0)], says="returns", fairness=Fairness.TASK)
    b.action("clear", actor=cpu, guard=owes & ~away, effects=[(owes, 0)], says="clears", fairness=fairness)
    b.progress = Progress("completes", done, "it ends")
    return b.build()


# ---- counts, traces, order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "limit"), [(1, 1), (1, 5), (2, 3), (3, 2), (4, 1)])
def test_independent_counters_give_the_product_of_their_states(count: int, limit: int) -> None:
    outcome = searched(counters(count, limit))
    assert outcome.complete
    assert outcome.states == (limit + 1) ** count
    assert outcome.transitions == count * limit * (limit + 1) ** (count - 1)
    assert outcome.depth == count * limit


def test_a_step_that_changes_nothing_is_no_transition_but_has_fired() -> None:
    b = Builder("idle")
    cpu = b.component("cpu", 1)
    n = b.variable("n", BOOL, 0, cpu)
    b.action("idle", actor=cpu, effects=[(n, n)], says="idles")
    b.action("never", actor=cpu, guard=n, effects=[(n, 0)], says="never happens")
    outcome = searched(b.build())
    assert (outcome.states, outcome.transitions, outcome.depth, outcome.fired) == (1, 0, 0, {0})


def test_choices_with_equal_results_count_separately() -> None:
    b = Builder("choices")
    cpu = b.component("cpu", 1)
    n = b.variable("n", Bits(1), 0, cpu)
    choice = Choice("which", ("left", "right", "third"))
    b.action("go", actor=cpu, guard=n == 0, effects=[(n, 1)], says="goes", choice=choice)
    outcome = searched(b.build())
    assert (outcome.states, outcome.transitions) == (2, 3)


def test_of_two_equally_short_traces_the_first_action_wins_then_the_instance_then_the_choice() -> None:
    b = Builder("ties")
    cpu = b.component("cpu", 2)
    n = b.variable("n", Bits(2), 0, cpu)
    choice = Choice("which", ("a", "b"))
    mark = Mark("p", "k", n == 1, False, "is reached")
    b.action("late", actor=cpu, guard=n == 1, effects=[(n, 2)], says="is marked", marks=[mark])
    b.action("second", actor=cpu, guard=n == 0, effects=[(n, 1)], says="goes", choice=choice)
    b.action("third", actor=cpu, guard=n == 0, effects=[(n, 1)], says="goes")
    system = b.build()
    assert searched(system).marks[mark].steps == ((1, 0, 0), (0, 0, 0))


def test_a_state_reached_by_two_actions_of_one_state_is_reached_by_the_first() -> None:
    """The instance with the smaller number has the later action: the order of actions comes first."""
    b = Builder("order")
    left, right = b.component("left", 1), b.component("right", 1)
    g = b.variable("g", Bits(2), 0)
    x = b.variable("x", BOOL, 0, left)
    mark = Mark("p", "k", g == 1, False, "is reached")
    b.action("by right", actor=right, guard=g == 0, effects=[(g, 1)], says="right goes")
    b.action("aside", actor=left, guard=(g == 0) & ~x, effects=[(x, 1)], says="steps aside")
    b.action("by left", actor=left, guard=g == 0, effects=[(g, 1)], says="left goes")
    b.action("end", actor=left, guard=g == 1, effects=[(g, 2)], says="ends", marks=[mark])
    b.variable("y", BOOL, 0, right)
    found = survey(b.build())
    assert searched(found.system).marks[mark].steps == found.marks[mark] == ((0, 1, 0), (3, 0, 0))


def test_the_frontier_is_in_the_order_of_the_first_edge_to_each_state() -> None:
    """Two ways into one state, the second found by an instance of smaller number: the state's place is the first's."""
    b = Builder("frontier")
    left, right = b.component("left", 1), b.component("right", 1)
    g = b.variable("g", Bits(2), 0)
    b.variable("x", BOOL, 0, left)
    b.variable("y", BOOL, 0, right)
    h = b.variable("h", Bits(2), 0)
    marks = Mark("p", "k", ~(h == 0), False, "is reached")
    b.action("by right", actor=right, guard=(g == 0) & (h == 0), effects=[(h, 1)], says="right goes")
    b.action("between", actor=left, guard=(g == 0) & (h == 0), effects=[(h, 2)], says="left goes elsewhere")
    b.action("by left", actor=left, guard=(g == 0) & (h == 0), effects=[(h, 1)], says="left goes")
    b.action("end", actor=left, guard=~(h == 0) & (g == 0), effects=[(g, 1)], says="ends", marks=[marks])
    found = survey(b.build())
    assert searched(found.system).marks[marks].steps == found.marks[marks] == ((0, 1, 0), (3, 0, 0))


def test_halted_states_have_no_successors_and_broken_invariants_are_found_in_them() -> None:
    b = Builder("halting")
    cpu = b.component("cpu", 2)
    n = b.variable("n", Bits(2), 0, cpu)
    b.action("count", actor=cpu, guard=n < 3, effects=[(n, n + 1)], says="counts")
    b.halted = some(cpu, each(n) == 2)
    b.invariant("p", "k", every(cpu, each(n) < 2), "a count is too high")
    b.invariant("q", "k", every(cpu, each(n) < 3), "nobody gets there")
    system = b.build()
    outcome = searched(system)
    assert (outcome.states, outcome.transitions, outcome.depth) == (8, 8, 3)  # all but (2, 2)
    assert {i.property: p.steps for i, p in outcome.broken.items()} == {"p": ((0, 0, 0), (0, 0, 0))}


def test_a_limit_on_states_leaves_progress_unanswered() -> None:
    run = explore(withholding(Fairness.ACKNOWLEDGE, 2), Limits(states=1))
    check_progress(run)
    outcome = run.outcome
    assert not outcome.complete and not outcome.progress_known and outcome.progress is None


def test_a_system_without_components_can_be_searched() -> None:
    b = Builder("patcher alone")
    at = b.variable("at", Bits(2), 0)
    b.action("step", guard=at < 3, effects=[(at, at + 1)], says="goes on", fairness=Fairness.PATCHER)
    b.progress = Progress("completes", at == 3, "it ends")
    outcome = searched(b.build())
    assert (outcome.states, outcome.transitions, outcome.progress) == (4, 3, None)


# ---- progress, one claim at a time ----------------------------------------------------------------------------------


def test_a_patcher_that_waits_for_what_never_comes_is_a_deadlock() -> None:
    b = Builder("deadlock")
    cpu = b.component("cpu", 1)
    at = b.variable("at", Bits(2), 0)
    ready = b.variable("ready", BOOL, 0, cpu)
    b.action("ask", guard=at == 0, effects=[(at, 1)], says="asks", fairness=Fairness.PATCHER)
    b.action("wait", guard=(at == 1) & every(cpu, each(ready)), effects=[(at, 2)], says="w", fairness=Fairness.PATCHER)
    b.action("get ready", actor=cpu, guard=at == 0, effects=[(ready, 1)], says="gets ready", fairness=Fairness.TASK)
    b.progress = Progress("completes", at == 2, "it ends")
    found = survey(b.build())
    outcome = searched(found.system)
    assert outcome.progress is not None
    path, _ = outcome.progress
    assert path.steps == ((0, None, 0),) and not path.cycle and not path.rests
    assert_is_a_counterexample(found, path)


@pytest.mark.parametrize("count", [1, 2])
def test_strong_fairness_lets_an_acknowledgement_through_that_weak_fairness_would_starve(count: int) -> None:
    """“clear” is enabled again and again, never for good: the CPU may leave each time."""
    outcome = searched(withholding(Fairness.ACKNOWLEDGE, count))
    assert outcome.progress_known and outcome.progress is None


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("spin", [Fairness.NONE, Fairness.TASK])
def test_a_cpu_that_can_withhold_for_ever_is_a_lasso(count: int, spin: Fairness) -> None:
    """Where its leaving is fair it must move, and goes round; where it is not, it may also rest."""
    found = survey(withholding(Fairness.NONE, count, spin))
    outcome = searched(found.system)
    assert outcome.progress is not None
    path, says = outcome.progress
    assert path.cycle >= 2 or (path.rests and spin is Fairness.NONE)
    assert found.system.progress is not None and found.system.progress.says in says
    assert_is_a_counterexample(found, path)


def test_where_nothing_fair_is_enabled_the_run_may_rest() -> None:
    b = Builder("rest")
    cpu = b.component("cpu", 1)
    at = b.variable("at", BOOL, 0)
    up = b.variable("up", BOOL, 0, cpu)
    b.action("end", guard=~at & every(cpu, each(up)), effects=[(at, 1)], says="ends", fairness=Fairness.PATCHER)
    b.action("rise", actor=cpu, guard=~up, effects=[(up, 1)], says="rises")
    b.progress = Progress("completes", at, "it ends")
    found = survey(b.build())
    outcome = searched(found.system)
    assert outcome.progress is not None and outcome.progress[0].rests and outcome.progress[0].steps == ()
    assert_is_a_counterexample(found, outcome.progress[0])


def spinning(kind: Fairness, twin: Fairness | None = None) -> TransitionSystem:
    """A CPU that goes out of its consent by `kind` (and by `twin`), and back by a fair step."""
    b = Builder("spinning")
    cpu = b.component("cpu", 1)
    done = b.variable("done", BOOL, 0)
    out = b.variable("out", Bits(2), 1, cpu)
    b.action(
        "finish", guard=~done & every(cpu, each(out) == 0), effects=[(done, 1)], says="e", fairness=Fairness.PATCHER
    )
    b.action("spin", actor=cpu, guard=out == 2, effects=[(out, 1)], says="goes out", fairness=kind)
    if twin:
        b.action("twin", actor=cpu, guard=out == 2, effects=[(out, 1)], says="goes out", fairness=twin)
    b.action("move", actor=cpu, guard=out == 1, effects=[(out, 2)], says="moves", fairness=Fairness.TASK)
    b.action("come", actor=cpu, guard=out == 2, effects=[(out, 0)], says="comes", fairness=Fairness.TASK)
    b.progress = Progress("completes", done, "it ends")
    return b.build()


def test_actions_that_are_never_on_a_cycle_close_no_lasso() -> None:
    assert searched(spinning(Fairness.NEVER_ON_CYCLE)).progress is None
    found = survey(spinning(Fairness.NONE))
    outcome = searched(found.system)
    assert outcome.progress is not None and outcome.progress[0].cycle
    assert_is_a_counterexample(found, outcome.progress[0])


def test_a_lasso_does_not_go_by_an_action_that_is_never_on_a_cycle_where_another_goes_the_same_way() -> None:
    found = survey(spinning(Fairness.NEVER_ON_CYCLE, twin=Fairness.NONE))
    outcome = searched(found.system)
    assert outcome.progress is not None and outcome.progress[0].cycle
    assert_is_a_counterexample(found, outcome.progress[0])


def test_a_patcher_that_only_ever_broadcasts_does_not_finish() -> None:
    """Its shared values stay what they are, and its step is always enabled."""
    b = Builder("broadcasting")
    cpu = b.component("cpu", 1)
    done = b.variable("done", BOOL, 0)
    x = b.variable("x", BOOL, 0, cpu)
    b.action("toggle", guard=~done, broadcast=[(x, ~each(x))], says="toggles", fairness=Fairness.PATCHER)
    b.action("finish", guard=~done & every(cpu, each(x)), effects=[(done, 1)], says="ends", fairness=Fairness.PATCHER)
    b.progress = Progress("completes", done, "it ends")
    found = survey(b.build())
    assert fair_part(found) is not None
    outcome = searched(found.system)
    assert outcome.progress is not None
    assert_is_a_counterexample(found, outcome.progress[0])


def test_a_step_of_the_patcher_that_changes_nothing_does_not_help_it_on() -> None:
    b = Builder("idle patcher")
    cpu = b.component("cpu", 1)
    done = b.variable("done", BOOL, 0)
    x = b.variable("x", BOOL, 0, cpu)
    b.action("idle", guard=~done, effects=[(done, done)], says="idles", fairness=Fairness.PATCHER)
    b.action("finish", guard=~done & every(cpu, each(x)), effects=[(done, 1)], says="ends", fairness=Fairness.PATCHER)
    b.progress = Progress("completes", done, "it ends")
    found = survey(b.build())
    outcome = searched(found.system)
    assert outcome.progress is not None
    assert_is_a_counterexample(found, outcome.progress[0])


def test_a_patcher_whose_steps_are_not_fair_may_stop_anywhere() -> None:
    b = Builder("lazy patcher")
    cpu = b.component("cpu", 1)
    at = b.variable("at", BOOL, 0)
    b.variable("x", BOOL, 0, cpu)
    b.action("end", guard=~at, effects=[(at, 1)], says="ends", fairness=Fairness.NONE)
    b.progress = Progress("completes", at, "it ends")
    found = survey(b.build())
    outcome = searched(found.system)
    assert outcome.progress is not None and outcome.progress[0].rests
    assert_is_a_counterexample(found, outcome.progress[0])


# ---- any small system -----------------------------------------------------------------------------------------------

CPU_KINDS = [f for f in Fairness if f is not Fairness.PATCHER]
Draw = Any


class _Drawn:
    """A system in the making: random guards, effects, marks, invariants over a few variables.

    The program counter `at` goes to 3, the goal, and nothing changes it there. `wild`: CPUs change shared values, the
    patcher goes back, its steps may be unfair or change nothing; otherwise the system has the shape of a composed one.
    """

    def __init__(self, draw: Draw, wild: bool) -> None:
        self.draw, self.wild = draw, wild
        self.b = Builder("drawn")
        self.at = self.b.variable("at", Bits(2), 0)
        self.flag = self.b.variable("flag", BOOL, 0) if draw(st.booleans()) else None
        shapes = [(1,), (2,), (1, 1)]
        self.cpus = [self.b.component(f"c{i}", n) for i, n in enumerate(draw(st.sampled_from(shapes)))]
        self.x: dict[Component, Any] = {}
        self.y: dict[Component, Any] = {}
        for cpu in self.cpus:
            self.x[cpu] = self.b.variable(f"x_{cpu.name}", Bits(2), draw(st.integers(0, 2)), cpu)
            self.y[cpu] = self.b.variable(f"y_{cpu.name}", BOOL, 0, cpu)

    def chance(self, percent: int) -> bool:
        return bool(self.draw(st.integers(0, 99)) < percent)

    def on_local(self, cpu: Component, bound: bool) -> Expr:
        x, y = (each(self.x[cpu]), each(self.y[cpu])) if bound else (self.x[cpu], self.y[cpu])
        value = self.draw(st.integers(0, 3))
        picked: Expr = self.draw(st.sampled_from([x == value, ~(x == value), x < value, y, ~y, x.is_in([value, 1])]))
        return picked

    def on_shared(self) -> Expr:
        value = self.draw(st.integers(0, 2))
        options = [self.at == value, self.at < value + 1, ~(self.at == value)]
        picked: Expr = self.draw(st.sampled_from(options + ([self.flag, ~self.flag] if self.flag is not None else [])))
        return picked

    def new_local(self, cpu: Component, bound: bool) -> tuple[Expr, Operand]:
        x, y = (each(self.x[cpu]), each(self.y[cpu])) if bound else (self.x[cpu], self.y[cpu])
        value = self.draw(st.integers(0, 3))
        numbers: list[Operand] = [value, x + 1, x - 1, if_else(y, value, x)]
        if self.chance(70):
            return self.x[cpu], self.draw(st.sampled_from(numbers))
        return self.y[cpu], self.draw(st.sampled_from([0, 1, ~y, x == value]))

    def patcher(self, name: str, here: int) -> None:
        guard = self.at == here
        if self.chance(60):
            guard = both(guard, *(every(c, self.on_local(c, True)) for c in self.cpus))
        effects: list[tuple[Expr, Operand]] = []
        if not (self.wild and self.chance(25)):
            effects.append((self.at, self.draw(st.integers(0, 3)) if self.wild and self.chance(40) else here + 1))
        if self.flag is not None and self.chance(40):
            effects.append((self.flag, ~self.flag))
        casts = [self.new_local(c, True) for c in self.cpus if self.chance(35)]
        fairness = Fairness.NONE if self.wild and self.chance(15) else Fairness.PATCHER
        self.b.action(name, guard=guard, effects=effects, broadcast=casts, says=name, fairness=fairness)

    def cpu(self, name: str) -> None:
        cpu = self.draw(st.sampled_from(self.cpus))
        guard = self.on_local(cpu, False)
        for _ in range(self.draw(st.integers(0, 2))):
            guard = both(guard, self.on_shared() if self.chance(40) else self.on_local(cpu, False))
        choice = Choice("which", ("one", "two", "three")[: self.draw(st.integers(2, 3))]) if self.chance(20) else None
        effects = [self.new_local(cpu, False)] if self.chance(95) else []
        if choice is not None:
            effects = [(self.x[cpu], if_else(parameter(choice) == 1, self.x[cpu] + 1, 0))]
        if self.wild and self.chance(25):
            if self.flag is not None and self.chance(60):
                effects.append((self.flag, ~self.flag))
            else:
                guard = both(guard, ~(self.at == 3))
                effects.append((self.at, self.draw(st.integers(0, 2))))
        marks = [Mark("p", f"{name}{i}", self.on_local(cpu, False), False, "m") for i in range(self.chance(40))]
        self.b.action(
            name,
            actor=cpu,
            guard=guard,
            effects=effects,
            says=name,
            fairness=self.draw(st.sampled_from(CPU_KINDS)),
            choice=choice,
            marks=marks,
        )

    def system(self) -> TransitionSystem:
        jobs: list[tuple[str, int]] = [("patcher", k) for k in range(3)]
        jobs += [("patcher", self.draw(st.integers(0, 2))) for _ in range(self.draw(st.integers(0, 2)) * self.wild)]
        jobs += [("cpu", 0)] * self.draw(st.integers(1, 5))
        for number, (kind, here) in enumerate(self.draw(st.permutations(jobs))):
            if kind == "patcher":
                self.patcher(f"p{number}", here)
            else:
                self.cpu(f"a{number}")
        if self.chance(40):
            cpu = self.draw(st.sampled_from(self.cpus))
            self.b.invariant("q", "k", every(cpu, self.on_local(cpu, True)), "it is broken")
        if self.chance(25):
            cpu = self.draw(st.sampled_from(self.cpus))
            self.b.halted = some(cpu, each(self.x[cpu]) == 3)
        else:
            self.b.halted = FALSE
        self.b.progress = Progress("completes", self.at == 3, "it ends")
        return self.b.build()


@st.composite
def systems(draw: Draw, wild: bool) -> TransitionSystem:
    return _Drawn(draw, wild).system()


def assert_agrees(system: TransitionSystem) -> None:
    """Counts, fired actions, and every shortest trace with its ties are those of the reference."""
    found, outcome = survey(system), searched(system)
    assert (outcome.states, outcome.transitions, outcome.depth) == (len(found.edges), found.transitions, found.depth)
    assert outcome.fired == found.fired
    assert {m.kind: len(p.steps) for m, p in outcome.marks.items()} == {m.kind: len(p) for m, p in found.marks.items()}
    assert {m.kind: p.steps for m, p in outcome.marks.items()} == {m.kind: p for m, p in found.marks.items()}
    assert {i.kind: p.steps for i, p in outcome.broken.items()} == {i.kind: p for i, p in found.broken.items()}


def assert_progress_agrees(system: TransitionSystem) -> None:
    """The search finds a counterexample exactly where brute force does, and what it finds is one."""
    found, outcome = survey(system), searched(system)
    stuck, fair = cannot_finish(found), fair_part(found)
    assert outcome.progress_known
    assert (outcome.progress is not None) == bool(stuck or fair), (len(stuck), fair, outcome.progress)
    if outcome.progress is not None:
        path, _ = outcome.progress
        assert_is_a_counterexample(found, path)
        assert bool(stuck) == (not path.cycle and not path.rests), "a deadlock comes before a lasso"
        if stuck:
            assert len(path.steps) == min(len(found.path[s]) for s in stuck)


@QUICK
@given(systems(wild=False))
def test_counts_and_traces_agree_on_systems_of_a_composed_shape(system: TransitionSystem) -> None:
    assert_agrees(system)


@QUICK
@given(systems(wild=True))
def test_counts_and_traces_agree_on_any_system(system: TransitionSystem) -> None:
    assert_agrees(system)


@QUICK
@given(systems(wild=False))
def test_progress_agrees_with_brute_force_on_systems_of_a_composed_shape(system: TransitionSystem) -> None:
    assert_progress_agrees(system)


@QUICK
@given(systems(wild=True))
def test_progress_agrees_with_brute_force_on_any_system(system: TransitionSystem) -> None:
    assert_progress_agrees(system)


# ---- what is shipped ------------------------------------------------------------------------------------------------


def shipped_scenarios() -> list[tuple[str, Scenario]]:
    """Every expectation of every shipped strategy, at one CPU and one site."""
    found: dict[tuple[str, Scenario], None] = {}
    for name, strategy in shipped().items():
        for expect in strategy.expects:
            scenario = replace(scenario_of(strategy, expect), cpus=1, sites=1)
            found[name, scenario] = None
    return list(found)


@pytest.mark.parametrize(("name", "scenario"), shipped_scenarios(), ids=lambda v: v if isinstance(v, str) else "")
def test_shipped_strategies_have_the_states_and_the_shortest_traces_of_the_reference(
    name: str, scenario: Scenario
) -> None:
    system = compose(shipped()[name], scenario).system
    found, outcome = survey(system), searched(system)
    assert (outcome.states, outcome.transitions, outcome.depth) == (len(found.edges), found.transitions, found.depth)
    assert outcome.fired == found.fired
    assert {m: p.steps for m, p in outcome.marks.items()} == found.marks
    assert {i: p.steps for i, p in outcome.broken.items()} == found.broken
    stuck, fair = cannot_finish(found), fair_part(found)
    assert (outcome.progress is not None) == bool(stuck or fair)
    if outcome.progress is not None:
        assert_is_a_counterexample(found, outcome.progress[0])

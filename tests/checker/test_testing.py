"""What tests of strategies are written with. Random schedules stay inside what was explored, for all that is shipped."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from checker.search.engine import Engine
from checker.search.python import Run, Space, explore
from checker.search.result import Limits
from checker.testing import (
    NotEnabled,
    Schedule,
    assert_expected,
    assert_holds,
    assert_violates,
    interleavings,
    model_of,
    name_of,
    run,
)
from models.compose import StrategyModel, compose
from models.library import scenario_of, shipped
from models.model import Model
from models.protocol import Expect
from models.scenario import Scenario
from models.system.evaluate import Evaluator, State
from tests.checker.test_cli import VACUOUS

ROOT = Path(__file__).parents[2]
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


# ---- schedules ------------------------------------------------------------------------------------------------------


def shortest_found(model: Model, seed: int) -> Schedule:
    """What hypothesis shrinks the skipped call to."""
    return find(
        interleavings(model, 30),
        lambda s: ("old-or-new", "missed") in s.violated,
        settings=settings(max_examples=2_000, deadline=None, database=None, suppress_health_check=list(HealthCheck)),
        random=Random(seed),
    )


def test_failing_examples_shrink_to_the_length_of_the_shortest_trace() -> None:
    """Or, where two steps would have to change at once, to one more."""
    trace = assert_violates("nop-then-back", "old-or-new/missed", use_case="livepatch")
    model = model_of("nop-then-back")
    found = [shortest_found(model, seed) for seed in range(2)]
    lengths = [len(schedule.steps) for schedule in found]
    assert min(lengths) == len(trace.steps) and max(lengths) <= len(trace.steps) + 1
    for schedule in found:
        assert run(model, schedule.names) == schedule


def test_a_failing_example_reads_as_numbered_sentences_and_what_broke() -> None:
    @settings(FEW, max_examples=2_000, database=None, derandomize=True)
    @given(interleavings(model_of("nop-then-back", cpus=1, sites=1)))
    def claims(schedule: Schedule) -> None:
        assert not schedule.violated

    with pytest.raises(AssertionError) as caught:
        claims()
    said = "\n".join(caught.value.__notes__)
    assert "Schedule of 6 steps:\n  1  The patcher claims traps" in said
    assert "\n  6  CPU 0's handler skips the instruction at site 0\n  => old-or-new/missed is broken: nobody" in said
    assert "StrategyModel" not in said and len(said) < 1_000


def test_drawn_schedules_are_long_and_come_to_every_action() -> None:
    """Otherwise “nothing is broken” would say nothing."""
    model = model_of("careful-call-to-call", cpus=1, sites=1)
    lengths, seen = [], set()

    @settings(FEW, max_examples=200, database=None, derandomize=True, phases=[Phase.generate])
    @given(interleavings(model, 40))
    def draws(schedule: Schedule) -> None:
        lengths.append(len(schedule.steps))
        seen.update(step.action.name for step in schedule.steps)

    draws()
    assert max(lengths) == 40 and sorted(lengths)[len(lengths) // 2] >= 10
    able = {action.name for action in model.system.actions if not action.fault}
    assert able - seen <= {name for name in able if name.startswith(("torn", "do not find"))}


def test_every_one_of_many_moves_is_drawn() -> None:
    seen = set()

    @settings(FEW, max_examples=200, database=None, derandomize=True, phases=[Phase.generate])
    @given(interleavings(model_of("stop-machine", cpus=1, sites=7), 10))
    def draws(schedule: Schedule) -> None:
        seen.update(name for name in schedule.names if "arrive" in name)

    draws()
    assert seen == {f"cpu 0: arrive (site {k})" for k in range(7)}


def test_a_schedule_that_breaks_nothing_says_so() -> None:
    model = model_of("nop-then-back", cpus=1, sites=1)
    assert repr(run(model, ["claim"])).endswith("=> nothing is broken")
    assert repr(run(model, [])).startswith("Schedule of 0 steps:")


def test_a_step_that_is_not_enabled_is_refused_with_those_that_are() -> None:
    model = model_of("nop-then-back")
    with pytest.raises(NotEnabled) as caught:
        run(model, ["claim", "sync-1 wait"])
    enabled = [name_of(step) for step in Evaluator(model.system).transitions(run(model, ["claim"]).states[-1])]
    assert str(caught.value) == "\n  ".join(["step 2: “sync-1 wait” is not enabled there; enabled is", *enabled])


def test_a_short_name_that_may_be_several_steps_is_refused() -> None:
    model = model_of("nop-then-back")
    with pytest.raises(
        NotEnabled, match=r"step 1: “arrive \(site 1\)” is more than one step there; it may be\n  cpu 0"
    ):
        run(model, ["arrive (site 1)"])
    assert run(model, ["cpu 1: arrive (site 1)"]).names == ["cpu 1: arrive (site 1)"]


# ---- assertions -----------------------------------------------------------------------------------------------------


def test_what_holds_passes_and_gives_the_answer() -> None:
    assert assert_holds("careful-call-to-call", cpus=1, sites=1, machine="x86-amd").holds
    with pytest.raises(AssertionError) as caught:
        assert_holds("careful-call-to-call", cpus=1, sites=1, without="sync-1")
    assert "does not hold: violated: no-torn-instruction/torn (livepatch)" in str(caught.value)
    assert "\nTrace 1: no-torn-instruction (torn), 5 steps" in str(caught.value)


def test_only_the_use_case_that_is_asked_for_counts() -> None:
    assert_holds("nop-then-back", use_case="tracing", cpus=1, sites=1)
    with pytest.raises(AssertionError, match=r"old-or-new/missed \(livepatch\)"):
        assert_holds("nop-then-back", use_case="livepatch", cpus=1, sites=1)


def test_an_inconclusive_answer_does_not_hold() -> None:
    with pytest.raises(AssertionError, match="the answer is inconclusive: the search met a limit: more than 5 states"):
        assert_holds("careful-call-to-call", limits=Limits(states=5), engine=Engine("python"))


def test_a_vacuous_answer_does_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "never.py"
    file.write_text(VACUOUS.replace("EXPECT", "Expect(sites=1)"))
    with pytest.raises(AssertionError, match="never-traps holds, but vacuously: traps-claimed: no CPU ever traps"):
        assert_holds(file, sites=1)
    with pytest.raises(AssertionError, match=rf"{file}:\d+: never-traps, livepatch, .*: vacuous: traps-claimed"):
        assert_expected(file)


def test_a_violation_comes_with_its_shortest_trace() -> None:
    trace = assert_violates("nop-then-back", "old-or-new", cpus=1, sites=1)
    assert trace.property == "old-or-new" and trace.kind == "missed"


@pytest.mark.parametrize(
    ("broken", "use_case", "instead"),
    [
        ("old-or-new/wrong-target", "livepatch", "livepatch: old-or-new/missed is violated"),
        ("old-or-new", "tracing", "tracing: old-or-new/missed is exposed"),
        ("completes", "livepatch", "livepatch: old-or-new/missed is violated"),
    ],
)
def test_another_answer_is_no_violation_and_is_told(broken: str, use_case: str, instead: str) -> None:
    with pytest.raises(AssertionError, match=f"nop-then-back does not violate {broken}: {instead}"):
        assert_violates("nop-then-back", broken, use_case=use_case, cpus=1, sites=1)


def test_holding_is_told_where_a_violation_was_asked_for() -> None:
    with pytest.raises(AssertionError, match="livepatch: everything holds; tracing: everything holds"):
        assert_violates("careful-call-to-call", "completes", cpus=1, sites=1)


def test_a_property_that_there_is_not_is_no_failed_test() -> None:
    with pytest.raises(ValueError, match="there is no property “old-or-nwe”; did you mean “old-or-new”"):
        assert_violates("nop-then-back", "old-or-nwe")


def test_expectations_of_a_name_a_file_and_an_object(tmp_path: Path) -> None:
    assert_expected("stop-machine-frees-early")
    assert_expected(shipped()["stop-machine-frees-early"])
    wrong = replace(shipped()["nop-then-back"], expects=[Expect(cpus=1, sites=1)])
    with pytest.raises(AssertionError, match=r"test_testing.py:\d+: .*livepatch.*: old-or-new/missed is violated"):
        assert_expected(wrong)
    with pytest.raises(AssertionError, match="nothing is declared there"):
        assert_expected(replace(wrong, expects=[]))


def test_assertions_do_without_hypothesis() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from checker.testing import assert_holds, interleavings, model_of, run\n"
        "assert_holds('stop-machine', cpus=1, sites=1); run(model_of('stop-machine'), [])\n"
        "try: interleavings(model_of('stop-machine'))\n"
        "except ModuleNotFoundError: print('needs it')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "needs it\n"), done.stderr


def test_the_guide_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    assertions, by_hand, random = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    mine = tmp_path / "strategies" / "mine.py"
    mine.parent.mkdir()
    shutil.copy(ROOT / "docs" / "example-project" / "strategies" / "old_until_written.py", mine)
    monkeypatch.chdir(tmp_path)
    exec(assertions, {})
    exec(by_hand, {})
    names: dict[str, Any] = {}
    exec(random.replace("deadline=None", "deadline=None, max_examples=300, database=None, derandomize=True"), names)
    with pytest.raises(AssertionError) as caught:
        names["test_nobody_is_missed"]()
    (shown,) = re.findall(r"```\n(Falsifying example.*?)```", page, re.DOTALL)
    told = "\n".join(caught.value.__notes__)
    # versions of hypothesis differ in their first words
    assert shown.splitlines()[-2].strip(" ,") in told and ": test_nobody_is_missed(\n" in told

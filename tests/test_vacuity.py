"""Claims: nothing holds because nothing was tried: idle actions are listed, untested premises and limits are said."""

from __future__ import annotations

import pytest

from checker.search.result import Limits
from checker.verdict import UNKNOWN, VERIFIED, VIOLATED, CheckResult, check
from models.library import scenario_of, shipped
from models.properties import CLAIMED, COMPLETES, FREED, OLD_OR_NEW, STALE, TORN
from models.protocol import Expect, Strategy
from tests.support import STRATEGIES, checked, required, scenario

EXPECTED = [(strategy.name, k) for strategy in shipped().values() for k in range(len(strategy.expects))]

# Actions of complete models that cannot fire in a scenario that leaves nothing out and finds nothing, and why.
NEVER = {
    "batched-stubs": {"preempt": "stubs run with interrupts off", "resume": "nobody is preempted"},
    "text-poke-batch-to-probe": {"do not find site": "who got a count finds every site until the table is discarded"},
    "permanent": {"dispatch reads {} for site": "the word is stored before the call that reads it"},
}


def run(strategy: Strategy, expect: Expect) -> CheckResult:
    where = scenario_of(strategy, expect)
    nondefault = {
        "machine": where.machine.name,
        "transition": where.transition,
        "rounds": where.rounds,
        "cpus": where.cpus,
        "sites": where.sites,
        "without": where.without,
        "preempt": where.preempt,
        "nmi": where.nmi,
    }
    return checked(strategy, **nondefault)


@pytest.mark.parametrize(("name", "number"), EXPECTED, ids=lambda value: str(value))
def test_every_action_of_a_catalogue_scenario_fires_or_is_listed_as_idle(name: str, number: int) -> None:
    """And where everything holds, with no step left out, what is idle is known by name."""
    strategy = shipped()[name]
    expect = strategy.expects[number]
    result = run(strategy, expect)
    actions = result.model.system.actions
    fired = {actions[k].name for k in result.exploration.fired}
    assert {a.name for a in actions if not a.fault} <= fired | set(result.idle)
    assert not fired & set(result.idle)
    if not expect.violated and not expect.without:
        known = NEVER.get(name, {})
        assert [a for a in result.idle if not any(a.startswith(prefix) for prefix in known)] == []


@pytest.mark.parametrize("name", list(shipped()))
def test_no_action_of_a_strategy_is_idle_in_its_whole_catalogue(name: str) -> None:
    """Every action that some scenario has fires in some scenario, but for those named above."""
    strategy = shipped()[name]
    known, fired = set(), set()
    for expect in strategy.expects:
        result = run(strategy, expect)
        known |= {a.name for a in result.model.system.actions if not a.fault}
        fired |= {result.model.system.actions[k].name for k in result.exploration.fired}
    idle = {a for a in known - fired if not any(a.startswith(prefix) for prefix in NEVER.get(name, {}))}
    missed = {"find site 1"} if name == "text-poke-batch-unsorted" else set()  # that is its point
    assert idle == missed


@pytest.mark.parametrize("name", list(shipped()))
def test_the_catalogue_rests_on_no_vacuous_verdict(name: str) -> None:
    for expect in shipped()[name].expects:
        result = run(shipped()[name], expect)
        if result.exit_status == 0:
            assert not any(v.vacuous for use_case in expect.use_cases for v in required(result, use_case))


# ---- premises -------------------------------------------------------------------------------------------------------


def test_a_trap_byte_that_no_cpu_can_meet_is_vacuous() -> None:
    """The trap byte comes and goes while all CPUs are parked: “every trap finds its claim” says nothing."""
    result = checked("traps-while-stopped", cpus=2, sites=1)
    verdict = result.result("livepatch").verdict(CLAIMED)
    assert (verdict.verdict, verdict.vacuous) == (VERIFIED, ("no CPU ever traps",))
    assert "trap at site 0" in result.idle
    assert not result.holds
    assert result.exit_status == 5


def test_without_the_stop_the_same_steps_are_put_to_the_test() -> None:
    result = checked("traps-while-stopped", without=["stop"], cpus=2, sites=1)
    assert result.result("livepatch").verdict(CLAIMED).vacuous == ()
    assert result.exit_status == 1


def test_a_return_that_never_comes_leaves_what_follows_untested() -> None:
    result = checked("waits-for-itself", cpus=1, sites=1)
    assert result.result("livepatch").verdict(STALE).vacuous
    assert result.result("livepatch").verdict(COMPLETES).verdict == VIOLATED
    assert result.exit_status == 1  # a violation comes before what is vacuous
    assert "return 1" in result.idle


def test_what_a_strategy_is_not_about_is_trivial_and_not_vacuous() -> None:
    result = checked("stop-machine", cpus=1, sites=1)
    for name, note in ((CLAIMED, "no trap byte is written"), (FREED, "nothing is freed")):
        verdict = result.result("livepatch").verdict(name)
        assert (verdict.verdict, verdict.note, verdict.vacuous) == (VERIFIED, note, ())
    assert result.exit_status == 0


# ---- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(states=10), Limits(seconds=0.0)], ids=["states", "seconds"])
def test_a_search_that_stops_early_knows_nothing(limits: Limits) -> None:
    result = check("careful-call-to-call", scenario(cpus=1, sites=1), limits=limits)
    assert result.exploration.stopped
    for use_case in ("livepatch", "tracing"):
        verdicts = required(result, use_case)
        assert {v.verdict for v in verdicts} == {UNKNOWN}
        assert all(result.exploration.stopped in v.note for v in verdicts)
    assert result.exit_status == 4
    assert result.idle == ()  # nothing is said of actions that might have fired later


def test_what_was_found_before_the_limit_stands() -> None:
    """A violation is a violation, whatever the search did not see."""
    result = check("nop-then-back", scenario(cpus=2, sites=2), limits=Limits(states=1_000))
    livepatch = result.result("livepatch")
    assert livepatch.verdict(OLD_OR_NEW).verdict == VIOLATED
    assert livepatch.verdict(TORN).verdict == UNKNOWN
    assert livepatch.verdict(COMPLETES).verdict == UNKNOWN
    assert result.exit_status == 1
    assert result.result("tracing").verdict(OLD_OR_NEW).verdict != VIOLATED


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    plain = checked("careful-call-to-call", cpus=1, sites=1)
    limited = check("careful-call-to-call", scenario(cpus=1, sites=1), limits=Limits(plain.exploration.states, 600))
    assert limited.exit_status == 0
    assert limited.exploration.states == plain.exploration.states


def test_no_mutant_is_vacuous_by_accident() -> None:
    """Where a mutant holds, it was put to the test; the one that is not says so."""
    vacuous = set()
    for name in STRATEGIES:
        result = checked(name, cpus=1, sites=1)
        if result.exit_status == 5:
            vacuous.add(name)
    # from a nop to a probe nobody ever executes a call, which `balanced-stack` says
    assert vacuous - {"plants-a-probe"} == {"traps-while-stopped"}

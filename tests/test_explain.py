"""Claims: what each step of a strategy protects, by leaving it out."""

from __future__ import annotations

import pytest

from models.properties import CLAIMED, COMPLETES, EARLY, STALE, TORN
from tests.support import checked, holds, violated

BOUNDS = [(1, 1), (2, 1), (1, 2), (2, 2)]
CAREFUL, BATCH = "careful-call-to-call", "text-poke-batch"

# What is violated without the step, besides that whoever crashes holds the patcher up (see below).
EXPLAINED = {
    "claim": CLAIMED,
    "trap": TORN,
    "sync-1": TORN,
    "tail": STALE,
    "sync-2": TORN,
    "first-byte": CLAIMED,
    "sync-3": CLAIMED,
}


@pytest.mark.parametrize(("cpus", "sites"), BOUNDS)
@pytest.mark.parametrize("strategy", [CAREFUL, BATCH])
@pytest.mark.parametrize("label", list(EXPLAINED))
def test_each_step_protects_one_property(strategy: str, label: str, cpus: int, sites: int) -> None:
    found = violated(checked(strategy, without=(label,), cpus=cpus, sites=sites))
    assert found - {COMPLETES} == {EXPLAINED[label]}


@pytest.mark.parametrize("label", list(EXPLAINED))
def test_only_a_trap_that_cannot_be_claimed_holds_the_patcher_up(label: str) -> None:
    """A CPU that trapped with interrupts off and finds no claim will never acknowledge the sync that waits for it."""
    found = violated(checked(CAREFUL, without=(label,), cpus=2, sites=1))
    assert (COMPLETES in found) == (label == "claim")


@pytest.mark.parametrize(("cpus", "sites"), BOUNDS)
def test_the_release_protects_nothing_here(cpus: int, sites: int) -> None:
    assert holds(checked(CAREFUL, without=("release",), cpus=cpus, sites=sites))


@pytest.mark.parametrize(("cpus", "sites"), BOUNDS)
def test_waiting_for_handlers_protects_nothing_here(cpus: int, sites: int) -> None:
    assert holds(checked(BATCH, without=("wait-handlers",), cpus=cpus, sites=sites))


@pytest.mark.parametrize("without", ["release", "wait-handlers"])
def test_nor_do_they_for_the_next_round_once_the_third_sync_is_there(without: str) -> None:
    strategy = CAREFUL if without == "release" else BATCH
    assert holds(checked(strategy, without=(without,), cpus=2, sites=1, rounds=2))


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_count_that_is_not_dropped_is_waited_for_in_vain(rounds: int) -> None:
    """With counts the release protects the patcher itself: the wait for handlers waits for the patcher's own count."""
    assert violated(checked(BATCH, without=("release",), cpus=2, sites=1, rounds=rounds)) == {COMPLETES}


# ---- where the release and the wait do protect something ------------------------------------------------------------


@pytest.mark.parametrize("transition", ["call:call", "nop:call", "call:nop"])
def test_without_the_third_sync_the_wait_keeps_the_table_until_handlers_have_read_it(transition: str) -> None:
    """The row of the second table that rereads."""
    scenario = {"transition": transition, "cpus": 2, "sites": 1}
    assert holds(checked("counted-rereading", without=("sync-3",), **scenario))
    result = checked("counted-rereading", without=("sync-3", "wait-handlers"), **scenario)
    assert violated(result) == {CLAIMED}
    assert result.result("livepatch").verdict(CLAIMED).kind == "released"


@pytest.mark.parametrize("left_out", ["release", "wait-handlers"])
def test_without_the_third_sync_a_late_trap_is_skipped_after_the_return(left_out: str) -> None:
    """A bare claim, nop→call: who still finds the claim skips, though the call has been promised."""
    scenario = {"transition": "nop:call", "cpus": 2, "sites": 1}
    assert holds(checked("skip-and-reread", without=("sync-3",), **scenario))
    assert violated(checked("skip-and-reread", without=("sync-3", left_out), **scenario)) == {STALE}


def test_under_a_trap_gate_the_wait_protects_the_next_round() -> None:
    """The handler of round 1 that found no claim rereads the byte, and meets the trap byte of round 2."""
    scenario = {"machine": "x86-trap-gate", "cpus": 1, "sites": 1}
    for rounds in (1, 2):
        assert holds(checked("retry-and-reread", rounds=rounds, **scenario))
    assert holds(checked("retry-and-reread", without=("wait-handlers",), rounds=1, **scenario))
    result = checked("retry-and-reread", without=("wait-handlers",), rounds=2, **scenario)
    assert CLAIMED in violated(result)
    trace = result.traces[result.result("livepatch").verdict(CLAIMED).trace or 0]
    assert trace.steps[-1].action == "reread site 0: trap byte"
    assert any(step.action == "trap site 0 (round 2)" for step in trace.steps)


@pytest.mark.parametrize("left_out", ["release", "wait-handlers"])
def test_where_the_trap_byte_stays_a_claim_that_lingers_hides_the_probe(left_out: str) -> None:
    """The new first byte is the trap byte: CPUs go on trapping, and whoever finds the claim skips the probe."""
    assert violated(checked("plants-a-probe", cpus=1, sites=1)) == set()
    assert violated(checked("plants-a-probe", without=(left_out,), cpus=1, sites=1)) == {STALE}


def test_where_the_trap_byte_stays_only_counts_can_be_waited_for() -> None:
    """A bare claim waits for a moment when no CPU is in the handler; two CPUs that go on trapping need not grant it."""
    assert violated(checked("plants-a-probe", cpus=2, sites=1)) == {COMPLETES}
    assert violated(checked("text-poke-batch-to-probe", cpus=2, sites=1)) == set()


@pytest.mark.parametrize(("cpus", "sites"), [(1, 1), (2, 1), (1, 2)])
def test_where_the_trap_byte_stays_the_wait_keeps_the_table_until_handlers_have_read_it(cpus: int, sites: int) -> None:
    """Today's kernel, from a call to a probe."""
    assert holds(checked("text-poke-batch-to-probe", cpus=cpus, sites=sites))
    result = checked("text-poke-batch-to-probe", without=("wait-handlers",), cpus=cpus, sites=sites)
    assert violated(result) == {CLAIMED}
    assert result.result("livepatch").verdict(CLAIMED).kind == "released"


def test_the_third_sync_is_what_protects_the_next_round() -> None:
    """Without it, a trap of round 1 is taken in round 2 and finds that round's claim, before the round has begun."""
    assert EARLY in violated(checked(BATCH, without=("sync-3",), cpus=1, sites=1, rounds=2))
    assert EARLY not in violated(checked(BATCH, without=("sync-3",), cpus=1, sites=1))

"""Claims: what each step of a strategy protects, by leaving it out, and which lemma of its proof falls without it."""

from __future__ import annotations

from functools import cache

import pytest
import z3

from checker.carried import Carrier
from checker.explain import Omission, omissions, written_lemmas
from checker.trace import Narrator, path_of
from checker.verdict import CheckResult, check
from models.properties import CLAIMED, COMPLETES, EARLY, STALE, TORN
from models.system.evaluate import State
from proofs.encode import Encoder, Frame, literal
from proofs.lemma import Lemma
from tests.support import STRATEGIES, checked, holds, scenario, violated

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


# ---- which lemma falls ----------------------------------------------------------------------------------------------

WINDOW, TEXT, CLAIM = "sees-only-since-its-last-sync", "text-follows-the-patcher", "claim-follows-the-patcher"
HANDLERS = "handlers-end-before-the-table-goes"


@cache
def explained(name: str, machine: str = "x86-linux", sites: int = 1) -> tuple[CheckResult, dict[str, Omission]]:
    """The complete strategy, proved, and every omission of it."""
    here = scenario(machine=machine, sites=sites)
    whole = check(STRATEGIES[name], here, use_case="livepatch", proof=True)
    return whole, {o.label: o for o in omissions(STRATEGIES[name], here, whole=whole)}


def first(name: str, label: str, **changes: str) -> str:
    """The lemma that falls first without a step."""
    falls = explained(name, **changes)[1][label].falls
    assert falls is not None
    return falls.fallen[0].lemma.name if falls.fallen else ""


@pytest.mark.parametrize("strategy", [CAREFUL, BATCH, "batched-stubs", "permanent"])
def test_without_the_first_sync_the_fetch_window_lemma_breaks(strategy: str) -> None:
    assert first(strategy, "sync-1") == WINDOW


@pytest.mark.parametrize("label", ["sync-2", "sync-3"])
def test_the_other_syncs_are_needed_by_the_same_lemma(label: str) -> None:
    assert first(CAREFUL, label) == WINDOW


@pytest.mark.parametrize(
    ("strategy", "label", "lemma"),
    [
        (CAREFUL, "claim", CLAIM),
        (CAREFUL, "tail", TEXT),
        (CAREFUL, "first-byte", TEXT),
        ("permanent", "data", "data-follow-the-patcher"),
        ("batched-stubs", "allocate", "code-follows-the-patcher"),
        ("stop-machine", "stop", "parked-while-text-changes"),
        ("text-poke-batch-to-probe", "wait-handlers", HANDLERS),
    ],
)
def test_a_step_is_needed_by_the_lemma_that_speaks_of_what_it_does(strategy: str, label: str, lemma: str) -> None:
    assert first(strategy, label) == lemma


def test_the_fetch_window_falls_before_a_cpu_executes_what_it_should_not_have_fetched() -> None:
    omission = explained(CAREFUL)[1]["sync-1"]
    assert omission.falls is not None and omission.trace is not None
    window = next(fall for fall in omission.falls.fallen if fall.lemma.name == WINDOW)
    (site,) = omission.trace.steps[window.step - 1].bytes
    assert site.memory.startswith("cc") and all(seen.startswith("e8/cc") for seen in site.seen)
    assert omission.trace.steps[-1].action == "torn at site 0"
    assert window.step < len(omission.trace.steps)


def test_where_only_the_end_is_out_of_reach_no_lemma_falls() -> None:
    """A count that is never dropped is waited for in vain: nothing that any lemma says becomes false."""
    omission = explained(BATCH)[1]["release"]
    assert [v.verdict.property for v in omission.violations] == [COMPLETES]
    assert omission.falls is not None and omission.falls.fallen == ()


def is_true(whole: CheckResult, lemma: Lemma, state: State) -> bool:
    """A lemma in a state, asked of Z3 instead of the evaluator."""
    system = whole.model.system
    owners = tuple(c for c, _ in system.instances)
    frame = Frame.fresh(system, owners)
    shared = {v: literal(x, v.type) for v, x in zip(system.globals, state.shared, strict=True)}
    locals_ = tuple(
        {v: literal(x, v.type) for v, x in zip(system.locals(c), values, strict=True)}
        for c, values in zip(owners, state.instances, strict=True)
    )
    known = Frame(shared, locals_, frame.members)
    actors = range(len(owners)) if lemma.about else [None]
    return all(z3.is_true(z3.simplify(Encoder(known, actor).term(lemma.holds))) for actor in actors)


@pytest.mark.parametrize("machine", ["x86-linux", "x86-amd"])
@pytest.mark.parametrize("strategy", [CAREFUL, BATCH, "text-poke-batch-to-probe", "stop-machine", "batched-stubs"])
def test_a_lemma_falls_just_where_it_is_said_to(strategy: str, machine: str) -> None:
    """Z3 finds it true in every state before, and false in that one; what did not fall is true all along."""
    whole, found = explained(strategy, machine)
    if not written_lemmas(whole):  # another machine, on which what people wrote is not the proof
        assert machine != "x86-linux"
        return
    asked = 0
    for omission in found.values():
        if omission.falls is None or omission.trace is None:
            continue
        model = omission.result.model
        carry = Carrier(whole.model, model)
        states = [carry(state).state for state in Narrator(model).follow(path_of(model, omission.trace))]
        at = {fall.lemma: fall.step for fall in omission.falls.fallen}
        assert list(at.values()) == sorted(at.values())
        for lemma in written_lemmas(whole):
            if lemma in omission.falls.unasked:
                continue
            asked += 1
            until = at.get(lemma, len(states))
            assert all(is_true(whole, lemma, state) for state in states[:until])
            assert until == len(states) or not is_true(whole, lemma, states[until])
    assert asked


def test_a_violation_of_safety_makes_some_lemma_fall() -> None:
    """As it must be: what all lemmas allow breaks nothing that is proved."""
    for strategy in (CAREFUL, BATCH, "stop-machine", "permanent", "batched-stubs"):
        for omission in explained(strategy)[1].values():
            if omission.violations and omission.violations[0].verdict.property != COMPLETES:
                assert omission.falls and omission.falls.fallen


def test_no_lemma_is_named_where_nothing_is_proved_in_written_lemmas() -> None:
    whole, found = explained("retry-and-reread", "x86-trap-gate")
    assert written_lemmas(whole) == () and all(omission.falls is None for omission in found.values())


# ---- what is redundant ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "labels"),
    [
        (CAREFUL, {"release"}),
        (BATCH, {"wait-handlers", "discard"}),
        ("batched-stubs", {"release", "free"}),
        ("stop-machine", set()),
    ],
)
def test_the_steps_that_protect_nothing_are_redundant(strategy: str, labels: set[str]) -> None:
    found = explained(strategy)[1]
    assert {label for label, omission in found.items() if omission.redundant} == labels
    for label in labels:
        assert holds(checked(strategy, without=(label,), sites=1))


def test_a_step_without_which_nothing_happens_any_more_is_not_redundant() -> None:
    """CPUs that are never let go break nothing."""
    omission = explained("stop-machine")[1]["resume"]
    assert not omission.violations and not omission.redundant
    assert STALE in omission.untested


def test_what_is_redundant_depends_on_the_machine() -> None:
    for machine, redundant in (("x86-linux", False), ("x86-stale-instruction", True)):
        assert explained(CAREFUL, machine)[1]["sync-2"].redundant is redundant

"""Claims, on this CPU: what is seen is allowed; and what is wrong by construction is seen.

Nothing here needs a race to be won: where something must be seen, every execution after some step shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from checker.silicon.asking import Question
from checker.silicon.compare import Comparison, compare
from checker.silicon.machine import cpus
from checker.silicon.operations import ALIGNMENTS, Act
from checker.silicon.run import observe
from models.library import shipped
from models.machines.fetch import machine
from models.properties import BALANCED, CLAIMED, FREED, STALE, TORN
from models.protocol import (
    TRAP,
    Allocate,
    Claim,
    Free,
    Policy,
    PolicyKind,
    ReadLock,
    Release,
    ResumeMachine,
    Site,
    Step,
    StopMachine,
    Strategy,
    Sync,
    WaitForReaders,
    Write,
    emulate_new,
    old_callees,
    redirect,
    retry,
)
from models.text import site_address
from tests.silicon.small import guarded, on_silicon, question, trapping, writing

pytestmark = on_silicon
EXECUTIONS, SECONDS = 10_000, 1.0


def ask(asked: Question, executions: int = EXECUTIONS, patience: float = 5) -> Comparison:
    found = asked.ask(cpus(), executions, SECONDS, patience)
    assert found.observation.executions >= 8 and found.observation.trials and not found.observation.forgotten
    cells = sum(found.observation.cells.values())
    assert found.observation.executions == cells
    return found


@pytest.mark.parametrize("align", ALIGNMENTS)
@pytest.mark.parametrize("name", [n for n, s in shipped().items() if not any(e.violated for e in s.expects[:1])])
def test_nothing_is_seen_that_is_not_allowed(name: str, align: str) -> None:
    found = ask(question(name, align=align))
    assert not found.not_allowed, {o.says: o.where for o in found.outcomes.values() if o.not_allowed}
    assert found.observation.waits < 0


@pytest.mark.parametrize("name", ["careful-call-to-call", "text-poke-batch", "batched-stubs", "stop-machine"])
@pytest.mark.parametrize("more", [{"sync": "signal"}, {"stores": "bytes"}, {"sites": 3}], ids=lambda m: next(iter(m)))
def test_nor_with_other_ways_to_do_it(name: str, more: dict[str, object]) -> None:
    assert not ask(question(name, align="across-line", **more)).not_allowed  # type: ignore[arg-type]


@pytest.mark.parametrize("transition", ["nop:call", "call:nop"])
@pytest.mark.parametrize("name", ["careful-call-to-call", "nop-then-back", "stop-machine"])
def test_nor_with_other_transitions(name: str, transition: str) -> None:
    assert not ask(question(name, align="across-line", transition=transition, rounds=2)).not_allowed


@pytest.mark.parametrize("label", ["claim", "trap", "sync-1", "tail", "sync-2", "first-byte", "sync-3", "release"])
def test_nor_without_a_step(label: str) -> None:
    assert not ask(question("text-poke-batch", without=[label]), patience=0.5).not_allowed


def test_what_is_run_only_because_a_trial_ends_does_not_count() -> None:
    """Without its resumption a stopped CPU runs nothing more; here it has to be let go some time."""
    assert not ask(question("stop-machine", without=["resume"], sites=3), patience=0.2).not_allowed


def test_a_strategy_after_which_nobody_runs_waits_in_vain_at_its_end() -> None:
    assert ask(question("stop-machine", without=["resume"]), 8, patience=0.2).waits == "the end"


def test_the_old_that_was_never_replaced_is_seen_after_the_end() -> None:
    found = ask(question("stop-machine", without=["store"]))
    assert found.breaks[STALE, "stale"] and not found.not_allowed


def test_half_a_displacement_is_torn_and_its_bytes_are_told() -> None:
    found = ask(question(writing((1, 3))))
    assert found.breaks[TORN, "torn"] and not found.not_allowed
    codes = {torn.fetched for torn in found.observation.torn}
    assert bytes.fromhex("e851523344") in codes
    last = [torn for torn in found.observation.torn if torn.before == len(found.allowed.table.operations)]
    assert {torn.memory for torn in last} == {bytes.fromhex("e851523344")}


@pytest.mark.parametrize(
    ("code", "signal"),
    [(b"\x0f\x0b", 4), (b"\xf4", 11), (b"\x0f\x0b\x0f\x0b", 4), (b"\xff\x20", 11), (b"\xc2\x08\x00", 11)],
)
def test_nonsense_is_survived(code: bytes, signal: int) -> None:
    """ud2, hlt, a jump through a null pointer, a return that leaves the stack askew."""
    found = ask(question(writing((0, code))), 200)
    torn = [t for t in found.observation.torn if t.before == len(found.allowed.table.operations)]
    assert {t.signal for t in torn} <= {signal, 0}
    assert found.breaks[TORN, "torn"] + found.breaks[BALANCED, "no-return"]


def test_traps_that_nobody_claims_are_seen() -> None:
    found = ask(question(writing((0, TRAP))), 200)
    assert found.breaks[CLAIMED, "unclaimed"] and not found.not_allowed


def test_the_handler_does_what_the_policy_says() -> None:
    found = ask(question(trapping(emulate_new)), 200)
    assert not found.not_allowed and not found.breaks
    assert found.outcomes["trap, the handler called B"].count == found.observation.traps > 0


def test_a_call_without_a_return_address_is_found_out() -> None:
    found = ask(question(trapping(Policy(PolicyKind.EMULATE_NEW, pushes=False))), 200)
    assert found.breaks[BALANCED, "no-return"] and not found.not_allowed


def test_a_handler_that_goes_back_comes_again() -> None:
    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        yield from trapping(retry).steps(sites)  # type: ignore[misc]
        yield from writing((0, 5)).steps(sites)  # type: ignore[misc]

    found = ask(question(Strategy("back", "goes back", "a test", steps)), 200)
    assert not found.breaks[CLAIMED, "unclaimed"] and not found.not_allowed


def test_so_it_is_where_cpus_are_synchronised() -> None:
    """What a thread does after it was lost is compared as that of a CPU that was not."""
    found = ask(question(guarded(Policy(PolicyKind.EMULATE_NEW, pushes=False))))
    assert not found.not_allowed and found.observation.waits < 0


def test_who_goes_back_for_ever_is_let_go_at_the_end() -> None:
    found = ask(question(guarded(retry), without=["first-byte", "release"]), 200, patience=0.3)
    assert not found.not_allowed and found.observation.retries


def test_who_returns_to_another_site_is_lost() -> None:
    """Site 0 becomes a jump to the end of site 1: nobody is called, as by a no-op, but not here."""

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        here, there = (site_address(site.index, 0) for site in sites)
        yield Write(sites[0].whole, b"\xe9" + (there - here).to_bytes(4, "little"))

    found = ask(question(Strategy("astray", "jumps to another site", "a test", steps), sites=2), 200)
    assert found.breaks[BALANCED, "no-return"] and not found.outcomes.get("ran, called nobody")


def test_with_interrupts_off_nobody_is_stopped() -> None:
    """A CPU inside such a stub leaves it before it stops: so the stub may be freed meanwhile."""

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        for site in sites:
            yield Allocate(site.stub(interrupts_off=True))
        yield Claim(redirect, sites)
        for site in sites:
            yield Write(site.first_byte, TRAP)
        yield Sync()
        yield StopMachine()
        for site in sites:
            yield Write(site.whole, site.new)
            yield Free(site.stub(interrupts_off=True))
        yield ResumeMachine()
        yield Release()

    found = ask(question(Strategy("stops", "frees stubs while all are stopped", "a test", steps)), 50_000)
    assert not found.not_allowed and not found.breaks and found.observation.waits < 0


def test_a_sync_while_all_are_stopped_waits_in_vain() -> None:
    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        yield StopMachine()
        for site in sites:
            yield Write(site.whole, site.new)
        yield Sync(label="too-early")
        yield ResumeMachine()

    found = ask(question(Strategy("stuck", "a sync too early", "a test", steps)), patience=0.3)
    assert found.waits == "too-early" and not found.not_allowed


def test_who_calls_what_is_free_is_caught() -> None:
    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        for function in old_callees(sites):
            yield Free(function)

    found = ask(question(Strategy("frees", "frees what is called", "a test", steps)), 200)
    assert found.breaks[FREED, "freed"] and not found.not_allowed


def test_a_patcher_that_waits_for_itself_is_reported() -> None:
    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        yield ReadLock()
        yield WaitForReaders(label="grace")

    allowed = question(Strategy("self-wait", "waits for itself", "a test", steps)).allowed()
    observation = observe(allowed.table, cpus(), 1 << 60, 30, patience=0.2)
    assert allowed.table.operations[observation.waits].label == "grace" and observation.seconds < 20


# ---- a harness that does something else than the model is found out ---------------------------------------------------


def tampered(asked: Question, change: str, executions: int = EXECUTIONS) -> Comparison:
    """The harness is given another table than the one that its answers are compared with."""
    allowed = asked.allowed()
    table = allowed.table
    operations, pieces, handling = list(table.operations), list(table.pieces), dict(table.handling)
    stores = [k for k, o in enumerate(table.operations) if o.code == "store"]
    if change == "a store is left out":
        table.operations[stores[-1]] = replace(table.operations[stores[-1]], b=0)
    elif change == "another byte is stored":
        at, code = table.pieces[1]
        table.pieces[1] = (at, bytes([code[0] ^ 0x20, *code[1:]]))
    elif change == "the claim comes too late":
        table.operations[:2] = table.operations[1::-1]
    elif change == "no call":
        table.handling[1, 0] = replace(handling[1, 0], act=Act.SKIP)
    else:
        target = table.moved(allowed.model.plan.sites[0].book.address(table.whos[1].function))  # type: ignore[arg-type]
        table.handling[1, 0] = replace(handling[1, 0], target=target)
    try:
        observation = observe(table, cpus(), executions, SECONDS)
    finally:
        table.operations, table.pieces, table.handling = operations, pieces, handling
    return compare(allowed, observation)


@pytest.mark.parametrize("change", ["a store is left out", "another byte is stored"])
def test_a_harness_that_does_something_else_is_found_out(change: str) -> None:
    assert tampered(question("careful-call-to-call"), change).not_allowed


def test_a_claim_that_comes_too_late_is_found_out() -> None:
    """It lasts as long as the patcher pauses between two operations: long enough, now and then."""
    found = tampered(question("careful-call-to-call"), "the claim comes too late", 1 << 60)
    assert found.outcomes["trap, nobody claims it"].not_allowed


@pytest.mark.parametrize("change", ["another target", "no call"])
def test_a_handler_that_does_something_else_is_found_out(change: str) -> None:
    assert tampered(question(trapping(emulate_new)), change).not_allowed


def test_another_machine_model_is_contradicted_by_what_was_seen() -> None:
    """Half a displacement, stored for good, is torn whatever the machine: one that says otherwise is told so."""
    asked = question(writing((1, 3)))
    found = ask(asked)
    wrong = Question(writing((1, 5)), replace(asked.scenario, machine=machine("x86-coherent")), asked.setting)
    assert compare(wrong.allowed(), found.observation).not_allowed

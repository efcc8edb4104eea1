"""Strategies that are wrong on purpose, each beside the one that is right; and the rows of the second table.

`test_mutants` says which property each of them breaks, and which strategy is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from models.library import shipped
from models.protocol import (
    TRAP,
    Call,
    Claim,
    Discard,
    Free,
    Function,
    Nop,
    Policy,
    Probe,
    ReadLock,
    ReadUnlock,
    Release,
    ResumeMachine,
    Round,
    Site,
    Step,
    Steps,
    StopMachine,
    Strategy,
    Sync,
    WaitForHandlers,
    WaitForReaders,
    WaitForTasks,
    Write,
    emulate,
    emulate_new,
    emulate_old,
    retry,
    skip,
)
from models.skeletons import int3_update

THIRD = Function("third")
CAREFUL = shipped()["careful-call-to-call"]


def made(name: str, says: str, steps: Steps, *, rereads: bool = False, starts_with_new: bool = False) -> Strategy:
    """A strategy of these tests that says its steps and not its rounds."""
    return Strategy(name, says, "these tests", steps, rereads=rereads, starts_with_new=starts_with_new)


# ---- the rows of the second table -----------------------------------------------------------------------------------


def counted_update(sites: Sequence[Site], policy: Policy = emulate_new) -> Iterator[Step]:
    """The int3 sequence with a count on every CPU, and a wait for the handlers before the table is emptied."""
    yield from int3_update(sites, policy, counted=True)
    yield WaitForHandlers()
    yield Discard()


def tail_then_head(sites: Sequence[Site]) -> Iterator[Step]:
    """As careful as one can be without a trap byte: a sync after each store."""
    for site in sites:
        yield Write(site.tail, site.new)
    yield Sync()
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Sync()


def whole_store(sites: Sequence[Site]) -> Iterator[Step]:
    """Five bytes in one go, on running CPUs."""
    for site in sites:
        yield Write(site.whole, site.new)
    yield Sync()


counted_rereading = made(
    "counted-rereading",
    "counts on every CPU, a wait for handlers, and an unclaimed trap reads the byte again",
    counted_update,
    rereads=True,
)
no_trap_two_stores = made("no-trap-two-stores", "tail, sync, first byte, sync; no trap byte", tail_then_head)
no_trap_whole_store = made("no-trap-whole-store", "one whole store, sync; no trap byte", whole_store)


# ---- one mutant for each way of being wrong -------------------------------------------------------------------------


def own_grace_period(sites: Sequence[Site], outside: bool) -> Iterator[Step]:
    """The patcher waits for readers, being one itself or (`outside`) no more."""
    yield ReadLock()
    yield from int3_update(sites, emulate_new)
    if outside:
        yield ReadUnlock()
    yield WaitForReaders()
    if not outside:
        yield ReadUnlock()


def waits_inside(sites: Sequence[Site], policy: Policy, wait: type[Step]) -> Iterator[Step]:
    """Waits for something while the trap byte is in place."""
    yield Claim(policy, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    yield wait()
    for site in sites:
        yield Write(site.tail, site.new)
    yield Sync()
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Sync()
    yield Release()


def frees_callee(sites: Sequence[Site], callee: Function, wait: type[Step]) -> Iterator[Step]:
    """An update away from `callee`, a wait, and the callee is freed."""
    yield from int3_update(sites, emulate_new)
    yield wait()
    yield Free(callee)


def freeing(name: str, callee: Function, wait: type[Step]) -> Strategy:
    """A strategy that replaces `call callee` by `call B` and frees the callee after `wait`."""
    target = Function("B")
    return Strategy(
        name,
        f"frees the old callee after {wait.__name__}",
        "these tests",
        before=Call(callee),
        before_means=[callee],
        rounds=[Round(Call(target), [target], lambda sites: frees_callee(sites, callee, wait))],
    )


def stopped_but_releases_first(sites: Sequence[Site]) -> Iterator[Step]:
    """Lets the CPUs go before the store has landed."""
    yield StopMachine()
    yield ResumeMachine()
    for site in sites:
        yield Write(site.whole, site.new)


def syncs_while_stopped(sites: Sequence[Site]) -> Iterator[Step]:
    """Asks parked CPUs, whose interrupts are off, for an acknowledgement."""
    yield StopMachine()
    for site in sites:
        yield Write(site.whole, site.new)
    yield Sync()
    yield ResumeMachine()


def traps_while_stopped(sites: Sequence[Site]) -> Iterator[Step]:
    """A trap byte that comes and goes while every CPU is parked: nobody can ever trap."""
    yield StopMachine()
    yield Claim(emulate_new, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    for site in sites:
        yield Write(site.tail, site.new)
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Release()
    yield ResumeMachine()


def releases_early(sites: Sequence[Site]) -> Iterator[Step]:
    """The claim goes while the trap byte is still there."""
    yield Claim(emulate_new, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    for site in sites:
        yield Write(site.tail, site.new)
    yield Sync()
    yield Release()
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Sync()


def late_release(sites: Sequence[Site], policy: Policy) -> Iterator[Step]:
    """A bare claim, and a wait for the handlers that found it."""
    yield from int3_update(sites, policy)
    yield WaitForHandlers()


def claims_last(sites: Sequence[Site]) -> Iterator[Step]:
    """The claim comes after the first trap byte."""
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield from int3_update(sites, emulate_new)


def jumps(sites: Sequence[Site]) -> Iterator[Step]:
    """The handler sets the PC to the new target and pushes nothing."""
    return int3_update(sites, replace(emulate_new, pushes=False))


emulating = made("emulating", "the handler emulates the new call", lambda sites: int3_update(sites, emulate_new))
emulating_old = made(
    "emulating-old", "the handler emulates the old call", lambda sites: int3_update(sites, emulate_old)
)
skipping = made("skipping", "the handler skips", lambda sites: int3_update(sites, skip))
jumping = made("jump-without-push", "an emulated call that pushes no return address", jumps)
too_new = made(
    "new-from-the-start",
    "the text is new before anybody began",
    lambda s: int3_update(s, emulate_new),
    starts_with_new=True,
)
third_party = made(
    "undeclared-third",
    "emulates a function that nobody declared safe",
    lambda sites: int3_update(sites, emulate(THIRD)),
)
declared_third = Strategy(
    "declared-third",
    "emulates a function that is declared safe",
    "these tests",
    lambda sites: int3_update(sites, emulate(THIRD)),
    safe=[THIRD],
)
waits_for_itself = made(
    "waits-for-itself", "a grace period inside the patcher's own section", lambda sites: own_grace_period(sites, False)
)
waits_outside = made(
    "waits-outside", "a grace period after the patcher's own section", lambda sites: own_grace_period(sites, True)
)
handlers_under_trap = made(
    "waits-for-handlers-under-the-trap",
    "waits until no CPU is in the handler while CPUs go on trapping",
    lambda sites: waits_inside(sites, emulate_new, WaitForHandlers),
)
tasks_under_retry = made(
    "waits-for-tasks-under-retry",
    "waits for every task while the handler sends tasks back to the trap",
    lambda sites: waits_inside(sites, retry, WaitForTasks),
)
tasks_under_emulation = made(
    "waits-for-tasks-under-emulation",
    "waits for every task while the handler emulates",
    lambda sites: waits_inside(sites, emulate_new, WaitForTasks),
)
retrying = made("retrying", "the handler goes back to the site", lambda sites: int3_update(sites, retry))
resumes_early = made("resumes-before-the-store", "the CPUs go before the store lands", stopped_but_releases_first)
syncs_stopped = made("syncs-while-stopped", "a sync that parked CPUs cannot take", syncs_while_stopped)
traps_stopped = made("traps-while-stopped", "a trap byte that no CPU can meet", traps_while_stopped)
too_early = made("releases-too-early", "the claim goes before the trap byte", releases_early)
claimless = made("claims-after-the-trap", "the trap byte is there before its claim", claims_last)

# ---- what a release and a wait for handlers protect (see test_explain) -----------------------------------------------

skip_and_reread = made(
    "skip-and-reread",
    "skips under a bare claim, waits for handlers, an unclaimed trap reads the byte again",
    lambda sites: late_release(sites, skip),
    rereads=True,
)
retry_and_reread = made(
    "retry-and-reread",
    "goes back under a bare claim, waits for handlers, an unclaimed trap reads the byte again",
    lambda sites: late_release(sites, retry),
    rereads=True,
)

PROBED = Function("probed")


def plants_a_probe(sites: Sequence[Site]) -> Iterator[Step]:
    """The new first byte is the trap byte itself: once the claim is withdrawn, its traps are the probe's."""
    yield Claim(skip, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    yield Release()
    yield WaitForHandlers()


probe = Strategy(
    "plants-a-probe",
    "from a nop to a probe, under a bare claim that skips",
    "these tests",
    rounds=[Round(Probe(PROBED, over=Nop()), [PROBED], plants_a_probe)],
)

# ---- code that is freed ---------------------------------------------------------------------------------------------

sleeper_after_tasks = freeing("sleeper-freed-after-tasks", Function("A", sleeps=True), WaitForTasks)
waker_after_tasks = freeing("callee-freed-after-tasks", Function("A"), WaitForTasks)
preemptible_after_readers = freeing("preemptible-freed-after-readers", Function("A"), WaitForReaders)
section_after_readers = freeing("section-freed-after-readers", Function("A", preemptible=False), WaitForReaders)

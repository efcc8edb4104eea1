"""Today's x86 kernel: a sorted vector of sites, a reference count on every CPU, three syncs, rounds back to back."""

from collections.abc import Iterator, Sequence

from models.protocol import (
    TRAP,
    Call,
    Claim,
    Discard,
    Expect,
    Free,
    Function,
    Probe,
    Release,
    Round,
    Site,
    Step,
    Strategy,
    Sync,
    WaitForHandlers,
    WaitForTasks,
    Write,
    emulate_new,
    old_callees,
)


def update(sites: Sequence[Site]) -> Iterator[Step]:
    """smp_text_poke_batch_finish: counts up, trap byte, tail, first byte, counts down, wait, empty the vector."""
    yield Claim(emulate_new, sites, counted=True)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    for site in sites:
        yield Write(site.tail, site.new)
    yield Sync()
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Sync()
    yield Release()
    yield WaitForHandlers()
    yield Discard()


def freeing(sites: Sequence[Site], waits: bool) -> Iterator[Step]:
    """The update, and then the old callee goes."""
    yield from update(sites)
    if waits:
        yield WaitForTasks()
    for function in old_callees(sites):
        yield Free(function)


def arm(sites: Sequence[Site]) -> Iterator[Step]:
    """The new first byte is the trap byte itself: nothing follows that every handler would have to end before."""
    yield Claim(emulate_new, sites, counted=True)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    yield Release()
    yield WaitForHandlers()
    yield Discard()


SOURCE = "Linux arch/x86/kernel/alternative.c, smp_text_poke_batch_finish (6.16)"

strategy = Strategy(
    name="text-poke-batch",
    says="today's kernel: sorted vector, per-CPU references, handler emulates the new instruction",
    source=SOURCE,
    steps=update,
    expects=(
        Expect(),
        Expect(rounds=2, sites=1),
        Expect(machine="x86-trap-gate", violated=["traps-claimed"]),
        Expect(machine="x86-intel-manual", violated=["no-torn-instruction", "completes"]),
    ),
)

A, PROBED = Function("A"), Function("probed")

to_probe = Strategy(
    name="text-poke-batch-to-probe",
    says="as text-poke-batch, from a call to a probe: no third sync, so waiting for handlers carries load",
    source=f"{SOURCE}: “it matters when the new first byte is int3”; Linux 1f676247f36a (2019)",
    before=Call(A),
    before_means=[A],
    rounds=[Round(Probe(PROBED, over=Call(A)), [PROBED], arm)],
    expects=(
        Expect(),
        Expect(without=["wait-handlers"], violated=["traps-claimed"]),
        Expect(without=["release"], violated=["completes"]),
    ),
)

unsorted = Strategy(
    name="text-poke-batch-unsorted",
    says="as text-poke-batch, with the vector in the wrong order: the binary search misses",
    source="Linux 2aebf5ee43bf (2025-06)",
    steps=lambda sites: (
        Claim(emulate_new, sites[::-1], counted=True, where=s.where) if isinstance(s, Claim) else s
        for s in update(sites)
    ),
    expects=(Expect(sites=2, violated=["traps-claimed", "completes"]),),
)

frees_early = Strategy(
    name="text-poke-batch-frees-early",
    says="as text-poke-batch, and frees the old callee after the last sync",
    source="the hazard behind Linux 12cce594fa8f (2014)",
    steps=lambda sites: freeing(sites, waits=False),
    expects=(Expect(sites=1, violated=["no-freed-code"]),),
)

frees = Strategy(
    name="text-poke-batch-frees",
    says="as text-poke-batch, and frees the old callee after RCU-tasks",
    source="Linux 0598e4f08e3d (2017)",
    steps=lambda sites: freeing(sites, waits=True),
    expects=(Expect(sites=1),),
)

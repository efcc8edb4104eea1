"""Careful call-to-call rewriting: while the bytes change, the trap handler emulates a call.

Three policies are known: the new target (Linux since 5.5), a third function that is always safe because it finds
everybody who is registered (as merged in May 2019), and the old target. Variants free the old callee afterwards.
"""

from collections.abc import Iterator, Sequence

from models.protocol import (
    TRAP,
    Claim,
    Expect,
    Free,
    Function,
    Policy,
    Release,
    Site,
    Step,
    Strategy,
    Sync,
    WaitForTasks,
    Write,
    emulate,
    emulate_new,
    emulate_old,
    old_callees,
)

REGS_CALLER = Function("ftrace_regs_caller")


def update(sites: Sequence[Site], policy: Policy = emulate_new) -> Iterator[Step]:
    """Int3 first, tail next, first byte last; every CPU serialises in between."""
    yield Claim(policy, sites)
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


def freeing_early(sites: Sequence[Site]) -> Iterator[Step]:
    """The old callee is freed after the last sync: a CPU may be in it, with interrupts on."""
    yield from update(sites)
    for function in old_callees(sites):
        yield Free(function)


def freeing(sites: Sequence[Site]) -> Iterator[Step]:
    """The old callee is freed when every task has made a voluntary switch."""
    yield from update(sites)
    yield WaitForTasks()
    for function in old_callees(sites):
        yield Free(function)


strategy = Strategy(
    name="careful-call-to-call",
    says="the same steps; the handler emulates the call of the new target",
    source="Linux 9e298e860408 (2019-05), policy of 5.5 and later; mail of 2019-04-29",
    steps=update,
    expects=(
        Expect(),
        Expect(transition="nop:call"),
        Expect(transition="call:nop"),
        Expect(machine="x86-conservative", exposed=["never-back"]),
        Expect(without=["claim"], violated=["traps-claimed", "completes"]),
    ),
)

safe_third = Strategy(
    name="careful-call-to-call-third",
    says="as careful-call-to-call; the handler emulates the call of a third, always safe function",
    source="Linux 9e298e860408 (2019-05) as merged: ftrace_regs_caller",
    steps=lambda sites: update(sites, emulate(REGS_CALLER)),
    safe=[REGS_CALLER],
    expects=(Expect(),),
)

old = Strategy(
    name="careful-call-to-call-old",
    says="as careful-call-to-call; the handler emulates the call of the old target",
    source="the policy that nobody shipped",
    steps=lambda sites: update(sites, emulate_old),
    expects=(Expect(exposed=["never-back"]),),
)

frees_early = Strategy(
    name="careful-call-to-call-frees-early",
    says="as careful-call-to-call, and frees the old callee after the last sync",
    source="the hazard behind Linux 12cce594fa8f (2014)",
    steps=freeing_early,
    expects=(Expect(sites=1, violated=["no-freed-code"]),),
)

frees = Strategy(
    name="careful-call-to-call-frees",
    says="as careful-call-to-call, and frees the old callee after RCU-tasks",
    source="Linux 0598e4f08e3d (2017)",
    steps=freeing,
    expects=(Expect(sites=1),),
)

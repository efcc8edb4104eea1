"""Stop every CPU, store the whole instruction, let them go: what the manual itself describes."""

from collections.abc import Iterator, Sequence

from models.protocol import (
    Expect,
    Free,
    ResumeMachine,
    Site,
    Step,
    StopMachine,
    Strategy,
    WaitForTasks,
    Write,
    old_callees,
)


def update(sites: Sequence[Site]) -> Iterator[Step]:
    """All CPUs parked with interrupts off; each serialises as it leaves."""
    yield StopMachine()
    for site in sites:
        yield Write(site.whole, site.new)
    yield ResumeMachine()


def freeing(sites: Sequence[Site], waits: bool) -> Iterator[Step]:
    """The update, and then the old callee goes: a stopped CPU may have been inside it."""
    yield from update(sites)
    if waits:
        yield WaitForTasks()
    for function in old_callees(sites):
        yield Free(function)


SOURCE = "x86 ftrace until Linux 08d636b6d4fb (2012); Intel SDM 3A 8.1.3"

strategy = Strategy(
    name="stop-machine",
    says="all CPUs parked, whole store: the positive control for the manual's own rule",
    source=SOURCE,
    steps=update,
    expects=(
        Expect(),
        Expect(transition="nop:call"),
        Expect(transition="call:nop"),
        Expect(machine="x86-intel-manual"),
        Expect(nmi=True, violated=["no-torn-instruction"], exposed=["never-back"]),
    ),
)

frees_early = Strategy(
    name="stop-machine-frees-early",
    says="as stop-machine, and frees the old callee at once",
    source=SOURCE,
    steps=lambda sites: freeing(sites, waits=False),
    expects=(Expect(sites=1, violated=["no-freed-code"]),),
)

frees = Strategy(
    name="stop-machine-frees",
    says="as stop-machine, and frees the old callee after RCU-tasks",
    source=SOURCE,
    steps=lambda sites: freeing(sites, waits=True),
    expects=(Expect(sites=1),),
)

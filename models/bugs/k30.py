"""K30: membarrier interrupted every CPU for a sync, and an interrupt need not end with an instruction that serialises."""

from collections.abc import Sequence

from models.assembly import x86
from models.bug import Bug
from models.program import (
    Answer,
    Check,
    Choose,
    Execute,
    Expect,
    If,
    Interrupt,
    Program,
    Region,
    Serialise,
    Store,
    Thread,
    Write,
    word,
)
from models.properties import STALE
from models.protocol import Step

cpu, writer = Thread("cpu", many=True), Thread("writer")
code = Region("code", {"old": [x86.jump("one")], "new": [x86.jump("two")]})
published = word("published", says="whether threads may jump to the new code")
last = cpu.register("last", "iret", of=("iret", "sysret"), says="how the CPU went back to user space")
iret = Serialise(says="{cpu} goes back to the thread that it interrupted, with IRET, which serialises")
sysret = Store(last, "sysret", says="{cpu} switches to a thread that slept in a system call, and leaves with SYSRET")


def membarrier(name: str, says: str, source: str, *first: Step) -> Program:
    """Write code, membarrier(SYNC_CORE), let threads run it; `first` is what the interrupt's function does."""
    stale = Check(~published, STALE, "stale", says="membarrier has returned, and this CPU runs what was there before")
    fresh = Check(published, STALE, "unpublished")
    exits: Sequence[Step] = [*first, Answer(), Choose([iret], [sysret], says="{cpu} is done with the interrupt")]
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [If(published, [Execute(code, {"old": [stale], "new": [fresh]})])],
            writer: [Write(code.whole, "new"), Interrupt(exits), Store(published, 1)],
        },
    )


bug = Bug(
    identifier="K30",
    title="Serialise in membarrier's interrupt",
    date="2020-12",
    architecture="x86",
    subsystem="membarrier",
    source="Linux 758c9373d841; the bug came with 70216e18e519",
    story="A JIT writes code and asks with membarrier that every core serialise. A CPU takes the interrupt, which does not "
    "serialise, and on its way out switches to another thread of the process that slept in a system call. That one "
    "returns with SYSRET, not IRET, and runs what the CPU had fetched before the code was written.",
    before=membarrier("membarrier-iret", "the interrupt's return is to serialise", "Linux 70216e18e519"),
    found=Expect(violated=["new-after-return/stale", "no-torn-instruction/torn"]),
    shows=["has written “new”", "interrupts every CPU", "answers", "with SYSRET", "executes “jmp one”"],
    after=membarrier(
        "membarrier-explicit",
        "the interrupt's function serialises",
        "Linux 758c9373d841",
        Serialise(says="{cpu} serialises in the interrupt's function"),
    ),
    fixed=Expect(),
    model="All threads are of one process, and the one that returns with SYSRET is about to look whether to run the code.",
)

"""K21: the two instructions of a far call were changed as one, and a task was preempted between them."""

from models.assembly import riscv
from models.bug import Bug
from models.program import (
    Answer,
    Await,
    Check,
    Execute,
    Expect,
    Interrupt,
    Note,
    Program,
    Region,
    Serialise,
    Store,
    Thread,
    Write,
    word,
)
from models.properties import STALE

cpu, patcher = Thread("cpu", many=True), Thread("patcher")
go = word("go", says="whether the stopped CPUs may go on")
returned = word("returned", says="whether the update has returned (a ghost)")
pair = {"old": [riscv.auipc("one"), riscv.jalr("one")], "new": [riscv.auipc("two"), riscv.jalr("two")]}
constant = {"old": [riscv.auipc("one"), riscv.nop()], "new": [riscv.auipc("one"), riscv.jalr("one")]}


def stopped(name: str, says: str, source: str, entry: Region) -> Program:
    """Both words are written while every CPU is stopped, and each runs fence.i before it goes on."""
    stale = Check(~returned, STALE, "stale", says="the update has returned, and this CPU runs the old entry")
    wait = [Answer(), Await(go), Serialise(says="{cpu} runs fence.i and leaves stop-machine")]
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [Execute(entry, {"old": [stale]})],
            patcher: [Interrupt(wait, stopper=True), Write(entry.whole, "new"), Store(go, 1), Note(returned, 1)],
        },
    )


bug = Bug(
    identifier="K21",
    title="Do not preempt between AUIPC and JALR",
    date="2023-01",
    architecture="riscv",
    subsystem="ftrace",
    source="Linux 8547649981e6; the bug came with afc76b8b8011",
    story="A task has executed the AUIPC at a function's entry and is preempted. Stop-machine can start then: both words "
    "are changed and every CPU runs fence.i. The task goes on with the new JALR, and jumps to an address whose upper "
    "bits are the old target's and whose lower bits are the new one's.",
    before=stopped("riscv-pair", "AUIPC and JALR, changed as one", "Linux afc76b8b8011", Region("entry", pair)),
    found=Expect(machine="riscv-ziccif", preempt=True, violated=["no-torn-instruction/torn"]),
    shows=["executes “auipc t0, hi(one)”", "preempted", "writes “new”", "executes “jalr t0, lo(two)(t0)”"],
    after=stopped("riscv-constant-auipc", "AUIPC stays, NOP or JALR", "Linux b2137c3b6d7a", Region("entry", constant)),
    fixed=Expect(machine="riscv-ziccif", preempt=True),
    model="The fix of 2023 forbade preemption; this is the one of 2025: whom the tracer calls is data behind a constant "
    "target, and code only says whether it is called. That stop-machine went in the same series is left out.",
)

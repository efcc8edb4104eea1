"""K13: the optimiser of kprobes waited for running CPUs, and forgot tasks that were preempted inside the five bytes."""

from models.assembly import x86
from models.bug import Bug
from models.program import (
    Execute,
    Expect,
    Goto,
    If,
    Program,
    Region,
    Store,
    Sync,
    Thread,
    WaitForReaders,
    WaitForTasks,
    Write,
    word,
)

cpu, optimizer = Thread("cpu", many=True), Thread("optimizer")
code = {"original": [x86.raw(b"\x41\x54", "push r12"), x86.mov_rbp_rsp()], "optimised": [x86.jump("detour")]}
site = Region("site", code)
flag = word("OPTIMIZED", says="whether the probe is optimised, or queued to be")


def optimised(name: str, says: str, source: str, wait: WaitForReaders | WaitForTasks) -> Program:
    """A probe is armed with int3, then queued; once nobody is behind the int3 any more, a jmp replaces it."""
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [Execute(site, trap=[If(flag, [], [Goto(2)])])],  # through the detour, or stepped over
            optimizer: [
                Write(site.bytes(0, 1), b"\xcc"),
                Sync(),
                Store(flag, 1, says="{cpu} queues the probe: from now on, its trap leads to the detour"),
                wait,
                Write(site.bytes(1, 5), "optimised"),
                Sync(),
                Write(site.bytes(0, 1), "optimised"),
                Sync(),
            ],
        },
    )


bug = Bug(
    identifier="K13",
    title="Wait for tasks, not only for CPUs, before a probe is optimised in a preemptible kernel",
    date="2017-10",
    architecture="x86",
    subsystem="kprobes",
    source="Linux a30b85df7d59",
    story="A jmp is about to replace two instructions. A task that ran the first of them is preempted before the second. "
    "The optimiser waits for a grace period, to which a preempted task is no hindrance, and writes the operand of the "
    "jmp. When the task runs again, it resumes in the middle of it.",
    before=optimised(
        "optprobe-sched", "waits until every CPU has been elsewhere", "Linux before a30b85df7d59", WaitForReaders()
    ),
    found=Expect(preempt=True, violated=["no-torn-instruction/torn"]),
    shows=["executes “push r12”", "grace period is over", "bytes 1 to 4", "executes a torn instruction at “site” + 2"],
    after=optimised(
        "optprobe-tasks", "waits until every task has been elsewhere", "Linux a30b85df7d59", WaitForTasks()
    ),
    fixed=Expect(preempt=True),
    model="The grace period is that of readers: with preemption it ends for whoever is in no read-side section, so that the "
    "task need not even be off its CPU. The other half, a buffer that is freed under a preempted task, is that of K37.",
)

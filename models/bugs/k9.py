"""K9: a kprobe was optimised before every CPU was sure to see its int3."""

from models.assembly import x86
from models.bug import Bug
from models.program import Execute, Expect, Goto, If, Program, Region, Store, Sync, Thread, WaitForTasks, Write, word

cpu, optimizer = Thread("cpu", many=True), Thread("optimizer")
code = {"original": [x86.raw(b"\x41\x54", "push r12"), x86.mov_rbp_rsp()], "optimised": [x86.jump("detour")]}
site = Region("site", code)
flag = word("OPTIMIZED", says="whether the probe is optimised, or queued to be")


def optimised(name: str, says: str, source: str, *synced: Sync) -> Program:
    """A probe is armed with int3, then queued; the wait for tasks is for those that are behind the int3 already."""
    poke = [
        Write(site.bytes(0, 1), b"\xcc", says="{cpu} writes int3 over the first byte, where it is already"),
        Sync(),
        Write(site.bytes(1, 5), "optimised"),
        Sync(),
        Write(site.bytes(0, 1), "optimised"),
        Sync(),
    ]
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [Execute(site, trap=[If(flag, [], [Goto(2)])])],  # through the detour, or stepped over
            optimizer: [
                Write(site.bytes(0, 1), b"\xcc", says="{cpu} arms the probe: int3 over the first byte"),
                *synced,
                Store(flag, 1, says="{cpu} queues the probe: from now on, its trap leads to the detour"),
                WaitForTasks(),
                *poke,
            ],
        },
    )


bug = Bug(
    identifier="K9",
    title="Make every CPU see the int3 of a kprobe before waiting for those behind it",
    date="2019-11",
    architecture="x86",
    subsystem="kprobes",
    source="Linux 5c02ece81848",
    story="A probe is armed with int3, and nobody makes the other CPUs fetch it. The optimiser waits until all tasks have "
    "been elsewhere: that empties the bytes behind the int3 only if nobody can get there any more. A CPU that still "
    "fetches the old first byte comes there after its task was waited for, and then the operand of the jmp is written.",
    before=optimised("optprobe-arm-unsynced", "int3, one wait for tasks, the jmp", "Linux before 5c02ece81848"),
    found=Expect(violated=["no-torn-instruction/torn"]),
    shows=[
        "arms the probe",
        "has made, a voluntary switch",
        "executes “push r12”",
        "begins to write “optimised” over bytes 1 to 4",
        "executes a torn instruction at “site” + 2",
    ],
    after=optimised("optprobe-arm-synced", "int3, then first of all every CPU sees it", "Linux 5c02ece81848", Sync()),
    fixed=Expect(),
    model="The side of unregistering, mended by the same commit, is K9b.",
)

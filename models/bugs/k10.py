"""K10: an optimised kprobe lost its mark before its jmp was gone, and the trap handler stepped into the operand."""

from models.assembly import x86
from models.bug import Bug
from models.program import Execute, Expect, Goto, If, Program, Region, Store, Sync, Thread, Write, word

cpu, optimizer = Thread("cpu", many=True), Thread("optimizer")
code = {"optimised": [x86.jump("detour")], "original": [x86.raw(b"\x41\x54", "push r12"), x86.mov_rbp_rsp()]}
site = Region("site", code)
flag = word("OPTIMIZED", 1, says="whether the trap handler takes the probe for optimised")
clear = Store(flag, 0, says="{cpu} takes the mark from the probe: it is not optimised")


def unoptimised(name: str, says: str, source: str, fixed: bool) -> Program:
    """The jmp gives way to int3 and the original bytes behind it; the int3 remains, as the probe does."""
    text = [
        Write(site.bytes(0, 1), b"\xcc", says="{cpu} writes int3 over the first byte of the jmp"),
        Sync(),
        Write(site.bytes(1, 5), "original"),
        Sync(),
    ]
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [Execute(site, trap=[If(flag, [], [Goto(2)])])],  # through the detour, or stepped over
            optimizer: [*text, clear] if fixed else [clear, *text],
        },
    )


bug = Bug(
    identifier="K10",
    title="Take the mark of an optimised kprobe away after its jmp, not before",
    date="2019-11",
    architecture="x86",
    subsystem="kprobes",
    source="Linux f66c0447cca1; the bug came with 6274de4984a6",
    story="A jmp is taken back: int3 goes over its first byte, and the original bytes are to follow. The probe is not "
    "marked as optimised any more, so a CPU that hits the int3 steps over the first instruction and returns behind it. "
    "There the operand of the jmp is still in place.",
    before=unoptimised("optprobe-flag-first", "the mark goes, then the jmp", "Linux before f66c0447cca1", fixed=False),
    found=Expect(violated=["no-torn-instruction/torn"]),
    shows=[
        "takes the mark",
        "writes int3",
        "traps",
        "goes on at “site” + 2",
        "executes a torn instruction at “site” + 2",
    ],
    after=unoptimised("optprobe-flag-last", "the jmp goes, then the mark", "Linux f66c0447cca1", fixed=True),
    fixed=Expect(),
)

"""K24: a trampoline was written, and branched to before the instruction caches could have it."""

from models.assembly import arm64
from models.bug import Bug
from models.program import Check, Execute, Expect, Maintain, Note, Program, Region, Sync, Thread, Write, word
from models.properties import STALE

MACHINE = "arm64-dic0,havoc=off"
cpu, patcher = Thread("cpu", many=True), Thread("patcher")
plt = Region("plt", {"leftover": [arm64.raw(0)] * 2, "entry": [arm64.mov(16, 0x1234), arm64.raw(0xD61F0200, "br x16")]})
site = Region("site", {"nop": [arm64.nop()], "call": [arm64.branch_link("plt")]})
written = word("written", says="whether the PLT entry is written (a ghost)")


def made(name: str, says: str, source: str, *maintenance: Maintain) -> Program:
    """The PLT entry first, then the branch to it."""
    stale = Check(~written, STALE, "stale", says="the PLT entry is written, and this CPU runs what was there before")
    fresh = Check(written, STALE, "unwritten")
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [Execute(site, {"call": [Execute(plt, {"leftover": [stale], "entry": [fresh]})]})],
            patcher: [
                Write(plt.whole, "entry"),
                Note(written, 1),
                *maintenance,
                Sync(),
                Write(site.whole, "call"),
                Maintain(site),
            ],
        },
    )


bug = Bug(
    identifier="K24",
    title="Clean the caches over the module's trampoline before branching to it",
    date="2019-08",
    architecture="arm64",
    subsystem="ftrace, module PLT",
    source="Linux b6143d10d23e; the bug came with be0f272bfc83",
    story="A module's PLT entry for ftrace is written when the first of its functions is traced. Between that and the patching "
    "of the call there is a barrier for data only. A CPU takes the new call and fetches what was at the entry before.",
    before=made("module-plt-unmaintained", "the entry is only stored", "Linux be0f272bfc83"),
    found=Expect(machine=MACHINE, violated=["new-after-return/stale", "no-torn-instruction/torn"]),
    shows=[
        "writes “entry” over “plt”",
        "writes “call” over “site”",
        "executes “bl plt”",
        "executes “.word 0x00000000”",
    ],
    after=made("module-plt-maintained", "and its caches are maintained", "Linux b6143d10d23e", Maintain(plt)),
    fixed=Expect(machine=MACHINE),
    model="The sync before the call is patched stands, on both sides, for Arm's promise that a CPU which takes the new branch "
    "fetches what lies behind it no earlier; the machine has no such promise. Havoc is off: it counts every CPU as one "
    "that may have the entry in flight, and here none can reach it yet. An entry is a mov and a br.",
)

"""J15: a block was linked with one store into a jump, across the words that fetches read."""

from models.assembly import x86
from models.bug import Bug
from models.program import Check, Execute, Expect, Note, Program, Region, Sync, Thread, Write, word
from models.properties import STALE

MACHINE = "x86-amd,granularity=aligned-8"
cpu, patcher = Thread("thread", many=True), Thread("patcher")
returned = word("returned", says="whether the update has returned (a ghost)")


def linked(name: str, says: str, source: str, offset: int) -> Program:
    """The exit of a block becomes a jump to its successor, where the jump is at byte `offset` of its line."""
    leave = Region("exit", {"out": [x86.jump("dispatcher")], "on": [x86.jump("successor")]}, offset)
    stale = Check(~returned, STALE, "stale", says="the blocks are linked, and this thread goes to the dispatcher")
    patch = [Write(leave.bytes(1, 5), "on"), Sync(), Note(returned, 1)]
    return Program(name, says, source, threads={cpu: [Execute(leave, {"out": [stale]})], patcher: patch})


bug = Bug(
    identifier="J15",
    title="Align the displacement of every jump that is patched back",
    date="2026-07",
    architecture="x86",
    subsystem="JIT back-patching",
    source="chimera PR 51",
    story="Translated blocks are linked by storing the displacement of a jump that threads execute. Where that is not aligned "
    "and crosses what a fetch reads at once, a thread jumps to an address made of both targets.",
    before=linked("displacement-anywhere", "one store, not aligned", "chimera before PR 51", 4),
    found=Expect(machine=MACHINE, violated=["no-torn-instruction/torn"]),
    shows=["begins to write “on”", "executes a torn instruction"],
    after=linked("displacement-padded", "one store, aligned to 4 bytes", "chimera PR 51", 3),
    fixed=Expect(machine=MACHINE),
    model="Fetches are of aligned quadwords. The sync at the end, so that linking can be said to have returned, is added.",
)

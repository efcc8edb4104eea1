"""K26: where a patcher expected one no-op of five bytes, the compiler of BPF programs had put two shorter ones."""

from models.assembly import Asm, x86
from models.bug import Bug
from models.program import Check, Execute, Expect, Holds, If, Note, Program, Region, Sync, Thread, Write, word
from models.properties import STALE

cpu, patcher = Thread("cpu", many=True), Thread("patcher")
returned = word("returned", says="whether the programs are said to be out of reach (a ghost)")
stale = Check(
    ~returned, STALE, "stale", says="the site was to be a jmp around the programs, and this CPU goes on to them"
)


def skipped(name: str, says: str, source: str, *filler: Asm) -> Program:
    """A site becomes a jmp, with breakpoints, if it holds the one no-op that it should hold."""
    versions = {"filler": filler, "one no-op": [x86.nop(5)], "jmp": [x86.jump("epilogue")]}
    site = Region("site", versions)
    poke = [
        Write(site.bytes(0, 1), b"\xcc"),
        Sync(),
        Write(site.bytes(1, 5), "jmp"),
        Sync(),
        Write(site.bytes(0, 1), "jmp"),
        Sync(),
    ]
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [Execute(site, {"filler": [stale], "one no-op": [stale]}, trap=[])],
            patcher: [If(Holds(site, "one no-op"), poke), Note(returned, 1)],
        },
    )


bug = Bug(
    identifier="K26",
    title="Fill a site that is to be patched with one no-op, not with two",
    date="2021-03",
    architecture="x86",
    subsystem="BPF",
    source="Linux, “bpf: use NOP_ATOMIC5”; the bug came with e21aa341785c",
    story="In a trampoline, a place is kept free for a jmp that will lead around the programs when they are detached. On "
    "some parts it was filled with two no-ops, because those run faster there. The patcher compares the five bytes with "
    "the one no-op that it knows, finds something else and gives up: CPUs go on to the programs.",
    before=skipped(
        "bpf-two-nops", "the filler is two no-ops", "Linux e21aa341785c", x86.raw(b"\x66\x66\x90", "nop"), x86.nop(2)
    ),
    found=Expect(violated=["new-after-return/stale"]),
    shows=["not so that “site” holds “one no-op”", "executes “nop” at “site” + 3"],
    after=skipped("bpf-atomic-nop", "the filler is one no-op", "Linux, “bpf: use NOP_ATOMIC5”", x86.nop(5)),
    fixed=Expect(),
    model="The caller is taken to go on as if nothing had failed. A task that rests between the two no-ops, which would be "
    "in the way of a patcher that does not compare, is not shown.",
)

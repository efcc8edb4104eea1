"""K18: a branch was patched with one legal store, and other CPUs went on running the old instruction without end."""

from models.assembly import arm64
from models.bug import Bug
from models.program import Check, Execute, Expect, Maintain, Note, Program, Region, Sync, Thread, Write, word
from models.properties import STALE

cpu, patcher = Thread("cpu", many=True), Thread("patcher")
key = Region("key", {"nop": [arm64.nop()], "branch": [arm64.branch("enabled")]})
returned = word("returned", says="whether the update has returned (a ghost)")


def patched(name: str, says: str, source: str, *last: Sync) -> Program:
    """One aligned word, and maintenance of the caches, which is all that makes the store visible."""
    stale = Check(~returned, STALE, "stale", says="the key is on everywhere, and this CPU runs the instruction for off")
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [Execute(key, {"nop": [stale]})],
            patcher: [Write(key.whole, "branch"), Maintain(key), *last, Note(returned, 1)],
        },
    )


bug = Bug(
    identifier="K18",
    title="Make patched jump labels visible to all CPUs",
    date="2024-07",
    architecture="arm64",
    subsystem="jump_label",
    source="Linux cfb00a357864; the bug came with f6cc0c501649",
    story="A nop becomes a branch with one aligned store, which Arm allows while others run, and the caches are cleaned "
    "and invalidated. Nobody asks the other CPUs to synchronise their context: one of them goes on with the nop that it "
    "fetched before, with no bound in time, although the key is said to be on everywhere.",
    before=patched("jump-label-unsynchronised", "one store, cache maintenance, done", "Linux f6cc0c501649"),
    found=Expect(machine="arm64-dic0", violated=["new-after-return/stale"]),
    shows=["writes “branch”", "cleans and invalidates", "executes “nop”"],
    after=patched("jump-label-kicked", "and every CPU is interrupted once", "Linux cfb00a357864", Sync()),
    fixed=Expect(machine="arm64-dic0"),
)

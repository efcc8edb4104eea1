"""K9b: a kprobe was freed although CPUs still fetched its int3."""

from models.assembly import x86
from models.bug import Bug
from models.program import (
    Execute,
    Expect,
    Fail,
    Goto,
    If,
    Program,
    Region,
    Store,
    Sync,
    Thread,
    WaitForReaders,
    Write,
    word,
)
from models.properties import CLAIMED

cpu, user = Thread("cpu", many=True), Thread("user")
site = Region("site", {"original": [x86.raw(b"\x41\x54", "push r12"), x86.mov_rbp_rsp()]})
known = word("known", 1, says="whether the probe can be found, and is there to be read")
lost = Fail(CLAIMED, "unclaimed", says="{cpu}'s handler finds no probe for its trap")


def unregistered(name: str, says: str, source: str, *synced: Sync) -> Program:
    """A probe is armed; later its byte is put back, and after a grace period it is freed."""
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [Execute(site, trap=[If(known, [Goto(2)], [lost])])],
            user: [
                Write(site.bytes(0, 1), b"\xcc", says="{cpu} arms the probe: int3 over the first byte"),
                Sync(),
                Write(site.bytes(0, 1), "original", says="{cpu} disarms the probe: the old first byte is back"),
                *synced,
                WaitForReaders(),
                Store(known, 0, says="{cpu} frees the probe"),
            ],
        },
    )


bug = Bug(
    identifier="K9b",
    title="Make every CPU forget the int3 of a kprobe before the probe is freed",
    date="2019-11",
    architecture="x86",
    subsystem="kprobes",
    source="Linux 5c02ece81848",
    story="The old byte is back in memory, and nobody makes the other CPUs fetch it. A grace period passes, which is not "
    "what would do so, and the probe is freed. A CPU that had fetched the int3 traps, and its handler finds no probe.",
    before=unregistered("kprobe-disarm-unsynced", "the byte back, a grace period, gone", "Linux before 5c02ece81848"),
    found=Expect(violated=["traps-claimed/unclaimed"]),
    shows=["disarms the probe", "starts an RCU grace period", "traps", "frees the probe", "finds no probe"],
    after=unregistered("kprobe-disarm-synced", "the byte back, seen everywhere", "Linux 5c02ece81848", Sync()),
    fixed=Expect(),
    model="The probe is found until the grace period is over; the code unlinks it before. The handler does not look at "
    "the byte again: that would hide a probe that is not found, not one that is freed while it is read.",
)

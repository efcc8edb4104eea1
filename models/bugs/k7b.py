"""K7b: one entry more than the table holds went over the number of entries."""

from collections.abc import Iterator, Sequence

from models.bug import Bug
from models.protocol import (
    TRAP,
    Claim,
    Discard,
    Expect,
    Release,
    Site,
    Step,
    Strategy,
    Sync,
    WaitForHandlers,
    Write,
    emulate_new,
)

ROOM = 1  # of 256 in the kernel: what happens at the bound happens at any


def update(sites: Sequence[Site]) -> Iterator[Step]:
    """One batch, as the kernel does it."""
    yield Claim(emulate_new, sites, counted=True, room=ROOM)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    for site in sites:
        yield Write(site.tail, site.new)
    yield Sync()
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Sync()
    yield Release()
    yield WaitForHandlers()
    yield Discard()


def full_first(sites: Sequence[Site]) -> Iterator[Step]:
    """A batch that is full is finished before the next site is added."""
    for start in range(0, len(sites), ROOM):
        yield from update(sites[start : start + ROOM])


bug = Bug(
    identifier="K7b",
    title="Check that there is room when a single site joins a batch",
    date="2025-06",
    architecture="x86",
    subsystem="text_poke",
    source="Linux 2aebf5ee43bf; the bug came with c8976ade0c1b",
    story="The batch is full. Another caller appends a single site without the test of size, which goes over the number "
    "of entries behind the table. A CPU traps, and its handler searches a table of a length that nobody meant.",
    before=Strategy("text-poke-overfull", "the last entry has no room", "Linux before 2aebf5ee43bf", steps=update),
    found=Expect(violated=["traps-claimed/unclaimed", "completes"]),
    shows=["claims traps at sites 0, 1", "fetches the trap byte", "nobody claims it"],
    after=Strategy("text-poke-flushed", "a full batch is finished first", "Linux 2aebf5ee43bf", steps=full_first),
    fixed=Expect(),
    model="With room for one. What the search finds with a wrong length is not modelled: it finds nothing, which is fatal.",
)

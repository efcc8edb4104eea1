"""The handler emulates the old call until the new tail is written, and the new call from then on.

A policy of this project's own: a trap early in the update changes nothing for its CPU, and one late in it is not slower
than the new call. The second claim replaces the first.
"""

from collections.abc import Iterator, Sequence

from models.protocol import TRAP, Claim, Expect, Release, Site, Step, Strategy, Sync, Write, emulate_new, emulate_old


def update(sites: Sequence[Site]) -> Iterator[Step]:
    """Trap byte, tail, first byte; the handler changes its mind before the middle sync."""
    yield Claim(emulate_old, sites, label="claim-old")
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    for site in sites:
        yield Write(site.tail, site.new)
    yield Claim(emulate_new, sites, label="claim-new")
    yield Sync()
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Sync()
    yield Release()


strategy = Strategy(
    name="old-until-written",
    says="trap byte, tail, first byte; the handler emulates the old call until the tail is written",
    source="this project",
    steps=update,
    expects=[
        Expect(),
        Expect(transition="nop:call"),
        Expect(transition="call:nop"),
    ],
)

"""K2: the trap byte could be seen before the flag that says whose it is."""

from collections.abc import Iterator, Sequence

from models.bug import Bug
from models.protocol import TRAP, Claim, Expect, Release, Site, Step, Strategy, Sync, Write, skip
from models.skeletons import int3_update


def announced_late(sites: Sequence[Site]) -> Iterator[Step]:
    """The flag is raised after the breakpoints are in place."""
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Claim(skip, sites)
    yield Sync()
    for site in sites:
        yield Write(site.tail, site.new)
    yield Sync()
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Sync()
    yield Release()


bug = Bug(
    identifier="K2",
    title="Synchronise the flag with the breakpoints",
    date="2012-05",
    architecture="x86",
    subsystem="ftrace",
    source="Linux a192cd0413b7",
    story="The patcher raises a plain flag and writes the breakpoints, with nothing that orders the two. A CPU executes a "
    "breakpoint and reads the flag as still down: nobody claims the trap, and the kernel dies.",
    before=Strategy(
        "ftrace-flag-unordered",
        "the flag can be seen after the trap byte",
        "Linux before a192cd0413b7",
        steps=announced_late,
    ),
    found=Expect(
        violated=["traps-claimed/unclaimed"],
        exposed=["old-or-new/missed"],
        use_cases=["tracing"],
    ),
    shows=["writes the trap byte", "fetches the trap byte", "nobody claims it"],
    after=Strategy(
        "ftrace-flag-ordered",
        "the flag goes up first",
        "Linux a192cd0413b7",
        steps=lambda sites: int3_update(sites, skip),
    ),
    fixed=Expect(exposed=["old-or-new/missed"], use_cases=["tracing"]),
    model="That the store of the flag may be overtaken is said by the order of the steps.",
)

"""K4: the call inside the ftrace trampoline was overwritten while CPUs executed it."""

from collections.abc import Iterator, Sequence

from models.bug import Bug
from models.protocol import Expect, Site, Step, Strategy, Write, skip
from models.skeletons import int3_update


def copied(sites: Sequence[Site]) -> Iterator[Step]:
    """All five bytes, as memcpy writes them."""
    for site in sites:
        yield Write(site.bytes(0, 5), site.new)


bug = Bug(
    identifier="K4",
    title="Use the breakpoint method for the call in the trampoline, too",
    date="2012-05",
    architecture="x86",
    subsystem="ftrace",
    source="Linux 8a4d0a687a59",
    story="The sites were changed with breakpoints, but the call in the trampoline that they all lead to was overwritten "
    "with memcpy. A CPU fetches a mixture of the old and the new displacement and jumps to nowhere.",
    before=Strategy(
        "ftrace-caller-memcpy", "five bytes overwritten under running CPUs", "Linux before 8a4d0a687a59", steps=copied
    ),
    found=Expect(
        violated=["no-torn-instruction/torn", "new-after-return"], exposed=["never-back"], use_cases=["tracing"]
    ),
    shows=["begins to write", "arrives at site", "executes a torn instruction"],
    after=Strategy(
        "ftrace-caller-breakpoint",
        "the breakpoint method",
        "Linux 8a4d0a687a59",
        steps=lambda sites: int3_update(sites, skip),
    ),
    fixed=Expect(exposed=["old-or-new/missed"], use_cases=["tracing"]),
    model="The fix still misses calls meanwhile (K1), which tracing accepts.",
)

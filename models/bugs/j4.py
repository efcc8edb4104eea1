"""J4: one store of a displacement that lies across the words that a fetch reads."""

from collections.abc import Iterator, Sequence

from models.bug import Bug
from models.protocol import Expect, Site, Step, Strategy, Sync, Write


def one_store(sites: Sequence[Site]) -> Iterator[Step]:
    """The displacement of the call, with one store; then wait until everybody has seen it."""
    for site in sites:
        yield Write(site.bytes(1, 5), site.new)
    yield Sync()


MACHINE = "x86-amd,granularity=aligned-8,store-atomicity=aligned-8"

bug = Bug(
    identifier="J4",
    title="Align the displacement of every call that is patched",
    date="early 2000s",
    architecture="x86",
    subsystem="HotSpot call sites",
    source="JDK-4506997, JDK-4479829",
    story="A running call is redirected by storing its four-byte displacement. Where it crosses an aligned word, the store "
    "lands in two parts and a thread that fetches in between calls an address made of both.",
    before=Strategy(
        "displacement-across-words",
        "one store, not aligned",
        "HotSpot before the alignment rule",
        steps=one_store,
        offset=5,
    ),
    found=Expect(machine=MACHINE, violated=["no-torn-instruction/torn"], exposed=["never-back"], sites=1),
    shows=["begins to write", "executes a torn instruction"],
    after=Strategy(
        "displacement-in-a-word",
        "one store within an aligned word",
        "HotSpot's alignment rule",
        steps=one_store,
        offset=3,
    ),
    fixed=Expect(machine=MACHINE, sites=1),
    model="Fetches are of aligned quadwords, as the rule relies on.",
)

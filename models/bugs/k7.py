"""K7: a site was added to the batch without keeping the table in order, and the handler did not find it."""

from models.bug import Bug
from models.protocol import Expect
from models.strategies.text_poke_batch import strategy as sorted_
from models.strategies.text_poke_batch import unsorted

bug = Bug(
    identifier="K7",
    title="Keep the table in order when a single site joins a batch",
    date="2025-06",
    architecture="x86",
    subsystem="text_poke",
    source="Linux 2aebf5ee43bf",
    story="A site with a high address is queued. Another caller appends one with a low address without the test of order, "
    "and finishes the batch. A CPU traps; the binary search of the handler misses the entry, and nobody claims the trap.",
    before=unsorted,
    found=Expect(violated=["traps-claimed/unclaimed", "completes"]),
    shows=["claims traps at sites 1, 0", "fetches the trap byte", "nobody claims it"],
    after=sorted_,
    fixed=Expect(),
)

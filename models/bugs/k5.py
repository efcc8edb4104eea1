"""K5: the poker took the table of sites away under a handler that was reading it."""

from models.bug import Bug
from models.protocol import Expect
from models.strategies.text_poke_batch import to_probe

bug = Bug(
    identifier="K5",
    title="A completion scheme for the breakpoint handler",
    date="2019-12",
    architecture="x86",
    subsystem="text_poke",
    source="Linux 285a54efe386, then 1f676247f36a",
    story="A CPU is in the breakpoint handler and has seen that there are entries. The poker has finished and clears the "
    "table. The handler looks an entry up in what is no longer there. The trap came from a breakpoint that stays, so no "
    "sync had waited for it. The fix counts handlers, and the poker waits for them.",
    before=to_probe,
    found=Expect(without=["wait-handlers"], violated=["traps-claimed/released"]),
    shows=["fetches the trap byte", "empties the handler's table"],
    after=to_probe,
    fixed=Expect(),
    model="Of the two forms in which the state can be reached, this is the one whose new first byte is a breakpoint.",
)

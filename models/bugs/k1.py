"""K1: the breakpoint handler skipped the call, and a livepatched function ran as it was."""

from models.bug import Bug
from models.protocol import Expect
from models.strategies.careful_call_to_call import safe_third
from models.strategies.nop_then_back import strategy as skipping

bug = Bug(
    identifier="K1",
    title="Emulate the call while the breakpoint handler is in charge",
    date="2019-05",
    architecture="x86-64",
    subsystem="ftrace, livepatch",
    source="Linux 9e298e860408, 2700fefdb2d9; mail of 2019-04-29",
    story="The site goes from call A to call B and holds the trap byte. A CPU fetches the trap byte; the handler skips to "
    "the next instruction, so neither A nor B is called and the function that the livepatch replaces runs.",
    before=skipping,
    found=Expect(violated=["old-or-new/missed"], use_cases=["livepatch"]),
    shows=["writes the trap byte", "fetches the trap byte", "handler skips the instruction"],
    after=safe_third,
    fixed=Expect(use_cases=["livepatch"]),
)

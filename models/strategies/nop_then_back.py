"""Rewrite as nop and then back: while the bytes change, the trap handler skips the instruction.

What x86 ftrace did from 2012 to 2019. No torn instruction ever runs, but between call A and call B nobody is called.
"""

from models.protocol import Expect, Strategy, skip
from models.skeletons import int3_update

strategy = Strategy(
    name="nop-then-back",
    says="trap byte, tail, first byte; the handler skips the instruction meanwhile",
    source="Linux 08d636b6d4fb (2012) until 9e298e860408 (2019); mail of 2019-04-29",
    steps=lambda sites: int3_update(sites, skip),
    expects=(
        Expect(violated=["old-or-new/missed"], use_cases=["livepatch"]),
        Expect(exposed=["old-or-new/missed"], use_cases=["tracing"]),
        Expect(transition="nop:call", exposed=["never-back"]),
        Expect(transition="call:nop"),
    ),
)

"""K17: who enabled a key that another was enabling returned before it was patched."""

from collections.abc import Sequence

from models.assembly import x86
from models.bug import Bug
from models.program import (
    Acquire,
    Check,
    Choose,
    Execute,
    Expect,
    If,
    Note,
    Program,
    Region,
    Release,
    Store,
    Sync,
    Thread,
    Write,
    lock,
    word,
)
from models.properties import STALE
from models.protocol import Step

cpu, mutex = Thread("cpu", many=True), lock("jump_label_mutex")
key = Region("key", {"nop": [x86.nop()], "jmp": [x86.jump("enabled branch")]})
enabled = word("enabled", "0", of=("0", "1", "more", "-1"), says="how many users the key has; -1: being patched")
user = cpu.register("user", says="whether static_key_enable has returned to this CPU (a ghost)")


def enable(fixed: bool) -> Sequence[Step]:
    """Enable the key unless it is enabled; before the fix, -1 counts as that, too."""
    patch = [Store(enabled, "-1", says="{cpu} marks the key as being patched"), Write(key.whole, "jmp"), Sync()]
    last = Store(enabled, "1", says="{cpu} sets the count to 1")
    others: Sequence[Step] = [] if fixed else [Store(enabled, "more")]  # slow_inc counts
    slow = [Acquire(mutex), If(enabled == "0", [*patch, last], others), Release(mutex)]
    return [If(enabled.is_in(["0", "-1"]) if fixed else enabled == "0", slow, label="enable")]


def protocol(name: str, says: str, source: str, fixed: bool) -> Program:
    """Callers of static_key_enable, and others who merely come to the key's code."""
    stale = Check(~user, STALE, "stale", says="enable has returned here, and the code is as for a key that is off")
    run = Execute(key, {"nop": [stale]})
    return Program(name, says, source, threads={cpu: [Choose([*enable(fixed), Note(user, 1)], []), run]})


MACHINE = "x86-stale-instruction"

bug = Bug(
    identifier="K17",
    title="Whoever enables a key waits for whoever is enabling it",
    date="2017-08",
    architecture="all",
    subsystem="jump_label",
    source="Linux 1dbb6704de91",
    story="Two callers of static_key_enable. The first has marked the key and patches. The second sees a count that is not "
    "zero, has nothing to do and returns; its code still runs the branch for a key that is off.",
    before=protocol("enable-unless-counted", "any count will do, also -1", "Linux before 1dbb6704de91", False),
    found=Expect(machine=MACHINE, violated=["new-after-return/stale"]),
    shows=["marks the key as being patched", "finds that it is not so that “enabled” is 0", "executes “nop”"],
    after=protocol("enable-unless-enabled", "only a positive count will do", "Linux 1dbb6704de91", True),
    fixed=Expect(machine=MACHINE),
    model="The code is patched with one store and a sync. Nobody disables the key.",
)

"""K15: the count said that a key was on before its code was patched, and the next caller relied on it."""

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
user = cpu.register("user", says="whether slow_inc has returned to this CPU (a ghost)")


def slow_inc(fixed: bool) -> Sequence[Step]:
    """Join the users that there are; where there are none, patch, under the mutex."""
    one, more = Store(enabled, "1", says="{cpu} sets the count to 1"), [Store(enabled, "more")]
    patch = [Write(key.whole, "jmp"), Sync()]
    first = [Store(enabled, "-1", says="{cpu} marks the key as being patched"), *patch, one] if fixed else [one, *patch]
    slow = [Acquire(mutex), If(enabled == "0", first, more), Release(mutex)]
    joined = [Store(enabled, "more", says="{cpu} counts one user more and returns")]
    return [If(enabled.is_in(["1", "more"]) if fixed else enabled != "0", joined, slow, label="slow_inc")]


def protocol(name: str, says: str, source: str, fixed: bool) -> Program:
    """Callers of slow_inc, and others who merely come to the key's code."""
    stale = Check(~user, STALE, "stale", says="slow_inc has returned here, and the code is as for a key that is off")
    run = Execute(key, {"nop": [stale]})
    return Program(name, says, source, threads={cpu: [Choose([*slow_inc(fixed), Note(user, 1)], []), run]})


MACHINE = "x86-stale-instruction"

bug = Bug(
    identifier="K15",
    title="A static key that is being enabled is not enabled yet",
    date="2016-06",
    architecture="all",
    subsystem="jump_label",
    source="Linux 4c5ea0a9cd02",
    story="The first caller of static_key_slow_inc takes the count from 0 to 1 and starts to patch. The second sees that "
    "the count is not zero, adds one and returns at once: its code still runs the branch for a key that is off.",
    before=protocol("slow-inc-counted-first", "who finds a count returns at once", "Linux before 4c5ea0a9cd02", False),
    found=Expect(machine=MACHINE, violated=["new-after-return/stale"]),
    shows=["sets the count to 1", "counts one user more", "executes “nop”"],
    after=protocol("slow-inc-in-transition", "-1 while patching sends others to the mutex", "Linux 4c5ea0a9cd02", True),
    fixed=Expect(machine=MACHINE),
    model="The code is patched with one store and a sync. The count stops at “more” and never falls, so that a test and a "
    "store do for atomic_inc_not_zero.",
)

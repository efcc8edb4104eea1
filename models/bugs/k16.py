"""K16: one user too many was given back, and the count of -1 then said that the key was being patched."""

from collections.abc import Sequence

from models.assembly import x86
from models.bug import Bug
from models.program import (
    Acquire,
    Await,
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
    compare_exchange,
    lock,
    word,
)
from models.properties import STALE
from models.protocol import Step

cpu, owner, other, mutex = Thread("cpu", many=True), Thread("owner"), Thread("other"), lock("jump_label_mutex")
key = Region("key", {"jmp": [x86.jump("enabled branch")], "nop": [x86.nop()]})
LABELS = ("-1", "0", "1", "more")
enabled = word("enabled", "1", of=LABELS, says="how many users the key has; -1: being patched")
gone = word("gone", most=3, says="how many calls of slow_dec have returned (a ghost)")
user = cpu.register("user", says="whether slow_inc has returned to this CPU (a ghost)")


def slow_dec(thread: Thread, fixed: bool) -> Sequence[Step]:
    """Give a use back; whoever gives back the last one patches, under the mutex."""
    was, less = thread.register("was", "0", of=LABELS), thread.register("done")
    down = compare_exchange(enabled, "0", "-1", less, says="{cpu} takes the count from 0 to -1, without the mutex")
    patch = [Store(enabled, "0", says="{cpu} takes the count from 1 to 0"), Write(key.whole, "nop"), Sync()]
    slow = [Acquire(mutex), If(enabled == "1", patch, [] if fixed else [Store(enabled, "-1")]), Release(mutex)]
    goes_slow = was.is_in(["-1", "0", "1"]) if fixed else was == "1"
    return [Store(was, enabled, says="{cpu} enters slow_dec"), If(goes_slow, slow, [down]), Note(gone, gone + 1)]


def slow_inc() -> Sequence[Step]:
    """As K15 was fixed: who finds no count, or -1, takes the mutex; to find -1 there earns a warning."""
    patch = [Store(enabled, "-1"), Write(key.whole, "jmp"), Sync(), Store(enabled, "1")]
    more, waits = [Store(enabled, "more")], Await(gone == 2, says="{cpu} comes after both calls of slow_dec")
    slow = [Acquire(mutex), If(enabled == "0", patch, [If(enabled == "-1", [], more)]), Release(mutex)]
    return [waits, If(enabled.is_in(["1", "more"]), more, slow), Note(user, 1)]


def protocol(name: str, says: str, source: str, fixed: bool) -> Program:
    """One use is given back twice; afterwards CPUs enable the key again."""
    stale = Check(~user, STALE, "stale", says="slow_inc has returned here, and the code is as for a key that is off")
    run = [Choose(slow_inc(), []), Execute(key, {"nop": [stale]})]
    return Program(name, says, source, {cpu: run, owner: slow_dec(owner, fixed), other: slow_dec(other, fixed)})


bug = Bug(
    identifier="K16",
    title="Do not decrement the count of a key that is off, or being patched",
    date="2024-06",
    architecture="all",
    subsystem="jump_label",
    source="Linux 83ab38ef0a0b; the bug came with 4c5ea0a9cd02",
    story="Two callers give a use back. While the first patches, with the count at 0, the second decrements it, too, to "
    "-1: somebody is enabling the key. The next slow_inc patches nothing, and its user runs the branch for off.",
    before=protocol("slow-dec-unless-one", "all but 1 are decremented at once", "Linux before 83ab38ef0a0b", False),
    found=Expect(machine="x86-stale-instruction", violated=["new-after-return/stale"]),
    shows=["takes the count from 1 to 0", "takes the count from 0 to -1", "executes “nop”"],
    after=protocol("slow-dec-below-two", "1 and less are left to the mutex", "Linux 83ab38ef0a0b", True),
    fixed=Expect(machine="x86-stale-instruction"),
    model="The second call has no use to give back. Sites are patched with one store and a sync.",
)

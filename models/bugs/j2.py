"""J2: the fence of the entry barrier was skipped by threads that looked after another had disarmed it."""

from models.assembly import x86
from models.bug import Bug
from models.program import (
    Acquire,
    Check,
    Execute,
    Expect,
    Holds,
    If,
    Note,
    Program,
    Region,
    Release,
    Serialise,
    Thread,
    Write,
    lock,
    word,
)
from models.properties import STALE

MACHINE = "x86-amd,granularity=aligned-8"
cpu = Thread("thread", many=True)
compare = b"\x41\x81\x7f\x20"  # cmp dword ptr [r15+0x20], …
armed = x86.raw(compare + b"\1\0\0\0", "cmp [r15+0x20], armed")
disarmed = x86.raw(compare + b"\2\0\0\0", "cmp [r15+0x20], disarmed")
guard = Region("guard", {"armed": [armed], "disarmed": [disarmed]})
body = Region("body", {"old": [x86.call("old")], "new": [x86.call("new")]})
patching = lock("patching")
patched = word("patched", says="whether the method is patched and disarmed (a ghost)")
fence = Serialise(says="{cpu} executes the cross-modify fence")
look = Holds(guard, "armed")
own = Serialise(says="{cpu} fetches again what it has itself stored to, as x86 does")


def entry(name: str, says: str, source: str, fixed: bool) -> Program:
    """The entry barrier of a method, and its body; before the fix, who finds the guard disarmed does not serialise."""
    patch = [Write(body.bytes(1, 5), "new"), Write(guard.bytes(4, 8), "disarmed"), Note(patched, 1), own]
    locked = [Acquire(patching), If(look, patch), Release(patching)]
    slow = [If(look, locked), fence] if fixed else [If(look, [*locked, fence])]
    stale = Check(~patched, STALE, "stale", says="this thread has passed the barrier, and runs the method unpatched")
    fresh = Check(patched, STALE, "unpatched")
    run = [Execute(guard, {"armed": slow}), Execute(body, {"old": [stale], "new": [fresh]})]
    return Program(name, says, source, threads={cpu: run})


bug = Bug(
    identifier="J2",
    title="Serialise in the entry barrier even where it is disarmed already",
    date="2024-07",
    architecture="x86",
    subsystem="HotSpot nmethod entry barrier",
    source="JDK-8334890, openjdk/jdk PR 19990; the fix of J1 was incomplete",
    story="The runtime looks at the guard first and returns at once where it is disarmed; the fence that fixed J1 stands "
    "behind that. A thread that executed the armed guard, and comes to look after another has patched and disarmed, "
    "goes back without it, and runs instructions that it had fetched before they were patched.",
    before=entry("entry-barrier-early-return", "a fence only where it was armed", "JDK-8310239", False),
    found=Expect(machine=MACHINE, violated=["new-after-return/stale"]),
    shows=["writes “new”", "writes “disarmed”", "not so that “guard” holds “armed”", "executes “call old”"],
    after=entry("entry-barrier-always-fenced", "a fence in any case", "JDK-8334890", True),
    fixed=Expect(machine=MACHINE),
    model="The machine reads instructions in order, as the path without the runtime relies on. One call stands for all that "
    "is patched, and the method is never armed again. A thread fetches its own stores, so only those of others are old.",
)

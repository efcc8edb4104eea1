"""J1: a thread that found the entry barrier disarmed by another ran code that it had fetched before that."""

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
own = Serialise(says="{cpu} fetches again what it has itself stored to, as x86 does")


def entry(name: str, says: str, source: str, fixed: bool) -> Program:
    """The entry barrier of a method, and its body."""
    patch = [Write(body.bytes(1, 5), "new"), Write(guard.bytes(4, 8), "disarmed"), Note(patched, 1), own]
    slow = [Acquire(patching), If(Holds(guard, "armed"), patch), Release(patching), *([fence] if fixed else [])]
    stale = Check(~patched, STALE, "stale", says="this thread has passed the barrier, and runs the method unpatched")
    fresh = Check(patched, STALE, "unpatched")
    run = [Execute(guard, {"armed": slow}), Execute(body, {"old": [stale], "new": [fresh]})]
    return Program(name, says, source, threads={cpu: run})


bug = Bug(
    identifier="J1",
    title="Serialise after the slow path of the entry barrier",
    date="2023-06",
    architecture="x86",
    subsystem="HotSpot nmethod entry barrier",
    source="JDK-8310239, openjdk/jdk PR 14543",
    story="A thread executes the guard at a method's entry while it is armed, and goes into the runtime. Another thread "
    "patches the method and disarms it. The first one reads the guard as data, finds it disarmed, and goes back without "
    "serialising: it runs instructions that it had fetched before they were patched.",
    before=entry("entry-barrier-unfenced", "the guard, read as data, decides", "HotSpot before JDK-8310239", False),
    found=Expect(machine=MACHINE, violated=["new-after-return/stale"]),
    shows=["fetches bytes 0 to 4 of “body” ahead of time", "writes “new”", "writes “disarmed”", "executes “call old”"],
    after=entry("entry-barrier-fenced", "whoever was in the runtime serialises", "JDK-8310239", True),
    fixed=Expect(machine=MACHINE),
    model="The machine reads instructions in order, as the path without the runtime relies on. One call stands for all that "
    "is patched, and the method is never armed again. A thread fetches its own stores, so only those of others are old. "
    "The look at the guard before the lock is left out; it made J2.",
)

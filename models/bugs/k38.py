"""K38: a callback was called straight from the trampoline before the sites of others were off."""

from collections.abc import Sequence

from models.assembly import x86
from models.bug import Bug
from models.program import (
    Answer,
    Await,
    Check,
    Choose,
    Execute,
    Expect,
    If,
    Interrupt,
    Program,
    Region,
    Serialise,
    Store,
    Thread,
    Write,
    word,
)
from models.properties import OLD_OR_NEW
from models.protocol import Step

cpu, patcher = Thread("cpu", many=True), Thread("patcher")
f = Region("f", {"call": [x86.call("trampoline")]})
g = Region("g", {"call": [x86.call("trampoline")], "nop": [x86.nop()]})
target = word("target", "list", of=("list", "callback"), says="what the trampoline calls")
go = word("go", says="whether the stopped CPUs may go on")
at = cpu.register("at", "f", of=("f", "g"), says="the function that the trampoline was called from")


def traced(function: str) -> Sequence[Step]:
    """The trampoline, called from a function. The list function asks each filter, a callback alone nobody."""
    wrong = Check(at == "f", OLD_OR_NEW, "wrong-target", says="the callback asked for f, and this is g")
    enter = Store(at, function, says=f"{{cpu}} is in the trampoline, called from {function}")
    return [enter, If(target == "callback", [wrong])]


def protocol(name: str, says: str, source: str, fixed: bool) -> Program:
    """Two callbacks are registered, for f and for g; that for g goes, and one is left."""
    switch = Store(target, "callback", says="{cpu} makes the trampoline call the one callback that is left")
    stop = Interrupt([Answer(), Await(go == 1), Serialise()], stopper=True)
    calls = [stop, Write(g.whole, "nop"), Store(go, 1, says="{cpu} lets all CPUs go on")]
    run = Choose([Execute(f, {"call": traced("f")})], [Execute(g, {"call": traced("g")})])
    steps = [*calls, switch] if fixed else [switch, *calls]
    return Program(name, says, source, threads={patcher: steps, cpu: [run]})


MACHINE = "x86-stale-instruction"

bug = Bug(
    identifier="K38",
    title="Keep the list function until the sites are as they should be",
    date="2011-12",
    architecture="all",
    subsystem="ftrace",
    source="Linux 59338f754a55",
    story="One of two callbacks is unregistered. The trampoline is made to call the other at once, without the list function "
    "that asks the filters; then the sites are changed. Meanwhile a function that only the first was for still calls the "
    "trampoline, and the other is called for a function that it did not ask for.",
    before=protocol("callback-switched-first", "first the trampoline, then the sites", "before 59338f754a55", False),
    found=Expect(machine=MACHINE, violated=["old-or-new/wrong-target"]),
    shows=["makes the trampoline call the one callback", "executes “call trampoline” at “g”", "“target” is callback"],
    after=protocol("callback-switched-last", "first the sites, then the trampoline", "Linux 59338f754a55", True),
    fixed=Expect(machine=MACHINE),
    model="Sites are changed under stop_machine, without preemption: it finds no CPU inside the trampoline. With preemption "
    "the fix leaves a task there that comes to the single callback.",
)

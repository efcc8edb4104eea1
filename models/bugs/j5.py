"""J5: the pointer to a stub was set before the stub's code was there."""

from models.assembly import arm64
from models.bug import Bug
from models.program import Check, Execute, Expect, If, Maintain, Program, Region, Store, Sync, Thread, Write, word
from models.properties import STALE

MACHINE = "arm64-dic0,havoc=off"
cpu, generator = Thread("thread", many=True), Thread("generator")
ldaddal, ret = arm64.raw(0xF8E00020, "ldaddal x0, x0, [x1]"), arm64.raw(0xD65F03C0, "ret")
zeros = arm64.raw(0, "udf #0")
stub = Region("stub", {"unfinished": [zeros, zeros], "finished": [ldaddal, ret]})
pointer = word("pointer", "default", of=("default", "stub"), says="which implementation the pointer leads to")


def generated(name: str, says: str, source: str, fixed: bool) -> Program:
    """A stub is generated while other threads call by way of its pointer."""
    unfinished = Check(pointer == "default", STALE, "stale", says="the stub is published, and its code is not there")
    finished = Check(pointer == "stub", STALE, "unpublished")
    publish = [Store(pointer, "stub")]
    code = [Write(stub.bytes(0, 4), "finished"), Write(stub.bytes(4, 8), "finished"), Maintain(stub), Sync()]
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [If(pointer == "stub", [Execute(stub, {"unfinished": [unfinished], "finished": [finished]})])],
            generator: [*code, *publish] if fixed else [*publish, *code],
        },
    )


bug = Bug(
    identifier="J5",
    title="Write the code of a stub before its pointer",
    date="2021-02",
    architecture="arm64",
    subsystem="HotSpot LSE atomics stubs",
    source="JDK-8261660, openjdk/jdk PR 2553",
    story="Stubs for atomic operations are generated while threads run, and their pointers are set before the code is "
    "complete. A thread that calls by way of such a pointer runs whatever is in memory.",
    before=generated("stub-pointer-first", "published, then generated", "HotSpot before JDK-8261660", False),
    found=Expect(machine=MACHINE, violated=["new-after-return/stale", "no-torn-instruction/torn"]),
    shows=["sets “pointer” to stub", "finds that “pointer” is stub", "executes “udf #0”"],
    after=generated("stub-code-first", "generated, then published", "JDK-8261649, openjdk/jdk PR 2611", True),
    fixed=Expect(machine=MACHINE),
    model="Havoc is off: it counts every CPU as one that may have the code in flight, and here none can reach it yet. That "
    "CPUs synchronise their context before the pointer is set is what the machine asks for, in both; the first fix, which "
    "was not to generate these stubs, is left out.",
)

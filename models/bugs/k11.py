"""K11: a kprobe was taken for optimisable although its detour came back in the middle of another probe's jmp."""

from models.assembly import x86
from models.bug import Bug
from models.program import (
    Acquire,
    Await,
    Execute,
    Expect,
    Goto,
    If,
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

cpu, user, optimizer = Thread("cpu", many=True), Thread("user"), Thread("optimizer")
xor, test = x86.raw(b"\x45\x31\xe4", "xor r12d, r12d"), x86.raw(b"\x85\xff", "test edi, edi")
int3 = [x86.trap(), x86.raw(b"\x54", "…")]  # of the first probe, which stays
site = Region("site", {"optimised": [*int3, x86.jump("detour")], "original": [*int3, xor, test]})
mutex = lock("kprobe_mutex")
first = word("OPTIMIZED1", says="whether the probe at byte 0 is optimised, or queued to be")
second = word("OPTIMIZED2", 1, says="whether the probe at byte 2 is optimised")
disabled, queued = word("disabled"), word("queued", says="whether the probe at byte 2 waits to be unoptimised")
resumes = cpu.register("resumes")


def overlapping(name: str, says: str, source: str, fixed: bool) -> Program:
    """Two probes: the detour of the first ends at byte 5; the jmp of the second is over bytes 2 to 6."""
    in_the_way = queued | ~disabled if fixed else ~disabled
    detour = [Store(resumes, 1, says="{cpu} goes through the detour, which runs “push” and “xor”")]
    stepped = [Execute(site, entry=2, trap=[If(second, [], [Goto(5)])])]
    disable = [
        Store(disabled, 1, says="{cpu} disables the probe at byte 2"),
        Store(queued, 1, says="{cpu} queues it, to be unoptimised"),
    ]
    look = If(in_the_way, [], [Store(first, 1, says="{cpu} marks the probe at byte 0 as optimised")])
    unoptimise = [Write(site.bytes(2, 3), b"\xcc"), Sync(), Write(site.bytes(3, 7), "original"), Sync()]
    disarm = [Store(second, 0), Write(site.bytes(2, 3), "original"), Sync()]
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [
                Execute(site, trap=[If(first, detour)]),
                If(resumes, [Store(resumes, 0), Execute(site, entry=5)], stepped),
            ],
            user: [Acquire(mutex), *disable, Release(mutex), Acquire(mutex), look, Release(mutex)],
            optimizer: [Await(queued), Acquire(mutex), *unoptimise, *disarm, Store(queued, 0), Release(mutex)],
        },
    )


bug = Bug(
    identifier="K11",
    title="A disabled kprobe is in the way of others until its jmp is gone",
    date="2023-02",
    architecture="x86",
    subsystem="kprobes",
    source="Linux f1c97a1b4ef7; the bug came with f66c0447cca1",
    story="A probe with a jmp is disabled: its jmp is only queued for removal. When a probe before it is looked at again, "
    "the disabled one does not count as being in the way, and the first is marked as optimised. Its int3 now leads to a "
    "detour, which ends in the middle of the jmp that is still there.",
    before=overlapping(
        "optprobe-disabled", "what is disabled is not in the way", "Linux before f1c97a1b4ef7", fixed=False
    ),
    found=Expect(violated=["no-torn-instruction/torn"]),
    shows=["disables", "queues", "marks", "detour", "executes a torn instruction at “site” + 5"],
    after=overlapping("optprobe-disarmed", "what is queued still is", "Linux f1c97a1b4ef7", fixed=True),
    fixed=Expect(),
    model="The detour is a moment. The jmp that may then be written for the first probe is left out.",
)

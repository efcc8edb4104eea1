"""K12: the operand of a jmp was copied into a detour, as if it had been the original instruction there."""

from models.assembly import x86
from models.bug import Bug
from models.program import (
    Acquire,
    Await,
    Execute,
    Expect,
    Holds,
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
push, xor = x86.raw(b"\x41\x54", "push r12"), x86.raw(b"\x45\x31\xe4", "xor r12d, r12d")
text = Region(
    "text", {"optimised": [push, x86.jump("detour")], "original": [push, xor, x86.raw(b"\x85\xff", "test edi, edi")]}
)
detour = Region("detour", {"original": [push, xor]})
mutex = lock("kprobe_mutex")
mark = word("OPTIMIZED", 1, says="whether the probe at byte 2 is optimised")
queue = word("queue", of=("none", "unoptimise"), says="what the probe at byte 2 is queued for")
ready = word("ready", says="whether a probe at byte 0 has its detour")


def copied(name: str, says: str, source: str, fixed: bool) -> Program:
    """A second probe is put before one with a jmp, which is being disabled; its detour gets a copy of both instructions."""
    replaced = mark if fixed else mark & (queue == "none")
    saved, jmp = Write(detour.bytes(2, 5), "original"), Write(detour.bytes(2, 5), b"\xe9\x11\x22")
    disable = Store(queue, "unoptimise", says="{cpu} disables the probe at byte 2: it is queued, to be unoptimised")
    prepare = If(replaced, [saved], [If(Holds(text, "optimised"), [jmp], [])])
    use = [Await(~mark), Sync(), Store(ready, 1, says="{cpu} puts the probe at byte 0 to use, with its detour")]
    unoptimise = [Write(text.bytes(2, 7), "original"), Store(mark, 0), Store(queue, "none")]
    return Program(
        name,
        says,
        source,
        threads={
            cpu: [If(ready, [Execute(detour)], [])],
            user: [Acquire(mutex), disable, Release(mutex), Acquire(mutex), prepare, Release(mutex), *use],
            optimizer: [Await(queue == "unoptimise"), Acquire(mutex), *unoptimise, Release(mutex)],
        },
    )


bug = Bug(
    identifier="K12",
    title="A kprobe that waits for its jmp to be removed still has a jmp",
    date="2023-02",
    architecture="x86",
    subsystem="kprobes",
    source="Linux 868a6fc0ca24; the bug came with f66c0447cca1",
    story="A probe with a jmp is disabled: its jmp is queued for removal. A second probe is put before it, and its detour "
    "gets a copy of the instructions there. Whatever is queued is taken to be without a jmp, so the copy is made of the "
    "bytes in memory. When the jmp is gone and the second probe is used, CPUs run the head of a jmp in its detour.",
    before=copied(
        "optprobe-copy-queued", "queued means that there is no jmp", "Linux before 868a6fc0ca24", fixed=False
    ),
    found=Expect(violated=["no-torn-instruction/torn"]),
    shows=[
        "it is queued",
        "finds that “text” holds “optimised”",
        "has written e9 11 22",
        "executes a torn instruction at “detour” + 2",
    ],
    after=copied("optprobe-copy-unopt", "unless it is queued for removal", "Linux 868a6fc0ca24", fixed=True),
    fixed=Expect(),
    model="The text around the probes is only read as data: nobody runs it, and how it is changed is left out. The detour "
    "holds the right bytes before it is filled.",
)

"""K25: a trampoline was freed while the function that it had called was asleep."""

from models.assembly import x86
from models.bug import Bug
from models.program import (
    Await,
    Body,
    Code,
    Execute,
    Expect,
    Free,
    Inside,
    Program,
    Region,
    Sleep,
    Store,
    Sync,
    Thread,
    WaitForTasks,
    Write,
    everywhere,
)

cpu, patcher = Thread("cpu", many=True), Thread("patcher")
site = Region("site", {"call": [x86.call("trampoline")], "nop": [x86.nop()]})
image = Code("trampoline")
counted = cpu.register("counted", says="the percpu reference between __bpf_tramp_enter and __bpf_tramp_exit")
ran = cpu.register("ran", says="whether the function at the end of the trampoline ran")


def protocol(name: str, says: str, source: str, fixed: bool) -> Program:
    """The trampoline calls the function that is traced; it is detached from the site, and freed."""
    asleep = Sleep(says="{cpu} has called the original function, which goes to sleep: a voluntary switch")
    enter = Store(counted, 1, says="{cpu} takes a reference, in __bpf_tramp_enter")
    leave = Store(counted, 0, says="{cpu} drops its reference, in __bpf_tramp_exit")
    last = Store(ran, 1, says="{cpu} returns from the original function into the trampoline, and runs fexit")
    body = [enter, asleep, leave, last] if fixed else [asleep, last]
    nobody = Await(everywhere(cpu, ~counted), says="{cpu} finds that all references are dropped")
    wait = [WaitForTasks(), *([nobody, WaitForTasks(label="second wait")] if fixed else [])]
    detach: Body = [Write(site.whole, "nop"), Sync(), *wait, Free(image)]
    run: Body = [Execute(site, {"call": [Inside(image, body)]})]
    return Program(name, says, source, threads={cpu: run, patcher: detach})


MACHINE = "x86-stale-instruction"

bug = Bug(
    identifier="K25",
    title="Wait for the functions that a trampoline has called",
    date="2021-03",
    architecture="x86",
    subsystem="BPF trampoline",
    source="Linux e21aa341785c; the bug came with fec56f5890d9",
    story="A trampoline for fexit calls the function that it traces, and that function sleeps. It is a voluntary switch, so "
    "RCU-tasks has nothing to wait for: the trampoline is detached and freed, and the function returns into it.",
    before=protocol("fexit-tasks-only", "RCU-tasks is all that is waited for", "Linux before e21aa341785c", False),
    found=Expect(machine=MACHINE, violated=["no-freed-code/freed"]),
    shows=["goes to sleep", "makes, or has made, a voluntary switch", "frees “trampoline”"],
    after=protocol("fexit-counted", "a reference over the call, between two waits", "Linux e21aa341785c", True),
    fixed=Expect(machine=MACHINE),
    model="The site is patched with one store and a sync. The jump over fexit, which the fix patches into the trampoline "
    "before it waits, is left out: it protects the programs, not the trampoline.",
)

"""K32: two paths took text_mutex and the lock of CPU hotplug, each in its own order."""

from models.bug import Bug
from models.program import Acquire, Expect, Program, Release, Store, Thread, lock, word

ftrace, kprobe = Thread("updater"), Thread("registrar")
text_mutex, hotplug = lock("text_mutex"), lock("cpu_hotplug_lock")
patched, armed = word("patched"), word("armed")


def protocol(name: str, says: str, source: str, fixed: bool) -> Program:
    """ftrace changes its calls under stop_machine, which keeps CPUs from coming and going; a probe is registered."""
    stop = [Store(patched, 1, says="{cpu} changes the calls under stop_machine")]
    probe = [Store(armed, 1, says="{cpu} arms the probe")]
    update = [Acquire(hotplug), *stop, Release(hotplug)]
    registers = [Acquire(hotplug), Acquire(text_mutex), *probe, Release(text_mutex), Release(hotplug)]
    update = update if fixed else [Acquire(text_mutex), *update, Release(text_mutex)]
    return Program(name, says, source, threads={ftrace: update, kprobe: registers})


bug = Bug(
    identifier="K32",
    title="Take text_mutex only where there is no stop_machine",
    date="2019-06",
    architecture="all",
    subsystem="ftrace, kprobes",
    source="Linux d5b844a2cf50; the bug came with 9f255b632bf1",
    story="ftrace holds text_mutex, as K34 was fixed, and waits for cpu_hotplug_lock in stop_machine. register_kprobe holds "
    "cpu_hotplug_lock and waits for text_mutex. Neither goes on.",
    before=protocol("text-mutex-around-all", "text_mutex, then stop_machine", "Linux 9f255b632bf1", False),
    found=Expect(violated=["completes/deadlock"]),
    shows=["updater takes the lock “text_mutex”", "registrar takes the lock “cpu_hotplug_lock”"],
    after=protocol("text-mutex-in-hooks", "stop_machine without text_mutex", "Linux d5b844a2cf50", True),
    fixed=Expect(),
    model="cpu_hotplug_lock is taken whole: that readers exclude each other only while a writer waits is left out. The "
    "fixed side is where stop_machine is used; on x86 ftrace takes text_mutex and does not stop machines.",
)

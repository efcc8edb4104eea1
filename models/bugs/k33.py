"""K33: two paths took text_mutex and module_mutex, each in its own order."""

from models.bug import Bug
from models.program import Acquire, Expect, Program, Release, Store, Thread, lock, word

ftrace, optimizer = Thread("updater"), Thread("optimizer")
text_mutex, module_mutex = lock("text_mutex"), lock("module_mutex")
patched, optimised = word("patched"), word("optimised")


def protocol(name: str, says: str, source: str, fixed: bool) -> Program:
    """ftrace makes the text of modules writable, with both; the optimiser of probes has both, too."""
    first, second = (text_mutex, module_mutex) if fixed else (module_mutex, text_mutex)
    opens = [Acquire(module_mutex), Store(patched, 1, says="{cpu} opens the text of modules"), Release(module_mutex)]
    probes = [Store(optimised, 1, says="{cpu} turns probes into jumps"), Release(second), Release(first)]
    threads = {
        ftrace: [Acquire(text_mutex), *opens, Release(text_mutex)],
        optimizer: [Acquire(first), Acquire(second), *probes],
    }
    return Program(name, says, source, threads=threads)


bug = Bug(
    identifier="K33",
    title="Take text_mutex before module_mutex",
    date="2019-08",
    architecture="x86",
    subsystem="kprobes, ftrace",
    source="Linux f1c6ece23729; the bug came with d5b844a2cf50",
    story="ftrace holds text_mutex and waits for module_mutex, to make the text of modules writable. kprobe_optimizer holds "
    "module_mutex and waits for text_mutex. Neither goes on.",
    before=protocol("module-mutex-first", "module_mutex, then text_mutex", "Linux d5b844a2cf50", False),
    found=Expect(violated=["completes/deadlock"]),
    shows=["updater takes the lock “text_mutex”", "optimizer takes the lock “module_mutex”"],
    after=protocol("text-mutex-first", "text_mutex, then module_mutex", "Linux f1c6ece23729", True),
    fixed=Expect(),
)

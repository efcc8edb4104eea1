"""K34: a module was made read-only while it was still being written to."""

from models.bug import Bug
from models.program import Acquire, Await, Body, Expect, Program, Release, Store, Thread, lock, word

loader, updater, text_mutex = Thread("loader"), Thread("updater"), lock("text_mutex")
writable = word("writable", says="whether the text of modules may be written to")
relocated, patched = word("relocated"), word("patched")


def held(body: Body, fixed: bool) -> Body:
    """The same, under the mutex once that is fixed."""
    return [Acquire(text_mutex), *body, Release(text_mutex)] if fixed else body


def protocol(name: str, says: str, source: str, fixed: bool) -> Program:
    """A livepatch is applied to a module that is being loaded, while ftrace updates calls in modules."""
    opens = Store(writable, 1, says="{cpu} calls module_disable_ro")
    closes = Store(writable, 0, says="{cpu} calls module_enable_ro")
    faults = Await(writable == 1, says="{cpu}'s next store does not fault")
    relocate = Store(relocated, 1, says="{cpu} has written the relocations")
    prepare = Store(writable, 1, says="{cpu} calls set_all_modules_text_rw")
    finish = Store(writable, 0, says="{cpu} calls set_all_modules_text_ro")
    patch = Store(patched, 1, says="{cpu} has patched the calls")
    threads = {
        loader: held([opens, faults, relocate, closes], fixed),
        updater: held([prepare, patch, finish], fixed),
    }
    return Program(name, says, source, threads=threads)


bug = Bug(
    identifier="K34",
    title="Hold text_mutex while module text is writable",
    date="2019-06",
    architecture="x86",
    subsystem="livepatch, ftrace",
    source="Linux 9f255b632bf1",
    story="To write the relocations of a livepatch, the loader makes the module's text writable. Meanwhile ftrace finishes "
    "an update and makes the text of all modules read-only again. The loader's next store faults.",
    before=protocol("module-text-unlocked", "each opens and closes for itself", "Linux before 9f255b632bf1", False),
    found=Expect(violated=["completes/deadlock"]),
    shows=["calls module_disable_ro", "calls set_all_modules_text_ro"],
    after=protocol("module-text-locked", "text_mutex around both", "Linux 9f255b632bf1", True),
    fixed=Expect(),
    model="A store that faults never ends. ftrace's own stores report an error where the text is read-only, and are not judged.",
)

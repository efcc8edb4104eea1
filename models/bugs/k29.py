"""K29: a flag that stops all tracing was up for the whole of an update that no longer stopped the machine."""

from models.assembly import x86
from models.bug import Bug
from models.program import Body, Check, Execute, Expect, If, Program, Region, Store, Sync, Thread, Write, word
from models.properties import OLD_OR_NEW

cpu, patcher = Thread("cpu", many=True), Thread("patcher")
other = Region("other", {"call": [x86.call("trampoline")]})
site = Region("site", {"nop": [x86.nop()], "call": [x86.call("trampoline")]})
stop = word("function_trace_stop", says="whether the trampoline returns at once")


def protocol(name: str, says: str, source: str, fixed: bool) -> Program:
    """One site is switched on while CPUs come to another, which is traced before and after."""
    raised = Store(stop, 1, says="{cpu} raises function_trace_stop")
    lowered = Store(stop, 0, says="{cpu} lowers function_trace_stop")
    missed = Check(stop == 0, OLD_OR_NEW, "missed", says="the site is traced, and the trampoline calls nobody")
    update: Body = [Write(site.whole, "call"), Sync()]
    threads = {
        patcher: update if fixed else [raised, *update, lowered],
        cpu: [Execute(other, {"call": [If(stop == 1, [missed])]})],
    }
    return Program(name, says, source, threads=threads)


MACHINE = "x86-stale-instruction"

bug = Bug(
    identifier="K29",
    title="Do not stop all tracing for an update",
    date="2014-06",
    architecture="all",
    subsystem="ftrace",
    source="Linux 1820122a76c6",
    story="function_trace_stop is up while the sites are changed. Under stop_machine nobody could notice; with breakpoints "
    "the others run, and every site that is not touched loses its events, too.",
    before=protocol("update-with-stop-flag", "the flag is up meanwhile", "Linux before 1820122a76c6", False),
    found=Expect(machine=MACHINE, violated=["old-or-new/missed"], use_cases=["livepatch"]),
    shows=["raises function_trace_stop", "executes “call trampoline” at “other”"],
    after=protocol("update-without-stop-flag", "nobody raises the flag", "Linux 1820122a76c6", True),
    fixed=Expect(machine=MACHINE, use_cases=["livepatch"]),
    model="The site is changed with one store and a sync. Tracing accepts a missed call at a site that is being changed; "
    "here it is missed at one that is not.",
)

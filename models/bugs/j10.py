"""J10: the target of a far call was changed one instruction after the other while threads executed them."""

from models.assembly import power
from models.bug import Bug
from models.program import (
    Check,
    Execute,
    Expect,
    Maintain,
    Note,
    Program,
    Region,
    Store,
    Sync,
    Thread,
    Write,
    word,
)
from models.properties import STALE

cpu, patcher = Thread("thread", many=True), Thread("patcher")
tail = [power.mtctr(), power.bctrl()]
call = Region("call", {k: [power.lis(k), power.ori(k), *tail] for k in ("old", "new")})
thunk = Region("thunk", {"thunk": [power.load_word(), *tail]})
target = word("target", "old", of=("old", "new"), says="the address in the thunk's data word")
loaded = cpu.register("loaded", "old", of=("old", "new"), says="the address that the thread has loaded")
returned = word("returned", says="whether the update has returned (a ghost)")
late = cpu.register("late", says="whether it had when this run began (a ghost)")
REASON = "the update has returned, and this thread calls the old target"

immediate = Program(
    "target-in-two-words",
    "lis, then ori",
    "mono before PR 73616",
    threads={
        cpu: [Note(late, returned), Execute(call, {"old": [Check(~late, STALE, "stale", says=REASON)]})],
        patcher: [
            Write(call.bytes(0, 4), "new"),
            Write(call.bytes(4, 8), "new"),
            Maintain(call),
            Sync(),
            Note(returned, 1),
        ],
    },
)
data = Program(
    "target-in-a-data-word",
    "the thunk loads its target",
    "dotnet/runtime PR 73616",
    threads={
        cpu: [
            Store(loaded, target, says="{cpu} loads the target from the thunk's word"),
            Note(late, returned),
            Execute(thunk),
            Check(~late | (loaded == "new"), STALE, "stale", says=REASON),
        ],
        patcher: [Store(target, "new"), Note(returned, 1)],
    },
)

bug = Bug(
    identifier="J10",
    title="Load the target of a call from data",
    date="2022",
    architecture="ppc64le",
    subsystem="mono",
    source="dotnet/runtime #71080, PR 73616",
    story="A call's target is the immediates of two instructions, lis and ori, which are patched one word after the other. "
    "A thread that runs in between calls an address of one target's upper and the other's lower half.",
    before=immediate,
    found=Expect(machine="power", violated=["no-torn-instruction/torn"]),
    shows=["writes “new” over bytes 0 to 3", "executes “lis r12, hi(new)”", "executes “ori r12, r12, lo(old)”"],
    after=data,
    fixed=Expect(machine="power"),
    model="A target has 31 bits, so that two instructions make it, where the code has up to five. The load is put before the "
    "thunk that does it.",
)

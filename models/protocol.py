"""The vocabulary of strategies: the steps that a patcher takes, as plain data that can be printed and left out.

This is all that a strategy file imports. A strategy is a generator of steps; it is given the sites of one round and
yields what the patcher does, in order. Every step knows the line that made it and has a label.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from models.machines.isa import Isa
from models.machines.x86 import TRAP_BYTE
from models.system.errors import Location, ModelError, caller
from models.system.fields import Checked

Meaning = tuple[str, ...]  # who is called when a site is executed, sorted; () is nobody
NOBODY: Meaning = ()
TRAP = TRAP_BYTE  # int3, which goes over the first byte
MOST_FUNCTIONS = 8  # every mixture of their displacements is decoded: the number grows with its fourth power


# ---- what code and data there is ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Word(Checked):
    """A data word that functions read: it holds who is to be called, at first `initial`, the sorted names of functions.

    Loads and stores of it are atomic and coherent.
    """

    name: str
    initial: Meaning = NOBODY


@dataclass(frozen=True)
class Function(Checked):
    """Code that a site can call.

    `reads`: it calls whoever the word names when it is read. `preemptible`: a task can be preempted in it; if not, it
    is a read-side critical section. `sleeps`: it may block, that is make a voluntary switch, before it returns.
    """

    name: str
    reads: Word | None = None
    preemptible: bool = True
    sleeps: bool = False


@dataclass(frozen=True)
class Nop:
    """The no-op of the site's length."""

    @property
    def calls(self) -> Function | None:
        """The function that it calls, or None."""
        return None

    def __str__(self) -> str:
        return "nop"


@dataclass(frozen=True)
class Call(Checked):
    """`call function`."""

    function: Function

    @property
    def calls(self) -> Function | None:
        """The function that it calls, or None."""
        return self.function

    def __str__(self) -> str:
        return f"call {self.function.name}"


@dataclass(frozen=True)
class Probe(Checked):
    """A trap byte that stays, over the first byte of `over`: its owner's handler calls `function` (a kprobe).

    The owner is registered for good; it gets every trap that no claim of the patcher consumes.
    """

    function: Function
    over: Call | Nop

    @property
    def calls(self) -> Function | None:
        """The function that it calls, or None."""
        return self.function

    def __str__(self) -> str:
        return f"probe {self.function.name}"


Instruction = Nop | Call | Probe  # what a site can hold


@dataclass(frozen=True)
class Stub(Checked):
    """A small piece of code for one site: push the return address, [sti,] jump to the new target. See `Site.stub`.

    `site`: the index of the site. `interrupts_off`: the handler enters it with interrupts disabled and it enables them
    itself, one instruction before the jump (the STI shadow covers the jump). Otherwise it runs with interrupts enabled.
    """

    site: int
    interrupts_off: bool


@dataclass(frozen=True)
class Bytes(Checked):
    """A range of the bytes of `site`: `start` up to, not including, `stop`."""

    spoken = "bytes of a site, such as site.tail"

    site: Site
    start: int
    stop: int

    @property
    def name(self) -> str:
        """How the range is called in labels and sentences."""
        if (self.start, self.stop) == (0, 1):
            return "first byte"
        if (self.start, self.stop) == (1, self.site.length):
            return "tail"
        if (self.start, self.stop) == (0, self.site.length):
            return "whole"
        return f"bytes {self.start} to {self.stop - 1}"


@dataclass(frozen=True)
class Site(Checked):
    """One patchable place in one round: what it holds before (`old`) and what it shall hold after (`new`).

    Strategies are given sites and make none. `index` counts from 0 in a batch; `length` is in bytes.

    >>> site = Site(0, old=Nop(), new=Call(Function("A")))
    >>> site.tail.name, Write(site.first_byte, TRAP).default_label()
    ('tail', 'trap')
    """

    index: int
    old: Instruction
    new: Instruction
    length: int = 5

    @property
    def first_byte(self) -> Bytes:
        """Its first byte, where a trap byte goes."""
        return Bytes(self, 0, 1)

    @property
    def tail(self) -> Bytes:
        """Everything behind the first byte."""
        return Bytes(self, 1, self.length)

    @property
    def whole(self) -> Bytes:
        """All of its bytes."""
        return Bytes(self, 0, self.length)

    def bytes(self, start: int, stop: int) -> Bytes:
        """Bytes `start` up to, not including, `stop`; the write is refused if they are not inside the site."""
        return Bytes(self, start, stop)

    def stub(self, interrupts_off: bool = False) -> Stub:
        """The site's stub; `interrupts_off` as for `Stub`."""
        return Stub(self.index, interrupts_off)


# ---- what the trap handler does -------------------------------------------------------------------------------------


class PolicyKind(enum.Enum):
    """What the trap handler does at a claimed site."""

    SKIP = "skip the instruction"
    EMULATE_OLD = "emulate the old instruction"
    EMULATE_NEW = "emulate the new instruction"
    EMULATE_OTHER = "emulate a call of a third function"
    REDIRECT = "go on in the site's stub"
    RETRY = "go back to the site"


@dataclass(frozen=True)
class Policy(Checked):
    """What the trap handler does at a claimed site. Those that are usual have names, below.

    `kind`: what it does. `target`: whom it calls, if it emulates a call of a third function. `pushes`: an emulated call
    pushes its return address, as a real one does (False is a bug worth finding).
    """

    kind: PolicyKind
    target: Function | None = None
    pushes: bool = True

    @property
    def reads_claim(self) -> bool:
        """Whether the action needs what the claim holds, not just that there is one."""
        return self.kind in (PolicyKind.EMULATE_OLD, PolicyKind.EMULATE_NEW, PolicyKind.REDIRECT)


skip = Policy(PolicyKind.SKIP)
emulate_old = Policy(PolicyKind.EMULATE_OLD)
emulate_new = Policy(PolicyKind.EMULATE_NEW)
redirect = Policy(PolicyKind.REDIRECT)
retry = Policy(PolicyKind.RETRY)


def emulate(function: Function) -> Policy:
    """Emulate a call of `function`, whatever the site holds. Declare it in the strategy's `safe` if that is right."""
    return Policy(PolicyKind.EMULATE_OTHER, function)


# ---- the steps ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Step(Checked):
    """Something that the patcher does. Every step takes a `label`, which names it for `--without`.

    By default the kind of step does. Steps with the same label are left out together.
    """

    # Steps without fields of their own are plain subclasses: a dataclass more would only slow the start.

    label: str = ""
    where: Location = field(default_factory=caller, compare=False, repr=False)

    def default_label(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class Write(Step):
    """Store into the text: the bytes of `content` that belong to `place`, or the trap byte.

    `content` is an instruction, or bytes of the right length. Whether a longer store lands at once, the machine says.
    Labelled `trap`, `first-byte`, `tail`, `store` (all bytes) or as in `bytes-1-to-2`.
    """

    place: Bytes
    content: Instruction | bytes

    def default_label(self) -> str:
        if self.content == TRAP:
            return "trap"
        return {"first byte": "first-byte", "whole": "store"}.get(self.place.name, self.place.name.replace(" ", "-"))


@dataclass(frozen=True)
class Store(Step):
    """Store into a data word: from now on the readers of `word` call `functions`."""

    word: Word
    functions: Sequence[Function]

    @property
    def value(self) -> Meaning:
        return tuple(sorted(f.name for f in self.functions))

    def default_label(self) -> str:
        return "data"


class Sync(Step):
    """Ask every CPU to serialise, by IPI, and wait until all have. Labelled `sync-1`, `sync-2`, … in each round."""

    def default_label(self) -> str:
        return "sync"


@dataclass(frozen=True)
class Claim(Step):
    """Tell the trap handler that traps at `sites` belong to this update, and what to do with them (`policy`).

    `sites` is the table that the handler searches, in the given order, by binary search over addresses; an unsorted
    table misses. `counted`: each CPU holds a count (one for the patcher); the handler takes one before it searches and
    drops it when it has acted. `room`: how many entries the table has room for; the number of entries lies behind
    them, so that one entry too many overwrites it, and the handler's search goes astray: it finds nothing.
    """

    policy: Policy
    sites: Sequence[Site]
    counted: bool = False
    room: int | None = None

    def default_label(self) -> str:
        return "claim"


class Release(Step):
    """Withdraw the claim. With counts: drop the patcher's count on every CPU; the table stays until `Discard`."""

    def default_label(self) -> str:
        return "release"


class Discard(Step):
    """Empty the table of a counted claim: whoever reads it from now on reads what is no longer there."""

    def default_label(self) -> str:
        return "discard"


class WaitForHandlers(Step):
    """Wait until no CPU is inside the handler's read side: its count is zero; without counts, it is in no handler."""

    def default_label(self) -> str:
        return "wait-handlers"


class WaitForReaders(Step):
    """RCU: wait until every read-side critical section that had begun is over. Nobody serialises; the preempted stay."""

    def default_label(self) -> str:
        return "wait-readers"


class WaitForTasks(Step):
    """RCU-tasks: wait until every task has made a voluntary switch or run user code. Who sleeps in a callee has."""

    def default_label(self) -> str:
        return "wait-tasks"


class ReadLock(Step):
    """The patcher itself enters a read-side critical section."""

    def default_label(self) -> str:
        return "read-lock"


class ReadUnlock(Step):
    """The patcher leaves its read-side critical section."""

    def default_label(self) -> str:
        return "read-unlock"


class StopMachine(Step):
    """Wait until every CPU is parked with interrupts off. NMIs still run."""

    def default_label(self) -> str:
        return "stop"


class ResumeMachine(Step):
    """Let the parked CPUs go; each serialises as it leaves. Wait until all have."""

    def default_label(self) -> str:
        return "resume"


@dataclass(frozen=True)
class Allocate(Step):
    """Write the code of `stub` to fresh memory and publish it, before any claim that redirects to it."""

    stub: Stub

    def default_label(self) -> str:
        return "allocate"


@dataclass(frozen=True)
class Free(Step):
    """Free `code`: a stub, or a function that no site is to call any more. Whoever is inside breaks no-freed-code."""

    code: Stub | Function

    def default_label(self) -> str:
        return "free"


# ---- strategies -----------------------------------------------------------------------------------------------------

Steps = Callable[[Sequence[Site]], Iterable[Step]]  # from the sites of one round to what the patcher does
USE_CASES = ("livepatch", "tracing")


@dataclass(frozen=True)
class Round(Checked):
    """One update of a strategy that states its own sequence: its `steps`, and what is so after them.

    `text`: what the sites hold. `means`: who is called when a site is executed.
    """

    text: Instruction
    means: Sequence[Function]
    steps: Steps

    @property
    def meaning(self) -> Meaning:
        return tuple(sorted(f.name for f in self.means))


@dataclass(frozen=True)
class Expect(Checked):
    """What a strategy expects of itself in one scenario, for `use_cases`: every property not named here holds.

    `violated`: what is broken though it is required; `exposed`: what is broken in a way that the use case accepts. A name
    is a property, or `property/kind` (`old-or-new/missed`). The other fields choose the scenario, as the options of
    `check` do: `transition`, `rounds` (these two do not apply to a strategy that states its own sequence), `machine` (empty:
    the first of the architecture), `without`, `preempt`, `nmi`, `cpus`, `sites`.
    """

    violated: Sequence[str] = ()
    exposed: Sequence[str] = ()
    use_cases: Sequence[str] = USE_CASES
    transition: str = "call:call"
    rounds: int = 1
    machine: str = ""
    without: Sequence[str] = ()
    preempt: bool = False
    nmi: bool = False
    cpus: int = 2
    sites: int = 2
    where: Location = field(default_factory=caller, compare=False, repr=False)


@dataclass(frozen=True)
class Strategy(Checked):
    """A way of rewriting live code.

    `steps(sites)` yields one round's steps; or `rounds` states the whole sequence, from `before`, which means
    `before_means`, and then `--transition` does not apply. `starts_with_new`: before the first round, memory holds the
    new instruction already. `safe` functions may stand in for old or new at any time. `rereads`: at an unclaimed
    trap the handler reads the byte again and goes back if it is no trap any more. `offset`: where in its 64-byte line
    a site starts. `expects`: what comes out, by scenario. `name` and `says` are what `list` shows; `source`: where the
    protocol comes from.
    """

    name: str
    says: str
    source: str
    steps: Steps | None = None
    rounds: Sequence[Round] = ()
    before: Instruction = Nop()
    before_means: Sequence[Function] = ()
    starts_with_new: bool = False
    safe: Sequence[Function] = ()
    rereads: bool = False
    offset: int = 0
    expects: Sequence[Expect] = ()
    where: Location = field(default_factory=caller, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a strategy that could not be run."""
        super().__post_init__()
        if (self.steps is None) == (not self.rounds):
            raise ModelError(f"{self.name}: give either steps or rounds", self.where)
        if not 0 <= self.offset < 64:
            raise ModelError(f"{self.name}: offset {self.offset} is not inside a 64-byte line", self.where)

    @property
    def isa(self) -> Isa:
        """The architecture of its instructions: strategies are x86."""
        return Isa.X86


def old_callees(sites: Sequence[Site]) -> list[Function]:
    """The functions that `sites` called before this round and call no more."""
    kept = {site.new.calls for site in sites}
    return list(dict.fromkeys(f for site in sites if (f := site.old.calls) is not None and f not in kept))

"""The vocabulary of programs: several threads that share words, locks and code, and patch and run it.

A `Strategy` (protocol.py) is one patcher beside CPUs whose handler it instructs. A `Program` is for everything else:
several patchers, locks, flags and counts, handlers of one's own, sites of several instructions, code that is freed and
used again. A thread's body is a list of steps, plain data; steps nest where they branch. This module, `assembly` and
`properties` are all that a file with a program imports.

Words are read and written whole, at once and in the order of the program; `AnyOrder` says which stores may overtake
each other. A condition may read several words: that is one moment, so use several steps where the code has several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from models.assembly import Asm
from models.machines.isa import Isa
from models.properties import refuse_unknown
from models.protocol import Expect, Sync, WaitForReaders, WaitForTasks
from models.protocol import Step as _Step
from models.system.errors import Location, ModelError, caller
from models.system.expressions import (
    BOOL,
    Bits,
    Component,
    Enum,
    Expr,
    Operand,
    Read,
    Type,
    Variable,
    every,
    if_else,
    lift,
    read,
)
from models.system.fields import Checked
from models.system.visitor import each

__all__ = [
    "Acquire",
    "Answer",
    "AnyOrder",
    "Atomic",
    "Await",
    "Check",
    "Choose",
    "Code",
    "Execute",
    "Expect",
    "Fail",
    "Finish",
    "Free",
    "Goto",
    "Holds",
    "If",
    "Inside",
    "Interrupt",
    "Maintain",
    "Note",
    "Program",
    "Region",
    "Release",
    "Section",
    "Serialise",
    "Sleep",
    "Store",
    "Sync",
    "Thread",
    "WaitForReaders",
    "WaitForTasks",
    "While",
    "Write",
    "compare_exchange",
    "everywhere",
    "if_else",
    "lock",
    "word",
]


# ---- words ----------------------------------------------------------------------------------------------------------


def _typed(most: int, of: Sequence[str]) -> Type:
    if of:
        return Enum("word", tuple(of))  # words with the same labels are of one type: one can be loaded from another
    return BOOL if most == 1 else Bits(most.bit_length())


def _declare(
    name: str, initial: int | str, most: int, of: Sequence[str], says: str, component: Component | None = None
) -> Read:
    type_ = _typed(most, of)
    value = type_.labels.index(initial) if isinstance(type_, Enum) and isinstance(initial, str) else int(initial)
    if not type_.contains(value):
        raise ModelError(f"“{name}” cannot hold {initial}", caller())
    return read(Variable(name, type_, value, component, says, caller()))


def word(name: str, initial: int | str = 0, *, most: int = 1, of: Sequence[str] = (), says: str = "") -> Read:
    """A word that all threads share: a number from 0 to `most`, or one of the labels `of`; `+` and `-` wrap around.

    It is `initial` at first. It is read by naming it, and conditions are built with `==`, `!=`, `<`, `&`, `|` and `~`:

    >>> users = word("users", most=3)
    >>> While(users != 0, [Sleep()]).default_label()
    'while'
    """
    return _declare(name, initial, most, of, says or f"the word “{name}”")


def lock(name: str) -> Read:
    """A lock, free at first: a word that `Acquire` waits for and takes."""
    return word(name, says=f"whether the lock “{name}” is taken")


# ---- threads --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Thread(Checked):
    """A thread by name. `many`: there is one on each CPU, all alike; its body starts again when it ends.

    A program has at most one kind of thread of which there are many; the others run once, on CPUs of their own.
    """

    name: str
    many: bool = False
    component: Component | None = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "component", Component("cpu") if self.many else None)

    def register(
        self, name: str, initial: int | str = 0, *, most: int = 1, of: Sequence[str] = (), says: str = ""
    ) -> Read:
        """A word of this thread's own; where there are many of the thread, each has one.

        `initial`, `most` and `of` are as for `word`.
        """
        own = name if self.many else f"{self.name}.{name}"
        return _declare(own, initial, most, of, says or f"“{name}” of {self.name}", self.component)


def everywhere(thread: Thread, condition: Expr) -> Expr:
    """Whether `condition`, on the registers of a `thread` of which there are many, holds for every one of them.

    For what is kept on each CPU, such as percpu references. Only threads of which there is one may wait for it.
    """
    if thread.component is None:
        raise ModelError(f"there is one {thread.name}, not many", caller())
    return every(thread.component, each(condition))


# ---- code -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Code(Checked):
    """Code of which only matters who is inside it: something that can be freed. See `Inside` and `Free`."""

    name: str


@dataclass(frozen=True, eq=False)
class Region(Code):
    """Code that is rewritten. `versions`: what it may legitimately hold, by name, each a list of instructions.

    Memory holds the first of them at first. All versions are of one length. Whoever runs it goes from instruction to
    instruction and may be interrupted, or preempted, between two. A run counts as whole if all the instructions that it
    executed are of one version. `offset`: where in its 64-byte line the region starts.
    """

    versions: Mapping[str, Sequence[Asm]]
    offset: int = 0
    where: Location = field(default_factory=caller)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.versions or not all(self.versions.values()):
            raise ModelError(f"“{self.name}”: a region has at least one version, and each an instruction", self.where)

    @property
    def whole(self) -> Range:
        """All bytes of the region."""
        return Range(self, 0, None)

    def bytes(self, start: int, stop: int) -> Range:
        """Bytes `start` up to, not including, `stop`."""
        return Range(self, start, stop)


@dataclass(frozen=True, eq=False)
class Range(Checked):
    """Bytes `start` up to, not including, `stop` of a `region`; `stop` is None for its end. See `Region.bytes`."""

    spoken = "bytes of a region, such as region.whole"

    region: Region
    start: int
    stop: int | None


@dataclass(frozen=True)
class Holds(Checked):
    """A condition: memory, read as data, has the version of `region` that is called `version`."""

    region: Region
    version: str


Condition = Expr | Holds


# ---- steps ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Step(_Step):
    """Something that a thread does. Every step takes a `label`, which names it for `--without`, and `says`.

    `says`: the sentence for traces, where the usual one does not say enough; `{cpu}` in it stands for who acts.
    """

    says: str = ""
    __eq__ = object.__eq__  # steps that say the same may stand in different places
    __hash__ = object.__hash__

    def default_label(self) -> str:
        return type(self).__name__.lower()


Body = Sequence[_Step]


@dataclass(frozen=True, eq=False)
class Store(Step):
    """Set the word or register `target` to `value`, computed from others or plain (a load is a store to a register)."""

    target: Read
    value: Operand

    def __post_init__(self) -> None:
        super().__post_init__()
        lift(self.value, self.target.type)


@dataclass(frozen=True, eq=False, init=False)
class Atomic(Step):
    """Set several words at once, as a locked instruction does it: all values are read before any is set.

    `pairs`: each a word or register, and the value that it gets.
    """

    pairs: tuple[tuple[Read, Operand], ...]

    def __init__(self, *pairs: tuple[Read, Operand], says: str = "", label: str = "") -> None:
        for name, value in (("pairs", pairs), ("says", says), ("label", label), ("where", caller())):
            object.__setattr__(self, name, value)
        self.__post_init__()
        for target, given in pairs:
            lift(given, target.type)


def compare_exchange(target: Read, old: Operand, new: Operand, done: Read, says: str = "") -> Atomic:
    """Set `target` to `new` if it is `old`, in one step; the register `done` tells whether it was."""
    same = target == old
    return Atomic((target, if_else(same, new, target, target.type)), (done, same), says=says)


@dataclass(frozen=True, eq=False)
class If(Step):
    """Test `condition`, and go on with the steps `then`, or `otherwise`."""

    condition: Condition
    then: Body
    otherwise: Body = ()


@dataclass(frozen=True, eq=False)
class While(Step):
    """Test `condition`, and while it holds do the steps of `body` and test again."""

    condition: Condition
    body: Body


@dataclass(frozen=True, eq=False)
class Await(Step):
    """Wait until `condition` holds."""

    condition: Condition


@dataclass(frozen=True, eq=False, init=False)
class Choose(Step):
    """Go on with one of several lists of steps (`branches`); which, nobody controls."""

    branches: tuple[Body, ...]

    def __init__(self, *branches: Body, says: str = "", label: str = "") -> None:
        for name, value in (("branches", branches), ("says", says), ("label", label), ("where", caller())):
            object.__setattr__(self, name, value)
        self.__post_init__()


@dataclass(frozen=True, eq=False, init=False)
class AnyOrder(Step):
    """Do all `steps` in any order: stores with no barrier between them."""

    steps: tuple[_Step, ...]

    def __init__(self, *steps: _Step, says: str = "", label: str = "") -> None:
        for name, value in (("steps", steps), ("says", says), ("label", label), ("where", caller())):
            object.__setattr__(self, name, value)
        self.__post_init__()


class Finish(Step):
    """Go to the end of the body."""


@dataclass(frozen=True, eq=False)
class Acquire(Step):
    """Wait until `lock` is free, and take it."""

    lock: Read


@dataclass(frozen=True, eq=False)
class Release(Step):
    """Give `lock` back."""

    lock: Read


@dataclass(frozen=True, eq=False)
class Check(Step):
    """Claim that `condition` holds here, or `property` is broken, in the way that `kind` names.

    It takes no time: it is put to the test at the moment of the step before it. Only threads of which there are many
    can check something.
    """

    condition: Expr
    property: str
    kind: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unknown(self.property, "Check", self.where)


@dataclass(frozen=True, eq=False)
class Note(Step):
    """Set `target`, a word that no code has, only the claims (a ghost), to `value`.

    It takes no time: it is set by the step before it.
    """

    target: Read
    value: Operand

    def __post_init__(self) -> None:
        super().__post_init__()
        lift(self.value, self.target.type)


@dataclass(frozen=True, eq=False)
class Fail(Step):
    """The thread cannot go on: `property` is broken, in the way that `kind` names.

    Only threads of which there are many can.
    """

    property: str
    kind: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unknown(self.property, "Fail", self.where)


@dataclass(frozen=True, eq=False)
class Write(Step):
    """Store into code: the bytes of the version called `content` that belong to `place`, or these bytes."""

    place: Range
    content: str | bytes


@dataclass(frozen=True, eq=False)
class Maintain(Step):
    """Clean the data cache and invalidate the instruction cache over `region`, on all CPUs (DC CVAU, IC IVAU, DSB).

    What CPUs have fetched already stays with them until they serialise. Without effect where caches are coherent.
    """

    region: Region


class Serialise(Step):
    """This CPU forgets what it has fetched (a serialising instruction, ISB, fence.i). Others do not."""


@dataclass(frozen=True, eq=False)
class Interrupt(Step):
    """Ask every CPU to run `handler`, with interrupts off, and wait until all have come to its `Answer`.

    `stopper`: it runs as a task of its own, so it starts only where the thread can be switched away from: between runs
    of its body, where it sleeps or, with preemption, where it is preempted (stop-machine). The next such request waits
    until all have left the handler. A CPU inside a handler counts as stopped.
    """

    handler: Body
    stopper: bool = False


class Answer(Step):
    """In the handler of an interrupt: tell whoever asked."""


class Sleep(Step):
    """Make a voluntary switch, and come back at any time."""


@dataclass(frozen=True, eq=False)
class Section(Step):
    """Do the steps of `body` in a read-side critical section: not preempted, and waited for by `WaitForReaders`."""

    body: Body


@dataclass(frozen=True, eq=False)
class Inside(Step):
    """Do the steps of `body`, during which the PC or a return address is in `code`."""

    code: Code
    body: Body


@dataclass(frozen=True, eq=False)
class Free(Step):
    """Free `code`, or use its memory for something else. Whoever is inside breaks no-freed-code."""

    code: Code


@dataclass(frozen=True, eq=False)
class Execute(Step):
    """Run `region` from byte `entry` on; `then` do the steps of the version that ran (called, or jumped to, from it).

    They come after the last instruction of the run, also where an earlier one calls: give what follows a call a region of
    its own where that matters. Where the instructions that ran may be of several versions, these have the same `then`.

    `trap`: what the handler does, with interrupts off, when a trap byte is executed; at its end it returns behind the
    region (`Goto` returns elsewhere). Without it a trap is fatal: nobody claims it.
    """

    region: Region
    then: Mapping[str, Body] = field(default_factory=dict)
    entry: int = 0
    trap: Body | None = None


@dataclass(frozen=True, eq=False)
class Goto(Step):
    """Go on in the region that is being executed, at the byte `offset`; from a handler, by returning there."""

    offset: int


# ---- programs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program(Checked):
    """`threads` and their bodies. Words, registers, locks, code and regions are found in the steps.

    `expects`: what comes out, by scenario. `source`: where the protocol comes from. It completes when every thread of
    which there is one has come to its end.
    """

    name: str
    says: str
    source: str
    threads: Mapping[Thread, Body]
    expects: Sequence[Expect] = ()
    where: Location = field(default_factory=caller, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a program that could not be run."""
        super().__post_init__()
        if not self.threads:
            raise ModelError(f"{self.name}: a program has at least one thread", self.where)
        if sum(thread.many for thread in self.threads) > 1:
            raise ModelError(f"{self.name}: only one kind of thread can be many", self.where)

    @property
    def many(self) -> Thread | None:
        """The thread of which there are many, if there is one."""
        return next((thread for thread in self.threads if thread.many), None)

    @property
    def isa(self) -> Isa:
        """The architecture of the instructions in its regions; x86 where there are none."""
        parts = (value for body in self.threads.values() for step in all_steps(body) for value in vars(step).values())
        regions = (part.region if isinstance(part, Range | Holds) else part for part in parts)
        found = (
            asm.isa for region in regions if isinstance(region, Region) for v in region.versions.values() for asm in v
        )
        return next(found, Isa.X86)


def substeps(step: _Step) -> Iterator[Body]:
    """The lists of steps inside a step."""
    match step:
        case If(then=then, otherwise=otherwise):
            yield from (then, otherwise)
        case While(body=body) | Inside(body=body) | Section(body=body):
            yield body
        case Choose(branches=branches):
            yield from branches
        case AnyOrder(steps=steps):
            yield steps
        case Interrupt(handler=handler):
            yield handler
        case Execute(then=then, trap=trap):
            yield from then.values()
            yield trap or ()


def all_steps(body: Body) -> Iterator[_Step]:
    """Every step of a body, at any depth, in the order of the text."""
    for step in body:
        yield step
        for inner in substeps(step):
            yield from all_steps(inner)

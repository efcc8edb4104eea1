"""A concrete simulator of programs: real bytes, real decoders, one small step at a time.

It shares nothing with the composed model but the vocabulary, and where regions lie. A thread's position is a stack of
what it still has to do. Memory is bytes; a store of several units lands unit by unit, in any order. Every CPU has, for
each unit that a fetch reads at once, the *history* of the values that it held since this CPU last serialised; with
explicit maintenance there is one more, of what caches may return. A fetch takes each unit from its history, and what
the decoder makes of the bytes is run.

A CPU that serialises by itself only forgets: whatever it does then it could have done before, so that is left out.
Left out: machines that buffer, steps left out of a program, NMIs. How many instances of a request wait for a CPU is kept
for each who asked; what CPUs ask of memory takes turns, and there is no more than that in common with the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from models.code import Piece, RegionText
from models.machines.fetch import Granularity, Machine, Maintenance, Staleness, StoreAtomicity
from models.machines.isa import WIDTH, Isa, concurrent, decode, is_trap
from models.program import (
    Acquire,
    Answer,
    AnyOrder,
    Atomic,
    Await,
    Body,
    Check,
    Choose,
    Code,
    Condition,
    Execute,
    Fail,
    Finish,
    Free,
    Goto,
    Holds,
    If,
    Inside,
    Interrupt,
    Maintain,
    Note,
    Program,
    Region,
    Release,
    Section,
    Serialise,
    Sleep,
    Store,
    Sync,
    Thread,
    WaitForReaders,
    WaitForTasks,
    While,
    Write,
)
from models.protocol import Step
from models.scenario import Scenario
from models.system.expressions import (
    Add,
    And,
    BitAnd,
    BitOr,
    Bits,
    Constant,
    Equal,
    Every,
    Expr,
    Less,
    Not,
    Operand,
    Or,
    Read,
    Subtract,
    Variable,
    lift,
)
from models.system.expressions import If as IfElse

Violation = tuple[str, str]
TORN, UNDEFINED, UNCLAIMED, FREED = (
    ("no-torn-instruction", "torn"),
    ("no-torn-instruction", "undefined"),
    ("traps-claimed", "unclaimed"),
    ("no-freed-code", "freed"),
)
READERS, TASKS, SYNC, IRQ = "readers", "tasks", "sync", "interrupt"
MOST = 200_000


class Large(Exception):
    """There are more states than the limit."""


# ---- what a thread still has to do: a stack, of steps and of the following ------------------------------------------


class Item:
    """What lies on a stack; steps in it are compared by identity, since two may look alike."""

    def key(self) -> tuple[object, ...]:
        return type(self), *map(identity, vars(self).values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())


def identity(value: object) -> object:
    if isinstance(value, Step):
        return id(value)
    return tuple(map(identity, value)) if isinstance(value, tuple) else value


@dataclass(frozen=True, eq=False)
class Do(Item):
    """A step."""

    step: Step


@dataclass(frozen=True, eq=False)
class Leave(Item):
    """The PC, or a return address, is in `code` until here."""

    code: Code


@dataclass(frozen=True, eq=False)
class Close(Item):
    """The end of a read-side section."""


@dataclass(frozen=True, eq=False)
class Ran(Item):
    """The end of the steps of the version that ran; `Goto` before it means this region."""

    execute: Execute


@dataclass(frozen=True, eq=False)
class Iret(Item):
    """The return of the handler of a trap in this region."""

    execute: Execute


@dataclass(frozen=True, eq=False)
class Run(Item):
    """About to execute the instruction at `start`; what ran so far is of the versions in `live`."""

    execute: Execute
    start: int
    live: frozenset[str]


@dataclass(frozen=True, eq=False)
class Left(Item):
    """Steps that are left to do, in any order."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class Landing(Item):
    """A store of which these units have not landed yet."""

    write: Write
    units: frozenset[int]


@dataclass(frozen=True, eq=False)
class Waiting(Item):
    """A request that was made, and is not answered by all."""

    step: Step


@dataclass(frozen=True, eq=False)
class Asleep(Item):
    """Switched away from, by itself."""


@dataclass(frozen=True, eq=False)
class Begin(Item):
    """Nothing was done yet."""


@dataclass(frozen=True, eq=False)
class Turn(Item):
    """Memory is at work for this thread."""


Todo = Any  # None, or (what is next, Todo)


def onto(body: Body, rest: Todo) -> Todo:
    for step in reversed(list(body)):
        rest = (Do(step), rest)
    return rest


def opened(todo: Todo) -> tuple[Any, Todo]:
    """What is next, and what comes after it."""
    item, rest = todo
    return (item.step if isinstance(item, Do) else item), rest


def items(todo: Todo) -> Iterator[Any]:
    while todo is not None:
        item, todo = todo
        yield item


def is_off(todo: Todo) -> bool:
    """Whether a handler of a trap is under way."""
    return any(isinstance(item, Iret) for item in items(todo))


def insides(todo: Todo) -> Iterator[Code]:
    """The code that the thread is in."""
    for item in items(todo):
        match item:
            case Leave(code=code):
                yield code
            case Run(execute=execute) | Iret(execute=execute):
                yield execute.region


# ---- states ---------------------------------------------------------------------------------------------------------


class Cpu(NamedTuple):
    """`todo`: None is elsewhere. `owed`: the requests that wait for it, with who made them. `asked`: which interrupt."""

    todo: Todo
    registers: tuple[int, ...]
    history: tuple[frozenset[bytes], ...]
    owed: frozenset[tuple[str, int]] = frozenset()
    preempted: bool = False
    asked: int | None = None
    handling: bool = False
    handler: Todo = None


class State(NamedTuple):
    """`memory`: the units of all regions. `turn`: the CPU that memory works for, and what it still has to do for it."""

    words: tuple[int, ...]
    memory: tuple[bytes, ...]
    caches: tuple[frozenset[bytes], ...]
    singles: tuple[Todo, ...]
    cpus: tuple[Cpu, ...]
    freed: frozenset[Code] = frozenset()
    turn: tuple[int, Todo] | None = None


class Who(NamedTuple):
    """Who acts: "single", "cpu", "handler" or "memory", and which."""

    kind: str
    number: int


class Found(NamedTuple):
    """A state that was come to, and what was broken on the way; `stops`: nothing comes after it."""

    state: State
    broken: tuple[Violation, ...] = ()
    stops: bool = False


class Place(NamedTuple):
    """A region: its bytes are the units `first` up to `last`, which end at these bytes of the region."""

    text: RegionText
    first: int
    last: int
    ends: tuple[tuple[int, int], ...]


# ---- expressions ----------------------------------------------------------------------------------------------------


class Words:
    """The words and registers of a program, and the values of expressions over them."""

    def __init__(self, program: Program) -> None:
        found = dict.fromkeys(v for body in program.threads.values() for step in walk(body) for v in variables(step))
        self.shared = [v for v in found if v.component is None]
        self.own = [v for v in found if v.component is not None]
        self.place = {v: i for group in (self.shared, self.own) for i, v in enumerate(group)}

    def value(self, expr: Expr, words: Sequence[int], registers: Sequence[int]) -> int:
        if isinstance(expr, Constant):
            return expr.value
        if isinstance(expr, Every):
            raise NotImplementedError("a condition on the registers of every CPU")
        if isinstance(expr, Read):
            return (words if expr.variable.component is None else registers)[self.place[expr.variable]]
        args = [self.value(arg, words, registers) for arg in expr.args]
        match expr:
            case Not():
                return 1 - args[0]
            case And():
                return int(all(args))
            case Or():
                return int(any(args))
            case Equal():
                return int(args[0] == args[1])
            case Less():
                return int(args[0] < args[1])
            case IfElse():
                return args[1] if args[0] else args[2]
        assert isinstance(expr.type, Bits)
        whole = {
            Add: args[0] + args[1],
            Subtract: args[0] - args[1],
            BitAnd: args[0] & args[1],
            BitOr: args[0] | args[1],
        }
        return whole[type(expr)] % (1 << expr.type.width)


def walk(body: Body) -> Iterator[Step]:
    """Every step, at any depth."""
    for step in body:
        yield step
        for value in vars(step).values():
            for inner in value.values() if isinstance(value, dict) else [value]:
                if isinstance(inner, list | tuple):
                    yield from walk([s for s in inner if isinstance(s, Step)])
                    for branch in inner:
                        if isinstance(branch, list | tuple):
                            yield from walk([s for s in branch if isinstance(s, Step)])


def variables(step: Step) -> Iterator[Variable]:
    pending = [v for v in vars(step).values() if isinstance(v, Expr)]
    if isinstance(step, Atomic):
        pending += [part for pair in step.pairs for part in pair if isinstance(part, Expr)]
    while pending:
        expr = pending.pop()
        if isinstance(expr, Read):
            yield expr.variable
        pending += expr.args


# ---- the simulator --------------------------------------------------------------------------------------------------


class Simulator:
    """All steps that are possible in a state of a program."""

    def __init__(self, program: Program, scenario: Scenario) -> None:
        self.program, self.scenario, self.machine = program, scenario, scenario.machine
        if self.machine.staleness is Staleness.BUFFERED or scenario.without:
            raise NotImplementedError(f"{self.machine.name}, without {sorted(scenario.without)}")
        self.many = next((t for t in program.threads if t.many), None)
        self.singles: list[Thread] = [t for t in program.threads if not t.many]
        self.steps = [step for body in program.threads.values() for step in walk(body)]
        self.words = Words(program)
        self.interrupts = [s for s in self.steps if isinstance(s, Interrupt)]
        self.regions: dict[Region, Place] = {}
        self.stores: dict[Region, list[tuple[int, bytes]]] = {}
        self.lay_out()
        self.fetch = cache(self.fetched)

    # ---- the text ---------------------------------------------------------------------------------------------------

    def lay_out(self) -> None:
        at = 0
        for step in self.steps:
            condition = getattr(step, "condition", None)
            region = (
                step.place.region
                if isinstance(step, Write)
                else condition.region
                if isinstance(condition, Holds)
                else step.region
                if isinstance(step, Execute | Maintain)
                else None
            )
            if region is None or region in self.regions:
                continue
            text = RegionText(len(self.regions), region, [], self.machine)
            ends = tuple(fetch_units(text.address, text.length, self.machine))
            self.regions[region] = Place(text, at, at + len(ends), ends)
            at += len(ends)
        for step in self.steps:
            if isinstance(step, Write):
                self.stores.setdefault(step.place.region, []).append(self.data(step))

    def data(self, write: Write) -> tuple[int, bytes]:
        text = self.regions[write.place.region].text
        stop = text.length if write.place.stop is None else write.place.stop
        content = (
            text.code[write.content][write.place.start : stop] if isinstance(write.content, str) else write.content
        )
        return write.place.start, content

    def store_units(self, write: Write) -> list[int]:
        """The units that a store lands in; only those count where some version, or another store, differs from it."""
        region, (start, data) = write.place.region, self.data(write)
        text = self.regions[region].text
        unit = {StoreAtomicity.BYTE: 1, StoreAtomicity.ALIGNED_8: 8, StoreAtomicity.LINE: 64}.get(
            self.machine.store_atomicity
        )
        if unit is None:
            return [0]
        known = [(0, code) for code in text.code.values()] + self.stores[region]
        found = set()
        for offset in range(start, start + len(data)):
            if any(o <= offset < o + len(d) and d[offset - o] != data[offset - start] for o, d in known):
                found.add((text.address + offset) // unit)
        return sorted(found)

    def landed(self, state: State, write: Write, unit: int | None) -> State:
        """The state after one unit of a store has landed, or all of it."""
        region, (start, data) = write.place.region, self.data(write)
        place = self.regions[region]
        size = {StoreAtomicity.BYTE: 1, StoreAtomicity.ALIGNED_8: 8, StoreAtomicity.LINE: 64}.get(
            self.machine.store_atomicity
        )
        code = bytearray(self.content(state, region))
        for k, byte in enumerate(data, start):
            if unit is None or size is None or (place.text.address + k) // size == unit:
                code[k] = byte
        memory, caches = list(state.memory), list(state.caches)
        histories = [list(cpu.history) for cpu in state.cpus]
        for number, (a, b) in enumerate(place.ends, place.first):
            new = bytes(code[a:b])
            memory[number] = new
            for known in (*histories, *([caches] if caches else [])):
                known[number] = known[number] | {new}
        cpus = tuple(cpu._replace(history=tuple(h)) for cpu, h in zip(state.cpus, histories, strict=True))
        return state._replace(memory=tuple(memory), caches=tuple(caches), cpus=cpus)

    def content(self, state: State, region: Region) -> bytes:
        place = self.regions[region]
        return b"".join(state.memory[place.first : place.last])

    def is_undefined(self, state: State, write: Write) -> bool:
        """Whether the vendor says nothing of this store while others run the code."""
        if not self.machine.havoc:
            return False
        region = write.place.region
        new = self.landed(state, write, None)
        place = self.regions[region]
        pairs = zip(
            state.memory[place.first : place.last],
            new.memory[place.first : place.last],
            strict=True,
        )
        return any(a != b and not concurrent(self.machine.isa, a, b) for a, b in pairs)

    def fetched(self, region: Region, start: int, history: tuple[frozenset[bytes], ...]) -> frozenset[str | Piece]:
        """What fetches at `start` can run: "trap", "torn", or an instruction of some version."""
        place, isa = self.regions[region], self.machine.isa
        text = place.text
        stop = text.length if isa is Isa.X86 else start + WIDTH[isa]
        units = [(k, a) for k, (a, b) in enumerate(place.ends) if b > start and a < stop]
        known = {p.code: p for pieces in text.versions.values() for p in pieces if p.start == start}
        found: set[str | Piece] = set()
        for picked in product(*(sorted(history[k]) for k, _ in units)):
            code = b"".join(picked)[start - units[0][1] :]
            length = decode(isa, code, text.address + start).length
            found.add("trap" if is_trap(isa, code) else known.get(code[:length], "torn"))
        return frozenset(found)

    # ---- states -----------------------------------------------------------------------------------------------------

    def initial(self) -> Found:
        memory: list[bytes] = []
        for place in self.regions.values():
            code = next(iter(place.text.code.values()))
            memory += [code[a:b] for a, b in place.ends]
        history = tuple(frozenset({unit}) for unit in memory)
        explicit = self.machine.maintenance is Maintenance.EXPLICIT
        cpu = Cpu(None, tuple(v.initial for v in self.words.own), history)
        state = State(
            tuple(v.initial for v in self.words.shared),
            tuple(memory),
            history if explicit else (),
            (None,) * len(self.singles),
            (cpu,) * (self.scenario.cpus if self.many else 0),
        )
        for number, thread in enumerate(self.singles):
            body = self.program.threads[thread]
            todo = (Begin(), onto(body, None)) if body and isinstance(body[0], Check | Note) else onto(body, None)
            state = self.settled(state, Who("single", number), todo).state
        return Found(state)

    def todo(self, state: State, who: Who) -> Todo:
        match who.kind:
            case "single":
                return state.singles[who.number]
            case "cpu":
                return state.cpus[who.number].todo
            case "handler":
                return state.cpus[who.number].handler
        assert state.turn
        return state.turn[1]

    def placed(self, state: State, who: Who, todo: Todo) -> State:
        """The state with another stack for whoever acts."""
        match who.kind:
            case "single":
                return state._replace(singles=replaced(state.singles, who.number, todo))
            case "cpu":
                return self.changed(state, who.number, todo=todo)
            case "handler":
                done = {"handling": False, "asked": None} if todo is None else {}
                return self.changed(state, who.number, handler=todo, **done)
        return state._replace(turn=(who.number, todo))

    def changed(self, state: State, number: int, **fields: Any) -> State:
        return state._replace(cpus=replaced(state.cpus, number, state.cpus[number]._replace(**fields)))

    def value(self, state: State, who: Who, expr: Condition) -> int:
        if isinstance(expr, Holds):
            return int(self.content(state, expr.region) == self.regions[expr.region].text.code[expr.version])
        registers = state.cpus[who.number].registers if who.kind in ("cpu", "handler") else ()
        return self.words.value(expr, state.words, registers)

    def assigned(self, state: State, who: Who, pairs: Iterable[tuple[Read, Operand]]) -> State:
        """All values are read, then all are set."""
        values = [(target.variable, self.value(state, who, lift(value, target.type))) for target, value in pairs]
        for variable, value in values:
            place = self.words.place[variable]
            if variable.component is None:
                state = state._replace(words=replaced(state.words, place, value))
            else:
                registers = replaced(state.cpus[who.number].registers, place, value)
                state = self.changed(state, who.number, registers=registers)
        return state

    def settled(self, state: State, who: Who, todo: Todo) -> Found:
        """Go on to the next step that takes time, through what takes none."""
        broken: list[Violation] = []
        while todo is not None:
            item, rest = opened(todo)
            match item:
                case Leave() | Close() | Ran():
                    todo = rest
                case Inside(code=code, body=body):
                    todo = onto(body, (Leave(code), rest))
                case Section(body=body):
                    todo = onto(body, (Close(), rest))
                case AnyOrder(steps=steps):
                    todo = (Left(steps), rest)
                case Left(steps=steps) if len(steps) <= 1:
                    todo = onto(steps, rest)
                case Execute():
                    todo = (Run(item, item.entry, self.starting(item.region, item.entry)), rest)
                case Check(condition=condition, property=name, kind=kind):
                    if not self.value(state, who, condition):
                        broken.append((name, kind or name))
                    todo = rest
                case Note(target=target, value=value):
                    state = self.assigned(state, who, [(target, value)])
                    todo = rest
                case Finish():
                    todo = None
                case _:
                    break
        return Found(self.placed(state, who, todo), tuple(broken))

    def starting(self, region: Region, start: int) -> frozenset[str]:
        versions = self.regions[region].text.versions
        return frozenset(v for v, pieces in versions.items() if any(p.start == start for p in pieces))

    # ---- steps ------------------------------------------------------------------------------------------------------

    def moves(self, state: State) -> Iterator[Found]:
        """Every way to go on."""
        for number in range(len(self.singles)):
            who = Who("single", number)
            yield from self.moved(state, who, self.todo(state, who))
        for number, cpu in enumerate(state.cpus):
            yield from self.events(state, number, cpu)
            if cpu.handling:
                who = Who("handler", number)
                yield from self.moved(state, who, cpu.handler)
            elif not cpu.preempted:
                yield from self.thread(state, Who("cpu", number), cpu)
        if state.turn is not None:
            yield from self.memory(state, *state.turn)

    def thread(self, state: State, who: Who, cpu: Cpu) -> Iterator[Found]:
        """A CPU goes on with its thread, or begins: it comes to code by a step of its own."""
        if cpu.todo is not None:
            yield from self.moved(state, who, cpu.todo)
            return
        assert self.many
        body = onto(self.program.threads[self.many], None)
        arrived = self.settled(state, who, body)
        first = self.todo(arrived.state, who)
        noted = arrived.broken or arrived.state.words != state.words or first is None
        noted = noted or arrived.state.cpus[who.number].registers != cpu.registers or self.begins_with_claim(body)
        if noted or any(insides(first)):
            yield arrived
        else:
            yield from self.moved(state, who, first)

    @staticmethod
    def begins_with_claim(body: Todo) -> bool:
        return body is not None and isinstance(opened(body)[0], Check | Note)

    def memory(self, state: State, number: int, todo: Todo) -> Iterator[Found]:
        """What memory does for a CPU, which goes on when all is done."""
        for found in self.moved(state, Who("memory", number), todo):
            after = found.state
            assert after.turn is not None
            if after.turn[1] is None:
                (_, rest) = after.cpus[number].todo
                last = self.settled(after._replace(turn=None), Who("cpu", number), rest)
                yield Found(last.state, found.broken + last.broken, found.stops)
            else:
                yield found

    def moved(self, state: State, who: Who, todo: Todo) -> Iterator[Found]:
        """The step that is next on a stack."""
        if todo is None:
            return
        item, rest = opened(todo)
        match item:
            case Begin():
                yield self.settled(state, who, rest)
            case Left(steps=steps):
                for k, step in enumerate(steps):
                    chosen = (Do(step), (Left(steps[:k] + steps[k + 1 :]), rest))
                    yield from self.moved(state, who, self.todo(self.settled(state, who, chosen).state, who))
            case If(condition=condition, then=then, otherwise=otherwise):
                branch = then if self.value(state, who, condition) else otherwise
                yield self.settled(state, who, onto(branch, rest))
            case While(condition=condition, body=body):
                again = self.value(state, who, condition)
                yield self.settled(state, who, onto(body, todo) if again else rest)
            case Await(condition=condition):
                if self.value(state, who, condition):
                    yield self.settled(state, who, rest)
            case Choose(branches=branches):
                for branch in branches:
                    yield self.settled(state, who, onto(branch, rest))
            case Store(target=target, value=value):
                yield self.settled(self.assigned(state, who, [(target, value)]), who, rest)
            case Atomic(pairs=pairs):
                yield self.settled(self.assigned(state, who, pairs), who, rest)
            case Acquire(lock=word):
                if not self.value(state, who, word):
                    yield self.settled(self.assigned(state, who, [(word, 1)]), who, rest)
            case Release(lock=word):
                yield self.settled(self.assigned(state, who, [(word, 0)]), who, rest)
            case Free(code=code):
                yield self.settled(state._replace(freed=state.freed | {code}), who, rest)
            case Fail(property=name, kind=kind):
                yield Found(state, ((name, kind or "failed"),), stops=True)
            case Maintain(region=region):
                yield self.settled(self.maintained(state, region), who, rest)
            case Serialise():
                yield self.settled(self.serialised(state, who.number), who, rest)
            case Sleep():
                yield self.settled(state, who, (Asleep(), rest))
            case Asleep():
                yield self.settled(state, who, rest)
            case Answer():
                yield self.settled(self.answered(state, who.number, IRQ), who, rest)
            case Iret():
                yield self.settled(self.returned(state, who.number), who, rest)
            case Goto(offset=offset):
                yield self.gone(state, who, offset, rest)
            case Run():
                yield from self.ran(state, who, item, rest)
            case Write() | Sync() if who.kind in ("cpu", "handler"):
                if state.turn is None:
                    after = self.placed(state, who, (Turn(), rest))
                    yield Found(after._replace(turn=(who.number, (Do(item), None))))
            case Write() | Landing():
                yield from self.stored(state, who, item, rest)
            case Sync() | WaitForReaders() | WaitForTasks() | Interrupt():
                yield from self.requested(state, who, item, rest)
            case Waiting(step=step):
                if not any((self.asks(step), who.number if who.kind == "single" else -1) in c.owed for c in state.cpus):
                    yield self.settled(state, who, rest)
            case Turn():
                return
            case _:
                raise NotImplementedError(type(item).__name__)

    # ---- stores and caches ------------------------------------------------------------------------------------------

    def stored(self, state: State, who: Who, item: Write | Landing, rest: Todo) -> Iterator[Found]:
        """A store lands at once, or unit by unit."""
        if isinstance(item, Write):
            running = [cpu for cpu in state.cpus if not cpu.handling]
            if self.is_undefined(state, item) and running:
                yield Found(state, (UNDEFINED,), stops=True)
                return
            units = self.store_units(item)
            if len(units) > 1:
                yield self.settled(state, who, (Landing(item, frozenset(units)), rest))
            else:
                yield self.settled(self.landed(state, item, None), who, rest)
            return
        if not item.units:
            yield self.settled(self.landed(state, item.write, -1), who, rest)
        for unit in sorted(item.units):
            left = Landing(item.write, item.units - {unit})
            yield Found(self.placed(self.landed(state, item.write, unit), who, (left, rest)))

    def serialised(self, state: State, number: int) -> State:
        known = state.caches or tuple(frozenset({unit}) for unit in state.memory)
        return self.changed(state, number, history=known)

    def maintained(self, state: State, region: Region) -> State:
        place = self.regions[region]
        caches = list(state.caches)
        if caches:
            for number in range(place.first, place.last):
                caches[number] = frozenset({state.memory[number]})
        return state._replace(caches=tuple(caches))

    # ---- runs of code -----------------------------------------------------------------------------------------------

    def ran(self, state: State, who: Who, run: Run, rest: Todo) -> Iterator[Found]:
        """One instruction."""
        region, execute = run.execute.region, run.execute
        place = self.regions[region]
        history = state.cpus[who.number].history[place.first : place.last]
        if self.machine.staleness is Staleness.COHERENT:
            history = tuple(frozenset({unit}) for unit in state.memory[place.first : place.last])
        for piece in sorted(self.fetch(region, run.start, history), key=repr):
            if piece == "trap":
                if execute.trap is None:
                    yield Found(state, (UNCLAIMED,), stops=True)
                else:
                    yield self.settled(state, who, onto(execute.trap, (Iret(execute), rest)))
                continue
            live = [v for v in place.text.versions if v in run.live and piece in place.text.versions[v]]
            if not isinstance(piece, Piece) or not live:
                yield Found(state, (TORN,), stops=True)
            elif piece.stop < place.text.length and not piece.leaves:
                yield self.settled(state, who, (Run(execute, piece.stop, frozenset(live)), rest))
            else:
                yield self.settled(state, who, onto(execute.then.get(live[0], ()), (Ran(execute), rest)))

    def gone(self, state: State, who: Who, offset: int, todo: Todo) -> Found:
        """Go on in the region that was being executed; out of a handler that is its return."""
        while not isinstance(todo[0], Ran | Iret):
            todo = todo[1]
        mark, rest = todo
        if isinstance(mark, Iret):
            state = self.returned(state, who.number)
        region = mark.execute.region
        return self.settled(state, who, (Run(mark.execute, offset, self.starting(region, offset)), rest))

    def returned(self, state: State, number: int) -> State:
        return self.serialised(state, number) if self.machine.iret_serialises else state

    # ---- requests, and what happens to CPUs -------------------------------------------------------------------------

    @staticmethod
    def asks(step: Step) -> str:
        kinds: dict[type[Step], str] = {Sync: SYNC, WaitForReaders: READERS, WaitForTasks: TASKS, Interrupt: IRQ}
        return kinds[type(step)]

    def requested(self, state: State, who: Who, step: Step, rest: Todo) -> Iterator[Found]:
        """Every CPU is asked; an interrupt only when the last one is over."""
        request = (self.asks(step), who.number if who.kind == "single" else -1)
        cpus = [cpu._replace(owed=cpu.owed | {request}) for cpu in state.cpus]
        if isinstance(step, Interrupt):
            if any(cpu.asked is not None for cpu in cpus):
                return
            cpus = [cpu._replace(asked=next(k for k, s in enumerate(self.interrupts) if s is step)) for cpu in cpus]
        asked = state._replace(cpus=tuple(cpus))
        yield self.settled(asked, who, (Waiting(step), rest)) if cpus else self.settled(state, who, rest)

    def answered(self, state: State, number: int, kind: str) -> State:
        owed = frozenset((k, who) for k, who in state.cpus[number].owed if k != kind)
        return self.changed(state, number, owed=owed)

    def events(self, state: State, number: int, cpu: Cpu) -> Iterator[Found]:
        """Interrupts, quiescent states, voluntary switches, preemption."""
        todo, kinds = cpu.todo, {kind for kind, _ in cpu.owed}
        off = is_off(todo)
        away = todo is None or isinstance(todo[0], Asleep)
        section = any(isinstance(item, Close) for item in items(todo))
        if SYNC in kinds and not off and not cpu.handling:
            yield Found(self.serialised(self.answered(state, number, SYNC), number))
        if READERS in kinds and (away or cpu.preempted or (self.scenario.preempt and not off and not section)):
            yield Found(self.answered(state, number, READERS))
        if TASKS in kinds and away:
            yield Found(self.answered(state, number, TASKS))
        if self.scenario.preempt and not cpu.handling:
            if cpu.preempted:
                yield Found(self.changed(state, number, preempted=False))
            elif not (away or off or section):
                yield Found(self.changed(state, number, preempted=True))
        if cpu.asked is not None and not cpu.handling:
            interrupt = self.interrupts[cpu.asked]
            if (away or cpu.preempted) if interrupt.stopper else not off:
                begun = self.changed(state, number, handling=True)
                yield self.settled(begun, Who("handler", number), onto(interrupt.handler, None))

    def is_dead(self, state: State) -> bool:
        """Whether somebody is in code that was freed."""
        stacks = [*state.singles, *(todo for cpu in state.cpus for todo in (cpu.todo, cpu.handler))]
        return any(code in state.freed for todo in stacks for code in insides(todo))


def replaced(values: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])


def fetch_units(address: int, length: int, machine: Machine) -> Iterator[tuple[int, int]]:
    """What a fetch reads at once, as ranges of a region's bytes."""
    widths = {
        Granularity.BYTE: 1,
        Granularity.ALIGNED_2: 2,
        Granularity.ALIGNED_4: 4,
        Granularity.ALIGNED_8: 8,
        Granularity.LINE: 64,
    }
    start = 0
    for offset in range(1, length + 1):
        width = widths.get(machine.granularity)
        if offset == length or (width and (address + offset) % width == 0):
            yield start, offset
            start = offset


def explore(program: Program, scenario: Scenario, most: int = MOST) -> set[Violation]:
    """Every way in which a property can be broken. Raises Large, and NotImplementedError for what is left out."""
    simulator = Simulator(program, scenario)
    first = simulator.initial()
    broken: set[Violation] = set(first.broken)
    seen, pending = {first.state}, [first.state]
    while pending:
        state = pending.pop()
        if simulator.is_dead(state):
            broken.add(FREED)
            continue
        for found in simulator.moves(state):
            broken.update(found.broken)
            if not found.stops and found.state not in seen:
                if len(seen) >= most:
                    raise Large(f"more than {most:,} states")
                seen.add(found.state)
                pending.append(found.state)
    return broken

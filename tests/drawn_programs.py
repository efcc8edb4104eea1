"""Small programs over the whole vocabulary, as plain data: short to read when one fails, short to keep as a regression.

A step is a tuple: its name, then what it takes; bodies are tuples of steps. `Drawn.program` makes a program of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from hypothesis import strategies as st

from models.assembly import Asm, arm64, power, riscv, x86
from models.machines.fetch import machine
from models.machines.isa import TRAPS
from models.program import (
    Acquire,
    Answer,
    AnyOrder,
    Atomic,
    Await,
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
    compare_exchange,
    lock,
    word,
)
from models.properties import CLAIMED, OLD_OR_NEW, STALE
from models.protocol import Step
from models.scenario import Scenario
from models.system.expressions import Expr, Operand

Words = tuple[Any, ...]  # one step
Lines = tuple[Words, ...]  # a body

PUSH = x86.raw(b"\x41\x54", "push r12")
LAYOUTS: dict[str, dict[str, Sequence[Asm]]] = {  # the first two letters are the instruction set
    "x86 calls": {"old": [x86.call("A")], "new": [x86.call("B")]},
    "x86 pair": {"old": [PUSH, x86.mov_rbp_rsp()], "new": [x86.jump("detour")]},
    "x86 short": {"old": [x86.nop(1), x86.nop(2)], "new": [x86.nop(3)]},
    "x86 tail": {"old": [x86.nop(1), x86.nop(2)], "new": [x86.nop(1), x86.raw(b"\x66\x92", "xchg")]},
    "x86 byte": {"old": [x86.nop(1)], "new": [x86.push_rbp()]},
    "arm word": {"old": [arm64.nop()], "new": [arm64.branch("A")]},
    "arm two": {"old": [arm64.nop(), arm64.nop()], "new": [arm64.nop(), arm64.branch("A")]},
    "arm mov": {"old": [arm64.mov(0, 1)], "new": [arm64.mov(0, 2)]},
    "risc pair": {"old": [riscv.auipc("A"), riscv.jalr("A")], "new": [riscv.auipc("B"), riscv.jalr("B")]},
    "power word": {"old": [power.nop()], "new": [power.branch("A")]},
}
BOUNDARIES = {
    "x86 pair": (0, 2),
    "x86 short": (0, 1),
    "x86 tail": (0, 1),
    "arm two": (0, 4),
    "risc pair": (0, 4),
}
LENGTHS = {
    "x86 calls": 5,
    "x86 pair": 5,
    "x86 short": 3,
    "x86 tail": 3,
    "x86 byte": 1,
    "arm word": 4,
    "arm mov": 4,
    "arm two": 8,
    "risc pair": 8,
    "power word": 4,
}
SINGLE = ("x86 calls", "x86 byte")
MACHINES = {
    "x86-linux": [name for name in LAYOUTS if name.startswith("x86")],
    "x86-conservative": [name for name in LAYOUTS if name.startswith("x86")],
    "x86-stale-instruction": SINGLE,
    "x86-coherent": SINGLE,
    "arm64-dic0": ("arm word", "arm two", "arm mov"),
    "arm64-dic0,havoc=off": ("arm word", "arm two", "arm mov"),
    "riscv-base": ("risc pair",),
    "riscv-ziccif": ("risc pair",),
    "power": ("power word",),
}
CONDITIONS = ("x", "~x", "n=1", "n<2", "x&n=1", "old", "new")
OWN = ("r", "~r", "r&x")
PROPERTIES = (STALE, OLD_OR_NEW, CLAIMED)


@dataclass(frozen=True, repr=False)
class Drawn:
    """A program in a scenario. `shared`: equal steps are one object, as where a file uses a list of steps twice."""

    cpu: Lines = ()
    singles: tuple[Lines, ...] = ()
    layout: str = "x86 short"
    machine: str = "x86-linux"
    cpus: int = 1
    preempt: bool = False
    shared: bool = False
    offset: int = 0

    def __repr__(self) -> str:
        """What differs from the default, as it would be written."""
        said = [f"{f.name}={value!r}" for f in fields(self) if (value := getattr(self, f.name)) != f.default]
        return f"Drawn({', '.join(said)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis prints it."""
        printer.text(repr(self))

    def program(self) -> Program:
        """The program. Raises ModelError."""
        return Maker(self).program()

    def scenario(self) -> Scenario:
        """The scenario."""
        return Scenario(machine(self.machine), cpus=self.cpus, preempt=self.preempt)


class Maker:
    """Makes objects of words."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn
        self.thread = Thread("cpu", many=True)
        self.x, self.n, self.ghost = word("x"), word("n", most=3), word("g")
        self.locks = {"l": lock("l"), "m": lock("m")}
        self.own = self.thread.register("r")
        self.region = Region("R", LAYOUTS[drawn.layout], drawn.offset)
        self.codes: dict[str, Code] = {"R": self.region, "stub": Code("stub")}
        self.trap = TRAPS[machine(drawn.machine).isa]
        self.targets = {"x": self.x, "n": self.n, "r": self.own, "g": self.ghost, **self.locks}
        self.known: dict[Words, Step] = {}

    def program(self) -> Program:
        singles = {Thread(f"t{k}"): self.body(lines) for k, lines in enumerate(self.drawn.singles)}
        many = {self.thread: self.body(self.drawn.cpu)} if self.drawn.cpu else {}
        return Program("drawn", "drawn at random", "tests", threads={**many, **singles})

    def body(self, lines: Lines) -> list[Step]:
        return [self.step(words) for words in lines]

    def step(self, words: Words) -> Step:
        if not self.drawn.shared:
            return self.made(words)
        if words not in self.known:
            self.known[words] = self.made(words)
        return self.known[words]

    def condition(self, name: str) -> Condition:
        if name in ("old", "new"):
            return Holds(self.region, name)
        return self.claim(name)

    def claim(self, name: str) -> Expr:
        x, n, r, g = self.x, self.n, self.own, self.ghost
        known = {"x": x, "~x": ~x, "n=1": n == 1, "n<2": n < 2, "x&n=1": x & (n == 1), "r": r, "~r": ~r}
        return {**known, "r&x": r & x, "~g": ~g, "g": g, "~g|x": ~g | x, "r<g": ~r | g, "~g|r": ~g | r}[name]

    def value(self, name: str | int) -> Operand:
        known = {"n+1": self.n + 1, "n-1": self.n - 1, "x": self.x, "r": self.own, "~x": ~self.x, "g": self.ghost}
        return known[name] if isinstance(name, str) else name

    def made(self, words: Words) -> Step:
        match words:
            case ("store", target, value):
                return Store(self.targets[target], self.value(value))
            case ("swap",):
                return Atomic((self.x, self.own), (self.own, self.x))
            case ("cas",):
                return compare_exchange(self.n, 0, 1, self.own)
            case ("note", value):
                return Note(self.ghost, self.value(value))
            case ("check", condition, number):
                return Check(self.claim(condition), PROPERTIES[number], f"kind {number}")
            case ("fail", number):
                return Fail(PROPERTIES[number])
            case ("if", condition, then, otherwise):
                return If(self.condition(condition), self.body(then), self.body(otherwise))
            case ("while", condition, body):
                return While(self.condition(condition), self.body(body))
            case ("await", condition):
                return Await(self.condition(condition))
            case ("choose", *branches):
                return Choose(*map(self.body, branches))
            case ("any", *steps):
                return AnyOrder(*map(self.made, steps))
            case ("acquire", name):
                return Acquire(self.locks[name])
            case ("release", name):
                return Release(self.locks[name])
            case ("write", start, stop, content):
                what = (self.trap + bytes(64))[: stop - start] if content == "trap" else content
                return Write(self.region.bytes(start, stop), what)
            case ("execute", old, new, entry, trap):
                body = None if trap is None else self.body(trap)
                return Execute(self.region, {"old": self.body(old), "new": self.body(new)}, entry, body)
            case ("goto", offset):
                return Goto(offset)
            case ("inside", body):
                return Inside(self.codes["stub"], self.body(body))
            case ("section", body):
                return Section(self.body(body))
            case ("free", name):
                return Free(self.codes[name])
            case ("interrupt", body, stopper):
                return Interrupt(self.body(body), stopper)
            case ("maintain",):
                return Maintain(self.region)
        plain: dict[str, type[Step]] = {
            "finish": Finish,
            "serialise": Serialise,
            "sleep": Sleep,
            "sync": Sync,
            "readers": WaitForReaders,
            "tasks": WaitForTasks,
            "answer": Answer,
        }
        return plain[words[0]]()


# ---- drawing --------------------------------------------------------------------------------------------------------

CPU, SINGLE_THREAD, HANDLER = "cpu", "single", "handler"


def pick(draw: st.DrawFn, *options: Any) -> Any:
    return draw(st.sampled_from(options))


@dataclass
class Author:
    """Draws bodies. `layout`: of the region. `writes`: whether this thread may store to code."""

    draw: st.DrawFn
    layout: str
    kind: str
    writes: bool
    section: bool = False
    off: bool = False
    boundaries: tuple[int, ...] = ()  # where `Goto` may lead

    def lines(self, most: int, depth: int) -> Lines:
        return tuple(self.line(depth) for _ in range(self.draw(st.integers(0, most))))

    def within(self, most: int, depth: int, **changes: Any) -> Lines:
        """A body in other circumstances."""
        before = {name: getattr(self, name) for name in changes}
        for name, value in changes.items():
            setattr(self, name, value)
        found = self.lines(most, depth)
        for name, value in before.items():
            setattr(self, name, value)
        return found

    def condition(self) -> str:
        conditions: tuple[str, ...] = CONDITIONS + (OWN if self.kind != SINGLE_THREAD else ())
        return str(pick(self.draw, *conditions))

    def store(self) -> Words:
        own = self.kind != SINGLE_THREAD
        return tuple(pick(
            self.draw,
            *(("store", "x", v) for v in (0, 1, "~x")),
            *(("store", "n", v) for v in (0, 1, "n+1", "n-1")),
            *((("store", "r", v) for v in (0, 1, "x")) if own else ()),
        ))  # fmt: skip

    def write(self) -> Words:
        length = LENGTHS[self.layout]
        ends = {0, 1, length, *BOUNDARIES.get(self.layout, ())} if self.layout.startswith("x86") else {0, 4, length}
        start = pick(self.draw, *sorted(ends - {length}))
        stop = pick(self.draw, *sorted(e for e in ends if e > start))
        content = pick(self.draw, "old", "new", "new", "trap")
        if content == "trap":
            stop = min(start + (1 if self.layout.startswith("x86") else 4), length)
        return "write", start, stop, content

    def execute(self, depth: int) -> Words:
        starts = BOUNDARIES.get(self.layout, (0,))
        then = [self.within(2, depth - 1, boundaries=starts) for _ in range(2)]
        trap = self.within(2, depth - 1, boundaries=starts, off=True) if self.draw(st.booleans()) else None
        return "execute", *then, pick(self.draw, *starts, 0), trap

    def line(self, depth: int) -> Words:
        names = ["store", "store", "note", "if", "await", "acquire", "release", "finish", "choose", "any", "while"]
        if self.writes:
            names += ["write"] * 4 + ["sync"] * 2 + ["maintain"]
        if self.kind == SINGLE_THREAD:
            names += ["sync", "readers", "tasks", "interrupt", "free", "free"]
        else:
            names += ["check", "check", "fail", "serialise", "swap", "cas"]
            names += ["answer"] * 3 if self.kind == HANDLER else ["inside", "execute", "execute"]
            if self.kind == CPU:
                names += ["section", "free"] + ([] if self.section or self.off else ["sleep"])
        names += ["goto"] * 3 if self.boundaries else []
        if depth <= 0:
            deep = ("if", "choose", "while", "section", "inside", "execute", "interrupt")
            names = [name for name in names if name not in deep]
        return self.words(pick(self.draw, *names), depth)

    def words(self, name: str, depth: int) -> Words:
        draw, less = self.draw, depth - 1
        match name:
            case "store":
                return self.store()
            case "note":
                return "note", pick(draw, 0, 1, 1, "x", *(("r",) if self.kind != SINGLE_THREAD else ()))
            case "check":
                return "check", pick(draw, "~g", "g", "~g|x", "r<g", "x"), pick(draw, 0, 1)
            case "fail":
                return "fail", pick(draw, 1, 2)
            case "if":
                return "if", self.condition(), self.lines(2, less), self.lines(1, less)
            case "while":
                return "while", self.condition(), self.lines(2, less)
            case "await":
                return "await", self.condition()
            case "choose":
                return "choose", self.lines(2, less), self.lines(2, less)
            case "any":
                inner = [self.write() if self.writes and draw(st.booleans()) else self.store() for _ in range(2)]
                return "any", *inner
            case "acquire" | "release":
                return name, pick(draw, "l", "l", "m")
            case "free":
                return "free", pick(draw, "R", "stub")
            case "write":
                return self.write()
            case "execute":
                return self.execute(depth)
            case "goto":
                return "goto", pick(draw, *self.boundaries)
            case "inside":
                return "inside", self.lines(2, less)
            case "section":
                return "section", self.within(2, less, section=True)
            case "interrupt":
                author = Author(draw, self.layout, HANDLER, False)
                return "interrupt", (*author.lines(2, less), ("answer",), *author.lines(1, less)), draw(st.booleans())
        return (name,)


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """A program in a scenario."""
    name = draw(st.sampled_from(list(MACHINES)))
    layout = draw(st.sampled_from(list(MACHINES[name])))
    writer = draw(st.sampled_from(("single", "single", "single", "cpu")))
    cpu = Author(draw, layout, CPU, writer == "cpu").lines(3, 2)
    if draw(st.integers(0, 3)):
        cpu = (*cpu, Author(draw, layout, CPU, False).execute(2))
    singles = tuple(
        Author(draw, layout, SINGLE_THREAD, writer == "single" and k == 0).lines(5, 2)
        for k in range(draw(st.sampled_from((1, 1, 1, 2))))
    )
    return Drawn(
        cpu=cpu or (("store", "x", 1),),
        singles=singles,
        layout=layout,
        machine=name,
        cpus=draw(st.sampled_from((1, 1, 2))),
        preempt=draw(st.booleans()),
        shared=draw(st.sampled_from((False, False, False, True))),
        offset=draw(st.sampled_from((0, 0, 0, 62, 60))) if layout.startswith("x86") else 0,
    )

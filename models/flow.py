"""From the steps of a thread to a graph: places where it can be, and edges that are single steps.

Checks and notes take no time: they ride on the edges that lead to where they stand (`Target`). What edges do to memory
and views, `threads.py` says; this file only knows how steps follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from models.code import Entry
from models.program import (
    AnyOrder,
    Atomic,
    Body,
    Check,
    Code,
    Execute,
    Finish,
    Inside,
    Interrupt,
    Note,
    Section,
    Thread,
)
from models.protocol import Step
from models.system.errors import Location, ModelError, blamed_on
from models.system.expressions import FALSE, TRUE, Expr, Operand, Read
from models.system.system import Fairness
from models.system.visitor import nodes
from models.text import Outcome

Assignments = list[tuple[Expr, Operand]]
IDLE, STEP, ASLEEP, ERROR, DONE = "idle", "step", "asleep", "error", "done"


@dataclass(frozen=True)
class Context:
    """Where a step stands. `off`: interrupts are off; `inside`: the code that is being run; `handler`: an interrupt's."""

    thread: Thread
    off: bool = False
    section: bool = False
    inside: tuple[Code, ...] = ()
    handler: Interrupt | None = None
    execute: Execute | None = None  # whose region `Goto` means


@dataclass(eq=False)
class Node:
    """A place where a thread can be. `name` says what comes next; `label` is unique in its lane, given at the end."""

    name: str
    context: Context
    kind: str = STEP
    label: str = ""


@dataclass(frozen=True)
class Target:
    """Where an edge leads, and what rides on it."""

    node: Node
    riders: tuple[Check | Note, ...] = ()  # in the order of the text


@dataclass(eq=False)
class Edge:
    """One step of a thread. `fault`: it leads to an error, and it is no wonder if it never happens."""

    source: Node
    target: Target
    name: str
    says: str
    where: Location
    guard: Expr = TRUE
    effects: Assignments = field(default_factory=list)
    broadcast: Assignments = field(default_factory=list)
    fairness: Fairness | None = None
    premises: tuple[str, ...] = ()  # the properties that it puts to the test
    fault: bool = False
    fetch: tuple[Entry, Outcome] | None = None  # where it fetches, and what comes of it
    undefined: Expr = FALSE  # when it is undefined for every CPU that no interrupt has stopped
    interrupt: int | None = None  # whose handler every CPU is asked to run
    landing: int | None = None  # what memory is to do for the CPU


Single = Callable[["Flow", Step, Target, Context], Target]  # how one step becomes nodes and edges


class Flow:
    """The graph of one lane: a thread's body, or an interrupt's handler.

    `single` turns each step that is not a mere arrangement of other steps into nodes and edges, and returns its start.
    """

    def __init__(self, single: Single, without: frozenset[str], label: Callable[[Step], str]) -> None:
        self.single, self.without, self.label = single, without, label
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.end: Target | None = None

    def node(self, name: str, context: Context, kind: str = STEP) -> Node:
        made = Node(name, context, kind)
        self.nodes.append(made)
        return made

    def edge(self, source: Node, target: Target, name: str, says: str, where: Location, **rest: object) -> Edge:
        made = Edge(source, target, name, says, where, **rest)  # type: ignore[arg-type]
        self.edges.append(made)
        return made

    def body(self, steps: Body, end: Target, context: Context) -> Target:
        """The start of `steps`, after which `end` follows; `Finish` leads to `end`, too."""
        self.end = end
        return self.sequence(steps, end, context)

    def sequence(self, steps: Body, after: Target, context: Context) -> Target:
        """The start of `steps`, one after the other, and then `after`."""
        for step in reversed(list(steps)):
            after = self.step(step, after, context)
        return after

    def step(self, step: Step, after: Target, context: Context) -> Target:
        if self.label(step) in self.without:
            return after
        match step:
            case Check() | Inside() if not context.thread.many or (isinstance(step, Inside) and context.handler):
                what = "only for the body of a thread of which there are many"
                raise ModelError(f"{type(step).__name__}: {what}", step.where)
            case Check() | Note():
                return replace(after, riders=(step, *after.riders))
            case Finish():
                assert self.end is not None
                return self.end
            case Inside(code=code, body=body):
                return self.sequence(body, after, replace(context, inside=(*context.inside, code)))
            case Section(body=body):
                return self.sequence(body, after, replace(context, section=True))
            case AnyOrder(steps=parts):
                return self.any_order(list(parts), after, context, {})
        with blamed_on(step.where):
            return self.single(self, step, after, context)

    def any_order(
        self, left: Sequence[Step], after: Target, context: Context, known: dict[tuple[int, ...], Target]
    ) -> Target:
        """A node for each set of steps that are left to do."""
        key = tuple(map(id, left))
        if not left:
            return after
        if key not in known:
            starts = []
            for k, step in enumerate(left):
                rest = self.any_order([*left[:k], *left[k + 1 :]], after, context, known)
                starts.append(self.step(step, rest, context))
            known[key] = self.merged(starts, context)
        return known[key]

    def merged(self, starts: Sequence[Target], context: Context) -> Target:
        """One place from which every one of several starts can be taken."""
        if len(starts) == 1:
            return starts[0]
        joint = self.node(" or ".join(dict.fromkeys(t.node.name for t in starts)), context)
        for start in starts:
            if start.riders:
                raise ModelError("a check or note cannot stand first among steps in any order")
            for edge in [e for e in self.edges if e.source is start.node]:
                self.edges.append(replace(edge, source=joint))
        return Target(joint)


def words_in(step: Step) -> list[Read]:
    """The words and registers in a step, not in the steps inside it; in order."""
    values = []
    for value in vars(step).values():
        parts = (
            [part for pair in value for part in pair]
            if isinstance(step, Atomic) and isinstance(value, tuple)
            else [value]
        )
        values += [part for part in parts if isinstance(part, Expr)]
    found = [node for value in values for node in nodes(value) if isinstance(node, Read)]
    return list(dict.fromkeys(found))

"""What each step of a program does: its nodes and edges, with their guards, effects and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.code import Entry, Piece, RegionText
from models.flow import ASLEEP, ERROR, Assignments, Context, Flow, Node, Target
from models.parts import Parts
from models.program import (
    Acquire,
    Answer,
    Atomic,
    Await,
    Check,
    Choose,
    Execute,
    Fail,
    Free,
    Goto,
    If,
    Interrupt,
    Maintain,
    Release,
    Serialise,
    Sleep,
    Store,
    Sync,
    WaitForReaders,
    WaitForTasks,
    While,
    Write,
    all_steps,
)
from models.properties import CLAIMED, TORN
from models.protocol import Step
from models.system.errors import ModelError
from models.system.expressions import FALSE, TRUE, Expr, Operand, Read, either, every, if_else
from models.system.system import Fairness
from models.system.visitor import each
from models.text import Outcome, OutcomeKind
from models.words import describe


@dataclass(frozen=True)
class Part:
    """A part of a step that takes several: "begins", "request", … and what it does."""

    name: str
    says: str
    guard: Expr = TRUE
    effects: tuple[tuple[Expr, Operand], ...] = ()
    broadcast: tuple[tuple[Expr, Operand], ...] = ()
    undefined: Expr = FALSE  # when it is undefined for every CPU that no interrupt has stopped
    interrupt: int | None = None  # whose handler every CPU is asked to run


@dataclass(frozen=True)
class Landing:
    """A step that memory, or the interrupt controller, takes for a CPU that waits at `waiting` and goes on at `target`."""

    label: str
    step: Step
    waiting: Node
    target: Target
    parts: Sequence[Part]


class Stepper:
    """Turns single steps into nodes and edges of a flow."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.entry_of: dict[Node, Entry] = {}
        self.known: dict[tuple[int, int, frozenset[str]], Node] = {}  # places in runs of regions
        self.errors: dict[Node, tuple[str, str, str]] = {}  # property, kind, sentence
        self.landings: list[Landing] = []
        self.afters: dict[int, tuple[Target, Context]] = {}  # what follows an `Execute`, and where its region stands

    # ---- any step ---------------------------------------------------------------------------------------------------

    def step(self, flow: Flow, step: Step, after: Target, context: Context) -> Target:
        """One step as nodes and edges; returns where it starts."""
        match step:
            case Execute():
                return self.execute(flow, step, after, context)
            case Write() | Sync() if context.thread.many:
                return self.on_behalf(flow, step, after, context)
            case Write() | Sync() | WaitForReaders() | WaitForTasks() | Interrupt():
                return self.in_parts(flow, step, self.deed(step, context), after, context)
        node = flow.node(self.parts.label(step), context)
        if not self.control(flow, step, node, after, context) and not self.simple(flow, step, node, after, context):
            raise ModelError(f"{type(step).__name__} is no step of a program", step.where)
        return Target(node)

    def edge(
        self, flow: Flow, step: Step, node: Node, target: Target, says: str, part: str = "", **rest: object
    ) -> None:
        name = f"{self.parts.label(step)}{' ' + part if part else ''}"
        flow.edge(node, target, name, getattr(step, "says", "") or says, step.where, **rest)

    def control(self, flow: Flow, step: Step, node: Node, after: Target, context: Context) -> bool:
        """Steps that decide where to go on; False for any other."""
        parts = self.parts
        match step:
            case If(condition=condition, then=then, otherwise=otherwise):
                test, said = parts.condition(condition), parts.said(condition)
                yes, no = (flow.sequence(body, after, context) for body in (then, otherwise))
                self.edge(flow, step, node, yes, f"{{cpu}} finds that {said}", "yes", guard=test)
                self.edge(flow, step, node, no, f"{{cpu}} finds that it is not so that {said}", "no", guard=~test)
            case While(condition=condition, body=body):
                test, said = parts.condition(condition), parts.said(condition)
                again = flow.sequence(body, Target(node), context)
                self.edge(flow, step, node, again, f"{{cpu}} finds that {said}", "again", guard=test)
                self.edge(flow, step, node, after, f"{{cpu}} finds that it is not so that {said}", "ends", guard=~test)
            case Await(condition=condition):
                says = f"{{cpu}} need not wait any longer: {parts.said(condition)}"
                self.edge(flow, step, node, after, says, guard=parts.condition(condition))
            case Choose(branches=branches):
                for number, branch in enumerate(branches, 1):
                    start = flow.sequence(branch, after, context)
                    says = f"{{cpu}} goes on with “{start.node.name}”"
                    self.edge(flow, step, node, start, says, str(number))
            case Goto(offset=offset):
                self.goto(flow, step, node, offset, context)
            case _:
                return False
        return True

    def simple(self, flow: Flow, step: Step, node: Node, after: Target, context: Context) -> bool:
        """Steps that do one thing and go on; False for any other."""
        parts = self.parts
        match step:
            case Store(target=target, value=value):
                says = f"{{cpu}} sets “{target.variable.name}” to {describe(value, target.type)}"
                self.edge(flow, step, node, after, says, effects=[(target, value)])
            case Atomic(pairs=pairs):
                said = ", ".join(f"“{t.variable.name}” to {describe(v, t.type)}" for t, v in pairs)
                self.edge(flow, step, node, after, f"{{cpu}} sets at once {said}", effects=list(pairs))
            case Acquire(lock=word):
                says = f"{{cpu}} takes the lock “{word.variable.name}”"
                self.edge(flow, step, node, after, says, guard=~word, effects=[(word, 1)])
            case Release(lock=word):
                says = f"{{cpu}} gives the lock “{word.variable.name}” back"
                self.edge(flow, step, node, after, says, effects=[(word, 0)])
            case Serialise():
                need_many(step, context)
                effects = parts.view.serialised() if parts.view else []
                self.edge(flow, step, node, after, "{cpu} serialises", effects=effects)
            case Maintain(region=region):
                effects = parts.view.maintained(parts.texts[region].granules) if parts.view else []
                says = f"{{cpu}} cleans and invalidates the caches over “{region.name}”"
                self.edge(flow, step, node, after, says, effects=effects)
            case Sleep():
                self.sleep(flow, step, node, after, context)
            case Free(code=code):
                says = f"{{cpu}} frees “{code.name}”"
                self.edge(flow, step, node, after, says, effects=[(parts.live[code], 0)])
            case Answer():
                if context.handler is None or parts.pending is None:
                    raise ModelError("only the handler of an interrupt answers", step.where)
                self.edge(flow, step, node, after, "{cpu} answers", effects=[(parts.pending, 0)])
            case Fail(property=name, kind=kind):
                label = f"failed: {kind or name}"
                error = self.error(flow, step, context, label, name, kind or "failed", "it cannot go on")
                self.edge(flow, step, node, Target(error), f"{{cpu}} cannot go on: {kind or name}", fault=True)
            case _:
                return False
        return True

    def sleep(self, flow: Flow, step: Step, node: Node, after: Target, context: Context) -> None:
        need_many(step, context)
        if context.section or context.off:
            raise ModelError("no thread can sleep in a read-side section or with interrupts off", step.where)
        asleep = flow.node(f"asleep in {self.parts.label(step)}", context, ASLEEP)
        says = "{cpu}'s task goes to sleep, which is a voluntary switch"
        self.edge(flow, step, node, Target(asleep), says)
        flow.edge(
            asleep,
            after,
            f"{self.parts.label(step)} ends",
            "{cpu}'s task wakes up where it was",
            step.where,
            fairness=Fairness.RESUME,
        )

    def error(self, flow: Flow, step: Step, context: Context, label: str, property_: str, kind: str, says: str) -> Node:
        """The place of a CPU that cannot go on; one for each label."""
        need_many(step, context)
        if context.handler is not None:
            raise ModelError("the handler of an interrupt cannot fail or run regions", step.where)
        known = next((n for n in self.errors if n.name == label), None)
        node = known or flow.node(label, Context(context.thread), ERROR)
        self.errors[node] = (property_, kind, says)
        return node

    # ---- steps in parts ---------------------------------------------------------------------------------------------

    def in_parts(self, flow: Flow, step: Step, deed: Sequence[Part], after: Target, context: Context) -> Target:
        """A step of a thread of which there is one, part by part."""
        label = self.parts.label(step)
        for part in reversed(deed):
            node = flow.node(f"{label} {part.name}".strip(), context)
            rest: dict[str, object] = {"effects": list(part.effects), "broadcast": list(part.broadcast)}
            rest |= {"guard": part.guard, "undefined": part.undefined, "interrupt": part.interrupt}
            self.edge(flow, step, node, after, part.says, part.name, **rest)
            after = Target(node)
        return after

    def on_behalf(self, flow: Flow, step: Step, after: Target, context: Context) -> Target:
        """A step of a CPU that changes every CPU: it says what it wants, waits, and memory does it."""
        if context.handler is not None:
            raise ModelError("the handler of an interrupt cannot store to code or sync", step.where)
        if any(isinstance(rider, Check) for rider in after.riders):
            raise ModelError("a check cannot follow a store to code or a sync at once: it takes no time", step.where)
        label = self.parts.label(step)
        node, waiting = flow.node(label, context), flow.node(f"waiting for {label}", context)
        number = len(self.landings)
        self.landings.append(Landing(label, step, waiting, after, self.deed(step, context)))
        kind = "asks every CPU to serialise" if isinstance(step, Sync) else "issues a store to the code"
        flow.edge(node, Target(waiting), label, f"{{cpu}} {kind}", step.where, landing=number)
        return Target(node)

    def deed(self, step: Step, context: Context) -> list[Part]:
        """What a step does beyond the thread itself, part by part."""
        parts = self.parts
        match step:
            case Write():
                return self.stored(step, context)
            case Sync():
                says = "{cpu} asks every CPU to serialise", "every CPU has serialised"
                return self.ask(parts.ipi, *says)
            case WaitForReaders():
                need_single(step, context)
                return self.ask(parts.grace, "{cpu} starts an RCU grace period", "the RCU grace period is over")
            case WaitForTasks():
                need_single(step, context)
                says = "{cpu} starts an RCU-tasks grace period", "every task has made a voluntary switch"
                return self.ask(parts.owes, *says)
            case Interrupt():
                need_single(step, context)
                return self.ask(parts.pending, "{cpu} interrupts every CPU", "every CPU has answered", step)
        raise TypeError(f"no rule for the step {type(step).__name__}")

    def ask(self, flag: Read | None, request: str, done: str, interrupt: Interrupt | None = None) -> list[Part]:
        """A request to every CPU, and the wait until all have answered; without CPUs, nobody is asked."""
        cpu = self.parts.cpu
        if flag is None or cpu is None:
            return [Part("", done)]
        number = next((k for k, step in enumerate(self.parts.interrupts) if step is interrupt), None)
        return [
            Part("request", request, broadcast=((flag, 1),), interrupt=number),
            Part("wait", done, every(cpu, each(~flag))),
        ]

    def stored(self, step: Write, context: Context) -> list[Part]:
        """A store to code: in one part, or in flux and done."""
        parts, view = self.parts, self.parts.view
        text = parts.texts[step.place.region]
        stored = text.stored(step.place, step.content)
        what = f"“{step.content}”" if isinstance(step.content, str) else step.content.hex(" ")
        start, stop = text.start_stop(step.place)
        some = f"byte {start}" if stop == start + 1 else f"bytes {start} to {stop - 1}"
        over = "" if (start, stop) == (0, text.length) else f"{some} of "
        found = []
        for k, changed in enumerate(stored.stages):
            name = "" if len(stored.stages) == 1 else ("begins", "done")[k]
            verb = {"": "writes", "begins": "begins to write", "done": "has written"}[name]
            effects: Assignments = []
            for granule, contents in changed.items():
                memory = parts.text.memory[granule]
                value: Expr = memory
                for before, content in contents.items():
                    if content != before:
                        value = if_else(
                            memory == memory.type.show(before), memory.type.show(content), value, memory.type
                        )
                effects.append((memory, value))
            broadcast: Assignments = []
            if view is not None:
                effects += view.cached(changed)
                broadcast += view.stored_over(changed)
            bad = self.undefined(text, step) if k == 0 and parts.machine.havoc else FALSE
            says = f"{{cpu}} {verb} {what} over {over}“{text.region.name}”"
            found.append(Part(name, says, effects=tuple(effects), broadcast=tuple(broadcast), undefined=bad))
        return found

    def undefined(self, text: RegionText, step: Write) -> Expr:
        """Whether the vendor does not define this store, over what memory holds, while CPUs run."""
        bad = []
        for granule, contents in text.undefined(step.place, step.content).items():
            memory = self.parts.text.memory[granule]
            bad.append(memory.is_in([memory.type.show(k) for k in contents]))
        return either(*bad)

    # ---- running code -----------------------------------------------------------------------------------------------

    def execute(self, flow: Flow, step: Execute, after: Target, context: Context) -> Target:
        """The places and edges of a run of a region."""
        need_many(step, context)
        text = self.parts.texts[step.region]
        unknown = [name for name in step.then if name not in text.versions]
        if unknown:
            raise ModelError(f"“{step.region.name}” has no version “{unknown[0]}”", step.where)
        inside = replace(context, inside=(*context.inside, step.region), execute=step)
        self.afters[id(step)] = after, inside
        self.known = {key: node for key, node in self.known.items() if key[0] != id(step)}  # a step may stand twice
        return Target(self.run(flow, step, text, step.entry, text.at(step.entry), after, inside))

    def run(
        self,
        flow: Flow,
        step: Execute,
        text: RegionText,
        start: int,
        live: frozenset[str],
        after: Target,
        context: Context,
    ) -> Node:
        """The place before the instruction at `start`, when all that was executed so far is of the versions in `live`."""
        entry = text.entries.get(start)
        if entry is None:
            raise ModelError(f"no version of “{text.region.name}” has an instruction at byte {start}", step.where)
        key = (id(step), start, live)
        if key in self.known:
            return self.known[key]
        of = "" if live == text.at(start) else f" of {' or '.join(sorted(live))}"
        node = self.known[key] = flow.node(f"at {entry.name}{of}", context)
        self.entry_of[node] = entry
        view = self.parts.view
        assert view is not None
        for outcome in view.outcomes(entry):
            guard, effects = view.possible(entry, outcome), view.executed(entry)
            if outcome.kind is OutcomeKind.TRAP:
                effects = view.dropped()
                name, says = f"trap at {entry.name}", f"{{cpu}} fetches the trap instruction at {entry.name} and traps"
                target, fault = self.trapped(flow, step, after, context), False
                premises: tuple[str, ...] = (TORN, CLAIMED)
            else:
                name, says, target, fault = self.ran(flow, step, entry, outcome, live, after, context)
                premises = (TORN,)
            rest: dict[str, object] = {
                "guard": guard,
                "effects": effects,
                "premises": premises,
                "fault": fault,
                "fetch": (entry, outcome),
            }
            flow.edge(node, target, f"{name}{of}", says, step.where, **rest)
        return node

    def ran(
        self,
        flow: Flow,
        step: Execute,
        entry: Entry,
        outcome: Outcome,
        live: frozenset[str],
        after: Target,
        context: Context,
    ) -> tuple[str, str, Target, bool]:
        """Name and sentence of the edge of an instruction that is no trap, where it leads, and whether it is a fault."""
        text, piece = entry.text, outcome.version
        torn = "the bytes that it executed are no whole version of the code"
        if not isinstance(piece, Piece):
            error = self.error(flow, step, context, "crashed: torn", TORN, "torn", torn)
            says = f"{{cpu}} executes a torn instruction at {entry.name}"
            return f"torn at {entry.name}", says, Target(error), True
        name, says = f"execute “{piece}” at {entry.name}", f"{{cpu}} executes “{piece}” at {entry.name}"
        left = text.consistent(piece, live)
        if not left:
            error = self.error(flow, step, context, "crashed: torn", TORN, "torn", torn)
            return name, f"{says}: not what it executed before belongs to", Target(error), True
        if piece.stop < text.length and not piece.leaves:
            return name, says, Target(self.run(flow, step, text, piece.stop, left, after, context)), False
        version = self.version(step, text, left)
        then = step.then.get(version, ())
        if (
            piece.target is not None
            and 0 <= piece.target < text.length
            and not any(isinstance(s, Goto) for s in all_steps(then))
        ):
            what = f"“{piece}” in “{version}” jumps to byte {piece.target} of “{text.region.name}” itself"
            raise ModelError(f"{what}: say Goto({piece.target}) in what is done then", step.where)
        outside = replace(context, inside=context.inside[:-1])
        return name, says, flow.sequence(then, after, outside), False

    def version(self, step: Execute, text: RegionText, left: frozenset[str]) -> str:
        """The version that ran, of those that it may have been. Raises ModelError where they would do different things."""
        first, *others = [name for name in text.versions if name in left]
        then = list(step.then.get(first, ()))
        for other in others:
            if list(step.then.get(other, ())) != then:
                what = f"what runs in “{text.region.name}” may be “{first}” or “{other}”"
                raise ModelError(
                    f"{what}, which have the same instructions there, but different steps then", step.where
                )
        return first

    def trapped(self, flow: Flow, step: Execute, after: Target, context: Context) -> Target:
        """Where a trap leads: the handler, and behind it out of the region; without one, an error."""
        if step.trap is None:
            says = "the trap finds nobody who claims it"
            return Target(self.error(flow, step, context, "crashed: unclaimed trap", CLAIMED, "unclaimed", says))
        handling = replace(context, off=True)
        back = flow.node("iret", handling)
        self.returns(flow, step, back, after, "goes on behind the region")
        return flow.sequence(step.trap, Target(back), handling)

    def returns(self, flow: Flow, step: Step, node: Node, target: Target, says: str) -> None:
        """The handler's return."""
        view, serialises = self.parts.view, self.parts.machine.iret_serialises
        effects = view.serialised() if view and serialises else []
        words = ", which serialises" if serialises else ""
        flow.edge(node, target, node.name, f"{{cpu}}'s handler returns{words}; it {says}", step.where, effects=effects)

    def goto(self, flow: Flow, step: Step, node: Node, offset: int, context: Context) -> None:
        execute = context.execute
        if execute is None:
            raise ModelError("there is no region to go on in", step.where)
        text = self.parts.texts[execute.region]
        after, inside = self.afters[id(execute)]
        there = self.run(flow, execute, text, offset, text.at(offset), after, inside)
        where = text.entries[offset].name
        if context.off:
            self.returns(flow, step, node, Target(there), f"goes on at {where}")
        else:
            self.edge(flow, step, node, Target(there), f"{{cpu}} goes on at {where}")


def need_many(step: Step, context: Context) -> None:
    if not context.thread.many:
        raise ModelError(f"{type(step).__name__}: only for a thread of which there are many", step.where)


def need_single(step: Step, context: Context) -> None:
    if context.thread.many:
        raise ModelError(f"{type(step).__name__}: only for a thread of which there is one", step.where)

"""Machine × program × scenario → transition system: what the threads of a program do, step by step.

Left out. May miss bugs: loads happen in order, and stores too where `AnyOrder` does not say otherwise; a thread stays on
its CPU; what CPUs ask of memory and of each other (`Write` and `Sync` in threads of which there are many) takes turns,
as under text_mutex; threads of which there is one run on CPUs of their own and execute no regions; where two of them
store to the same bytes at once, the last wins in all of them; requests to CPUs share one flag for each kind, so that who
asks at the same time waits for the other's answers, too; NMIs; a call inside a region takes no time, so that its callee
does not sleep between two instructions of the region. May raise a false alarm: an interrupt's return does not serialise
unless its handler says so; what a call does comes after the whole run of its region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from models.code import Entry, RegionText
from models.flow import ASLEEP, DONE, ERROR, IDLE, STEP, Assignments, Context, Edge, Flow, Node, Target
from models.machines.views import View
from models.model import Model, Reader, plural
from models.parts import Parts
from models.program import Check, Code, Fail, Note, Program, Thread
from models.properties import COMPLETES, FREED, TORN
from models.scenario import Scenario
from models.stepping import Landing, Stepper
from models.system.errors import Location, blamed_on
from models.system.expressions import FALSE, TRUE, Enum, Expr, Read, Variable, both, either, every, if_else, lift
from models.system.system import Builder, Fairness, Mark, Progress, TransitionSystem
from models.system.visitor import each, substituted
from models.text import Outcome

NONE = "none"
UNDEFINED = "crashed: undefined"
EVENTS = frozenset(
    {"serialise", "acknowledge", "switch", "preempt", "resume", "pass a quiescent state"}
)  # no step's name


@dataclass
class Lane:
    """One thread of control: a thread's body, or an interrupt's handler. `variable` says where it is."""

    thread: Thread
    flow: Flow
    start: Node
    nodes: list[Node]
    edges: list[Edge]
    variable: Read
    interrupt: int | None = None

    def labels(self, wanted: Callable[[Node], bool]) -> list[str]:
        return [node.label for node in self.nodes if wanted(node)]

    def among(self, wanted: Callable[[Node], bool]) -> Expr:
        return self.variable.is_in(self.labels(wanted))


def reachable(flow: Flow, start: Node, landings: Sequence[Landing] = ()) -> tuple[list[Node], list[Edge]]:
    """The nodes and edges that can be reached, in the order of the text; memory goes on where a landing waits."""
    leaving: dict[Node, list[Edge]] = {}
    landed = {landing.waiting: landing.target.node for landing in landings}
    for edge in flow.edges:
        leaving.setdefault(edge.source, []).append(edge)
    nodes: dict[Node, None] = {start: None}
    edges: list[Edge] = []
    pending = [start]
    while pending:
        node = pending.pop()
        found = leaving.get(node, [])
        edges += found
        for target in [landed[node]] if node in landed else [edge.target.node for edge in reversed(found)]:
            if target not in nodes:
                nodes[target] = None
                pending.append(target)
    return list(nodes), edges


class Threads:
    """Compiles one program in one scenario; the finished system is `builder.build()`."""

    def __init__(self, program: Program, scenario: Scenario) -> None:
        self.program, self.scenario = program, scenario
        self.builder = Builder(program.name, program.where)
        self.parts = Parts(self.builder, program, scenario)
        self.stepper = Stepper(self.parts)
        self.fetches: dict[str, tuple[Entry, Outcome]] = {}  # by action: where it fetches, and what comes of it
        self.cpu = self.parts.cpu
        self.lanes = [self._lane(thread) for thread in program.threads]
        self.main = next((lane for lane in self.lanes if lane.thread.many), None)
        self.handlers = self._handlers()
        self.underway = self._underway()
        for lane in (*self.lanes, *self.handlers):
            for edge in lane.edges:
                with blamed_on(edge.where):
                    self._emit(lane, edge)
        self._land()
        if self.main and self.cpu:
            self._events(self.main)
            self._claims(self.main)
        self._progress()

    # ---- places -----------------------------------------------------------------------------------------------------

    def _flow(self) -> Flow:
        return Flow(self.stepper.step, self.scenario.without, self.parts.label)

    def _lane(self, thread: Thread) -> Lane:
        flow, context = self._flow(), Context(thread)
        end = flow.node("elsewhere" if thread.many else "done", context, IDLE if thread.many else DONE)
        start = flow.body(self.program.threads[thread], Target(end), context)
        first = self._begin(flow, end, start) if thread.many else self._plain(flow, start, context)
        nodes, edges = reachable(flow, first, self.stepper.landings)
        if end not in nodes:
            nodes.append(end)
        name, says = ("place", "where the CPU is") if thread.many else (thread.name, f"what {thread.name} does next")
        return self._placed(thread, flow, first, nodes, edges, name, says, self.cpu if thread.many else None)

    def _plain(self, flow: Flow, start: Target, context: Context) -> Node:
        """Where a thread begins that runs once; notes before its first step would have no step to ride on."""
        if not start.riders:
            return start.node
        first = flow.node("begin", context)
        flow.edge(first, start, "begin", "{cpu} begins", self.program.where)
        return first

    def _begin(self, flow: Flow, idle: Node, start: Target) -> Node:
        """How a body begins that repeats: arriving in code is a step of its own, everything else begins at once."""
        first = [edge for edge in flow.edges if edge.source is start.node]
        if start.node.context.inside or start.riders or not first:
            says = f"{{cpu}} arrives {start.node.name}"
            flow.edge(idle, start, "arrive", says, self.program.where, fairness=Fairness.NONE)
        else:
            flow.edges += [replace(edge, source=idle, fairness=Fairness.NONE) for edge in first]
        return idle

    def _placed(
        self,
        thread: Thread,
        flow: Flow,
        start: Node,
        nodes: list[Node],
        edges: list[Edge],
        name: str,
        says: str,
        component: object,
        before: tuple[str, ...] = (),
    ) -> Lane:
        """Give every node a label of its own, and declare the variable over them."""
        taken: set[str] = set(before)
        for number, node in enumerate(nodes):
            label = node.name if thread.many else f"{number} {node.name}" if node.kind is not DONE else node.name
            count = 1
            while label in taken:
                count += 1
                label = f"{node.name} #{count}"
            node.label = label
            taken.add(label)
        labels = [*before, *(node.label for node in nodes)]
        if thread.many and not before and self._may_be_undefined():
            labels.append(UNDEFINED)
        initial = before[0] if before else start.label
        variable = self.builder.variable(name, Enum(name, tuple(labels)), initial, component, says=says)  # type: ignore[arg-type]
        return Lane(thread, flow, start, nodes, edges, variable)

    def _may_be_undefined(self) -> bool:
        return self.parts.machine.havoc and bool(self.parts.texts)

    def _handlers(self) -> list[Lane]:
        """The handlers of interrupts: a lane each, over one variable that also says which was asked for."""
        if not self.main:
            return []
        made, taken = [], [NONE, *(f"asked {k}" for k in range(len(self.parts.interrupts)))]
        for number, interrupt in enumerate(self.parts.interrupts):
            flow = self._flow()
            context = Context(self.main.thread, off=True, handler=interrupt)
            end = flow.node(NONE, context, IDLE)
            start = flow.body(interrupt.handler, Target(end), context)
            first = flow.node(f"asked {number}", context)
            flow.edge(first, start, f"interrupt {number}", "{cpu} takes the interrupt", interrupt.where)
            nodes, edges = reachable(flow, first)
            for node in nodes:
                node.label = node.name
                while node.kind == STEP and node is not first and node.label in taken:
                    node.label += "'"
                if node.label not in taken:
                    taken.append(node.label)
            made.append((interrupt, flow, first, nodes, edges))
        if not made:
            return []
        kind, says = Enum("interrupt", tuple(taken)), "what the CPU does in an interrupt"
        variable = self.builder.variable("interrupt", kind, NONE, self.cpu, says=says)
        thread = self.main.thread
        return [Lane(thread, f, s, n, e, variable, k) for k, (_, f, s, n, e) in enumerate(made)]

    @property
    def interrupt(self) -> Read | None:
        return self.handlers[0].variable if self.handlers else None

    def _underway(self) -> Read | None:
        """What memory is doing for a CPU."""
        landings = self.stepper.landings
        if not landings:
            return None
        labels = [NONE]
        for number, landing in enumerate(landings):
            labels += [f"{number} {landing.label} {part.name}".strip() for part in landing.parts]
        says = "what memory, or the interrupt controller, is doing for a CPU"
        return self.builder.variable("underway", Enum("underway", tuple(labels)), NONE, says=says)

    # ---- steps ------------------------------------------------------------------------------------------------------

    @property
    def free(self) -> Expr:
        """Whether a CPU goes on with its thread: no interrupt is being handled, and the task is not preempted."""
        parts = []
        if self.interrupt is not None:
            parts.append(self.interrupt.is_in([NONE, *(lane.start.label for lane in self.handlers)]))
        if self.parts.preempted is not None:
            parts.append(~self.parts.preempted)
        return both(*parts)

    def _name(self, name: str) -> str:
        taken = EVENTS | {action.name for action in self.builder.actions}
        if name not in taken:
            return name
        return next(f"{name} #{k}" for k in range(2, len(taken) + 2) if f"{name} #{k}" not in taken)

    def _emit(self, lane: Lane, edge: Edge) -> None:
        """One edge as an action."""
        thread = lane.thread
        guard = both(lane.variable == edge.source.label, edge.guard)
        effects: Assignments = [(lane.variable, edge.target.node.label), *edge.effects]
        broadcast = list(edge.broadcast)
        if lane.interrupt is not None:
            if edge.source is lane.start:
                guard = guard & self._interruptible(lane)
        elif thread.many:
            guard = guard & self.free
        if edge.landing is not None:
            assert self.underway is not None
            first = self.stepper.landings[edge.landing]
            effects.append((self.underway, f"{edge.landing} {first.label} {first.parts[0].name}".strip()))
            guard = guard & (self.underway == NONE)
        if edge.interrupt is not None and self.interrupt is not None and self.cpu is not None:
            guard = guard & every(self.cpu, each(self.interrupt == NONE))
            broadcast.append((self.interrupt, f"asked {edge.interrupt}"))
        broadcast += self._undefined(edge.undefined)
        marks = self._marks(edge, effects)
        effects = self._noted(edge.target, effects)
        name = self._name(edge.name)
        if edge.fetch:
            self.fetches[name] = edge.fetch
        fairness = edge.fairness or self._fairness(lane, edge)
        self.builder.action(
            name,
            actor=self.cpu if thread.many else None,
            guard=guard,
            effects=effects,
            broadcast=broadcast,
            says=edge.says,
            where=edge.where,
            fairness=fairness,
            marks=marks,
            fault=edge.fault,
            who=thread.name,
        )

    def _undefined(self, when: Expr) -> Assignments:
        if when is FALSE or self.main is None:
            return []
        running = self._not_stopped()
        place = self.main.variable
        return [(place, if_else(when & each(running), UNDEFINED, each(place), place.type))]

    def _not_stopped(self) -> Expr:
        """Whether a CPU is not inside the handler of an interrupt."""
        if self.interrupt is None:
            return TRUE
        return self.interrupt.is_in([NONE, *(lane.start.label for lane in self.handlers)])

    def _fairness(self, lane: Lane, edge: Edge) -> Fairness:
        if not lane.thread.many:
            return Fairness.PATCHER
        if lane.interrupt is not None:
            return Fairness.ACKNOWLEDGE
        return Fairness.HANDLER if edge.source.context.off else Fairness.TASK

    def _marks(self, edge: Edge, effects: Assignments) -> list[Mark]:
        """What an edge says of properties: what it tests, and what its checks find broken."""
        premises = list(edge.premises)
        if any(code in self.parts.live for code in edge.target.node.context.inside):
            premises.append(FREED)
        premises += [rider.property for rider in edge.target.riders if isinstance(rider, Check)]
        marks = [Mark(name, "", TRUE, True, "") for name in dict.fromkeys(premises)]
        for place, check in enumerate(edge.target.riders):
            if not isinstance(check, Check):
                continue
            values = self._values(effects, edge.target.riders[:place])
            says = check.says or f"it is not so that {self.parts.said(check.condition)}"
            kind = check.kind or check.property
            marks.append(Mark(check.property, kind, ~substituted(check.condition, values), False, says))
        return marks

    def _values(self, effects: Assignments, riders: Sequence[Check | Note]) -> dict[Variable, Expr]:
        """What variables hold after some effects, and the notes among `riders`, each read after those before it."""
        values = {target.variable: value for target, value in self._lifted(effects)}
        for rider in riders:
            if isinstance(rider, Note):
                target = rider.target
                values[target.variable] = substituted(lift(rider.value, target.type), values)
        return values

    def _noted(self, target: Target, effects: Assignments) -> Assignments:
        """Effects, and what the notes make of them."""
        values = self._values(effects, target.riders)
        noted = {rider.target.variable: rider.target for rider in target.riders if isinstance(rider, Note)}
        rest = [(to, value) for to, value in effects if not isinstance(to, Read) or to.variable not in noted]
        return [*rest, *((to, values[variable]) for variable, to in noted.items())]

    def _lifted(self, effects: Assignments) -> Iterator[tuple[Read, Expr]]:
        for target, value in effects:
            assert isinstance(target, Read)
            yield target, lift(value, target.type)

    def _land(self) -> None:
        """What memory does for CPUs, part by part; the last lets the CPU go on."""
        if self.main is None or self.underway is None:
            return
        place = self.main.variable
        for number, landing in enumerate(self.stepper.landings):
            if landing.waiting not in self.main.nodes:
                continue
            labels = [f"{number} {landing.label} {part.name}".strip() for part in landing.parts]
            for k, part in enumerate(landing.parts):
                last = k == len(labels) - 1
                effects: Assignments = [(self.underway, NONE if last else labels[k + 1]), *part.effects]
                broadcast = [*part.broadcast, *self._undefined(part.undefined)]
                if last:
                    effects = self._noted(landing.target, effects)
                    here, there = landing.waiting.label, landing.target.node.label
                    broadcast.append((place, if_else(each(place == here), there, each(place), place.type)))
                self.builder.action(
                    self._name(f"{landing.label} {part.name or 'lands'}"),
                    guard=both(self.underway == labels[k], part.guard),
                    effects=effects,
                    broadcast=broadcast,
                    says=part.says.replace("{cpu}", "memory, for a CPU,"),
                    where=landing.step.where,
                    fairness=Fairness.PATCHER,
                    who="memory",
                )

    # ---- what happens to CPUs -----------------------------------------------------------------------------------------

    def _interruptible(self, lane: Lane) -> Expr:
        """Where an interrupt is taken: with interrupts on; a stopper's only where the task can be switched away from."""
        assert self.main is not None and lane.interrupt is not None
        if not self.parts.interrupts[lane.interrupt].stopper:
            return self.main.among(lambda n: not n.context.off and n.kind != ERROR)
        switched = self.main.among(lambda n: n.kind in (IDLE, ASLEEP))
        return switched | self.parts.preempted if self.parts.preempted is not None else switched

    def _events(self, main: Lane) -> None:
        """Acknowledgements, quiescent states, preemption, and what views do by themselves."""
        parts, free = self.parts, self._not_stopped()
        add = partial(self.builder.action, actor=self.cpu, where=self.program.where, who=main.thread.name)
        enabled = main.among(lambda n: not n.context.off and n.kind != ERROR)
        away = main.among(lambda n: n.kind in (IDLE, ASLEEP))
        serialised = parts.view.serialised() if parts.view else []
        answers = Fairness.ACKNOWLEDGE
        if parts.ipi is not None:
            says = "{cpu} takes the IPI and serialises"
            effects: Assignments = [(parts.ipi, 0), *serialised]
            add("acknowledge", guard=parts.ipi & enabled & free, effects=effects, says=says, fairness=answers)
        if parts.grace is not None:
            outside = away
            if self.scenario.preempt:
                outside = main.among(lambda n: not n.context.section and not n.context.off and n.kind != ERROR)
            if parts.preempted is not None:
                outside = outside | parts.preempted
            says = "{cpu} is in no read-side critical section"
            name = "pass a quiescent state"
            add(name, guard=parts.grace & outside, effects=[(parts.grace, 0)], says=says, fairness=answers)
        if parts.owes is not None:
            says = "{cpu}'s task makes, or has made, a voluntary switch"
            add("switch", guard=parts.owes & away, effects=[(parts.owes, 0)], says=says, fairness=answers)
        if parts.preempted is not None:
            where = main.among(lambda n: n.kind == STEP and not n.context.off and not n.context.section)
            says = "{cpu}'s task is preempted where it is"
            guard = where & ~parts.preempted & free
            dropped = parts.view.dropped() if parts.view else []
            effects = [(parts.preempted, 1), *dropped]
            add("preempt", guard=guard, effects=effects, says=says, fairness=Fairness.NEVER_ON_CYCLE)
            says = "{cpu}'s task runs again"
            add(
                "resume",
                guard=parts.preempted & free,
                effects=[(parts.preempted, 0)],
                says=says,
                fairness=Fairness.RESUME,
            )
        if parts.view:
            at = [
                main.variable.is_in([n.label for n in main.nodes if self.stepper.entry_of.get(n) is entry])
                for entry in parts.entries
            ]
            prefetches = ~main.among(lambda n: n.context.off) if parts.machine.iret_serialises else TRUE
            parts.view.add_actions(at, self.free & ~main.among(lambda n: n.kind == ERROR), prefetches)

    # ---- what must hold -----------------------------------------------------------------------------------------------

    def _claims(self, main: Lane) -> None:
        assert self.cpu is not None
        place = main.variable
        bad = main.labels(lambda n: n.kind == ERROR)
        if self._may_be_undefined():
            bad.append(UNDEFINED)
            says = "an instruction that may be in flight was changed: what happens is undefined"
            self._never(TORN, "undefined", UNDEFINED, says)
        for node in main.nodes:
            if node.kind == ERROR:
                self._never(*self.stepper.errors[node][:2], node.label, self.stepper.errors[node][2])
        dead = []
        for code, live in self.parts.live.items():
            dead.append(main.among(partial(_is_inside, code)) & ~live)
        alive = every(self.cpu, each(~either(*dead)))
        if dead:
            says = "a PC or a return address is in code that is not allocated"
            self.builder.invariant(FREED, "freed", alive, says)
        self.builder.halted = ~both(every(self.cpu, each(~place.is_in(bad))), alive)

    def _never(self, property_: str, kind: str, label: str, says: str) -> None:
        assert self.main is not None and self.cpu is not None
        self.builder.invariant(property_, kind, every(self.cpu, each(~(self.main.variable == label))), says)

    def _progress(self) -> None:
        ends = [lane.among(lambda n: n.kind == DONE) for lane in self.lanes if not lane.thread.many]
        if ends:
            names = " and ".join(f"the {lane.thread.name}" for lane in self.lanes if not lane.thread.many)
            come = "comes" if len(ends) == 1 else "come"
            self.builder.progress = Progress(COMPLETES, both(*ends), f"{names} never {come} to an end")


def _is_inside(code: Code, node: Node) -> bool:
    return code in node.context.inside


@dataclass(frozen=True)
class ProgramModel(Model):
    """A program's model."""

    program: Program
    scenario: Scenario
    system: TransitionSystem
    parts: Parts
    places: Mapping[str, tuple[Entry, Outcome]]

    @staticmethod
    def of(program: Program, scenario: Scenario) -> ProgramModel:
        """Compose it. Raises ModelError for whatever is wrong with the program."""
        made = Threads(program, scenario)
        return ProgramModel(program, scenario, made.builder.build(), made.parts, made.fetches)

    @property
    def subject(self) -> Program:
        return self.program

    @property
    def shown(self) -> list[RegionText]:
        return list(self.parts.texts.values())

    @property
    def view(self) -> View | None:
        return self.parts.view

    @property
    def fetches(self) -> Mapping[str, tuple[Entry, Outcome]]:
        return self.places

    @property
    def size(self) -> str:
        return plural(self.scenario.cpus, "CPU") if self.parts.cpu else "no CPU that others are like"

    @property
    def circumstances(self) -> list[str]:
        singles = [thread.name for thread in self.program.threads if not thread.many]
        return [self.size, *singles, "preemption" if self.scenario.preempt else "no preemption"]

    @property
    def labels(self) -> Mapping[str, Location]:
        steps = [step for step in self.parts.steps if not isinstance(step, Check | Note | Fail)]
        first = {self.parts.label(step): step.where for step in reversed(steps)}
        return {label: first[label] for label in dict.fromkeys(map(self.parts.label, steps))}

    def facts(self) -> dict[str, object]:
        scenario = self.scenario
        return {
            "threads": [thread.name for thread in self.program.threads],
            "cpus": scenario.cpus,
            "without": sorted(scenario.without),
            "preempt": scenario.preempt,
        }

    def claims(self, name: str) -> bool:
        system = self.system
        return name in {mark.property for _, mark in system.marks()} | {i.property for i in system.invariants}

    def trivial(self, name: str) -> str:
        return "" if self.claims(name) else "the program claims nothing about it"

    def allowed(self, name: str, read: Reader) -> str:
        return ""

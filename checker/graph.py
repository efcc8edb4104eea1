"""Which states lead to which? The whole graph of a checked model, or a quotient of it that people can read.

A node of the whole is a state, and an edge a transition, as the reference evaluator finds them. A node of the quotient
stands for all states that agree on what each thread of which there is one does next, and on where one CPU is; all CPUs
are alike, so that it does not matter which. It has an edge where some reachable state has a step that leads from the
one node to the other. What moves neither is left out. The quotient is exact: it comes from the reachable pairs of shared
values and one CPU where the space is a product (`checker/search/product.py`), else from every reachable state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import networkx as nx

from checker.options import UsageError
from checker.search import product, python
from checker.search.generate import Unsupported
from checker.search.pairs import Pair, Pairs, Values
from checker.search.result import Limits, Taken
from checker.trace import Narrator, Trace, path_of
from models.model import Model
from models.system.evaluate import State
from models.system.expressions import Variable

if TYPE_CHECKING:
    from checker.verdict import CheckResult

AUTO, WHOLE, QUOTIENT = KINDS = ("auto", "whole", "quotient")
MOST_WHOLE = 400  # states in a picture of the whole
MOST_STATES = 200_000  # searched for a quotient where the space is no product
_MOST_PAIRS = 2_000_000

OWN, OTHER = "CPU", "another CPU"  # who acts, as one CPU sees it
Key = tuple[int, ...]  # a node of the quotient: the steps of the single threads, and the CPU's place
Cell = tuple[int, int]  # the row of its steps, by when they are first reached, and the number of its place
Step = tuple[int, str | None, int]  # an edge of the quotient: the action, who as the CPU sees it, the choice


class GraphError(Exception):
    """A trace leaves the graph of its own model: one of the two is wrong."""


@dataclass(frozen=True)
class Visit:
    """Step `number` of the lit trace: from node `before` to `after`, along the edge `key`; None where it stays."""

    number: int
    before: int
    after: int
    key: Hashable | None


@dataclass
class StateGraph:
    """A graph and the trace that is lit in it.

    `graph` is a networkx.MultiDiGraph. Nodes are numbers from 0, the initial one; each has `label` (lines of words),
    `values` (variable to the values that it has there) and `cell`: where in a grid of the one patcher's
    steps and the CPU's places; None where that makes no grid.
    Edges have `words`, and as keys who does what: (action, instance or role, choice).
    `nodes`: the number of each State of the whole, or Key of the quotient. `cpu`: whose way the walk is, in a quotient;
    None where there is no CPU. `pairs`: how many were put together. `stopped`: why the graph is not complete, or "".
    """

    kind: str
    graph: Any = field(default_factory=nx.MultiDiGraph)
    nodes: dict[Hashable, int] = field(default_factory=dict)
    trace: Trace | None = None
    walk: tuple[Visit, ...] = ()
    cpu: int | None = None
    pairs: int = 0
    stopped: str = ""

    def add_node(self, key: Hashable, label: Iterable[str], cell: Cell | None = None) -> int:
        node = self.nodes[key] = len(self.graph)
        self.graph.add_node(node, label=tuple(label), values={}, cell=cell)
        return node


def state_graph(result: CheckResult, which: str = AUTO) -> StateGraph:
    """The graph of what was checked. Raises UsageError for a whole that is too large to be drawn."""
    found = result.exploration
    small = found.complete and found.states <= MOST_WHOLE
    if which == WHOLE and not small:
        count = f"{found.states:,} states" if found.complete else f"at least {found.states:,} states"
        raise UsageError(
            f"the whole graph has {count}, and a picture has room for {MOST_WHOLE:,}: "
            "--graph quotient draws what the patcher does next and where one CPU is; fewer --cpus or --sites make it small"
        )
    made = whole(result.model) if which == WHOLE or (which == AUTO and small) else quotient(result.model)
    trace = lit_trace(result)
    if trace is not None:
        light(made, result.model, trace)
    return made


def lit_trace(result: CheckResult) -> Trace | None:
    """The first counterexample; where nothing required is violated, the first exposure."""
    violations = result.violations
    return violations[0].trace if violations else next(iter(result.traces), None)


# ---- the whole ------------------------------------------------------------------------------------------------------


def whole(model: Model) -> StateGraph:
    """Every reachable state, breadth first, as the reference evaluator finds them; for small models."""
    made, narrator, names = StateGraph(WHOLE), Narrator(model), Names(model)
    indices = {action: k for k, action in enumerate(model.system.actions)}

    def add(state: State) -> None:
        node = made.add_node(state, (f"state {len(made.nodes)}", *names.of_state(state)))
        shown = {name: (variable.type.show(value),) for name, variable, value in narrator.values(state)}
        made.graph.nodes[node]["values"] = shown
        todo.append(state)

    todo: deque[State] = deque()
    add(narrator.evaluator.initial())
    while todo:
        state = todo.popleft()
        node = made.nodes[state]
        for step in narrator.evaluator.transitions(state):
            if step.state not in made.nodes:
                add(step.state)
            taken = (indices[step.action], step.instance, step.choice)
            made.graph.add_edge(node, made.nodes[step.state], key=taken, words=names.of_step(taken))
    return made


# ---- the quotient ---------------------------------------------------------------------------------------------------


def quotient(model: Model) -> StateGraph:
    """The graph projected on one CPU (see above), always small; `stopped` says where not every state was seen."""
    return _Quotient(model).made


class _Quotient:
    """Puts pairs together that look alike."""

    def __init__(self, model: Model) -> None:
        self.system = model.system
        self.names = Names(model)
        self.made = StateGraph(QUOTIENT)
        self.pairs = Pairs(model.system)
        self.known: dict[Pair | int, int] = {}
        self.rows: dict[Key, int] = {}
        self.values: list[list[set[int]]] = []  # by node and variable
        try:
            self._multiply()
        except Unsupported:
            self._search()
        self.made.pairs = len(self.known)
        variables = (*self.system.globals, *self.names.locals)
        for node, values in enumerate(self.values):
            self.made.graph.nodes[node]["values"] = {
                self.names.of_variable(v): tuple(v.type.show(value) for value in sorted(found))
                for v, found in zip(variables, values, strict=True)
            }

    def node(self, pair: Pair) -> int:
        component, g, l = pair
        node = self.known.get(pair)
        return self._node(pair, self.pairs.shared[g], self.pairs.local[component][l]) if node is None else node

    def _node(self, which: Pair | int, shared: Values, local: Values) -> int:
        """The node of a pair, or of shared values alone, that was not met before."""
        key = self.names.key(shared, local)
        if key not in self.made.nodes:
            row = self.rows.setdefault(key[: len(self.names.singles)], len(self.rows))
            in_grid = len(self.names.singles) == 1 and self.names.place is not None
            self.made.add_node(key, self.names.of_key(key), (row, key[-1]) if in_grid else None)
            self.values.append([set() for _ in (*shared, *local)])
        node = self.known[which] = self.made.nodes[key]
        for found, value in zip(self.values[node], (*shared, *local), strict=True):
            found.add(value)
        return node

    def edge(self, before: int, after: int, step: Step) -> None:
        if before != after:
            self.made.graph.add_edge(before, after, key=step, words=self.names.of_step(step))

    def _multiply(self) -> None:
        """From what one CPU can do beside the patcher. Raises Unsupported where the space is no product."""
        pairs, run = self.pairs, product.run(self.pairs, Limits(states=_MOST_PAIRS))
        for phase in run.phases:
            for component, live in phase.live.items():
                for l in dict.fromkeys((*phase.entry[component], *live, *phase.halting[component])):
                    self.node((component, phase.g, l))
        for component, g, l in sorted(run.expanded, key=lambda pair: pair[1:]):
            before = self.node((component, g, l))
            for step in pairs.successors((component, g, l)):
                self.edge(before, self.node((component, step.shared, step.local)), (step.action, OWN, step.choice))
        for phase in run.phases:
            if (move := phase.move) is None:
                continue
            for component, live in phase.live.items():
                for pair in ((component, phase.g, l) for l in live):
                    if pairs.allows(move.action, pair):
                        after = (component, move.shared, pairs.cast(move.action, pair))
                        self.edge(self.node(pair), self.node(after), (move.action, None, 0))
        self.made.stopped = run.outcome.stopped

    def _search(self) -> None:
        """From every reachable state, as far as the limit allows."""
        self.pairs = Pairs(self.system)
        run = python.run(self.pairs, Limits(states=MOST_STATES))
        self.made.stopped = run.outcome.stopped
        for state in run.parent:
            at = self._at(run.space, state)
            for after, (action, instance, choice) in run.space.edges(state):
                if after in run.parent:  # not beyond the limit
                    for viewer, (here, there) in enumerate(zip(at, self._at(run.space, after), strict=True)):
                        self.edge(here, there, (action, role(instance, viewer), choice))

    def _at(self, space: python.Space, state: int) -> list[int]:
        """The node of a state as each CPU sees it."""
        if space.instances:
            return [self.node(space.pair(i, state)) for i in range(len(space.instances))]
        g = state & space.shared_mask
        node = self.known.get(g)
        return [self._node(g, self.pairs.shared[g], ()) if node is None else node]


def role(instance: int | None, viewer: int | None) -> str | None:
    """Who acts, as the CPU `viewer` sees it: itself, another one, or None for a thread of which there is one."""
    return None if instance is None else OWN if instance == viewer else OTHER


# ---- words ----------------------------------------------------------------------------------------------------------


class Names:
    """What nodes and edges of one model are called, and which values make a node of the quotient."""

    def __init__(self, model: Model) -> None:
        self.system = model.system
        shared = {variable.name: k for k, variable in enumerate(self.system.globals)}
        threads = dict.fromkeys(action.who for action in self.system.actions if action.actor is None)
        self.singles = [shared[name] for name in threads if name in shared]  # positions among the shared values
        components = self.system.components
        self.locals: tuple[Variable, ...] = self.system.locals(components[0]) if components else ()
        self.place = next((k for k, variable in enumerate(self.locals) if variable.name == "place"), None)

    def key(self, shared: Sequence[int], local: Sequence[int]) -> Key:
        """What a node of the quotient keeps of shared values and one CPU's."""
        steps = tuple(shared[k] for k in self.singles)
        return steps if self.place is None else (*steps, local[self.place])

    def of_key(self, key: Key) -> Iterator[str]:
        """A node of the quotient, in lines."""
        yield from self._singles(key)
        if self.place is not None:
            yield f"CPU {self.locals[self.place].type.show(key[-1])}"

    def of_state(self, state: State) -> Iterator[str]:
        """A state, in lines; what they leave out is in its values."""
        yield from self._singles([state.shared[k] for k in self.singles])
        if self.place is not None:
            for i, local in enumerate(state.instances):
                yield f"CPU {i} {self.locals[self.place].type.show(local[self.place])}"

    def _singles(self, steps: Iterable[int]) -> Iterator[str]:
        for k, value in zip(self.singles, steps, strict=False):
            variable = self.system.globals[k]
            label = variable.type.show(value)
            yield f"{variable.name} {'done' if label == 'done' else f'next: {label}'}"

    def of_step(self, step: Step | Taken) -> str:
        """Who does what, in a few words."""
        k, who, choice = step
        action = self.system.actions[k]
        actor = action.who if who is None else f"CPU {who}" if isinstance(who, int) else who
        return f"{actor}: {action.name}{f', {action.choice.labels[choice]}' if action.choice else ''}"

    def of_variable(self, variable: Variable) -> str:
        return variable.name if variable.component is None else f"CPU.{variable.name}"


# ---- the trace ------------------------------------------------------------------------------------------------------


def light(made: StateGraph, model: Model, trace: Trace) -> None:
    """Find the way of `trace` in a graph of its model. Raises GraphError where it leaves a complete one."""
    narrator, names = Narrator(model), Names(model)
    taken = path_of(model, trace)
    states = narrator.follow(taken)
    made.trace = trace
    keys: list[Hashable] = list(states)
    steps: Sequence[Step | Taken] = taken
    if made.kind == QUOTIENT:
        cpu = made.cpu = _whose(narrator, trace, states[-1]) if model.system.instances else None
        keys = [names.key(state.shared, () if cpu is None else state.instances[cpu]) for state in states]
        steps = [(action, role(instance, cpu), choice) for action, instance, choice in taken]
    walk = []
    for k, step in enumerate(steps):
        at, to = (made.nodes.get(key) for key in keys[k : k + 2])
        moves = keys[k] != keys[k + 1]
        if at is None or to is None or (moves and not made.graph.has_edge(at, to, step)):
            if made.stopped:
                break  # the rest is beyond the limit
            raise GraphError(f"step {k + 1} of the trace, “{names.of_step(step)}”, is no edge of the graph")
        walk.append(Visit(k + 1, at, to, step if moves else None))
    made.walk = tuple(walk)


def _whose(narrator: Narrator, trace: Trace, end: State) -> int:
    """The CPU that a counterexample is about: whose share of what is broken is false, else who acted last."""
    for invariant in narrator.evaluator.broken(end):
        if invariant.property == trace.property and (culprit := narrator.culprit(invariant, end)) is not None:
            return culprit
    return next((step.instance for step in reversed(trace.steps) if step.instance is not None), 0)

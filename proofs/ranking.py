"""Why the patcher is not kept waiting for ever, before it is checked: a ranking of the states that withhold consent.

What a ranking has to satisfy, and why that is enough, says `progress.py`. Here it is found, on the reachable states of
one instance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.system.evaluate import Evaluator, State
from models.system.expressions import FALSE, TRUE, Bits, Bool, Component, Enum, Expr, Variable, both, either, read
from models.system.system import Action, Fairness, TransitionSystem
from proofs.cubes import Row
from proofs.infer import leading
from proofs.shape import shape

Steps = Callable[[Component, Row], Sequence[tuple[Action, Row]]]  # what one instance can do, with what it leads to


class NoArgument(Exception):
    """The argument does not apply, or finds no layers: the message says why."""


@dataclass(frozen=True)
class Layer:
    """States of one instance that withhold consent, in which `helper` is enabled. `number`: earlier ones are nearer.

    `alone`: every step from here leads nearer; otherwise, every step of this kind from here or from a later layer.
    `until`: the last layer of its stage; None where all later ones belong to it.
    """

    number: int
    until: int | None
    helper: Fairness
    alone: bool
    holds: Expr


@dataclass(frozen=True)
class Wait:
    """A position of the patcher at which instances may keep it waiting; `layers` by component."""

    position: int
    action: Action
    layers: Mapping[Component, tuple[Layer, ...]]


@dataclass(frozen=True)
class Ranking:
    """The argument, before it is checked: where the patcher waits, and why it does not wait for ever."""

    leader: Variable
    goals: tuple[int, ...]
    onward: Mapping[int, Action]  # by position: the fair step that the patcher takes there
    waits: tuple[Wait, ...]


def rank(system: TransitionSystem, rows: Mapping[tuple[Component, ...], set[Row]], steps: Steps) -> Ranking:
    """Find layers for every wait, from the reachable rows of one instance. Raises NoArgument."""
    return _Ranker(system, rows, steps).run()


class _Ranker:
    def __init__(self, system: TransitionSystem, rows: Mapping[tuple[Component, ...], set[Row]], steps: Steps) -> None:
        found = shape(system)
        if found.obstacles:
            raise NoArgument(str(found.obstacles[0]))
        if found.interferes:
            raise NoArgument(f"“{found.interferes[0]}” changes more than the instance that takes it")
        if system.progress is None:
            raise NoArgument("nothing is to be reached")
        width = len(system.globals)
        shared = {row[:width] for known in rows.values() for row in known}
        leader = leading(system, shared)
        if leader is None:
            raise NoArgument("no shared variable tells how far the patcher is")
        self.system, self.steps, self.leader, self.width = system, steps, leader, width
        self.column = system.globals.index(leader)
        self.goal = system.progress.goal
        # a system of one instance evaluates what is said of each; of none, what is said of the shared variables
        self.one = {
            c: Evaluator(system.resized({**dict.fromkeys(system.components, 0), c: 1})) for c in system.components
        }
        self.none = Evaluator(system.resized(dict.fromkeys(system.components, 0)))
        self.at: dict[int, dict[Component, list[Row]]] = defaultdict(lambda: {c: [] for c in system.components})
        for (component,), known in rows.items():
            for row in known:
                if self.one[component].halted(self.state(row)):
                    raise NoArgument("an error can be reached, from where nobody goes on")
                self.at[row[self.column]][component].append(row)

    def state(self, row: Row) -> State:
        return State(row[: self.width], (row[self.width :],))

    def run(self) -> Ranking:
        goals, onward, waits = [], {}, []
        for position, places in sorted(self.at.items()):
            known = [rows for rows in places.values() if rows]
            empty = State(known[0][0][: self.width], ())
            if self.none.value(self.goal, empty):
                goals.append(position)
                continue
            action = onward[position] = self.step_at(position, empty)
            layers = {c: self.layers(position, action, c, rows) for c, rows in places.items()}
            if any(layers.values()):
                waits.append(Wait(position, action, layers))
        return Ranking(self.leader, tuple(goals), onward, tuple(waits))

    def step_at(self, position: int, empty: State) -> Action:
        """The fair step of the patcher that the shared variables allow."""
        for action in self.system.actions:
            fair = action.actor is None and action.fairness.is_fair and action.choice is None
            if fair and self.none.value(action.guard, empty):
                return action
        raise NoArgument(f"no fair step of the patcher at “{self.leader.type.show(position)}”")

    def layers(self, position: int, action: Action, component: Component, rows: Sequence[Row]) -> tuple[Layer, ...]:
        """The layers by places and flags alone, if they will do; else by everything.

        At first of all that an instance is anywhere, as if it could be here: the fewer states a lemma has to exclude.
        """
        variables = self.system.locals(component)
        plain = [i for i, v in enumerate(variables) if not isinstance(v.type, Bits)]
        if all(self.one[component].value(action.guard, self.state(row)) for row in rows):
            return ()
        anywhere = {
            rows[0][: self.width] + row[self.width :] for places in self.at.values() for row in places[component]
        }
        alive = sorted(row for row in anywhere if not self.one[component].halted(self.state(row)))
        for known, columns in ((alive, plain), (rows, plain), (rows, list(range(len(variables))))):
            graph = self.graph(action, component, known, columns)
            if graph is None:
                continue
            found = graph.layers({_project(row, [self.width + i for i in columns]) for row in rows})
            if found is not None:
                return tuple(self.describe([variables[i] for i in columns], found))
        where = self.leader.type.show(position)
        raise NoArgument(f"at “{where}” a {component.name} may withhold its consent for ever")

    def graph(self, action: Action, component: Component, rows: Sequence[Row], columns: Sequence[int]) -> _Graph | None:
        """What instances that withhold consent can do, told apart by some columns; None if those do not tell who does."""
        evaluator = self.one[component]
        withheld: dict[Row, bool] = {}

        def key(row: Row) -> Row:
            return tuple(row[self.width + i] for i in columns)

        for row in rows:
            withholds = not evaluator.value(action.guard, self.state(row))
            if withheld.setdefault(key(row), withholds) != withholds:
                return None
        steps: dict[Row, set[tuple[Fairness, Row]]] = {k: set() for k, withholds in withheld.items() if withholds}
        sure: dict[Row, set[Fairness]] = {}
        for row in rows:
            here = key(row)
            if here in steps:
                found = [
                    (a.fairness, key(to))
                    for a, to in self.steps(component, row)
                    if to != row and a.fairness is not Fairness.NEVER_ON_CYCLE
                ]
                fair: set[Fairness] = {fairness for fairness, _ in found if fairness.is_fair}
                sure[here] = sure[here] & fair if here in sure else fair
                steps[here] |= set(found)
        return _Graph(steps, sure)

    def describe(self, variables: Sequence[Variable], found: Sequence[tuple[_Places, int | None]]) -> Iterator[Layer]:
        """Each layer by as few variables as tell it."""
        number = {row: (n, until, *how) for n, (layer, until) in enumerate(found) for row, how in layer.items()}
        kept = list(range(len(variables)))
        for i in sorted(kept, key=lambda i: (_ORDER.index(type(variables[i].type)), -i)):
            rest = [j for j in kept if j != i]
            if len({(_project(row, rest), of) for row, of in number.items()}) == len(
                {_project(row, rest) for row in number}
            ):
                kept = rest
        groups: dict[tuple[int, int | None, Fairness, bool], set[Row]] = defaultdict(set)
        for row, of in number.items():
            groups[of].add(_project(row, kept))
        for (n, until, helper, alone), values in sorted(
            groups.items(), key=lambda item: (item[0][0], item[0][2].value)
        ):
            yield Layer(n, until, helper, alone, _one_of([variables[j] for j in kept], values))


_ORDER = (Bits, Bool, Enum)  # what a layer is rather not told by, first: numbers and sets, then flags, then places
_Places = dict[Row, tuple[Fairness, bool]]  # how each state is left: see Layer


def _project(row: Row, columns: Sequence[int]) -> Row:
    return tuple(row[i] for i in columns)


@dataclass(frozen=True)
class _Graph:
    """What instances that withhold consent can do, and which fair kinds of step each of them surely can."""

    steps: Mapping[Row, set[tuple[Fairness, Row]]]
    sure: Mapping[Row, set[Fairness]]

    def layers(self, needed: set[Row]) -> list[tuple[_Places, int | None]] | None:
        """Layers, each with the last one of its stage, of all states that are needed.

        None where a fair run may stay among these for ever, as far as layers tell.
        """
        found: list[tuple[_Places, int | None]] = []
        left = set(self.steps)
        while left:
            layer = self.layer(left)
            if layer:
                found.append((layer, None))
                left -= layer.keys()
                continue
            part = self.last(left)
            inside = self.stage(set(part))
            if not inside:
                return None if left & needed else found
            found += [(layer, len(found) + len(inside) - 1) for layer in inside]
            left -= part
        return found

    def stage(self, left: set[Row]) -> list[_Places]:
        """The layers of a part that is left only to earlier layers; none where a fair run may stay in it."""
        found = []
        while left:
            layer = self.layer(left)
            if not layer:
                return []
            found.append(layer)
            left -= layer.keys()
        return found

    def layer(self, left: set[Row]) -> _Places:
        """The states that no fair run visits for ever while it stays in `left`, each with its helpful kind of step."""
        staying = {f for row in left for f, to in self.steps[row] if to in left}
        found = {}
        for row in left:
            fair = self.sure[row]
            helpful = fair - staying
            if helpful:
                found[row] = min(helpful, key=lambda f: f.value), False
            elif fair and not any(to in left for _, to in self.steps[row]):
                found[row] = min(fair, key=lambda f: f.value), True
        return found

    def last(self, left: set[Row]) -> set[Row]:
        """A strongly connected part of `left` from which no step leads to another part of it."""
        import networkx

        graph: networkx.DiGraph[Row] = networkx.DiGraph()
        graph.add_nodes_from(sorted(left))
        graph.add_edges_from(
            (row, to) for row in sorted(left) for _, to in sorted(self.steps[row], key=_by_name) if to in left
        )
        return set(next(iter(networkx.strongly_connected_components(graph))))


def _by_name(step: tuple[Fairness, Row]) -> tuple[str, Row]:
    return step[0].value, step[1]


def _one_of(variables: Sequence[Variable], values: set[tuple[int, ...]]) -> Expr:
    """That the variables have one of these combinations of values; those of the last are said together."""
    if not variables:
        return TRUE
    by_rest: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for combination in values:
        by_rest[combination[1:]].add(combination[0])
    same: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
    for rest, firsts in by_rest.items():
        same[tuple(sorted(firsts))].append(rest)
    parts = []
    for firsts_, rests in sorted(same.items()):
        others = both(*[_one_of(variables[1:], set(rests))]) if len(variables) > 1 else TRUE
        parts.append(both(read(variables[0]).is_in(firsts_), others))
    return either(*parts) if parts else FALSE

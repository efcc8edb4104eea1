"""Explicit-state search in Python: level-synchronous breadth first over packed full states.

A state is one int: the number of its shared values, then the number of each instance's locals. What an instance can
do depends on the shared values and its own locals, so it is computed once for each such pair and remembered as
differences between packed states; exploring a state is then a look-up for each instance and an addition for each
transition. The loop is generated for the number of instances.

Marks, broken invariants and fired actions depend on such a pair too: the first state that shows one is the first state
that needs the pair computed, so recording them costs nothing afterwards.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Any

from checker.search.generate import generate
from checker.search.result import INTERRUPTED, Exploration, Limits, Path, Progressing, Report, Taken
from models.system.system import Invariant, Mark, TransitionSystem

_SHARED_BITS = 20
_LOCAL_BITS = 24
_CHUNK = 4096  # states between two looks at the limits

Values = tuple[int, ...]
Edge = tuple[int, Taken]  # difference to the successor, and what leads there


class _Full(Exception):
    """More distinct shared or local values than a packed state has room for."""


_LOOP = """
def expand(frontier, parent, miss, moves_of, ask, {tables}):
    transitions, fresh_states = 0, []
    for s in frontier:
{lookups}
        if {halted}:
            continue
        g = s & {shared_mask}
        fresh = {{}}
        for move in moves_of(g):
            t = ask(move, s)
            if t >= 0 and t != s:
                transitions += 1
                if t not in parent:
                    parent[t] = s
                    fresh[t] = move.order
                elif t in fresh and move.order < fresh[t]:
                    fresh[t] = move.order
{deltas}
        if len(fresh) > 1:
            fresh_states += sorted(fresh, key=fresh.__getitem__)
        else:
            fresh_states += fresh
    return transitions, fresh_states
"""
_LOOKUP = """\
        k{i} = s & {mask}
        e{i} = table{i}.get(k{i})
        if e{i} is None:
            e{i} = miss({i}, k{i}, s)"""
_DELTAS = """\
        transitions += len(e{i})
        for d, order in e{i}:
            t = s + d
            if t not in parent:
                parent[t] = s
                fresh[t] = order
            elif t in fresh and order < fresh[t]:
                fresh[t] = order"""
_LINK = """
def link(states, backward, moves_of, ask, {tables}):
    halted = set()
    for s in states:
{lookups}
        if {halted}:
            halted.add(s)
            continue
        for move in moves_of(s & {shared_mask}):
            t = ask(move, s)
            if t >= 0 and t != s:
                backward[t].append(s)
{deltas}
    return halted
"""
_LINK_LOOKUP = """\
        e{i} = table{i}.get(s & {mask})"""
_LINK_DELTAS = """\
        for d, _ in e{i}:
            backward[s + d].append(s)"""
_HALT: Any = False  # what a table holds for an instance that halts the system


class _Move:
    """An action of the patcher at one shared value: where the shared values go, and what it asks and does by instance."""

    __slots__ = ("action", "asks", "known", "order", "shared", "unconditional")

    def __init__(self, action: int, shared: int, asks: bool, instances: int) -> None:
        self.action, self.shared, self.order = action, shared, (action, -1, 0)
        self.unconditional = not asks
        self.known: list[dict[int, int]] = [{} for _ in range(instances)]


class Space:
    """The packed state space of a system: interning, remembered successors, and what was met on the way."""

    def __init__(self, system: TransitionSystem) -> None:
        self.system = system
        self.code = generate(system)
        self.instances = [component for component, _ in system.instances]
        self.marks: list[Mark] = [mark for _, mark in system.marks()]
        self.shared: list[Values] = []
        self.shared_number: dict[Values, int] = {}
        self.local: dict[Any, list[Values]] = {c: [] for c in system.components}
        self.local_number: dict[Any, dict[Values, int]] = {c: {} for c in system.components}
        self.shared_mask = (1 << _SHARED_BITS) - 1
        self.shifts = [_SHARED_BITS + i * _LOCAL_BITS for i in range(len(self.instances))]
        self.masks = [((1 << _LOCAL_BITS) - 1) << shift for shift in self.shifts]
        self.tables: list[dict[int, Any]] = [{} for _ in self.instances]
        self.known: dict[tuple[Any, int, int], list[tuple[int, int, int, int, tuple[int, ...]]]] = {}
        self.state_runs: dict[tuple[Any, int, int], bool] = {}
        self.moves: dict[int, list[_Move]] = {}
        self.fired: set[int] = set()
        self.met: dict[Mark, tuple[int, Taken]] = {}
        self.broken: dict[Invariant, int] = {}
        self.goals: dict[int, bool] = {}

    # ---- packing ----------------------------------------------------------------------------------------------------

    def intern(self, values: Values) -> int:
        number = self.shared_number.get(values)
        if number is None:
            number = self.shared_number[values] = len(self.shared)
            self.shared.append(values)
            if number > self.shared_mask:
                raise _Full(f"more than {self.shared_mask} different shared values")
        return number

    def intern_local(self, component: Any, values: Values) -> int:
        numbers = self.local_number[component]
        number = numbers.get(values)
        if number is None:
            number = numbers[values] = len(self.local[component])
            self.local[component].append(values)
            if number >> _LOCAL_BITS:
                raise _Full(f"more than {1 << _LOCAL_BITS} different values of one {component.name}")
        return number

    def initial(self) -> int:
        system = self.system
        state = self.intern(tuple(v.initial for v in system.globals))
        for i, component in enumerate(self.instances):
            number = self.intern_local(component, tuple(v.initial for v in system.locals(component)))
            state |= number << self.shifts[i]
        return state

    def part(self, i: int, state: int) -> int:
        """The number of instance i's locals in `state`."""
        return (state & self.masks[i]) >> self.shifts[i]

    # ---- successors -------------------------------------------------------------------------------------------------

    def runs(self, i: int, state: int) -> bool:
        """Whether instance i does not halt the system in `state`."""
        component, g, l = self.instances[i], state & self.shared_mask, self.part(i, state)
        key = (component, g, l)
        known = self.state_runs.get(key)
        if known is None:
            shared, local = self.shared[g], self.local[component][l]
            for number in self.code.broken[component](shared, local):
                self.broken.setdefault(self.system.invariants[number], state)
            known = self.state_runs[key] = bool(self.code.runs[component](shared, local))
        return known

    def miss(self, i: int, key: int, state: int) -> Any:
        """The successors by instance i of a state that needs them for the first time; False if the system is halted."""
        if not self.runs(i, state):
            self.tables[i][key] = _HALT
            return _HALT
        if not all(self.runs(j, state) for j in range(len(self.instances))):
            return _HALT
        component, g, l = self.instances[i], state & self.shared_mask, self.part(i, state)
        found = self.known.get((component, g, l))
        if found is None:
            found = []
            for action, choice, values, locals_, marks in self.code.moves[component](
                self.shared[g], self.local[component][l]
            ):
                self.fired.add(action)
                self.meet(marks, state, (action, i, choice))
                found.append((action, choice, self.intern(values), self.intern_local(component, locals_), marks))
            self.known[component, g, l] = found
        edges = []
        for action, choice, g2, l2, _ in found:
            delta = (g2 - g) + ((l2 - l) << self.shifts[i])
            if delta:
                edges.append((delta, (action, i, choice)))
        self.tables[i][key] = edges = tuple(edges)  # type: ignore[assignment]
        return edges

    def meet(self, marks: tuple[int, ...], state: int, taken: Taken) -> None:
        """Record marks that were not met before; of one state's several ways, the first in order."""
        for number in marks:
            mark = self.marks[number]
            known = self.met.get(mark)
            if known is None or (known[0] == state and (taken[0], taken[1] or -1) < (known[1][0], known[1][1] or -1)):
                self.met[mark] = (state, taken)

    def moves_of(self, g: int) -> list[_Move]:
        """What the patcher may do at these shared values."""
        moves = self.moves.get(g)
        if moves is None:
            moves = self.moves[g] = []
            for action, values in self.code.shared_moves(self.shared[g]):
                asks = any((action, c) in self.code.asks for c in self.system.components)
                moves.append(_Move(action, self.intern(values), asks, len(self.instances)))
        return moves

    def ask(self, move: _Move, state: int) -> int:
        """The state after the patcher's move, or -1 where some instance does not allow it."""
        result = move.shared
        for i, known in enumerate(move.known):
            part = state & (self.masks[i] | self.shared_mask)
            value = known.get(part)
            if value is None:
                value = known[part] = self._answer(i, move, state)
            if value < 0:
                return -1
            result |= value
        self.fired.add(move.action)
        return result

    def _answer(self, i: int, move: _Move, state: int) -> int:
        component, g = self.instances[i], state & self.shared_mask
        key = (move.action, component)
        values = (self.shared[g], self.local[component][self.part(i, state)])
        if key in self.code.asks and not self.code.asks[key](*values):
            return -1
        if key not in self.code.casts:
            return state & self.masks[i]
        return self.intern_local(component, self.code.casts[key](*values)) << self.shifts[i]

    def is_goal(self, state: int) -> bool:
        g = state & self.shared_mask
        known = self.goals.get(g)
        if known is None:
            known = self.goals[g] = bool(self.code.goal(self.shared[g]))
        return known

    def edges(self, state: int) -> Iterator[Edge]:
        """Every transition from `state`, in order of action, instance, choice."""
        if not all(self.runs(i, state) for i in range(len(self.instances))):
            return
        found: list[tuple[tuple[int, int, int], Edge]] = []
        for move in self.moves_of(state & self.shared_mask):
            after = self.ask(move, state)
            if after >= 0 and after != state:
                found.append((move.order, (after, (move.action, None, 0))))
        for i, table in enumerate(self.tables):
            key = state & (self.masks[i] | self.shared_mask)
            known = table.get(key)
            for delta, taken in self.miss(i, key, state) if known is None else known:
                found.append((taken, (state + delta, taken)))
        found.sort(key=lambda entry: entry[0])
        for _, edge in found:
            yield edge

    # ---- the generated loop -----------------------------------------------------------------------------------------

    def _unrolled(self, name: str, body: str, lookup: str, halted: str, deltas: str) -> Any:
        count = range(len(self.instances))
        source = body.format(
            tables=", ".join(f"table{i}" for i in count),
            lookups="\n".join(lookup.format(i=i, mask=self.masks[i] | self.shared_mask) for i in count),
            halted=" or ".join(halted.format(i=i) for i in count) or "False",
            shared_mask=self.shared_mask,
            deltas="\n".join(deltas.format(i=i) for i in count),
        )
        scope: dict[str, Any] = {}
        exec(compile(source, f"<search: {name}>", "exec"), scope)
        return scope[name]

    def loop(self) -> Any:
        """The function that expands a list of states, unrolled for this number of instances."""
        return self._unrolled("expand", _LOOP, _LOOKUP, "e{i} is False", _DELTAS)

    def link(self) -> Any:
        """The function that, after a complete search, records who leads to whom and returns the halted states.

        A state whose successors were never computed is one that another instance halts.
        """
        return self._unrolled("link", _LINK, _LINK_LOOKUP, "not e{i} and not isinstance(e{i}, tuple)", _LINK_DELTAS)


def explore(
    system: TransitionSystem, limits: Limits | None = None, report: Report | None = None
) -> tuple[Exploration, Space, dict[int, int]]:
    """Search the whole space. Returns the outcome, the space, and each state's parent (the initial one's is itself).

    Ctrl-C ends the search with what is known so far, as a limit does. Raises Unsupported (see `generate`).
    """
    limits = limits or Limits()
    space = Space(system)
    start = space.initial()
    parent = {start: start}
    outcome = Exploration("python")
    expand = space.loop()
    frontier, began = [start], time.monotonic()
    try:
        while frontier and not outcome.stopped:
            following: list[int] = []
            for first in range(0, len(frontier), _CHUNK):
                chunk = frontier[first : first + _CHUNK]
                taken, fresh = expand(chunk, parent, space.miss, space.moves_of, space.ask, *space.tables)
                outcome.transitions += taken
                following += fresh
                outcome.stopped = _exceeded(limits, len(parent), began)
                if report:
                    report(Progressing(len(parent), outcome.depth, len(following)))
                if outcome.stopped:
                    break
            frontier = following
            outcome.depth += bool(frontier)
    except _Full as full:
        outcome.stopped = str(full)
    except MemoryError:
        outcome.stopped = "out of memory"
    except KeyboardInterrupt:
        outcome.stopped = INTERRUPTED
    outcome.states = len(parent)
    outcome.fired = set(space.fired)
    for mark, (state, last) in space.met.items():
        outcome.marks[mark] = Path((*path_to(space, parent, state), last))
    for invariant, state in space.broken.items():
        outcome.broken[invariant] = Path(path_to(space, parent, state))
    return outcome, space, parent


def _exceeded(limits: Limits, states: int, began: float) -> str:
    if limits.states is not None and states > limits.states:
        return f"more than {limits.states:,} states"
    if limits.seconds is not None and time.monotonic() - began > limits.seconds:
        return f"more than {limits.seconds:g} seconds"
    if limits.memory is not None and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10 > limits.memory:
        return f"more than {limits.memory:,} MiB of memory"
    return ""


def path_to(space: Space, parent: dict[int, int], state: int) -> tuple[Taken, ...]:
    """What leads from the initial state to `state`: the recorded parents, each by its first edge."""
    steps: list[Taken] = []
    while parent[state] != state:
        before = parent[state]
        steps.append(next(taken for after, taken in space.edges(before) if after == state))
        state = before
    return tuple(reversed(steps))

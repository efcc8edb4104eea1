"""Explicit-state search in Python: level-synchronous breadth first over packed full states.

A state is one int: the number of its shared values, then the number of each instance's locals. What an instance can
do depends on the shared values and its own locals, so it is computed once for each such pair and remembered as
differences between packed states; exploring a state is then a look-up for each instance and an addition for each
transition. The loop is generated for the number of instances.

Marks, broken invariants and fired actions depend on such a pair too: the first state that shows one is the first state
that needs the pair computed, so recording them costs nothing afterwards.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from checker.search.pairs import Pair, Pairs
from checker.search.result import INTERRUPTED, Exploration, Limits, Path, Progressing, Report, Taken
from models.system.system import Invariant, Mark, TransitionSystem

_SHARED_BITS = 20
_LOCAL_BITS = 24
_CHUNK = 4096  # states between two looks at the limits

Edge = tuple[int, Taken]  # the state after it, and what leads there


class Full(Exception):
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

    __slots__ = ("action", "known", "order", "shared")

    def __init__(self, action: int, shared: int, instances: int) -> None:
        self.action, self.shared, self.order = action, shared, (action, -1, 0)
        self.known: list[dict[int, int]] = [{} for _ in range(instances)]


class Space:
    """The packed state space of a system: remembered differences between states, and what was met on the way."""

    def __init__(self, pairs: Pairs, roomy: bool = False) -> None:
        """`roomy`: for any number of values; the search itself is faster with fewer bits."""
        shared_bits, self.local_bits = (32, 32) if roomy else (_SHARED_BITS, _LOCAL_BITS)
        self.pairs = pairs
        self.system = pairs.system
        self.instances = pairs.instances
        self.shared_mask = (1 << shared_bits) - 1
        self.shifts = [shared_bits + i * self.local_bits for i in range(len(self.instances))]
        self.masks = [((1 << self.local_bits) - 1) << shift for shift in self.shifts]
        self.tables: list[dict[int, Any]] = [{} for _ in self.instances]
        self.expanded: set[Pair] = set()
        self.state_runs: dict[Pair, bool] = {}
        self.patcher: dict[int, list[_Move]] = {}
        self.fired: set[int] = set()
        self.met: dict[Mark, tuple[int, Taken]] = {}
        self.broken: dict[Invariant, int] = {}

    # ---- packing ----------------------------------------------------------------------------------------------------

    def pack(self, g: int, locals_: Sequence[int]) -> int:
        """The state with these numbers. Raises Full where a number has no room."""
        self.check(g, *locals_)
        state = g
        for l, shift in zip(locals_, self.shifts, strict=True):
            state |= l << shift
        return state

    def check(self, g: int, *locals_: int) -> None:
        """Raises Full where a number has no room in a packed state."""
        if g > self.shared_mask:
            raise Full(f"more than {self.shared_mask:,} different shared values")
        if any(l >> self.local_bits for l in locals_):
            raise Full(f"more than {1 << self.local_bits:,} different values of one instance")

    def unpack(self, state: int) -> tuple[int, list[int]]:
        """The numbers of the shared values and of each instance's locals."""
        return state & self.shared_mask, [self.part(i, state) for i in range(len(self.instances))]

    def part(self, i: int, state: int) -> int:
        """The number of instance i's locals in `state`."""
        return (state & self.masks[i]) >> self.shifts[i]

    def pair(self, i: int, state: int) -> Pair:
        """What instance i's steps depend on in `state`."""
        return self.instances[i], state & self.shared_mask, self.part(i, state)

    # ---- successors -------------------------------------------------------------------------------------------------

    def runs(self, i: int, state: int) -> bool:
        """Whether instance i does not halt the system in `state`."""
        pair = self.pair(i, state)
        known = self.state_runs.get(pair)
        if known is None:
            for number in self.pairs.broken(pair):
                self.broken.setdefault(self.system.invariants[number], state)
            known = self.state_runs[pair] = not self.pairs.halts(pair)
        return known

    def miss(self, i: int, key: int, state: int) -> Any:
        """The successors by instance i of a state that needs them for the first time; False if the system is halted."""
        if not self.runs(i, state):
            self.tables[i][key] = _HALT
            return _HALT
        if not all(self.runs(j, state) for j in range(len(self.instances))):
            return _HALT
        pair = _, g, l = self.pair(i, state)
        found = self.pairs.successors(pair)
        if pair not in self.expanded:
            self.expanded.add(pair)
            for step in found:
                self.fired.add(step.action)
                self.meet(step.marks, state, (step.action, i, step.choice))
        edges = []
        for step in found:
            self.check(step.shared, step.local)
            delta = (step.shared - g) + ((step.local - l) << self.shifts[i])
            if delta:
                edges.append((delta, (step.action, i, step.choice)))
        self.tables[i][key] = edges = tuple(edges)  # type: ignore[assignment]
        return edges

    def meet(self, marks: tuple[int, ...], state: int, taken: Taken) -> None:
        """Record marks that were not met before; of one state's several ways, the first in order."""
        for number in marks:
            mark = self.pairs.marks[number]
            known = self.met.get(mark)
            if known is None or (known[0] == state and (taken[0], taken[1] or -1) < (known[1][0], known[1][1] or -1)):
                self.met[mark] = (state, taken)

    def moves_of(self, g: int) -> list[_Move]:
        """What the patcher may do at these shared values."""
        moves = self.patcher.get(g)
        if moves is None:
            count = len(self.instances)
            moves = self.patcher[g] = [_Move(move.action, move.shared, count) for move in self.pairs.moves(g)]
            for move in moves:
                self.check(move.shared)
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
        pair = self.pair(i, state)
        if not self.pairs.allows(move.action, pair):
            return -1
        local = self.pairs.cast(move.action, pair)
        self.check(0, local)
        return local << self.shifts[i]

    def is_goal(self, state: int) -> bool:
        return self.pairs.is_goal(state & self.shared_mask)

    def edges(self, state: int) -> Iterator[Edge]:
        """Every transition from `state`, in order of action, instance, choice: the state after it, and its label."""
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

    def marked(self, state: int, number: int) -> Taken:
        """The first step from `state`, in order of action, instance, choice, that has the mark of this position."""
        return min(
            (step.action, i, step.choice)
            for i in range(len(self.instances))
            for step in self.pairs.successors(self.pair(i, state))
            if number in step.marks
        )

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


@dataclass(frozen=True)
class Run:
    """A finished or stopped search: its outcome, and what further questions are answered from (see `Reached`).

    `parent`: each state's first predecessor in frontier order; the initial state's is itself.
    """

    outcome: Exploration
    space: Space
    parent: dict[int, int]

    @property
    def expanded(self) -> Collection[Pair]:
        return self.space.expanded

    @property
    def live_shared(self) -> Collection[int]:
        return self.space.patcher

    @property
    def halts(self) -> bool:
        return not all(self.space.state_runs.values())

    def doomed(self) -> tuple[Taken, ...] | None:
        """The path to the first state, not halted, from which no goal can be reached: backwards from the goals."""
        backward: dict[int, list[int]] = defaultdict(list)
        space = self.space
        halted = space.link()(self.parent, backward, space.moves_of, space.ask, *space.tables)
        able = {s for s in self.parent if space.is_goal(s)}
        stack = list(able)
        while stack:
            for before in backward.get(stack.pop(), ()):
                if before not in able:
                    able.add(before)
                    stack.append(before)
        doomed = [s for s in self.parent if s not in able and s not in halted]
        return self.first(doomed)[0] if doomed else None

    def states(self, region: Container[int]) -> list[int]:
        """The states whose shared values are in `region`."""
        mask = self.space.shared_mask
        return [s for s in self.parent if s & mask in region]

    def first(self, states: Collection[int]) -> tuple[tuple[Taken, ...], int]:
        """Of some reached states the first in frontier order, and the path to it."""
        depth: dict[int, int] = {}
        for state, before in self.parent.items():  # a predecessor stands before its successors
            depth[state] = 0 if before == state else depth[before] + 1
        least = min(depth[s] for s in states)
        paths = ((path_to(self.space, self.parent, s), s) for s in states if depth[s] == least)
        return min(paths, key=lambda found: Path(found[0]).order)

    def close(self) -> None:
        """Nothing to give back but what goes with this object."""


def explore(system: TransitionSystem, limits: Limits | None = None, report: Report | None = None) -> Run:
    """Search the whole space, until a limit is met. Raises Unsupported (see `generate`).

    Ctrl-C ends the search with what is known so far, as a limit does.
    """
    return run(Pairs(system), limits or Limits(), report)


def run(pairs: Pairs, limits: Limits, report: Report | None = None) -> Run:
    """The search itself, on pairs that may know something already."""
    space = Space(pairs)
    start = space.pack(*pairs.initial())
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
                outcome.stopped = limits.exceeded(len(parent), time.monotonic() - began)
                if report:
                    report(Progressing(len(parent), outcome.depth, len(following)))
                if outcome.stopped:
                    break
            frontier = following
            outcome.depth += bool(frontier)
    except Full as full:
        outcome.stopped = str(full)
    except MemoryError:
        outcome.stopped = "out of memory"
    except KeyboardInterrupt:
        outcome.stopped = INTERRUPTED
    outcome.states = outcome.explored = len(parent)
    outcome.fired = set(space.fired)
    for mark, (state, last) in space.met.items():
        outcome.marks[mark] = Path((*path_to(space, parent, state), last))
    for invariant, state in space.broken.items():
        outcome.broken[invariant] = Path(path_to(space, parent, state))
    return Run(outcome, space, parent)


def path_to(space: Space, parent: dict[int, int], state: int) -> tuple[Taken, ...]:
    """What leads from the initial state to `state`: the recorded parents, each by its first edge."""
    steps: list[Taken] = []
    while parent[state] != state:
        before = parent[state]
        steps.append(next(taken for after, taken in space.edges(before) if after == state))
        state = before
    return tuple(reversed(steps))

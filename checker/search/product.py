"""The product engine: where instances never meet, the whole space is a product, and one instance at a time tells all.

It applies where no instance changes shared values and the patcher takes its steps one after another, never coming back
to shared values that it left. Between two steps of the patcher every instance then goes its own way, and the step needs
each one's consent by itself. By induction over the patcher's steps, the states with shared values g are all
combinations of the locals that one instance can have there:

  states      the sum over g of |locals at g| to the power of the number of instances;
  distances   the patcher's steps so far, and for each instance the fewest steps of its own that bring it there;
  violations  a pair is reached in the whole system if and only if one instance reaches it.

Halted states are the exception: nothing moves after one. They are counted apart (see `_Phase`).

So thousands of millions of states are counted exactly, with shortest traces, from a few hundred pairs. Nothing is
abstracted; the search engines agree with it wherever they can follow (tests/checker/test_product.py).
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass, field
from math import inf, prod

from checker.search.generate import Unsupported
from checker.search.pairs import Move, Pair, Pairs
from checker.search.python import Space
from checker.search.result import INTERRUPTED, Exploration, Limits, Path, Progressing, Report, Taken, TooLarge
from models.system.expressions import Component

Costs = dict[int, int]  # locals → the fewest steps of its own that bring an instance there


@dataclass
class _Phase:
    """All states between two steps of the patcher: shared values `g`, reached by `before` steps of the patcher.

    By component: `entry`, the locals right after the patcher's step; `live`, those reached where nothing halts the
    system; `halting`, those that a step from a live one leads to and that halt it. A state with shared values g is
    either a combination of live locals; or one that is halted on entry, of entry locals; or one that an instance has
    just halted, the others being live.
    """

    g: int
    before: int
    entry: dict[Component, Costs]
    live: dict[Component, Costs] = field(default_factory=dict)
    halting: dict[Component, Costs] = field(default_factory=dict)
    move: Move | None = None


def run(pairs: Pairs, limits: Limits, report: Report | None = None) -> Run:
    """Explore one instance beside the patcher. Raises Unsupported where the space is no product."""
    found = Run(pairs)
    began = time.monotonic()
    g, locals_ = pairs.initial()
    entry = {c: {l: 0} for c, l in zip(pairs.instances, locals_, strict=True)}
    if not entry:
        raise Unsupported("a system without instances")
    phase: _Phase | None = _Phase(g, 0, entry)
    steps = 1 + sum(action.actor is None for action in pairs.system.actions)  # at most so many phases
    try:
        while phase is not None:
            found.phases.append(phase)
            phase = found.explore(phase)
            found.outcome.explored = sum(len(p.live[c]) + len(p.halting[c]) for p in found.phases for c in p.live)
            if report:
                report(Progressing(found.outcome.explored, len(found.phases), 0, len(found.phases) / steps, "pairs"))
            found.outcome.stopped = limits.exceeded(found.outcome.explored, time.monotonic() - began)
            if found.outcome.stopped:
                break
    except KeyboardInterrupt:
        found.outcome.stopped = INTERRUPTED
        found.phases = [p for p in found.phases if p.live]
    found.finish()
    return found


class Run:
    """An explored product (see `Reached` in progress.py)."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.counts = pairs.system.counts
        self.outcome = Exploration("product")
        self.space = Space(pairs, roomy=True)
        self.phases: list[_Phase] = []
        self.expanded: set[Pair] = set()
        self._seen: set[int] = set()

    @property
    def live_shared(self) -> Collection[int]:
        return {g for _, g, _ in self.expanded}

    @property
    def halts(self) -> bool:
        return any(
            self.pairs.halts((c, p.g, l)) for p in self.phases for c in p.entry for l in (*p.entry[c], *p.halting[c])
        )

    # ---- one instance -----------------------------------------------------------------------------------------------

    def explore(self, phase: _Phase) -> _Phase | None:
        """Fill in what one instance of each component does; returns what the patcher's next step leads to."""
        pairs, g = self.pairs, phase.g
        if g in self._seen:
            raise Unsupported("a patcher that comes back to where it was")
        self._seen.add(g)
        starts = {
            c: {l: cost for l, cost in entry.items() if not pairs.halts((c, g, l))} for c, entry in phase.entry.items()
        }
        for component, start in starts.items():
            live, halting = self._reach(component, g, start) if all(starts.values()) else ({}, {})
            phase.live[component], phase.halting[component] = live, halting
            if halting.keys() & phase.entry[component].keys():
                raise Unsupported("an instance that halts the system in two ways at once")
        if not all(starts.values()):
            return None
        self.expanded.update((c, g, l) for c, live in phase.live.items() for l in live)
        moves = pairs.moves(g)
        if len(moves) > 1:
            raise Unsupported("a patcher with a choice of steps")
        for move in moves:
            allowing = {
                c: {l: cost for l, cost in live.items() if pairs.allows(move.action, (c, g, l))}
                for c, live in phase.live.items()
            }
            if all(allowing.values()):
                phase.move = move
                entry: dict[Component, Costs] = {}
                for component, costs in allowing.items():
                    after = entry[component] = {}
                    for l, cost in costs.items():
                        l2 = pairs.cast(move.action, (component, g, l))
                        after[l2] = min(cost, after.get(l2, cost))
                return _Phase(move.shared, phase.before + 1, entry)
        return None

    def _reach(self, component: Component, g: int, start: Costs) -> tuple[Costs, Costs]:
        """The live locals that one instance reaches, and those that halt the system, each with its cost."""
        pairs = self.pairs
        live: Costs = {}
        halting: Costs = {}
        heap = [(cost, l) for l, cost in start.items()]
        heapq.heapify(heap)
        while heap:
            cost, l = heapq.heappop(heap)
            if l in live:
                continue
            live[l] = cost
            for step in pairs.successors((component, g, l)):
                if step.shared != g:
                    raise Unsupported("an instance that changes shared values")
                if step.local in live or step.local == l:
                    continue
                if pairs.halts((component, g, step.local)):
                    halting[step.local] = min(cost + 1, halting.get(step.local, cost + 1))
                else:
                    heapq.heappush(heap, (cost + 1, step.local))
        return live, halting

    # ---- the whole system -------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Counts, depth, and what was met."""
        outcome = self.outcome
        for phase in self.phases:
            outcome.states += self._states(phase)
            outcome.transitions += self._transitions(phase)
            outcome.depth = max(outcome.depth, phase.before + self._deepest(phase))
            if phase.move is not None:
                outcome.fired.add(phase.move.action)
        marked: dict[int, dict[Pair, int]] = defaultdict(dict)
        broken: dict[int, dict[Pair, int]] = defaultdict(dict)
        for phase in self.phases:
            for pair, level in self._levels(phase).items():
                for number in self.pairs.broken(pair):
                    broken[number][pair] = level
                if pair in self.expanded:
                    for step in self.pairs.successors(pair):
                        outcome.fired.add(step.action)
                        for number in step.marks:
                            marked[number][pair] = level
        for number, levels in sorted(marked.items()):
            least = min(levels.values())
            path = Path.later(least + 1, lambda n=number, at=levels: self._marked(n, at))  # type: ignore[misc]
            outcome.marks[self.pairs.marks[number]] = path
        for number, levels in sorted(broken.items()):
            path = Path.later(min(levels.values()), lambda at=levels: self._to(at, False)[0])  # type: ignore[misc]
            outcome.broken[self.pairs.system.invariants[number]] = path

    def _others(self, sizes: dict[Component, int], one: Component) -> int:
        """In how many ways all instances but one of `one` can stand."""
        return int(prod(size ** (self.counts[c] - (c is one)) for c, size in sizes.items()))

    def _states(self, phase: _Phase) -> int:
        live = {c: len(found) for c, found in phase.live.items()}
        entry = {c: len(found) for c, found in phase.entry.items()}
        able = {c: sum(not self.pairs.halts((c, phase.g, l)) for l in found) for c, found in phase.entry.items()}
        whole = prod(size ** self.counts[c] for c, size in live.items())
        on_entry = prod(size ** self.counts[c] for c, size in entry.items()) - prod(
            size ** self.counts[c] for c, size in able.items()
        )
        just_now = sum(self.counts[c] * len(found) * self._others(live, c) for c, found in phase.halting.items())
        return int(whole + on_entry + just_now)

    def _transitions(self, phase: _Phase) -> int:
        live = {c: len(found) for c, found in phase.live.items()}
        count = 0
        for component, found in phase.live.items():
            own = sum(step.local != l for l in found for step in self.pairs.successors((component, phase.g, l)))
            count += self.counts[component] * own * self._others(live, component)
        if phase.move is not None:
            count += prod(
                sum(self.pairs.allows(phase.move.action, (c, phase.g, l)) for l in found) ** self.counts[c]
                for c, found in phase.live.items()
            )
        return count

    def _deepest(self, phase: _Phase) -> int:
        """The most steps of instances that a state of this phase needs."""
        most = {c: max(found.values(), default=0) for c, found in phase.live.items()}
        depth = sum(self.counts[c] * cost for c, cost in most.items())
        for component, found in phase.halting.items():
            if found:
                depth = max(
                    depth,
                    sum(self.counts[c] * cost for c, cost in most.items()) - most[component] + max(found.values()),
                )
        if any(self.pairs.halts((c, phase.g, l)) for c, found in phase.entry.items() for l in found):
            depth = max(depth, self._deepest_on_entry(phase))
        return depth

    def _deepest_on_entry(self, phase: _Phase) -> int:
        """The same of states that are halted on entry: at least one instance halts."""
        worst = {c: max(found.values()) for c, found in phase.entry.items()}
        total = sum(self.counts[c] * cost for c, cost in worst.items())
        return max(
            total - worst[c] + cost
            for c, found in phase.entry.items()
            for l, cost in found.items()
            if self.pairs.halts((c, phase.g, l))
        )

    def _levels(self, phase: _Phase) -> dict[Pair, int]:
        """The first level on which each pair is seen, the other instances having done what they must."""
        found: dict[Pair, int] = {}
        for costs, others in (
            (phase.entry, phase.entry),
            (phase.halting, phase.live),
            (phase.live, phase.live),
        ):
            least = {c: min(known.values(), default=0) for c, known in others.items()}
            rest = sum(self.counts[c] * cost for c, cost in least.items())
            for component, known in costs.items():
                for l, cost in known.items():
                    pair = (component, phase.g, l)
                    level = phase.before + rest - least[component] + cost
                    found[pair] = min(level, found.get(pair, level))
        return found

    # ---- paths ------------------------------------------------------------------------------------------------------

    def _marked(self, number: int, levels: dict[Pair, int]) -> tuple[Taken, ...]:
        """A path to the first state with one of the pairs of least level, and the first step there that has the mark."""
        steps, state = self._to(levels, True)
        return (*steps, self.space.marked(state, number))

    def _to(self, levels: dict[Pair, int], live: bool) -> tuple[tuple[Taken, ...], int]:
        """The first path in frontier order to a state with one of these pairs (and not halted), and that state.

        Forwards from the initial state, always by the first edge after which the rest of the way is as short as it can
        be. How long that is, each instance tells for itself.
        """
        level = min(levels.values())
        wanted: dict[int, set[Pair]] = defaultdict(set)
        for pair, at in levels.items():
            if at == level:
                wanted[pair[1]].add(pair)
        guides = [_Guide(self, g, targets, live) for g, targets in wanted.items()]
        state, steps = self.space.pack(*self.pairs.initial()), []
        for left in range(level - 1, -1, -1):
            for after, taken in self.space.edges(state):
                if min(guide.left(after) for guide in guides) == left:
                    state = after
                    steps.append(taken)
                    break
            else:
                raise AssertionError(f"no edge leads on, {left + 1} steps before the end")
        return tuple(steps), state

    # ---- progress ---------------------------------------------------------------------------------------------------

    def doomed(self) -> tuple[Taken, ...] | None:
        """The path to the first state, not halted, from which no goal can be reached.

        A state can finish if each instance by itself can accompany the patcher to the goal.
        """
        able: set[Pair] = set()
        for phase in reversed(self.phases):
            if self.pairs.is_goal(phase.g):
                able.update((c, phase.g, l) for c in phase.entry for l in (*phase.live[c], *phase.entry[c]))
            elif phase.move is not None:
                action, g2 = phase.move.action, phase.move.shared
                for c, known in phase.live.items():
                    leaving = [
                        l
                        for l in known
                        if self.pairs.allows(action, (c, phase.g, l))
                        and (c, g2, self.pairs.cast(action, (c, phase.g, l))) in able
                    ]
                    back = self._backward(c, phase.g, known, dict.fromkeys(leaving, 0))
                    able.update((c, phase.g, l) for l in back)
        levels = {
            pair: level
            for phase in self.phases
            for pair, level in self._levels(phase).items()
            if pair in self.expanded and pair not in able
        }
        return self._to(levels, True)[0] if levels else None

    def _backward(self, component: Component, g: int, known: Iterable[int], ends: Costs) -> Costs:
        """The fewest steps from each of the known locals to an end, plus what the end itself costs."""
        before: dict[int, list[int]] = defaultdict(list)
        for l in known:
            for step in self.pairs.successors((component, g, l)):
                before[step.local].append(l)
        costs: Costs = {}
        heap = [(cost, l) for l, cost in ends.items()]
        heapq.heapify(heap)
        while heap:
            cost, l = heapq.heappop(heap)
            if l not in costs:
                costs[l] = cost
                for l2 in before[l]:
                    heapq.heappush(heap, (cost + 1, l2))
        return costs

    def states(self, region: Container[int]) -> list[int]:
        raise TooLarge("whether a fair run keeps the patcher waiting is not a question about one instance")

    def first(self, states: Collection[int]) -> tuple[tuple[Taken, ...], int]:
        raise TooLarge("the product engine keeps no states")

    def close(self) -> None:
        """Nothing to give back but what goes with this object."""


class _Guide:
    """How many steps are left, from any state, to one with shared values `g` in which an instance has a target pair."""

    def __init__(self, run: Run, g: int, targets: set[Pair], live: bool) -> None:
        self.run, self.g, self.targets, self.live = run, g, targets, live
        pairs = run.pairs
        end = next(k for k, phase in enumerate(run.phases) if phase.g == g)
        self.moves = {phase.g: end - k for k, phase in enumerate(run.phases[: end + 1])}
        self.along: dict[tuple[Component, int], Costs] = {}  # to stay with the patcher until it is at g
        self.into: dict[tuple[Component, int], Costs] = {}  # the same, and then into a target
        for k in range(end, -1, -1):
            phase = run.phases[k]
            for c, known in phase.live.items():
                anywhere: Costs = {}
                wanted: Costs = {}
                if k == end:
                    places = known if live else {**known, **phase.entry[c]}
                    anywhere = dict.fromkeys(places, 0)
                    wanted = {l: 0 for (c2, _, l) in targets if c2 is c}
                else:
                    assert phase.move is not None
                    action, g2 = phase.move.action, phase.move.shared
                    for l in known:
                        if pairs.allows(action, (c, phase.g, l)):
                            l2 = pairs.cast(action, (c, phase.g, l))
                            if l2 in self.along[c, g2]:
                                anywhere[l] = self.along[c, g2][l2]
                            if l2 in self.into[c, g2]:
                                wanted[l] = self.into[c, g2][l2]
                self.along[c, phase.g] = run._backward(c, phase.g, known, anywhere)
                self.into[c, phase.g] = run._backward(c, phase.g, known, wanted)

    def left(self, state: int) -> float:
        """The number of steps; infinite where no target can be reached."""
        space = self.run.space
        g = state & space.shared_mask
        at = [space.pair(i, state) for i in range(len(space.instances))]
        halted = any(self.run.pairs.halts(pair) for pair in at)
        if g == self.g and any(pair in self.targets for pair in at) and not (self.live and halted):
            return 0
        if g not in self.moves or halted:
            return inf
        along = [self.along[c, g].get(l, inf) for c, _, l in at]
        into = [self.into[c, g].get(l, inf) for c, _, l in at]
        if inf in along:
            lost = [i for i, cost in enumerate(along) if cost == inf]
            if len(lost) > 1:
                return inf
            return self.moves[g] + sum(cost for i, cost in enumerate(along) if i != lost[0]) + into[lost[0]]
        return self.moves[g] + sum(along) + min(b - a for a, b in zip(along, into, strict=True))

"""Does the patcher finish? (a) from every state it can; (b) in every strongly fair run it does.

(b) is first argued for each CPU by itself: at fixed shared values, nothing that one CPU does depends on another, so if
no fair run of one CPU can stay where it withholds its consent from the patcher's next step, then all consent in the
end and the step is taken. Only where that argument fails is the graph of whole states built, and searched for a
strongly connected part that honours every fairness condition (networkx does the graph work).

(b) implies (a) where no state halts the system, since from every state of a finite system some fair run goes on.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Container, Iterator
from typing import TYPE_CHECKING, Protocol

from checker.search.pairs import Pair, Pairs
from checker.search.python import Space
from checker.search.result import Exploration, Path, Taken, TooLarge
from models.system.expressions import Component
from models.system.system import Fairness, TransitionSystem

if TYPE_CHECKING:
    from networkx import DiGraph

Group = tuple[Fairness, int | str]  # what is fair: the kind of step, and whose


class Reached(Protocol):
    """What a search answers when it is complete. States are packed as `space` says, and in the order of the frontier.

    `expanded`: the pairs, and `live_shared`: the shared values, of states that are not halted. `halts`: whether some
    state is halted.
    """

    @property
    def outcome(self) -> Exploration: ...
    @property
    def space(self) -> Space: ...
    @property
    def expanded(self) -> Collection[Pair]: ...
    @property
    def live_shared(self) -> Collection[int]: ...
    @property
    def halts(self) -> bool: ...

    def doomed(self) -> tuple[Taken, ...] | None:
        """The path to the first state, not halted, from which no goal can be reached."""

    def states(self, region: Container[int]) -> list[int]:
        """The states whose shared values are in `region`. Raises TooLarge."""

    def first(self, states: Collection[int]) -> tuple[tuple[Taken, ...], int]:
        """Of some reached states the first in frontier order, and the path to it."""

    def close(self) -> None:
        """Nobody has any more questions: give memory back."""


def unfinished(system: TransitionSystem, path: Path) -> str:
    """What is wrong at the end of a path after which the goal is never reached: from there it cannot be, or need not be."""
    assert system.progress is not None
    if path.rests:
        how = "nothing has to happen any more"
    else:
        how = "this may go on for ever" if path.cycle else "whatever happens from here on"
    return f"{how}, {'and ' if path.rests or path.cycle else ''}{system.progress.says}"


def check_progress(reached: Reached) -> None:
    """Fill in `outcome.progress`. Says nothing of an incomplete search, or of a system without a goal."""
    outcome = reached.outcome
    if not outcome.complete or reached.space.system.progress is None:
        return
    region = _suspicious(reached)
    try:
        if region is None or region or reached.halts:
            outcome.progress = _search(reached, region)
        outcome.progress_known = True
    except TooLarge as reason:
        outcome.progress_note = str(reason)


def _search(reached: Reached, region: set[int] | None) -> tuple[Path, str] | None:
    """The same on the graph of whole states; `region` as `_suspicious` says."""
    stuck = reached.doomed()
    if stuck is not None:
        return Path(stuck), unfinished(reached.space.system, Path(stuck))
    space = reached.space
    where = set(reached.live_shared) if region is None else region
    part = _fair_part(reached, [s for s in reached.states(where) if not space.is_goal(s)]) if where else None
    if part is None:
        return None
    steps, start = reached.first(part)
    cycle = _walk(space, part, start)
    path = Path((*steps, *cycle), cycle=len(cycle), rests=not cycle)
    return path, unfinished(space.system, path)


def _suspicious(reached: Reached) -> set[int] | None:
    """The shared values at which some CPU might withhold its consent for ever; None where the argument does not apply.

    It applies where instances never change shared values and the patcher never comes back to values that it left.
    """
    pairs = reached.space.pairs
    if any(step.shared != pair[1] for pair in reached.expanded for step in pairs.successors(pair)):
        return None
    patcher = {g: pairs.moves(g) for g in reached.live_shared}
    if _has_cycle({g: [m.shared for m in moves if m.shared != g] for g, moves in patcher.items()}):
        return None
    places: dict[tuple[Component, int], list[int]] = defaultdict(list)
    for component, g, l in reached.expanded:
        places[component, g].append(l)
    found = set()
    for g, moves in patcher.items():
        fair = [m for m in moves if pairs.system.actions[m.action].fairness.is_fair]
        if pairs.is_goal(g):
            continue
        if any(m.shared == g for m in moves):
            found.add(g)  # the patcher can be busy without getting on
        elif not any(not m.asks for m in fair) and not any(
            all(_consents(pairs, c, g, places[c, g], m.action) for c in pairs.system.components) for m in fair
        ):
            found.add(g)
    return found


def _has_cycle(graph: dict[int, list[int]]) -> bool:
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return True
    return False


def _consents(pairs: Pairs, component: Component, g: int, places: list[int], action: int) -> bool:
    """Whether one instance, in every fair run at shared values g, comes to allow `action` and stays so.

    Removes from the places that withhold consent those where no fair run can stay; sound, not complete: a place goes
    where a fair kind of step is enabled whose every instance here leads out, or where something fair has to happen and
    nothing leads to a place that is left.
    """
    consent = {l: pairs.allows(action, (component, g, l)) for l in places}
    if all(consent.values()):
        return True
    edges: dict[int, list[tuple[Fairness, int]]] = {}
    for l in consent:
        edges[l] = [
            (fairness, step.local)
            for step in pairs.successors((component, g, l))
            if step.local != l
            and (fairness := pairs.system.actions[step.action].fairness) is not Fairness.NEVER_ON_CYCLE
        ]
    if any(consent[l] and not consent.get(l2, True) for l, found in edges.items() for _, l2 in found):
        return False
    left = {l for l, allowed in consent.items() if not allowed}
    while left:
        staying = {f for l in left for f, l2 in edges[l] if f.is_fair and l2 in left}
        gone = {
            l
            for l in left
            if any(f.is_fair and f not in staying for f, _ in edges[l])
            or (any(f.is_fair for f, _ in edges[l]) and not any(l2 in left for _, l2 in edges[l]))
        }
        if not gone:
            return not _stays(left, edges)
        left -= gone
    return True


def _stays(places: set[int], edges: dict[int, list[tuple[Fairness, int]]]) -> bool:
    """Whether some fair run of one instance can stay among `places` for ever."""
    import networkx

    graph: DiGraph[int] = networkx.DiGraph()
    graph.add_nodes_from(places)
    graph.add_edges_from((l, l2) for l in places for _, l2 in edges[l] if l2 in places)
    pending = [set(part) for part in networkx.strongly_connected_components(graph)]
    while pending:
        part = pending.pop()
        taken = {f for l in part for f, l2 in edges[l] if l2 in part}
        bad = {l for l in part if any(f.is_fair and f not in taken for f, _ in edges[l])}
        if not bad:
            return True
        pending += [set(p) for p in networkx.strongly_connected_components(graph.subgraph(part - bad))]
    return False


def _edges(space: Space, state: int) -> Iterator[tuple[int, Taken, Group]]:
    for after, taken in space.edges(state):
        action = space.system.actions[taken[0]]
        yield after, taken, (action.fairness, action.who if taken[1] is None else taken[1])


def _repeats(group: Group) -> bool:
    """Whether a step of this kind may be on a cycle."""
    return group[0] is not Fairness.NEVER_ON_CYCLE


def _fair_part(reached: Reached, states: list[int]) -> set[int] | None:
    """Of all strongly fair cycles (and states where nothing fair is enabled) among `states`, the one that begins first.

    The states of a strongly connected part, from whichever of which a fair run may stay in it.
    """
    import networkx

    space = reached.space
    graph: DiGraph[int] = networkx.DiGraph()
    enabled: dict[int, set[Group]] = {}
    running = {s for s in states if all(space.runs(i, s) for i in range(len(space.instances)))}
    graph.add_nodes_from(running)
    for state in running:
        enabled[state] = set()
        for after, _taken, group in _edges(space, state):
            if group[0].is_fair:
                enabled[state].add(group)
            if after in running and _repeats(group):
                graph.add_edge(state, after)
    found: dict[int, set[int]] = {}
    pending = [set(part) for part in networkx.strongly_connected_components(graph)]
    while pending:
        part = pending.pop()
        taken_groups = {
            group for s in part for after, _, group in _edges(space, s) if after in part and _repeats(group)
        }
        bad = {s for s in part if enabled[s] - taken_groups}
        if bad:
            pending += [set(p) for p in networkx.strongly_connected_components(graph.subgraph(part - bad))]
        elif len(part) > 1 or not enabled[next(iter(part))]:
            found.update((s, part) for s in part)
    return found[reached.first(found)[1]] if found else None


def _walk(space: Space, part: set[int], start: int) -> list[Taken]:
    """A closed walk from `start` within `part` that takes a step of every group that the part has, each the nearest."""
    steps: list[Taken] = []
    here = start
    missing = {group for s in part for after, _, group in _edges(space, s) if after in part and group[0].is_fair}

    def go(wanted: Callable[[int, Group], bool]) -> None:
        """Take the shortest way to a wanted step, and the step; ties as in the search."""
        nonlocal here
        came: dict[int, tuple[int, tuple[Taken, Group]]] = {}
        queue = deque([here])
        seen = {here}
        while queue:
            state = queue.popleft()
            for after, taken, group in _edges(space, state):
                if after not in part or not _repeats(group):
                    continue
                if wanted(after, group):
                    way = [(taken, group)]
                    while state != here:
                        state, edge = came[state]
                        way.append(edge)
                    steps.extend(edge[0] for edge in reversed(way))
                    missing.difference_update(edge[1] for edge in way)
                    here = after
                    return
                if after not in seen:
                    seen.add(after)
                    came[after] = (state, (taken, group))
                    queue.append(after)

    while missing:
        go(lambda _, group: group in missing)
    if here != start or (not steps and len(part) > 1):
        go(lambda after, _: after == start)
    return steps

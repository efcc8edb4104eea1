"""Does the patcher finish? (a) from every state it can; (b) in every strongly fair run it does.

(b) is first argued for each CPU by itself: at fixed shared values, nothing that one CPU does depends on another, so if
no fair run of one CPU can stay where it withholds its consent from the patcher's next step, then all consent in the
end and the step is taken. Only where that argument fails is the graph of whole states built, and searched for a
strongly connected part that honours every fairness condition (networkx does the graph work).

(b) implies (a) where no state halts the system, since from every state of a finite system some fair run goes on.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from checker.search.python import Space, path_to
from checker.search.result import Exploration, Path, Taken
from models.system.system import Fairness

if TYPE_CHECKING:
    from networkx import DiGraph

CANNOT_FINISH = "from here the patcher can never take its last step"
MAY_REST = "nothing has to happen any more, and the patcher never takes its last step"
MAY_GO_ON = "this may go on for ever, and the patcher never takes its last step"

Group = tuple[Fairness, int | None]  # what is fair: the kind of step, and whose


def check_progress(outcome: Exploration, space: Space, parent: dict[int, int]) -> None:
    """Fill in `outcome.progress`. Says nothing of an incomplete search, or of a system without a goal."""
    if not outcome.complete or space.system.progress is None:
        return
    region = _suspicious(space)
    if region is None or region or not all(space.state_runs.values()):
        outcome.progress = _search(space, parent, region)
    outcome.progress_known = True


def _search(space: Space, parent: dict[int, int], region: set[int] | None) -> tuple[Path, str] | None:
    """The same on the graph of whole states; `region` as `_suspicious` says."""
    stuck = _cannot_finish(space, parent)
    if stuck is not None:
        steps = path_to(space, parent, stuck)
        return Path(steps), CANNOT_FINISH
    lasso = _find_lasso(space, parent, region)
    if lasso is None:
        return None
    path = Path((*path_to(space, parent, lasso[0]), *lasso[1]), cycle=len(lasso[1]), rests=not lasso[1])
    return path, MAY_REST if path.rests else MAY_GO_ON


def _cannot_finish(space: Space, parent: dict[int, int]) -> int | None:
    """The first state, not halted, from which no goal state can be reached: backwards from the goal."""
    backward: dict[int, list[int]] = defaultdict(list)
    halted = space.link()(parent, backward, space.moves_of, space.ask, *space.tables)
    able = {s for s in parent if space.is_goal(s)}
    stack = list(able)
    while stack:
        for before in backward.get(stack.pop(), ()):
            if before not in able:
                able.add(before)
                stack.append(before)
    return next((s for s in parent if s not in able and s not in halted), None)


def _find_lasso(space: Space, parent: dict[int, int], region: set[int] | None) -> tuple[int, list[Taken]] | None:
    """A state and a fair cycle from it (empty: it may rest there) on which the goal is never reached."""
    if region is not None and not region:
        return None
    mask = space.shared_mask
    nodes = [s for s in parent if (region is None or s & mask in region) and not space.is_goal(s)]
    return _fair_cycle(space, nodes)


def _suspicious(space: Space) -> set[int] | None:
    """The shared values at which some CPU might withhold its consent for ever; None where the argument does not apply.

    It applies where instances never change shared values and the patcher never comes back to values that it left.
    """
    if any(g2 != g for (_, g, _), found in space.known.items() for _, _, g2, _, _ in found):
        return None
    if _has_cycle({g: [m.shared for m in moves if m.shared != g] for g, moves in space.moves.items()}):
        return None
    by_shared: dict[int, list[tuple[Any, int]]] = defaultdict(list)
    for component, g, l in space.known:
        by_shared[g].append((component, l))
    found = set()
    for g, moves in space.moves.items():
        fair = [m for m in moves if space.system.actions[m.action].fairness.is_fair]
        if space.is_goal(g):
            continue
        if any(m.shared == g for m in moves):
            found.add(g)  # the patcher can be busy without getting on
        elif not any(m.unconditional for m in fair) and not any(
            all(_consents(space, component, g, by_shared[g], m.action) for component in space.system.components)
            for m in fair
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


def _consents(space: Space, component: Any, g: int, entries: list[tuple[Any, int]], action: int) -> bool:
    """Whether one instance, in every fair run at shared values g, comes to allow `action` and stays so.

    Removes from the places that withhold consent those where no fair run can stay; sound, not complete: a place goes
    where a fair kind of step is enabled whose every instance here leads out, or where something fair has to happen and
    nothing leads to a place that is left.
    """
    asks = space.code.asks.get((action, component))
    if asks is None:
        return True
    local = space.local[component]
    consent = {l: bool(asks(space.shared[g], local[l])) for c, l in entries if c is component}
    edges: dict[int, list[tuple[Fairness, int]]] = {}
    for l in consent:
        steps = space.known[component, g, l]
        edges[l] = [
            (fairness, l2)
            for k, _, _, l2, _ in steps
            if l2 != l and (fairness := space.system.actions[k].fairness) is not Fairness.NEVER_ON_CYCLE
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
        fairness = space.system.actions[taken[0]].fairness
        yield after, taken, (fairness, taken[1])


def _repeats(group: Group) -> bool:
    """Whether a step of this kind may be on a cycle."""
    return group[0] is not Fairness.NEVER_ON_CYCLE


def _fair_cycle(space: Space, states: list[int]) -> tuple[int, list[Taken]] | None:
    """A strongly fair cycle (or a state where nothing fair is enabled) among `states`, the earliest in order."""
    import networkx

    graph: DiGraph[int] = networkx.DiGraph()
    enabled: dict[int, set[Group]] = {}
    running = [s for s in states if all(space.runs(i, s) for i in range(len(space.instances)))]
    place = {s: i for i, s in enumerate(running)}
    for state in running:
        graph.add_node(state)
        enabled[state] = set()
        for after, _taken, group in _edges(space, state):
            if group[0].is_fair:
                enabled[state].add(group)
            if after in place and _repeats(group):
                graph.add_edge(state, after)
    best: tuple[int, list[int]] | None = None
    pending = [sorted(part, key=place.__getitem__) for part in networkx.strongly_connected_components(graph)]
    while pending:
        part = pending.pop()
        members = set(part)
        taken_groups = {
            group for s in part for after, _, group in _edges(space, s) if after in members and _repeats(group)
        }
        bad = {s for s in part if enabled[s] - taken_groups}
        if bad:
            rest = graph.subgraph(members - bad)
            pending += [sorted(p, key=place.__getitem__) for p in networkx.strongly_connected_components(rest)]
        elif (len(part) > 1 or not enabled[part[0]]) and (best is None or place[part[0]] < best[0]):
            best = (place[part[0]], part)
    if best is None:
        return None
    return best[1][0], _walk(space, graph.subgraph(best[1]), best[1][0])


def _walk(space: Space, graph: DiGraph[int], start: int) -> list[Taken]:
    """A closed walk from `start` that takes a step of every group that the part has."""
    import networkx

    steps: list[Taken] = []
    here = start
    todo: dict[Group, tuple[int, int, Taken]] = {}
    for state in graph:
        for after, taken, group in _edges(space, state):
            if after in graph and group[0].is_fair:
                todo.setdefault(group, (state, after, taken))

    def go(target: int) -> None:
        nonlocal here
        path = networkx.shortest_path(graph, here, target)
        for a, b in itertools.pairwise(path):
            steps.append(next(taken for after, taken, group in _edges(space, a) if after == b and _repeats(group)))
        here = target

    for state, after, taken in todo.values():
        go(state)
        steps.append(taken)
        here = after
    if not steps and len(graph) > 1:
        go(next(iter(graph.successors(start))))
    go(start)
    return steps

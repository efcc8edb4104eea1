"""A second opinion on every search: breadth first and strong fairness, done naively with the reference evaluator.

Nothing here is fast or clever, and nothing is shared with `checker.search` but the type of a path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import networkx

from checker.search.result import Path, Taken
from models.system.evaluate import Evaluator, State, Step
from models.system.system import Fairness, Invariant, Mark, TransitionSystem

Group = tuple[Fairness, int | None]


@dataclass
class Reference:
    """Everything about a system that can be found by looking at every state of it."""

    system: TransitionSystem
    evaluator: Evaluator
    edges: dict[State, list[tuple[Taken, State]]] = field(default_factory=dict)  # in frontier order
    path: dict[State, tuple[Taken, ...]] = field(default_factory=dict)
    marks: dict[Mark, tuple[Taken, ...]] = field(default_factory=dict)
    broken: dict[Invariant, tuple[Taken, ...]] = field(default_factory=dict)
    fired: set[int] = field(default_factory=set)
    depth: int = 0

    @property
    def transitions(self) -> int:
        return sum(map(len, self.edges.values()))

    def is_goal(self, state: State) -> bool:
        assert self.system.progress is not None
        return bool(self.evaluator.value(self.system.progress.goal, state))

    def group(self, taken: Taken) -> Group:
        return self.system.actions[taken[0]].fairness, taken[1]

    def fair(self, state: State) -> set[Group]:
        """The fairness groups of which something is enabled in `state`."""
        return {self.group(taken) for taken, _ in self.edges[state] if self.group(taken)[0].is_fair}


def survey(system: TransitionSystem) -> Reference:
    """Breadth first, each state's steps in order of action, instance, choice."""
    evaluator = Evaluator(system)
    found = Reference(system, evaluator)
    number = {action: k for k, action in enumerate(system.actions)}
    start = evaluator.initial()
    found.path[start] = ()
    frontier = [start]
    while frontier:
        following = []
        for state in frontier:
            for invariant in evaluator.broken(state):
                found.broken.setdefault(invariant, found.path[state])
            found.edges[state] = []
            for step in evaluator.successors(state):
                taken = (number[step.action], step.instance, step.choice)
                found.fired.add(taken[0])
                for mark in evaluator.marks(step, state):
                    found.marks.setdefault(mark, (*found.path[state], taken))
                if step.state == state:
                    continue
                found.edges[state].append((taken, step.state))
                if step.state not in found.path:
                    found.path[step.state] = (*found.path[state], taken)
                    following.append(step.state)
        frontier = following
        found.depth += bool(frontier)
    return found


def cannot_finish(found: Reference) -> set[State]:
    """The states, not halted, from which no goal state can be reached."""
    graph: networkx.DiGraph[Any] = networkx.DiGraph()
    graph.add_nodes_from(found.edges)
    graph.add_edges_from((a, b) for a, edges in found.edges.items() for _, b in edges)
    goals = [s for s in found.edges if found.is_goal(s)]
    able = set(goals).union(*(networkx.ancestors(graph, s) for s in goals))
    return {s for s in found.edges if s not in able and not found.evaluator.halted(s)}


def fair_part(found: Reference) -> set[State] | None:
    """States that some strongly fair run visits for ever without the goal (one state: it may rest there), or None.

    Every set of groups is tried as the set of those that are never enabled again; in what is then left of the graph, a
    strongly connected part will do in which every group that is enabled is taken.
    """
    states = [s for s in found.edges if not found.is_goal(s) and not found.evaluator.halted(s)]
    enabled = {s: found.fair(s) for s in states}
    groups = sorted(set().union(*enabled.values()), key=str)
    for count in range(len(groups) + 1):
        for never in combinations(groups, count):
            left = {s for s in states if not enabled[s] & set(never)}
            graph: networkx.DiGraph[Any] = networkx.DiGraph()
            graph.add_nodes_from(left)
            for s in left:
                for taken, after in found.edges[s]:
                    if after in left and found.group(taken)[0] is not Fairness.NEVER_ON_CYCLE:
                        graph.add_edge(s, after)
            for part in networkx.strongly_connected_components(graph):
                taken_groups = {found.group(t) for s in part for t, after in found.edges[s] if after in part}
                if set().union(*(enabled[s] for s in part)) <= taken_groups:
                    return set(part)
    return None


def follow(system: TransitionSystem, steps: tuple[Taken, ...]) -> list[State]:
    """The states along a path; every step has to be a transition of the evaluator's."""
    evaluator = Evaluator(system)
    number = {action: k for k, action in enumerate(system.actions)}
    states = [evaluator.initial()]
    for taken in steps:
        fitting: list[Step] = [
            step
            for step in evaluator.successors(states[-1])
            if (number[step.action], step.instance, step.choice) == taken
        ]
        assert len(fitting) == 1, f"{taken} cannot happen after {len(states) - 1} steps"
        states.append(fitting[0].state)
    return states


def assert_is_a_counterexample(found: Reference, path: Path) -> None:
    """`path` replays, and after it the goal is never reached: it cannot be, or some fair run does not reach it."""
    states = follow(found.system, path.steps)
    end = states[-1]
    assert not found.evaluator.halted(end) and not found.is_goal(end)
    if path.rests:
        assert path.cycle == 0
        assert not found.fair(end), "something fair is enabled where the run is said to rest"
    elif path.cycle:
        cycle = states[-path.cycle - 1 :]
        steps = path.steps[-path.cycle :]
        assert cycle[0] == end, "the cycle does not come back"
        assert not any(found.is_goal(s) for s in cycle), "the goal is on the cycle"
        kinds = {found.group(taken)[0] for taken in steps}
        assert Fairness.NEVER_ON_CYCLE not in kinds, "a step that never happens on a cycle is on the cycle"
        enabled = set().union(*(found.fair(s) for s in cycle))
        assert enabled <= {found.group(taken) for taken in steps}, "the cycle is not strongly fair"
    else:
        assert end in cannot_finish(found), "the goal can be reached after all"

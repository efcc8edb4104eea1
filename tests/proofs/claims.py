"""What a proof is asked for: the reachable rows of one instance, and the claims that a search of them does not break."""

from __future__ import annotations

from functools import cache

from checker.search.pairs import Pairs
from checker.search.tables import closure
from models.compose import Model, compose
from models.library import load
from models.scenario import Scenario
from models.system.expressions import Component
from models.system.system import Invariant as Claim
from models.system.system import Mark, TransitionSystem
from proofs.cubes import Row

Rows = dict[tuple[Component, ...], set[Row]]


@cache
def composed(name: str, scenario: Scenario) -> Model:
    """A shipped strategy in a scenario, composed once per process."""
    return compose(load(name), scenario)


@cache
def holding(system: TransitionSystem) -> tuple[Rows, list[Mark | Claim]]:
    """The rows of each single instance, and the marks (no premises) and invariants that none of them breaks.

    The rows are exact where no instance changes shared values, and contain every reachable row elsewhere.
    """
    pairs = Pairs(system)
    rows: Rows = {(component,): set() for component in system.components}
    broken: set[int] = set()
    for pair in closure(pairs):
        component, g, l = pair
        rows[component,].add(pairs.shared[g] + pairs.local[component][l])
        broken |= {id(system.invariants[number]) for number in pairs.broken(pair)}
        if not pairs.halts(pair):
            broken |= {id(pairs.marks[number]) for found in pairs.successors(pair) for number in found.marks}
    claims: list[Mark | Claim] = [mark for _, mark in system.marks() if not mark.premise]
    claims += system.invariants
    return rows, [claim for claim in claims if id(claim) not in broken]

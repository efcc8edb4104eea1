"""What a proof is asked for: the reachable rows of one instance, and the claims that a search of them does not break."""

from __future__ import annotations

from functools import cache

from checker.proving import One, claims_of
from checker.search.pairs import Pairs
from checker.verdict import check
from models.compose import StrategyModel, compose
from models.library import load
from models.scenario import Scenario
from models.system.system import Invariant as Claim
from models.system.system import Mark, TransitionSystem
from proofs.attempt import Rows
from proofs.ranking import NoArgument, Ranking, rank


@cache
def composed(name: str, scenario: Scenario) -> StrategyModel:
    """A shipped strategy in a scenario, composed once per process."""
    return compose(load(name), scenario)


@cache
def holding(system: TransitionSystem) -> tuple[Rows, list[Mark | Claim]]:
    """The rows of each single instance, and the marks (no premises) and invariants that none of them breaks.

    The rows are exact where no instance changes shared values, and contain every reachable row elsewhere.
    """
    one = One(Pairs(system))
    return one.rows, [claim for claim in claims_of(system) if id(claim) not in one.broken]


@cache
def ranking(name: str, scenario: Scenario) -> Ranking | None:
    """Why the patcher finishes, before it is checked; None where it need not, or where an error can be reached."""
    model = composed(name, scenario)
    if check(model.plan.strategy, model.plan.scenario).exploration.progress is not None:
        return None
    one = One(Pairs(model.system))
    try:
        return rank(model.system, one.rows, one.steps)
    except NoArgument:
        return None

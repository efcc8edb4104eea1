"""A proof: an invariant, all of whose obligations were discharged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.system.system import Invariant as Claim
from models.system.system import Mark, TransitionSystem
from proofs.induction import WORK, Conditions, Escape, Obligation, Unanswered, all_hold, answer
from proofs.lemma import Invariant
from proofs.ranking import Ranking
from proofs.shape import Obstacle, objection, shape


@dataclass(frozen=True)
class Proof:
    """`claims` hold in every state that `system` reaches with `invariant.index` instances of its components, or more.

    With a `ranking`, every fair run reaches the goal. `obligations`: all that Z3 confirmed.
    """

    system: TransitionSystem
    invariant: Invariant
    claims: tuple[Mark | Claim, ...]
    obligations: tuple[Obligation, ...]
    ranking: Ranking | None = None


Failure = Obstacle | Escape | Unanswered


def prove(
    system: TransitionSystem,
    invariant: Invariant,
    claims: Sequence[Mark | Claim],
    work: int = WORK,
) -> Proof | Failure:
    """Discharge every obligation, or say which one fails first and how. `claims`: violations that shall not occur."""
    found = shape(system)
    if found.obstacles:
        return found.obstacles[0]
    if found.least > invariant.index:
        return Obstacle("the properties", f"speak of {found.least} instances at once, the lemmas of {invariant.index}")
    unfit = next(filter(None, (objection(lemma, system, invariant.index) for lemma in invariant.lemmas)), None)
    if unfit:
        return unfit
    obligations = tuple(Conditions(system, invariant, claims).all())
    failure = discharge(system, obligations, work)
    return failure or Proof(system, invariant, tuple(claims), obligations)


def discharge(
    system: TransitionSystem, obligations: Sequence[Obligation], work: int = WORK
) -> Escape | Unanswered | None:
    """None where all hold. All are asked at once, which is faster; one by one to tell which one fails."""
    if all_hold(obligations, work):
        return None
    for obligation in obligations:
        failure = answer(system, obligation, work)
        if failure is not None:
            return failure
    return None

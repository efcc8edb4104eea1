"""A proof: an invariant, all of whose obligations were discharged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.system.system import Invariant as Claim
from models.system.system import Mark, TransitionSystem
from proofs.induction import WORK, Conditions, Escape, Obligation, Unanswered, all_hold, answer
from proofs.lemma import Invariant
from proofs.shape import Obstacle, shape


@dataclass(frozen=True)
class Proof:
    """`claims` hold in every state that `system` reaches with `invariant.index` instances of a component, or more."""

    system: TransitionSystem
    invariant: Invariant
    claims: tuple[Mark | Claim, ...]
    obligations: tuple[Obligation, ...]


Failure = Obstacle | Escape | Unanswered


def prove(
    system: TransitionSystem, invariant: Invariant, claims: Sequence[Mark | Claim], work: int = WORK
) -> Proof | Failure:
    """Discharge every obligation, or say which one fails first and how. `claims`: violations that shall not occur.

    All obligations are asked at once, which is faster; one by one where that gives no proof, to tell which one fails.
    """
    found = shape(system)
    if found.obstacles:
        return found.obstacles[0]
    obligations = tuple(Conditions(system, invariant, claims).all())
    if not all_hold(obligations, work):
        failure = first_failure(system, obligations, work)
        if failure is not None:
            return failure
    return Proof(system, invariant, tuple(claims), obligations)


def first_failure(
    system: TransitionSystem, obligations: Sequence[Obligation], work: int = WORK
) -> Escape | Unanswered | None:
    """Ask for each obligation with a solver of its own."""
    for obligation in obligations:
        failure = answer(system, obligation, work)
        if failure is not None:
            return failure
    return None

"""What the tests of soundness share: every number of instances searched by the reference, and attempts to prove."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from models.system.expressions import Component, Expr
from models.system.system import Invariant as Claim
from models.system.system import Mark, TransitionSystem
from proofs.infer import NotFound, infer, rows_of
from proofs.lemma import Invariant, Lemma
from proofs.prove import Failure, Proof, prove
from proofs.shape import Obstacle
from tests.checker.reference import Reference, survey

Question = Mark | Claim
NOTHING = Invariant((), "written", 1)


@cache
def surveyed(system: TransitionSystem, instances: int) -> Reference:
    """The whole space with so many instances of each component."""
    return survey(system.resized(dict.fromkeys(system.components, instances)))


def questions(system: TransitionSystem) -> list[Question]:
    return [*dict.fromkeys(mark for _, mark in system.marks() if not mark.premise), *system.invariants]


def holding(system: TransitionSystem, instances: int) -> list[Question]:
    """The claims that so many instances do not break."""
    found = surveyed(system, instances)
    return [q for q in questions(system) if q not in found.marks and q not in found.broken]


def assert_safe_at(system: TransitionSystem, *expected: int) -> None:
    """All claims hold with these numbers of instances, and not all do with the other ones up to three."""
    safe = {n for n in (1, 2, 3) if len(holding(system, n)) == len(questions(system))}
    assert safe == set(expected), f"{system.name} is safe with {safe}"


def attempt(
    system: TransitionSystem, instances: int, index: int, claims: Sequence[Question]
) -> Proof | Failure | NotFound:
    """Find an invariant of so many instances' reachable states, and prove it."""
    found = surveyed(system, instances)
    abouts: list[tuple[Component, ...]] = [()]
    for _ in range(index):
        abouts = [(*some_, c) for some_ in abouts for c in system.components]
    rows = {about: rows_of(found.system, found.edges, about) for about in abouts}
    try:
        return prove(system, infer(system, {about: known for about, known in rows.items() if known}, claims), claims)
    except NotFound as reason:
        return reason


def assert_unproved(system: TransitionSystem, *written: Lemma, index: int = 1) -> None:
    """Neither from these lemmas nor from lemmas that were found, of however many reachable instances."""
    claims = questions(system)
    assert not isinstance(prove(system, NOTHING, claims), Proof)
    assert not isinstance(prove(system, Invariant(written, "written", index), claims), Proof)
    for instances in (1, 2, 3):
        for k in range(1, min(2, instances) + 1):
            assert not isinstance(attempt(system, instances, k, claims), Proof), f"{instances} instances, index {k}"


def obstacle(system: TransitionSystem) -> str:
    """What prevents every proof about this system."""
    found = prove(system, NOTHING, questions(system))
    assert isinstance(found, Obstacle)
    return str(found)


def lemma(holds: Expr, *about: Component, name: str = "lemma") -> Lemma:
    return Lemma(name, "is needed", holds, about)

"""From reachable states to a proof: find an invariant, find a ranking, have Z3 check both, or say why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from models.system.expressions import Component
from models.system.system import Invariant as Claim
from models.system.system import Mark, TransitionSystem
from proofs.cubes import Row
from proofs.induction import WORK, Escape, Unanswered
from proofs.infer import NotFound, infer
from proofs.lemma import Invariant, Lemma
from proofs.progress import obligations
from proofs.prove import Failure, Proof, discharge, prove
from proofs.ranking import NoArgument, Ranking, Steps, rank
from proofs.shape import Obstacle, shape

Rows = Mapping[tuple[Component, ...], set[Row]]


@dataclass(frozen=True)
class Attempt:
    """What became of a proof. `failure`: why there is none; `no_progress`: why there is none of progress."""

    proof: Proof | None
    failure: Failure | None = None
    no_progress: str = ""

    @property
    def reason(self) -> str:
        """Why there is no proof, in one sentence; "" where there is one."""
        return _said(self.failure) if self.failure else ""


def _said(failure: Failure) -> str:
    """A failure in one sentence."""
    match failure:
        case Obstacle():
            return f"the argument for any number does not apply: {failure}"
        case Escape(obligation=obligation, question=question):
            what = f"lemma {question.name}" if isinstance(question, Lemma) else getattr(question, "property", question)
            return f"not inductive: {obligation.name} escapes {what}"
        case Unanswered(obligation=obligation, reason=reason):
            return f"the solver gave up on {obligation.name}: {reason}"


def attempt(
    system: TransitionSystem,
    rows: Rows,
    claims: Sequence[Mark | Claim],
    *,
    steps: Steps | None = None,
    written: Sequence[Lemma] = (),
    work: int = WORK,
) -> Attempt:
    """Try to prove `claims`, and with `steps` also that the patcher finishes.

    `rows`: what k instances of each kind of tuple can be in; k is the index of the invariant. `written`: lemmas to begin
    with; where they do not suffice, others are found.
    """
    obstacles = shape(system).obstacles
    if obstacles:
        return Attempt(None, obstacles[0])
    index = len(next(iter(rows)))
    ranking, no_progress = _ranked(system, rows, steps)
    if written:
        whole = _proved(system, Invariant(tuple(written), "written", index), claims, ranking, no_progress, work)
        if whole.proof and (whole.proof.ranking or not ranking):
            return whole
    also = list(obligations(system, Invariant((), "found", index), ranking)) if ranking else []
    for wanted in (also, ()) if also else ((),):
        for seed in (written, ()) if written else ((),):  # lemmas that somebody wrote may not hold here
            with_progress = ranking if wanted else None
            try:
                invariant = infer(system, rows, claims, seed=seed, also=wanted, work=work)
            except NotFound as failure:  # what had been learned is not inductive: the step that leads out shows why
                invariant, with_progress = Invariant(failure.lemmas, "found", index), None
            why = no_progress or ("" if with_progress else "no invariant was found that the ranking could rest on")
            found = _proved(system, invariant, claims, with_progress, why, work)
            if found.proof:
                return found
    return found


def _ranked(system: TransitionSystem, rows: Rows, steps: Steps | None) -> tuple[Ranking | None, str]:
    if steps is None:
        return None, "not asked for"
    try:
        return rank(system, rows, steps), ""
    except NoArgument as reason:
        return None, str(reason)


def _proved(
    system: TransitionSystem,
    invariant: Invariant,
    claims: Sequence[Mark | Claim],
    ranking: Ranking | None,
    no_progress: str,
    work: int,
) -> Attempt:
    proof = prove(system, invariant, claims, work)
    if not isinstance(proof, Proof):
        return Attempt(None, proof, no_progress)
    if ranking is None:
        return Attempt(proof, None, no_progress)
    more = tuple(obligations(system, invariant, ranking))
    failure = discharge(system, more, work)
    if failure is not None:
        return Attempt(proof, None, f"the ranking does not hold: {_said(failure)}")
    return Attempt(replace(proof, ranking=ranking, obligations=(*proof.obligations, *more)))

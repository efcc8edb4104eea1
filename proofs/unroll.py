"""A second opinion without invariants: bounded model checking and k-induction, of one instance of a system.

All instances are explicit here, nothing is restricted and nothing is learned: what is said rests on `encode.py` and
on Z3 alone. `bounded` asks for the shortest run that breaks each claim (Biere et al., TACAS 1999), `inductive` for
the claims that follow from having held k times in a row (Sheeran, Singh, Stålmarck, FMCAD 2000). A step is a
transition of the evaluator's: it differs from its source, and a halted state has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import combinations, product

import z3

from models.system.system import Action, Mark, TransitionSystem
from models.system.system import Invariant as Claim
from proofs.encode import Encoder, Frame, Term, conjunction, disjunction, take
from proofs.induction import WORK, fresh_solver

Question = Mark | Claim


class GaveUp(Exception):
    """The solver met its limit on work: nothing is known."""


def bounded(
    system: TransitionSystem, claims: Iterable[Question], depth: int, work: int = WORK
) -> dict[Question, int | None]:
    """The length of a shortest run that breaks each claim, up to `depth` steps; None: no run so short breaks it.

    A mark is the claim that no step has it; its length counts that step, which need not change anything. Raises GaveUp.
    """
    runs = _Runs(system, claims, work)
    runs.solver.add(*runs.frames[0].initial())
    found: dict[Question, int | None] = dict.fromkeys(runs.bad)
    for at in range(depth + 1):
        runs.extend(at)
        left = {c for c, length in found.items() if length is None and at + isinstance(c, Mark) <= depth}
        while met := runs.met({claim: runs.broken(claim, at) for claim in left}):
            found.update((claim, at + isinstance(claim, Mark)) for claim in met)
            left -= met
    return found


def inductive(
    system: TransitionSystem, claims: Iterable[Question], k: int, simple: bool = True, work: int = WORK
) -> set[Question]:
    """The claims that hold in every reachable state: they hold at first, and after k states in which they do.

    The largest set of claims that rest on nothing but each other; with `simple`, in runs that visit no state twice.
    Raises GaveUp.
    """
    first = bounded(system, claims, k, work)
    runs = _Runs(system, first, work)
    runs.extend(k)
    runs.solver.add(*runs.frames[0].domains())
    for a, b in combinations(runs.frames, 2) if simple else ():
        runs.solver.add(z3.Not(conjunction(a.equals(b))))
    holds = {claim: z3.Bool(f"claim {number} holds") for number, claim in enumerate(first)}
    for claim, here in holds.items():
        runs.solver.add(*(z3.Implies(here, z3.Not(runs.broken(claim, at))) for at in range(k)))
    left = {claim for claim, length in first.items() if length is None}
    while lost := runs.met({claim: runs.broken(claim, k) for claim in left}, [holds[claim] for claim in left]):
        left -= lost
    return left


class _Runs:
    """The runs of a system, state by state, in an incremental solver.

    One step is encoded once, and what a claim says of one state; at every place of the run these are the same terms
    over other unknowns. `bad`: for each claim, that a state breaks it, or that a step from it has the mark.
    """

    def __init__(self, system: TransitionSystem, claims: Iterable[Question], work: int) -> None:
        self.system = system
        self.actors = tuple(component for component, _ in system.instances)
        self.before, self.after = self.frame(""), self.frame("next ")
        self.choices: dict[str, Term] = {}
        self.step = self.transition()
        self.bad = {c: self.marked(c) if isinstance(c, Mark) else self.violated(c) for c in claims}
        self.frames = [self.frame("0: ")]
        self.solver = fresh_solver(work)

    def frame(self, prefix: str) -> Frame:
        """A state of unknowns."""
        return Frame.fresh(self.system, self.actors, prefix)

    def movers(self, action: Action) -> list[int | None]:
        """Who may take an action."""
        return [i for i, c in enumerate(self.actors) if c is action.actor] if action.actor else [None]

    def transition(self) -> Term:
        """That some action of somebody leads from `before` to `after`, another state."""
        ways = []
        for action in self.system.actions:
            for mover in self.movers(action):
                taken = take(self.system, self.before, action, mover)
                ways.append(conjunction([*taken.enabled, *self.after.equals(taken.after)]))
                if taken.choice is not None:
                    self.choices[f"choice of {taken.choice.size()} bits"] = taken.choice
        return z3.And(disjunction(ways), z3.Not(conjunction(self.before.equals(self.after))))

    def marked(self, mark: Mark) -> Term:
        """That somebody may take an action from `before` with this mark; movers and choices are written out."""
        ways = []
        for action in (action for action, carried in self.system.marks() if carried is mark):
            for mover, value in product(self.movers(action), action.values):
                encoder = Encoder(self.before, mover)
                parts = (action.at(action.guard, value), action.at(mark.when, value), ~self.system.halted)
                ways.append(conjunction([encoder.term(part) for part in parts]))
        return disjunction(ways)

    def violated(self, claim: Claim) -> Term:
        """That `before` breaks an invariant."""
        return z3.Not(Encoder(self.before).term(claim.holds))

    def extend(self, length: int) -> None:
        """Let the run have as many steps."""
        while len(self.frames) <= length:
            number = len(self.frames)
            self.frames.append(self.frame(f"{number}: "))
            known = renaming(self.before, self.frames[-2]) + renaming(self.after, self.frames[-1])
            known += [(c, z3.BitVec(f"{number}: {name}", c.size())) for name, c in self.choices.items()]
            self.solver.add(z3.substitute(self.step, *known))

    def broken(self, claim: Question, at: int) -> Term:
        """That the claim is broken at this place of the run."""
        return z3.substitute(self.bad[claim], *renaming(self.before, self.frames[at]))

    def met(self, goals: Mapping[Question, Term], given: Collection[Term] = ()) -> set[Question]:
        """The claims that some run breaks in the way asked for, given some literals; empty: there is no such run.

        Raises GaveUp.
        """
        self.solver.push()
        self.solver.add(disjunction(list(goals.values())))
        result = self.solver.check(*given)
        try:
            if result == z3.unknown:
                raise GaveUp(self.solver.reason_unknown())
            if result == z3.unsat:
                return set()
            model = self.solver.model()
            return {claim for claim, goal in goals.items() if z3.is_true(model.eval(goal, model_completion=True))}
        finally:
            self.solver.pop()


def renaming(old: Frame, new: Frame) -> list[tuple[Term, Term]]:
    """Which unknown of one state stands for which of another."""
    pairs = zip((old.shared, *old.locals), (new.shared, *new.locals), strict=True)
    return [(a[v], b[v]) for a, b in pairs for v in a]

"""A second way to an invariant: Spacer, Z3's engine for constrained Horn clauses (Komuravelli et al., CAV 2014).

One relation over the shared variables and one instance; a rule for the initial state, one for each kind of step, and a
query for what is claimed. It needs no reachable states. Its answer is not trusted: the invariant that it gives is put
through the same obligations as any other, and a violation that it finds is only as good as the search that confirms it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import z3

from models.system.system import Invariant as Claim
from models.system.system import Mark, TransitionSystem
from proofs.encode import Frame, Term, conjunction, disjunction
from proofs.induction import Conditions, fresh_solver
from proofs.lemma import Invariant
from proofs.shape import Obstacle, shape

_WORK = 10_000_000  # in Z3's units: seconds rather than minutes


@dataclass(frozen=True)
class Found:
    """What Spacer says: `holds` (and then its invariant was confirmed), or not, or None where it gave up: `reason`."""

    holds: bool | None
    reason: str = ""


def spacer(system: TransitionSystem, claims: Sequence[Mark | Claim], work: int = _WORK) -> Found | Obstacle:
    """Ask whether `claims` hold for any number of instances. For systems whose instances write only their own state."""
    found = shape(system)
    if found.obstacles:
        return found.obstacles[0]
    if found.interferes or found.least > 1 or len(system.components) != 1:
        return Found(None, "it is asked only where one instance tells all")
    return _Rules(system, claims, work).ask()


class _Rules:
    def __init__(self, system: TransitionSystem, claims: Sequence[Mark | Claim], work: int) -> None:
        self.system = system
        self.conditions = Conditions(system, Invariant((), "found by Spacer", 1), claims)
        self.actors = (system.components[0],)
        known = self.conditions.around(self.actors)
        self.before, self.after = known.frame, known.after
        self.inside = z3.Function("inside", *(term.sort() for term in _terms(self.before)), z3.BoolSort())
        self.solver = z3.SolverFor("HORN")
        self.solver.set("rlimit", work)
        self.moves = [
            self.conditions.moved(self.actors, action, None if action.actor is None else 0)[1]
            for action in system.actions
        ]
        self.bad = [
            conjunction([*o.premises, z3.Not(conjunction(o.goals))])
            for o in self.conditions.safety()
            if o.actors == self.actors
        ]

    def ask(self) -> Found:
        """Put the rules and the question to Spacer, and its invariant to the test."""
        here, there = self.inside(*_terms(self.before)), self.inside(*_terms(self.after))
        self.rule(here, self.before.initial())
        for moved in self.moves:
            self.rule(there, [here, *moved])
        for bad in self.bad:
            self.rule(z3.BoolVal(False), [here, bad])
        try:
            result = self.solver.check()
        except z3.Z3Exception as reason:
            return Found(None, str(reason))
        if result == z3.unsat:
            return Found(False)
        if result != z3.sat:
            return Found(None, self.solver.reason_unknown())
        meaning = self.solver.model()[self.inside]
        if meaning is None or meaning.num_entries():
            return Found(None, "its invariant could not be read")
        said = meaning.else_value()
        return self.confirm(*(z3.substitute_vars(said, *_terms(frame)) for frame in (self.before, self.after)))

    def rule(self, head: Term, body: Sequence[Term]) -> None:
        """`body` implies `head`, for all values."""
        clause = z3.Implies(conjunction(body), head)
        unknowns = _unknowns(clause)
        self.solver.add(z3.ForAll(unknowns, clause) if unknowns else clause)

    def confirm(self, here: Term, there: Term) -> Found:
        """Whether what Spacer found is an invariant: it holds at first, is kept, and nothing bad is inside."""
        cases = [conjunction([*self.before.initial(), z3.Not(here)])]
        cases += [conjunction([here, *moved, z3.Not(there)]) for moved in self.moves]
        cases += [conjunction([here, bad]) for bad in self.bad]
        solver = fresh_solver()
        solver.add(disjunction(cases))
        result = solver.check()
        return Found(True) if result == z3.unsat else Found(None, f"its invariant was not confirmed: {result}")


def _terms(frame: Frame) -> list[Term]:
    return [term for values in (frame.shared, *frame.locals) for term in values.values()]


def _unknowns(root: Term) -> list[Term]:
    """The unknowns in a term, in the order in which they are met."""
    found: dict[int, Term] = {}
    seen, stack = set(), [root]
    while stack:
        term = stack.pop()
        if term.get_id() not in seen:
            seen.add(term.get_id())
            if z3.is_const(term) and term.decl().kind() == z3.Z3_OP_UNINTERPRETED:
                found[term.get_id()] = term
            stack.extend(term.children())
    return list(found.values())

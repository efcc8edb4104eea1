"""What a lemma excludes: the plainest step that breaks a proof from which the lemma is left out.

Which obligation fails first, and in which state, is settled by order alone and not by what the solver happens to
answer. So the answer is the same with every version of the solver.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import z3

from models.system.evaluate import Evaluator, State
from models.system.expressions import Bits, Bool, Enum, Type, Variable
from models.system.system import TransitionSystem
from proofs.cubes import Row
from proofs.encode import Term
from proofs.induction import WORK, Escape, Obligation, all_hold, read_all, replay
from proofs.infer import leading
from proofs.lemma import Lemma
from proofs.prove import Proof


class Unclear(Exception):
    """The solver gave up on a question about a lemma: the message names the obligation and says why."""


def excluded(proof: Proof, lemma: Lemma, work: int = WORK) -> Escape | None:
    """A step from a state that all other lemmas of `proof` allow, which breaks what was proved, replayed by the evaluator.

    None where the proof does without the lemma. Raises Unclear.
    """
    broken = _first(sorted(_without(proof, lemma), key=_telling), work)
    if broken is None:
        return None
    return replay(proof.system, broken, _Plainest(proof.system, broken, work).find())


def _without(proof: Proof, lemma: Lemma) -> Iterator[Obligation]:
    """The obligations of a proof as they are when the lemma is neither assumed nor claimed."""
    said: dict[int, set[int]] = {}  # by frame: the terms that say the lemma
    for o in proof.obligations:
        if id(o.frame) not in said:
            some = permutations(range(len(o.actors)), len(lemma.about))
            about = [places for places in some if tuple(o.actors[i] for i in places) == lemma.about]
            said[id(o.frame)] = {t.get_id() for places in about for t in read_all([lemma], o.frame, places)}
        kept = [(q, goal) for q, goal in zip(o.questions, o.goals, strict=True) if q is not lemma]
        if kept:
            questions, goals = zip(*kept, strict=True)
            premises = tuple(p for p in o.premises if p.get_id() not in said[id(o.frame)])
            yield replace(o, premises=premises, questions=questions, goals=goals)


def _telling(obligation: Obligation) -> int:
    """Where to look first: at steps that break a property, then at states that do, at lemmas, at the patcher's progress."""
    step = obligation.step
    if step is not None and (step.action.fault or obligation.kind == "safety"):
        return 0
    return ["safety", "consecution", "initiation", "progress"].index(obligation.kind) + 1


def _first(found: Sequence[Obligation], work: int) -> Obligation | None:
    """The first obligation that does not hold, by halves: most of them do."""
    if all_hold(found, work):
        return None
    left = list(found)
    while len(left) > 1:
        half = left[: len(left) // 2]
        left = left[len(half) :] if all_hold(half, work) else half
    return left[0]


class _Plainest:
    """Of all counterexamples to an obligation the first: for one variable after the other its usual value, or the least."""

    def __init__(self, system: TransitionSystem, obligation: Obligation, work: int) -> None:
        self.system, self.obligation = system, obligation
        self.solver = obligation.solver(work)
        self.model = self.asked()

    def find(self) -> Any:
        """The only model that is left when every variable has been settled."""
        frame, step = self.obligation.frame, self.obligation.step
        rows = _alone(self.system)
        leader = leading(self.system, rows)
        usual: dict[Variable, int] = {}
        if leader is not None:
            position = self.settle(frame.shared[leader], _values(leader.type))
            column = self.system.globals.index(leader)
            row = next((row for row in rows if row[column] == position), ())
            usual = dict(zip(self.system.globals, row, strict=False))
        for values in (frame.shared, *frame.locals):
            for variable, term in values.items():
                self.settle(term, [usual.get(variable, variable.initial), *_values(variable.type)])
        if step is not None and step.choice is not None:
            self.settle(step.choice, step.action.values)
        return self.model

    def settle(self, term: Term, values: Sequence[int]) -> int:
        """Hold `term` to the first of the values that it can have."""
        for value in dict.fromkeys(values):
            here = term == (z3.BoolVal(bool(value)) if z3.is_bool(term) else z3.BitVecVal(value, term.size()))
            self.solver.push()
            self.solver.add(here)
            if self.holds(here) or self.asked_again():
                return value
            self.solver.pop()
        raise AssertionError(f"{self.obligation.name}: {term} has none of its values")

    def holds(self, here: Term) -> bool:
        """Whether the model at hand says so already."""
        return bool(z3.is_true(self.model.eval(here, model_completion=True)))

    def asked_again(self) -> bool:
        """Whether there is such a counterexample, which is then the model at hand."""
        result = self.solver.check()
        if result == z3.unknown:
            raise Unclear(f"the solver gave up on {self.obligation.name}: {self.solver.reason_unknown()}")
        if result == z3.unsat:
            return False
        self.model = self.solver.model()
        return True

    def asked(self) -> Any:
        if self.solver.check() != z3.sat:
            raise Unclear(f"the solver gave up on {self.obligation.name}: {self.solver.reason_unknown()}")
        return self.solver.model()


def _values(type_: Type) -> range:
    match type_:
        case Bool():
            return range(2)
        case Enum(labels=labels):
            return range(len(labels))
        case Bits(width=width):
            return range(1 << width)


def _alone(system: TransitionSystem) -> set[Row]:
    """The values of the shared variables while the patcher runs and nobody keeps it waiting."""
    evaluator = Evaluator(system.resized(dict.fromkeys(system.components, 0)))
    state: State | None = evaluator.initial()
    found: set[Row] = set()
    while state is not None and state.shared not in found:
        found.add(state.shared)
        state = next((step.state for step in evaluator.successors(state)), None)
    return found

"""Verification conditions: that an invariant holds for any number of instances, and that it implies the properties.

One obligation for each kind of step, small enough for a solver to answer in milliseconds and for a
person to read. `shape.py` says why a few instances are enough. Every obligation gets a fresh solver with a fixed seed
and a limit on its work, not on the clock. A counterexample is replayed by the reference evaluator before it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import z3

from models.system.evaluate import Evaluator, State, Step
from models.system.expressions import Component, Expr, Read, Variable
from models.system.system import Action, Mark, TransitionSystem
from models.system.system import Invariant as Claim
from models.system.visitor import nodes
from proofs.encode import Encoder, Frame, Taken, Term, conjunction, disjunction, take
from proofs.lemma import Invariant, Lemma

WORK = 20_000_000  # of one obligation, in Z3's own units; some 10,000 times what the shipped models need

Question = Lemma | Claim | Mark | str  # a str says what an obligation of a progress argument is about


@dataclass(frozen=True)
class Obligation:
    """`premises` imply every one of the `goals`, each of which answers one of the `questions`.

    `kind`: initiation, consecution, safety or progress. `step`: which action is taken and by whom; None for initiation and for
    what is claimed of states. `actors`: the component of each instance of `frame`.
    """

    kind: str
    frame: Frame
    actors: tuple[Component, ...]
    premises: tuple[Term, ...]
    questions: tuple[Question, ...]
    goals: tuple[Term, ...]
    step: Taken | None = None

    @property
    def name(self) -> str:
        """What is shown, in a few words; unique within a proof."""
        around = f" for {', '.join(c.name for c in self.actors)}" if len(self.actors) > 1 else ""
        if self.step is None:
            return self.kind + around
        who = self.step.actor
        by = "" if who is None else f" by {self.actors[who].name} {who}"
        return f"{self.kind}: {self.step.action.name}{by}{around}"

    def solver(self, work: int = WORK) -> z3.Solver:
        """A fresh solver with the premises and the negated goals: unsatisfiable where the obligation holds."""
        solver = fresh_solver(work)
        solver.add(*self.premises, z3.Not(conjunction(self.goals)))
        return solver


@dataclass(frozen=True)
class Escape:
    """A counterexample to induction: a state in which all lemmas hold, and a step that breaks one, or a property.

    `before` need not be reachable. `step` is None where the state itself is the counterexample.
    """

    obligation: Obligation
    question: Question
    system: TransitionSystem  # with as many instances as the states have
    before: State
    step: Step | None


@dataclass(frozen=True)
class Unanswered:
    """The solver gave up on an obligation, for `reason`."""

    obligation: Obligation
    reason: str


class Conditions:
    """The obligations of one invariant of one system. `claims`: the properties that it is to imply."""

    def __init__(
        self,
        system: TransitionSystem,
        invariant: Invariant,
        claims: Sequence[Mark | Claim],
    ) -> None:
        self.system, self.invariant = system, invariant
        wanted = set(map(id, claims))
        strange = wanted - {id(claim) for claim in (*system.invariants, *(mark for _, mark in system.marks()))}
        if strange:
            raise ValueError(f"{len(strange)} of the claims are not made of “{system.name}”")
        self.marks = {id(action): [m for m in action.marks if id(m) in wanted] for action in system.actions}
        self.states = [claim for claim in system.invariants if id(claim) in wanted]
        self.reads_of = {id(lemma): variables(lemma.holds) for lemma in invariant.lemmas}
        self._known: dict[tuple[Component, ...], _Around] = {}

    def all(self) -> Iterator[Obligation]:
        """Every obligation, in the order of the actions."""
        yield from self.initiation()
        for tuple_ in self.tuples():
            for actors, action, actor in self.steps(tuple_):
                yield from self.consecution(tuple_, actors, action, actor)
        yield from self.safety()

    def initiation(self) -> Iterator[Obligation]:
        """That every lemma holds at first."""
        for tuple_ in self.tuples():
            frame = Frame.fresh(self.system, tuple_)
            lemmas = self.fitting(tuple_)
            yield Obligation(
                "initiation", frame, tuple_, tuple(frame.initial()), tuple(lemmas), read_all(lemmas, frame)
            )

    def consecution(
        self, tuple_: tuple[Component, ...], actors: tuple[Component, ...], action: Action, actor: int | None
    ) -> Iterator[Obligation]:
        """That a step keeps every lemma that speaks of what it changes."""
        touched = {effect.variable for effect in action.effects}
        lemmas = [lemma for lemma in self.fitting(tuple_) if touched & self.reads_of[id(lemma)]]
        if lemmas:
            known = self.around(actors)
            taken, moved = self.moved(actors, action, actor)
            goals = tuple(known.goals[id(lemma)] for lemma in lemmas)
            yield Obligation("consecution", known.frame, actors, moved, tuple(lemmas), goals, taken)

    def safety(self) -> Iterator[Obligation]:
        """That no step breaks a property, and that no state does."""
        for tuple_ in self.tuples():
            for actors, action, actor in self.steps(tuple_):
                marks = self.marks[id(action)] if actor in (None, 0) else []
                if marks:
                    known = self.around(actors)
                    taken = take(self.system, known.frame, action, actor)
                    goals = tuple(z3.Not(taken.encoder.term(mark.when)) for mark in marks)
                    premises = (*known.premises, *taken.enabled)
                    yield Obligation("safety", known.frame, actors, premises, tuple(marks), goals, taken)
        for tuple_ in self.tuples() if self.states else ():
            known = self.around(tuple_)
            goals = tuple(Encoder(known.frame).term(claim.holds) for claim in self.states)
            yield Obligation("safety", known.frame, tuple_, known.premises, tuple(self.states), goals)

    def moved(self, actors: tuple[Component, ...], action: Action, actor: int | None) -> tuple[Taken, tuple[Term, ...]]:
        """A step from a state in which the invariant holds, to the next one."""
        known = self.around(actors)
        taken = take(self.system, known.frame, action, actor)
        return taken, (*known.premises, *taken.enabled, *known.after.equals(taken.after))

    def tuples(self) -> list[tuple[Component, ...]]:
        """Which k instances the invariant may be read for."""
        found: list[tuple[Component, ...]] = [()]
        for _ in range(self.invariant.index):
            found = [(*some, c) for some in found for c in self.system.components]
        return found

    def steps(self, tuple_: tuple[Component, ...]) -> Iterator[tuple[tuple[Component, ...], Action, int | None]]:
        """Every kind of step seen from k instances: the instances to look at, the action, and the mover among them."""
        for action in self.system.actions:
            if action.actor is None:
                yield tuple_, action, None
                continue
            for i, owner in enumerate(tuple_):
                if owner is action.actor:
                    yield tuple_, action, i
            if any(effect.broadcast or effect.variable.component is None for effect in action.effects):
                yield (*tuple_, action.actor), action, len(tuple_)

    # ---- the invariant ----------------------------------------------------------------------------------------------

    def around(self, actors: tuple[Component, ...]) -> _Around:
        """A state of these instances in which the invariant holds for all of them, and what it says of the next."""
        if actors not in self._known:
            frame, after = Frame.fresh(self.system, actors), Frame.fresh(self.system, actors, "next ")
            found = frame.domains()
            for places in selections(len(actors), min(len(actors), self.invariant.index)):
                about = tuple(actors[i] for i in places)
                found += read_all(self.fitting(about), frame, places)
            lemmas = self.fitting(actors[: self.invariant.index])
            goals = dict(zip(map(id, lemmas), read_all(lemmas, after), strict=True))
            self._known[actors] = _Around(frame, tuple(found), after, goals)
        return self._known[actors]

    def fitting(self, tuple_: tuple[Component, ...]) -> list[Lemma]:
        """The lemmas that can be read for these instances, the first being the first."""
        return [lemma for lemma in self.invariant.lemmas if lemma.about == tuple_[: len(lemma.about)]]


@dataclass(frozen=True)
class _Around:
    """What all obligations about the same instances share; `goals`: each lemma, by identity, said of `after`."""

    frame: Frame
    premises: tuple[Term, ...]
    after: Frame
    goals: dict[int, Term]


def selections(instances: int, index: int) -> list[tuple[int, ...]]:
    """All ways to take `index` different ones of some instances, in order."""
    return list(permutations(range(instances), index))


def read_all(lemmas: Sequence[Lemma], frame: Frame, places: tuple[int, ...] = (0, 1)) -> tuple[Term, ...]:
    """What some lemmas say of the instances at `places`."""
    encoder = Encoder(frame, places[0] if places else None)
    return tuple(encoder.term(lemma.holds, places[1] if len(lemma.about) > 1 else None) for lemma in lemmas)


def variables(root: Expr) -> set[Variable]:
    """The variables that an expression reads."""
    return {node.variable for node in nodes(root) if isinstance(node, Read)}


def fresh_solver(work: int = WORK) -> z3.Solver:
    """A solver for bits, with a fixed seed and a limit on its work."""
    solver = z3.SolverFor("QF_BV")
    solver.set("random_seed", 0)
    solver.set("rlimit", work)
    return solver


def all_hold(obligations: Sequence[Obligation], work: int = WORK) -> bool:
    """Whether every obligation holds, asked as one question: no case breaks a goal. False where Z3 does not know."""
    solver = fresh_solver(work)
    cases = [conjunction([*o.premises, z3.Not(conjunction(o.goals))]) for o in obligations]
    solver.add(disjunction(cases))
    return bool(solver.check() == z3.unsat)


def answer(system: TransitionSystem, obligation: Obligation, work: int = WORK) -> Escape | Unanswered | None:
    """Ask Z3. None: the obligation holds. A counterexample has been replayed by the reference evaluator."""
    solver = obligation.solver(work)
    result = solver.check()
    if result == z3.unsat:
        return None
    if result != z3.sat:
        return Unanswered(obligation, solver.reason_unknown())
    return replay(system, obligation, solver.model())


def replay(system: TransitionSystem, obligation: Obligation, model: z3.ModelRef) -> Escape:
    """The counterexample that a solver found, taken again by the reference evaluator.

    Raises Disagreement where the two differ: then the encoding is wrong, and so is every proof.
    """
    small = system.resized({c: sum(actor is c for actor in obligation.actors) for c in system.components})
    evaluator = Evaluator(small)
    order = sorted(range(len(obligation.actors)), key=lambda i: system.components.index(obligation.actors[i]))
    place = {old: new for new, old in enumerate(order)}
    raw = obligation.frame.state(system, model)
    before = State(raw.shared, tuple(raw.instances[i] for i in order))
    step = None
    if obligation.step is not None:
        taken = obligation.step
        actor = None if taken.actor is None else place[taken.actor]
        choice = 0 if taken.choice is None else model.eval(taken.choice, model_completion=True).as_long()
        if evaluator.halted(before) or not evaluator.value(taken.action.guard, before, actor, choice):
            raise Disagreement(f"{obligation.name}: the evaluator does not take the solver's step")
        step = Step(taken.action, actor, choice, evaluator.apply(taken.action, before, actor, choice))
    elif obligation.kind == "initiation" and before != evaluator.initial():
        raise Disagreement("the solver begins where the evaluator does not")
    after = before if step is None else step.state
    marks = [] if step is None else evaluator.marks(step, before)
    for question in obligation.questions:
        match question:
            case str():
                fails = True
            case Lemma():
                who = place[0] if question.about else None
                bound = place[1] if len(question.about) > 1 else None
                fails = not evaluator.value(question.holds, after, who, 0, bound)
            case Mark():
                fails = question in marks
            case Claim():
                fails = not evaluator.value(question.holds, after)
        if fails:
            return Escape(obligation, question, small, before, step)
    raise Disagreement(f"{obligation.name}: the evaluator finds nothing wrong with the solver's counterexample")


class Disagreement(Exception):
    """The solver and the reference evaluator do not mean the same by an expression: a defect of this program."""

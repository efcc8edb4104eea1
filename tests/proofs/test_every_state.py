"""Claims: what Z3 says of a condition is what looking at every state of a small system says."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from models.system.evaluate import Evaluator, State, members_of
from models.system.expressions import Bits, Bool, Component, Enum, Variable, read
from models.system.system import Invariant as Claim
from models.system.system import Mark, TransitionSystem
from proofs.induction import Conditions, Obligation, answer, selections
from proofs.lemma import Invariant, Lemma
from tests.proofs.instances import NOTHING, lemma, questions
from tests.proofs.test_unsound import lock_invariant, locked, polled, powered, winding

# ---- every state of a small system ----------------------------------------------------------------------------------


def values(variable: Variable) -> range:
    match variable.type:
        case Bool():
            return range(2)
        case Enum(labels=labels):
            return range(len(labels))
        case Bits(width=width):
            return range(1 << width)


def all_states(system: TransitionSystem) -> Iterator[State]:
    """Every combination of values, reachable or not."""
    groups = [system.globals, *(system.locals(c) for c, _ in system.instances)]
    choices = [list(itertools.product(*map(values, group))) for group in groups]
    for shared, *instances in itertools.product(*choices):
        yield State(shared, tuple(instances))


class Enumerated:
    """What an obligation of index k says, by the evaluator and by looking at every state."""

    def __init__(self, system: TransitionSystem, invariant: Invariant, obligation: Obligation) -> None:
        self.invariant, self.obligation = invariant, obligation
        actors = obligation.actors
        self.system = system.resized({c: actors.count(c) for c in system.components})
        order = sorted(range(len(actors)), key=lambda i: system.components.index(actors[i]))
        self.place = {old: new for new, old in enumerate(order)}  # where the k-th of the obligation's instances is
        self.evaluator = Evaluator(self.system)

    def says(self, one: Lemma, state: State, places: tuple[int, ...]) -> bool:
        who = self.place[places[0]] if one.about else None
        bound = self.place[places[1]] if len(one.about) > 1 else None
        return bool(self.evaluator.value(one.holds, state, who, 0, bound))

    def known(self, state: State) -> bool:
        """Whether the invariant holds, read for every few instances."""
        for places in selections(len(self.obligation.actors), self.invariant.index):
            about: tuple[Component, ...] = tuple(self.obligation.actors[i] for i in places)
            fitting = (l for l in self.invariant.lemmas if l.about == about[: len(l.about)])
            if not all(self.says(l, state, places) for l in fitting):
                return False
        return True

    def holds(self) -> bool:
        if self.obligation.kind == "initiation":
            return all(self.fine(self.evaluator.initial(), self.evaluator.initial(), None))
        return all(fine for state in all_states(self.system) if self.known(state) for fine in self.after(state))

    def after(self, state: State) -> Iterator[bool]:
        taken = self.obligation.step
        if taken is None:
            yield from self.fine(state, state, None)
            return
        actor = None if taken.actor is None else self.place[taken.actor]
        assert actor is None or actor in members_of(self.system, taken.action.actor)
        for step in self.evaluator.successors(state):
            if step.action is taken.action and step.instance == actor:
                marks = self.evaluator.marks(step, state)
                yield from self.fine(state, step.state, marks)

    def fine(self, before: State, after: State, marks: list[Mark] | None) -> Iterator[bool]:
        for question in self.obligation.questions:
            match question:
                case Lemma():
                    yield self.says(question, after, (0, 1))
                case Mark():
                    yield question not in (marks or [])
                case Claim():
                    yield bool(self.evaluator.value(question.holds, after))


def invariants() -> list[tuple[str, Callable[[], tuple[TransitionSystem, Invariant]]]]:
    """Proofs, and what is none."""

    def lit(asks: bool) -> tuple[TransitionSystem, Invariant]:
        system = powered(asks)
        power, on, asked = map(read, system.variables)
        lemmas = (lemma(~on | power, system.components[1]), lemma(~asked | asked, system.components[0]))
        return system, Invariant(lemmas, "written", 1)

    def at_most(n: int) -> tuple[TransitionSystem, Invariant]:
        return winding(), Invariant((lemma(read(winding().variables[0]) < n, winding().components[0]),), "written", 1)

    return [
        ("a lock", lambda: (locked(True), lock_invariant(locked(True)))),
        ("a lock that nobody asks for", lambda: (locked(False), lock_invariant(locked(False)))),
        ("power", lambda: lit(True)),
        ("power that is cut", lambda: lit(False)),
        ("winding", lambda: at_most(2)),
        ("winding, not inductive", lambda: at_most(3)),
        ("nothing known", lambda: (polled("all"), NOTHING)),
    ]


@pytest.mark.parametrize(("name", "make"), invariants(), ids=[name for name, _ in invariants()])
def test_z3_says_of_every_condition_what_all_states_say(
    name: str, make: Callable[[], tuple[TransitionSystem, Invariant]]
) -> None:
    system, whole = make()
    results = set()
    for invariant in (whole, *(whole.without(one) for one in whole.lemmas)):
        for obligation in Conditions(system, invariant, questions(system)).all():
            expected = Enumerated(system, invariant, obligation).holds()
            assert (answer(system, obligation) is None) == expected, obligation.name
            results.add(expected)
    assert True in results
    assert False in results

"""That the patcher finishes in every fair run, for any number of instances, argued for each instance by itself.

It applies where an instance's steps write only its own variables and the patcher always goes forward. Then, while the
patcher waits, no instance depends on another, and it is enough that each by itself comes to give its consent (its part
of the guard) and keeps it. Two things are checked by Z3 for each position of the patcher:

  - *stable*: no step of an instance takes its consent back;
  - *ranked*: the states that withhold consent fall into layers. In each layer some fair kind of step is enabled, and
    either every step of that kind, from this layer and all later ones, leads to an earlier layer or to consent, or
    every step from this layer does.

A run that withholds for ever would stay, from some time on, in the layers after the first, as a fair kind of step that
is enabled again and again is taken again and again, then in those after the second, and so forth: there is no such run.
Some neighbouring layers may form a *stage* that is left only to earlier layers; in it, the argument is about the stage
alone. (Strong fairness by groups, as for response properties in Manna and Pnueli, 1995.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import z3

from models.system.expressions import Component, either
from models.system.system import Action, Fairness, TransitionSystem
from proofs.encode import Encoder, Frame, Taken, Term, conjunction, disjunction, literal, take
from proofs.induction import Conditions, Obligation
from proofs.lemma import Invariant
from proofs.ranking import Layer, Ranking
from proofs.shape import shape


def obligations(system: TransitionSystem, invariant: Invariant, ranking: Ranking) -> Iterator[Obligation]:
    """What makes a ranking a proof, given an invariant (of index 1) that has been proved."""
    yield from _Checks(system, invariant, ranking).all()


class _Checks:
    def __init__(self, system: TransitionSystem, invariant: Invariant, ranking: Ranking) -> None:
        self.system, self.ranking = system, ranking
        self.conditions = Conditions(system, invariant, [])
        self.ways = {c: self._ways(c) for c in system.components}

    def all(self) -> Iterator[Obligation]:
        for objection in self.objections():  # what no state can mend
            frame = self.conditions.around(()).frame
            yield Obligation("progress", frame, (), (), (objection,), (z3.BoolVal(False),))
        yield self.somewhere()
        for action in self.system.actions:
            if action.actor is None:
                yield self.forward(action)
        for position, action in self.ranking.onward.items():
            yield self.open(position, action)
        for component in self.system.components:
            yield self.alive(component)
            for position, action in self.ranking.onward.items():
                wait = next((w for w in self.ranking.waits if w.position == position), None)
                layers = wait.layers[component] if wait else ()
                yield from self.consenting(position, action, component, layers)

    def objections(self) -> Iterator[str]:
        """What is wrong with the ranking itself."""
        interferes = shape(self.system).interferes
        if interferes:
            yield f"“{interferes[0]}” changes more than the instance that takes it"
        for position, action in self.ranking.onward.items():
            if action.actor is not None or action.choice is not None or not action.fairness.is_fair:
                yield f"“{action.name}” is no fair step of the patcher at {self.ranking.leader.type.show(position)}"
        for wait in self.ranking.waits:
            for layers in wait.layers.values():
                yield from (f"“{layer.helper.value}” need not happen" for layer in layers if not layer.helper.is_fair)
                if _overlap(layers):
                    yield f"the stages of “{wait.action.name}” overlap"

    def position(self, frame: Frame, value: int) -> Term:
        return frame.shared[self.ranking.leader] == literal(value, self.ranking.leader.type)

    def somewhere(self) -> Obligation:
        """The patcher has a next step at every position that is not a goal."""
        known = self.conditions.around(())
        assert self.system.progress is not None
        goal = Encoder(known.frame).term(self.system.progress.goal)
        places = disjunction([self.position(known.frame, p) for p in self.ranking.onward])
        question = "the patcher has a next step, or is done"
        return Obligation("progress", known.frame, (), known.premises, (question,), (disjunction([goal, places]),))

    def forward(self, action: Action) -> Obligation:
        """Every step of the patcher goes forward."""
        known = self.conditions.around(())
        taken = take(self.system, known.frame, action, None)
        leader = self.ranking.leader
        before, after = known.frame.shared[leader], taken.after.shared[leader]
        goal = z3.And(z3.Not(before), after) if z3.is_bool(before) else z3.ULT(before, after)
        question = "the patcher goes forward"
        return Obligation("progress", known.frame, (), (*known.premises, *taken.enabled), (question,), (goal,), taken)

    def open(self, position: int, action: Action) -> Obligation:
        """The shared variables allow the step: only instances can hold it up."""
        known = self.conditions.around(())
        guard = Encoder(known.frame).term(action.guard)
        where = self.ranking.leader.type.show(position)
        question = f"nothing shared holds up “{where}”"
        premises = (*known.premises, self.position(known.frame, position))
        return Obligation("progress", known.frame, (), premises, (question,), (guard,))

    def alive(self, component: Component) -> Obligation:
        """No instance halts the system."""
        known = self.conditions.around((component,))
        goal = z3.Not(Encoder(known.frame).term(self.system.halted))
        question = "nothing halts"
        return Obligation("progress", known.frame, (component,), known.premises, (question,), (goal,))

    def consenting(
        self, position: int, action: Action, component: Component, layers: Sequence[Layer]
    ) -> Iterator[Obligation]:
        """At one position: consent is stable, withholding is ranked."""
        known = self.conditions.around((component,))
        frame, after = known.frame, known.after
        where = self.ranking.leader.type.show(position)
        here = (*known.premises, self.position(frame, position))
        consents = Encoder(frame, 0).term(action.guard)
        consents_after = Encoder(after, 0).term(action.guard)
        if not layers:
            question = f"no {component.name} holds up “{where}”"
            yield Obligation("progress", frame, (component,), here, (question,), (consents,))
            return
        ways = self.ways[component]
        stable = f"a {component.name} that allows “{where}” keeps allowing it"
        premises = (*here, consents, disjunction([way.moved for way in ways]))
        yield Obligation("progress", frame, (component,), premises, (stable,), (consents_after,))
        yield self.covered(component, here, consents, layers, where)

        def inside(of: Frame, consent: Term, members: Sequence[Layer]) -> Term:
            return conjunction([z3.Not(consent), Encoder(of, 0).term(either(*(m.holds for m in members)))])

        for layer in layers:
            later = [m for m in layers if layer.number <= m.number and (layer.until is None or m.number <= layer.until)]
            beyond = [m for m in layers if layer.until is not None and m.number > layer.until]
            steps = [way.moved for way in ways if layer.alone or way.taken.action.fairness is layer.helper]
            kind = "every step" if layer.alone else f"every step of the {layer.helper.value}"
            nearer = f"{kind} leads nearer to “{where}” (layer {layer.number + 1})"
            premises = (*here, inside(frame, consents, [layer] if layer.alone else later), disjunction(steps))
            goal = z3.Not(inside(after, consents_after, later))
            yield Obligation("progress", frame, (component,), premises, (nearer,), (goal,))
            if beyond:
                closed = f"no step leads further from “{where}” (layer {layer.number + 1})"
                premises = (*here, inside(frame, consents, [layer]), disjunction([way.moved for way in ways]))
                goal = z3.Not(inside(after, consents_after, beyond))
                yield Obligation("progress", frame, (component,), premises, (closed,), (goal,))

    def covered(
        self, component: Component, here: tuple[Term, ...], consents: Term, layers: Sequence[Layer], where: str
    ) -> Obligation:
        """Who withholds consent is in a layer, and what helps there is enabled."""
        frame = self.conditions.around((component,)).frame
        cases = []
        for layer in layers:
            enabled = [way.enabled for way in self.ways[component] if way.taken.action.fairness is layer.helper]
            cases.append(conjunction([Encoder(frame, 0).term(layer.holds), disjunction(enabled)]))
        question = f"some fair step helps towards “{where}”"
        premises = (*here, z3.Not(consents))
        return Obligation("progress", frame, (component,), premises, (question,), (disjunction(cases),))

    def _ways(self, component: Component) -> list[_Way]:
        """The steps of an instance that a run takes again and again; what changes nothing is none."""
        known = self.conditions.around((component,))
        found = []
        for action in self.system.actions:
            if action.actor is component and action.fairness is not Fairness.NEVER_ON_CYCLE:
                taken = take(self.system, known.frame, action, 0)
                changes = z3.Not(conjunction(taken.after.equals(known.frame)))
                enabled = conjunction([*taken.enabled, changes])
                moved = conjunction([enabled, *known.after.equals(taken.after)])
                found.append(_Way(taken, _for_some_choice(taken, enabled), moved))
        return found


def _overlap(layers: Sequence[Layer]) -> bool:
    """Whether two stages share a layer without being the same."""
    stages = {(layer.number, layer.until) for layer in layers}
    return any(a < b <= end and other != end for a, end in stages if end is not None for b, other in stages)


@dataclass(frozen=True)
class _Way:
    """A step of one instance: that it can be taken (with some choice), and that it is."""

    taken: Taken
    enabled: Term
    moved: Term


def _for_some_choice(taken: Taken, term: Term) -> Term:
    """That `term` holds for some value of the choice."""
    if taken.choice is None:
        return term
    size = taken.choice.size()
    return disjunction([z3.substitute(term, (taken.choice, z3.BitVecVal(v, size))) for v in taken.action.values])

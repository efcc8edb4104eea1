"""Systems about waiting, made by hand or drawn at random: a patcher that goes from step to step as instances allow it.

Each instance goes from place to place; some places allow the patcher's next step and others do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

from checker.proving import One
from checker.search.pairs import Pairs
from checker.search.progress import check_progress
from checker.search.python import explore
from models.system.expressions import (
    BOOL,
    Choice,
    Component,
    Enum,
    Expr,
    Operand,
    Read,
    Type,
    constant,
    every,
    if_else,
    parameter,
    some,
)
from models.system.system import Builder, Fairness, Progress, TransitionSystem
from models.system.visitor import each
from proofs.attempt import Attempt, attempt
from tests.checker.reference import cannot_finish, fair_part, survey

PLACES = Enum("place", ("ready", "busy", "away", "lost"))
Move = tuple[Fairness, str, tuple[str, ...]]  # its kind, from where, to which of these places
NONE, NEVER, TASK = Fairness.NONE, Fairness.NEVER_ON_CYCLE, Fairness.TASK
ACKNOWLEDGE, HANDLER, PATCHER = Fairness.ACKNOWLEDGE, Fairness.HANDLER, Fairness.PATCHER


@cache
def finishes(system: TransitionSystem, instances: int) -> bool:
    """What the search says of progress with so many instances of each component."""
    run = explore(system.resized(dict.fromkeys(system.components, instances)))
    check_progress(run)
    assert run.outcome.complete and run.outcome.progress_known
    return run.outcome.progress is None


def finishes_naively(system: TransitionSystem, instances: int) -> bool:
    """The same by the reference, which shares nothing with the search."""
    found = survey(system.resized(dict.fromkeys(system.components, instances)))
    return not cannot_finish(found) and fair_part(found) is None


@cache
def one(system: TransitionSystem) -> One:
    return One(Pairs(system))


@cache
def tried(system: TransitionSystem) -> Attempt:
    """What comes of proving that the patcher finishes, and nothing else."""
    return attempt(system, one(system).rows, [], steps=one(system).steps)


def is_proved(system: TransitionSystem) -> bool:
    proof = tried(system).proof
    return proof is not None and proof.ranking is not None


class Waiting:
    """Builds a system in which the patcher asks, waits until every CPU is ready, and is done.

    `start`: where CPUs are when they are asked.
    """

    def __init__(self, name: str, moves: Sequence[Move], start: str = "busy", late: bool = False) -> None:
        self.b = Builder(name)
        self.cpu = self.b.component("cpu", 1)
        self.steps = Enum("step", ("ask", "wait", *(["late"] if late else []), "done"))
        self.at = self.b.variable("at", self.steps, "ask")
        self.place = self.b.variable("place", PLACES, start, self.cpu)
        for k, (kind, here, there) in enumerate(moves):
            self.move(f"move {k}", kind, here, there)

    def move(self, name: str, kind: Fairness, here: str, there: Sequence[str], guard: Expr | None = None) -> None:
        which = Choice("which", tuple(there))
        target: Expr | str = there[-1]
        for k in range(len(there) - 1):
            target = if_else(parameter(which) == k, there[k], target, PLACES)
        asked = self.place == here if guard is None else (self.place == here) & guard
        self.b.action(
            name, actor=self.cpu, guard=asked, effects=[(self.place, target)], says="moves", fairness=kind, choice=which
        )

    def patcher(self, name: str, here: str, there: str, guard: Expr | None = None, kind: Fairness = PATCHER) -> None:
        asked = self.at == here if guard is None else (self.at == here) & guard
        self.b.action(name, guard=asked, effects=[(self.at, there)], says="goes on", fairness=kind)

    @property
    def ready(self) -> Expr:
        return every(self.cpu, each(self.place) == "ready")

    def system(self, asks: bool = True, waits: bool = True) -> TransitionSystem:
        """With the patcher's usual steps, unless it has others."""
        if asks:
            self.patcher("ask", "ask", "wait")
        if waits:
            self.patcher("wait", "wait", "done", self.ready)
        self.b.progress = Progress("completes", self.at == "done", "it does not finish")
        return self.b.build()


def waiting(name: str, *moves: Move, start: str = "busy") -> TransitionSystem:
    """The usual patcher, and CPUs with these moves."""
    return Waiting(name, moves, start).system()


# ---- drawn ----------------------------------------------------------------------------------------------------------

KINDS = (NONE, NONE, NEVER, TASK, TASK, TASK, ACKNOWLEDGE, ACKNOWLEDGE, HANDLER)


class _Drawn:
    def __init__(self, seed: int) -> None:
        self.r = Random(seed)
        self.b = Builder(f"waits {seed}")
        names = ("cpu", "device")[: self.r.choice((1, 1, 2))]
        self.components = [self.b.component(name, 1) for name in names]
        self.steps = Enum("step", (*(f"step {k}" for k in range(self.r.randint(2, 3))), "done"))
        self.at = self.b.variable("at", self.steps, 0)
        self.places = Enum("place", PLACES.labels[: self.r.randint(3, 4)])
        self.place = {c: self.local(f"{c.name} place", c, self.places) for c in self.components}
        self.flag = {c: self.local(f"{c.name} flag", c, BOOL) for c in self.components}

    def local(self, name: str, component: Component, type_: Type) -> Read:
        return self.b.variable(name, type_, constant(self.r.randrange(2), type_), component)

    def some_place(self) -> int:
        return self.r.randrange(len(self.places.labels))

    def consent(self, component: Component) -> Expr:
        at = self.place[component] == 0
        return self.r.choice((at, at, at, at, at | self.flag[component], ~self.flag[component]))

    def patcher(self, k: int) -> None:
        here = self.at == k
        asked = [c for c in self.components if self.r.random() < 0.9]
        guard = here
        for component in asked:
            guard = guard & every(component, each(self.consent(component)))
        casts: list[tuple[Expr, Operand]] = []
        for component in self.components:
            if self.r.random() < 0.7:
                place, flag = self.place[component], self.flag[component]
                called: Operand = self.r.choice((self.some_place(), if_else(each(flag), 2, each(place))))
                casts.append((flag, 1) if self.r.random() < 0.3 else (place, called))
        there = k + 1 if self.r.random() < 0.97 else self.r.randrange(k + 1)
        kind = PATCHER if self.r.random() < 0.97 else NONE
        self.b.action(f"step {k}", guard=guard, effects=[(self.at, there)], broadcast=casts, says="", fairness=kind)

    def move(self, component: Component, number: int) -> None:
        place, flag = self.place[component], self.flag[component]
        choice = Choice("which", ("one", "two")) if self.r.random() < 0.2 else None
        here = self.r.randrange(0 if self.r.random() < 0.06 else 1, len(self.places.labels))
        near = max(0, here - 1)
        target: Operand = near if self.r.random() < 0.5 else self.some_place()
        if choice is not None:
            target = if_else(parameter(choice) == 0, target, self.some_place(), self.places)
        guard = place == here
        if self.r.random() < 0.3:
            guard = guard & self.r.choice((flag, ~flag, self.at == self.r.randrange(len(self.steps.labels))))
        effects: list[tuple[Expr, Operand]] = [(place, target)]
        if self.r.random() < 0.3:
            effects.append((flag, self.r.choice((0, 0, 1))))
        if self.r.random() < 0.01:
            effects.append((self.at, 0))
        name, kind = f"{component.name} {number}", self.r.choice(KINDS)
        self.b.action(name, actor=component, guard=guard, effects=effects, says="", fairness=kind, choice=choice)

    def system(self) -> TransitionSystem:
        done = len(self.steps.labels) - 1
        for k in range(done):
            self.patcher(k)
        for component in self.components:
            for number in range(self.r.randint(len(self.places.labels), 6)):
                self.move(component, number)
        if self.r.random() < 0.1:
            component = self.r.choice(self.components)
            self.b.halted = some(component, each(self.place[component]) == len(self.places.labels) - 1)
        self.b.progress = Progress("completes", self.at == done, "it does not finish")
        return self.b.build()


def drawn_waits(seed: int) -> TransitionSystem:
    """The system that belongs to a number, with one instance of each component."""
    return _Drawn(seed).system()

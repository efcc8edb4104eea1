"""An invariant found without help: clauses learned from counterexamples to induction.

Given the reachable set of a small instance, restricted to k instances (rows), one asks for a step that leaves the
clauses found so far, or that breaks a property. Its pre-state is not a row, so some of what it says separates it from
all rows: literals are dropped and values added as long as it does, and the negation becomes a clause. What cannot be
separated means that no invariant over k instances will do. This is the learning from counterexamples of IC3 (Bradley,
VMCAI 2011) with the reachable set as the oracle, as in invisible invariants (Pnueli, Ruah, Zuck, TACAS 2001).

Shared variables that follow from one of them (the patcher's program counter) are said first, each in one clause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import z3

from models.system.evaluate import State
from models.system.expressions import (
    Bits,
    Bool,
    Component,
    Enum,
    Expr,
    Variable,
    both,
    constant,
    either,
    equal,
    read,
)
from models.system.system import Invariant as Claim
from models.system.system import Mark, TransitionSystem
from proofs.cubes import Cubes, Row
from proofs.encode import Term, conjunction, disjunction
from proofs.induction import WORK, Conditions, Obligation, fresh_solver, read_all, selections
from proofs.lemma import Invariant, Lemma


class NotFound(Exception):
    """No invariant over so few instances: a state that looks reachable to every few leads out of all that is known.

    `lemmas`: what had been learned by then.
    """

    def __init__(self, message: str, lemmas: Sequence[Lemma] = ()) -> None:
        super().__init__(message)
        self.lemmas = tuple(lemmas)


@dataclass(frozen=True)
class Feature:
    """What a literal may speak of: the value of a variable of one instance, or one bit of a mask."""

    variable: Variable
    column: int
    instance: int
    bit: int | None
    values: int  # how many

    @property
    def is_local(self) -> bool:
        return self.variable.component is not None

    def of(self, row: Row) -> int:
        value = row[self.column]
        return value if self.bit is None else value >> self.bit & 1

    def among(self, values: Sequence[int]) -> Expr:
        """That the value is one of these."""
        here = read(self.variable, self.instance == 1)
        if self.bit is None:
            return here.is_in(values)
        mask = constant(1 << self.bit, self.variable.type)
        return either(*(equal(here & mask, mask if value else 0) for value in values))


def rows_of(system: TransitionSystem, states: Iterable[State], about: tuple[Component, ...]) -> set[Row]:
    """The restrictions of some states to instances of these components."""
    owners = [component for component, _ in system.instances]
    found = set()
    for state in states:
        for places in selections(len(owners), len(about)):
            if all(owners[i] is c for i, c in zip(places, about, strict=True)):
                found.add(sum((state.instances[i] for i in places), state.shared))
    return found


class Oracle(Protocol):
    """Knows what is reachable."""

    def separate(self, state: State, actors: tuple[Component, ...], number: int) -> Lemma | None:
        """A lemma that this state of some instances breaks and no reachable one does; None where there is none."""


def infer(
    system: TransitionSystem,
    rows: Mapping[tuple[Component, ...], set[Row]],
    claims: Sequence[Mark | Claim],
    *,
    seed: Sequence[Lemma] = (),
    also: Sequence[Obligation] = (),
    work: int = WORK,
) -> Invariant:
    """An inductive invariant that implies `claims`. Raises NotFound.

    `rows`: for each k-tuple of components, the reachable values. `seed`: lemmas to begin with. `also`: obligations,
    made for no invariant at all, that are to hold as well. The result is not trusted: it is to be proved.
    """
    shapes = Conditions(system, Invariant((), "found", len(next(iter(rows)))), claims)
    return learn(shapes, _Reachable(system, rows), seed=seed, also=also, work=work)


def learn(
    shapes: Conditions,
    oracle: Oracle,
    *,
    seed: Sequence[Lemma] = (),
    also: Sequence[Obligation] = (),
    work: int = WORK,
) -> Invariant:
    """The same with any oracle; `shapes`: the conditions, of an invariant that has no lemma yet."""
    return _Search(shapes, oracle, seed, also, work).run()


class _Search:
    """Asks for counterexamples to induction, over all steps at once, until there are none."""

    def __init__(
        self, shapes: Conditions, oracle: Oracle, seed: Sequence[Lemma], also: Sequence[Obligation], work: int
    ) -> None:
        self.oracle, self.seed, self.index = oracle, seed, shapes.invariant.index
        self.lemmas: list[Lemma] = []
        shown = dict.fromkeys(actors for tuple_ in shapes.tuples() for actors, _, _ in shapes.steps(tuple_))
        shown.update(dict.fromkeys(obligation.actors for obligation in also))
        self.questions = [_Question(shapes, actors, also, work) for actors in sorted(shown, key=len)]

    def run(self) -> Invariant:
        for lemma in self.seed:
            self.learn(lemma)
        while self.teach():
            pass
        needed = self.needed()
        lemmas = tuple(lemma for i, lemma in enumerate(self.lemmas) if i in needed)
        written = all(lemma in self.seed for lemma in lemmas)
        return Invariant(lemmas, "written" if written else "found", self.index)

    def needed(self) -> set[int]:
        """The lemmas that the properties rest on, those that these rest on, and so forth."""
        needed: set[int] = set()
        while True:
            more = set().union(*(question.core(needed) for question in self.questions)) - needed
            if not more:
                return needed
            needed |= more

    def teach(self) -> bool:
        """Put each question until it has no more counterexamples; False when none had one."""
        taught = False
        for question in self.questions:
            while (state := question.counterexample()) is not None:
                lemma = self.oracle.separate(state, question.actors, len(self.lemmas) + 1)
                if lemma is None:
                    seen = "it" if self.index == 1 else f"every {self.index} of them"
                    raise NotFound(f"a state in which {seen} might be leads out of all that is known", self.lemmas)
                self.learn(lemma)
                taught = True
        return taught

    def learn(self, lemma: Lemma) -> None:
        self.lemmas.append(lemma)
        for question in self.questions:
            question.learn(lemma)


class _Question:
    """Is there a step of a few instances, from a state in which all lemmas hold, that breaks a lemma or a property?"""

    def __init__(
        self, shapes: Conditions, actors: tuple[Component, ...], also: Sequence[Obligation], work: int
    ) -> None:
        self.system, self.actors, self.work = shapes.system, actors, work
        known = shapes.around(actors)
        self.before, self.after = known.frame, known.after
        self.solver = fresh_solver(work)
        self.goals: list[Term] = []
        self.lemmas: list[Term] = []  # literals: that a lemma holds before
        ways = []
        for tuple_ in shapes.tuples():
            for seen, action, actor in shapes.steps(tuple_):
                if seen == actors:
                    ways.append(conjunction([*shapes.moved(actors, action, actor)[1], z3.Not(self.kept())]))
        for obligation in (*shapes.safety(), *also):
            if obligation.actors == actors:
                ways.append(conjunction([*obligation.premises, z3.Not(conjunction(obligation.goals))]))
        self.solver.add(*known.premises, disjunction(ways))

    def kept(self) -> z3.BoolRef:
        """That every lemma holds afterwards; what that means is said lemma by lemma."""
        return z3.Bool("kept")

    def learn(self, lemma: Lemma) -> None:
        """From now on the lemma holds before, and is to hold after."""
        here = z3.Bool(f"lemma {len(self.lemmas)}")
        self.lemmas.append(here)
        goals: list[Term] = []
        for places in selections(len(self.actors), len(lemma.about)):
            if tuple(self.actors[i] for i in places) == lemma.about:
                self.solver.add(*(z3.Implies(here, term) for term in read_all([lemma], self.before, places)))
                goals += read_all([lemma], self.after, places)
        self.goals.append(conjunction(goals))

    def counterexample(self) -> State | None:
        """A state in which all lemmas hold and that is not good enough. Raises NotFound where the solver gives up."""
        with self.asked(self.goals) as result:
            return self.before.state(self.system, self.solver.model()) if result == z3.sat else None

    def core(self, wanted: Iterable[int]) -> set[int]:
        """The lemmas without which the properties and the wanted lemmas would not follow."""
        with self.asked([self.goals[i] for i in wanted]) as result:
            assert result == z3.unsat
            used = {str(literal) for literal in self.solver.unsat_core()}
        return {i for i, literal in enumerate(self.lemmas) if str(literal) in used}

    @contextmanager
    def asked(self, goals: Sequence[Term]) -> Iterator[z3.CheckSatResult]:
        """What the solver says to a step that breaks a property or one of the goals."""
        self.solver.push()
        self.solver.set("rlimit", self.work)
        self.solver.add(self.kept() == conjunction(goals))
        result = self.solver.check(*self.lemmas)
        reason = self.solver.reason_unknown() if result == z3.unknown else ""
        try:
            if reason:
                raise NotFound(f"the solver gave up: {reason}")
            yield result
        finally:
            self.solver.pop()


class _Reachable:
    """The oracle made of rows, for each tuple of components."""

    def __init__(self, system: TransitionSystem, rows: Mapping[tuple[Component, ...], set[Row]]) -> None:
        width = len(system.globals)
        shared = {row[:width] for known in rows.values() for row in known}
        leader = leading(system, shared)
        self.followers = followers(system, shared, leader) if leader else []
        self.tables = {about: _Table(system, about, known, leader) for about, known in rows.items()}
        self.tables[()] = _Table(system, (), shared, leader)
        self.index = len(next(iter(rows)))

    def separate(self, state: State, actors: tuple[Component, ...], number: int) -> Lemma | None:
        for lemma, leader, column, follows in self.followers:
            value = follows.get(state.shared[leader])
            if value is not None and value != state.shared[column]:
                return lemma
        for places in selections(len(actors), min(len(actors), self.index)):
            table = self.tables.get(tuple(actors[i] for i in places))
            row = sum((state.instances[i] for i in places), state.shared)
            if table is not None and row not in table.rows:
                return table.separate(row, number)
        return None


class _Table:
    """The rows for one tuple of components, seen feature by feature."""

    def __init__(
        self, system: TransitionSystem, about: tuple[Component, ...], rows: set[Row], leader: Variable | None
    ) -> None:
        self.about, self.rows = about, rows
        self.features: list[Feature] = []
        column = 0
        for instance, group in enumerate([system.globals, *(system.locals(c) for c in about)]):
            for variable in group:
                for bit in range(len(variable.bits)) if variable.bits else (None,):
                    values = 2 if bit is not None else size(variable)
                    self.features.append(Feature(variable, column, max(0, instance - 1), bit, values))
                column += 1

        def rank(i: int) -> tuple[bool, bool, int]:
            """Dropped first: shared variables that the leader tells, then locals with many values; the leader last."""
            feature = self.features[i]
            return feature.variable is leader, feature.is_local == (leader is not None), -feature.values

        order = sorted(range(len(self.features)), key=rank)
        seen = [self.features_of(row) for row in rows]
        self.cubes = Cubes(seen, [feature.values for feature in self.features], order)

    def features_of(self, row: Row) -> Row:
        return tuple(feature.of(row) for feature in self.features)

    def separate(self, row: Row, number: int) -> Lemma:
        """The clause learned from a state that is not a row."""
        cube = self.cubes.separate(self.features_of(row))
        parts = [self.features[i].among(values) for i, values in cube.items()]
        last = max((self.features[i].instance for i in cube if self.features[i].is_local), default=-1)
        return Lemma(f"clause-{number}", "", ~both(*parts), self.about[: last + 1])


def size(variable: Variable) -> int:
    match variable.type:
        case Bool():
            return 2
        case Enum(labels=labels):
            return len(labels)
        case Bits(width=width):
            return 1 << width


def leading(system: TransitionSystem, shared: set[Row]) -> Variable | None:
    """A shared variable that tells all others, if there is one: the patcher's position."""
    for column, variable in enumerate(system.globals):
        if len({row[column] for row in shared}) == len(shared):
            return variable
    return None


def followers(
    system: TransitionSystem, shared: set[Row], leader: Variable
) -> list[tuple[Lemma, int, int, dict[int, int]]]:
    """What the leader tells: for each other shared variable a lemma, both columns, and what value follows."""
    column = system.globals.index(leader)
    found = []
    for other, variable in enumerate(system.globals):
        if variable is leader:
            continue
        value = {row[column]: row[other] for row in shared}
        when: dict[int, list[int]] = {}
        for position, follows in sorted(value.items()):
            when.setdefault(follows, []).append(position)
        parts = [~read(leader).is_in(at) | (read(variable) == v) for v, at in sorted(when.items())]
        says = f"What “{variable.name}” is, the patcher's position says."
        found.append((Lemma(f"{variable.name}-follows", says, both(*parts)), column, other, value))
    return found

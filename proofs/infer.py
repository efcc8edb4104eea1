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

import z3

from models.system.evaluate import State
from models.system.expressions import (
    BitAnd,
    BitOr,
    Bits,
    Bool,
    Component,
    Enum,
    Expr,
    Read,
    Variable,
    both,
    constant,
    either,
    equal,
    read,
)
from models.system.system import Invariant as Claim
from models.system.system import Mark, TransitionSystem
from models.system.visitor import nodes
from proofs.encode import Encoder, Frame, Term, conjunction, disjunction, take
from proofs.induction import WORK, Conditions, Obligation, fresh_solver, read_all, selections
from proofs.lemma import Invariant, Lemma

Row = tuple[int, ...]  # values of the shared variables, and of the locals of each instance


class NotFound(Exception):
    """No invariant over so few instances: a state that some reachable state looks like leads out of every one."""


@dataclass(frozen=True)
class Feature:
    """What a literal may speak of: the value of a variable of one instance, or one bit of a mask."""

    variable: Variable
    column: int
    instance: int
    bit: int | None
    values: int  # how many

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
    return _Search(system, rows, claims, seed, also, work).run()


class _Search:
    """Asks for counterexamples to induction, over all steps at once, until there are none."""

    def __init__(
        self,
        system: TransitionSystem,
        rows: Mapping[tuple[Component, ...], set[Row]],
        claims: Sequence[Mark | Claim],
        seed: Sequence[Lemma],
        also: Sequence[Obligation],
        work: int,
    ) -> None:
        self.system, self.seed = system, seed
        self.index = len(next(iter(rows)))
        self.tables = {about: _Table(system, about, known) for about, known in rows.items()}
        self.shared = set().union(*(table.shared for table in self.tables.values()))
        self.followers = followers(system, self.shared)
        self.lemmas: list[Lemma] = []
        shapes = Conditions(system, Invariant((), "found", self.index), claims)
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
                self.learn(self.separate(state, question.actors))
                taught = True
        return taught

    def learn(self, lemma: Lemma) -> None:
        self.lemmas.append(lemma)
        for question in self.questions:
            question.learn(lemma)

    def separate(self, state: State, actors: tuple[Component, ...]) -> Lemma:
        """A lemma that this state breaks and no row does. Raises NotFound."""
        if state.shared not in self.shared:
            for lemma, leader, column, follows in self.followers:
                value = follows.get(state.shared[leader])
                if value is not None and value != state.shared[column]:
                    return lemma
        for places in selections(len(actors), self.index):
            table = self.tables.get(tuple(actors[i] for i in places))
            row = sum((state.instances[i] for i in places), state.shared)
            if table is not None and row not in table.rows:
                return table.separate(row, len(self.lemmas) + 1)
        raise NotFound("a state that looks reachable to every few instances leads out of all that is known")


class _Question:
    """Is there a step of a few instances, from a state in which all lemmas hold, that breaks a lemma or a property?"""

    def __init__(
        self, shapes: Conditions, actors: tuple[Component, ...], also: Sequence[Obligation], work: int
    ) -> None:
        self.system, self.actors = shapes.system, actors
        self.before = Frame.fresh(self.system, actors)
        self.after = Frame.fresh(self.system, actors, "next ")
        self.solver = fresh_solver(work)
        self.work = work
        self.goals: list[Term] = []
        self.lemmas: list[Term] = []  # literals: that a lemma holds before
        ways = []
        index = shapes.invariant.index
        for tuple_ in shapes.tuples():
            for seen, action, actor in shapes.steps(tuple_):
                if seen == actors:
                    taken = take(self.system, self.before, action, actor)
                    marks = (
                        [taken.encoder.term(mark.when) for mark in shapes.marks[id(action)]]
                        if actor in (None, 0)
                        else []
                    )
                    ways.append(
                        z3.And(*taken.enabled, *self.after.equals(taken.after), z3.Or(z3.Not(self.kept()), *marks))
                    )
        if len(actors) == index:
            encoder = Encoder(self.before)
            ways += [z3.Not(encoder.term(claim.holds)) for claim in shapes.states]
        ways += [conjunction([*o.premises, z3.Not(conjunction(o.goals))]) for o in also if o.actors == actors]
        self.solver.add(*self.before.domains(), disjunction(ways))

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


class _Table:
    """The rows for one tuple of components, with a bit-vector over the rows for each value of each feature."""

    def __init__(self, system: TransitionSystem, about: tuple[Component, ...], rows: set[Row]) -> None:
        self.about, self.rows = about, rows
        width = len(system.globals)
        self.shared = {row[:width] for row in rows}
        masks = _masks(system)
        self.features: list[Feature] = []
        column = 0
        for instance, group in enumerate([system.globals, *(system.locals(c) for c in about)]):
            for variable in group:
                if variable in masks and isinstance(variable.type, Bits):
                    bits: list[int | None] = list(range(variable.type.width))
                else:
                    bits = [None]
                for bit in bits:
                    values = 2 if bit is not None else _size(variable)
                    self.features.append(Feature(variable, column, max(0, instance - 1), bit, values))
                column += 1
        self.where: list[dict[int, int]] = [{} for _ in self.features]
        for number, row in enumerate(sorted(rows)):
            for feature, where in zip(self.features, self.where, strict=True):
                value = feature.of(row)
                where[value] = where.get(value, 0) | 1 << number
        self.all = (1 << len(rows)) - 1
        # what is dropped first: shared variables that the leader tells, then locals with many values; the leader last
        leader = leading(system, self.shared)

        def rank(i: int) -> tuple[bool, bool, int]:
            feature = self.features[i]
            local = feature.variable.component is not None
            return feature.variable is leader, local == (leader is not None), -feature.values

        self.order = sorted(range(len(self.features)), key=rank)

    def separate(self, row: Row, number: int) -> Lemma:
        """The clause learned from a state that is not a row."""
        cube: dict[int, set[int]] = {i: {f.of(row)} for i, f in enumerate(self.features)}
        for i in self.order:
            rest = {j: values for j, values in cube.items() if j != i}
            if self.matches(rest) == 0:
                cube = rest
        for i in cube:
            others = self.matches({j: values for j, values in cube.items() if j != i})
            cube[i] |= {v for v in range(self.features[i].values) if not self.where[i].get(v, 0) & others}
        parts = [self.features[i].among(sorted(values)) for i, values in cube.items()]
        about = tuple(
            self.about[: 1 + max((self.features[i].instance for i in cube if not self._is_shared(i)), default=-1)]
        )
        return Lemma(f"clause-{number}", "", ~both(*parts), about)

    def _is_shared(self, i: int) -> bool:
        return self.features[i].variable.component is None

    def matches(self, cube: dict[int, set[int]]) -> int:
        """The rows that a cube contains."""
        left = self.all
        for i, values in cube.items():
            where = self.where[i]
            there = 0
            for value in values:
                there |= where.get(value, 0)
            left &= there
            if not left:
                break
        return left


def _size(variable: Variable) -> int:
    match variable.type:
        case Bool():
            return 2
        case Enum(labels=labels):
            return len(labels)
        case Bits(width=width):
            return 1 << width


def _masks(system: TransitionSystem) -> set[Variable]:
    """The variables whose bits are used one by one."""
    found = set()
    for action in system.actions:
        for root in (action.guard, *(effect.value for effect in action.effects)):
            for node in nodes(root):
                if isinstance(node, (BitAnd, BitOr)):
                    found |= {arg.variable for arg in node.args if isinstance(arg, Read)}
    return found


def leading(system: TransitionSystem, shared: set[Row]) -> Variable | None:
    """A shared variable that tells all others, if there is one: the patcher's position."""
    for column, variable in enumerate(system.globals):
        if len({row[column] for row in shared}) == len(shared):
            return variable
    return None


def followers(system: TransitionSystem, shared: set[Row]) -> list[tuple[Lemma, int, int, dict[int, int]]]:
    """Where one shared variable tells all others: for each of those a lemma, both columns, and what value follows."""
    leader = leading(system, shared)
    if leader is None:
        return []
    column = system.globals.index(leader)
    found = []
    for other, variable in enumerate(system.globals):
        if variable is leader:
            continue
        value = {row[column]: row[other] for row in shared}
        when: dict[int, list[int]] = {}
        for position, follows in value.items():
            when.setdefault(follows, []).append(position)
        parts = [~read(leader).is_in(sorted(at)) | (read(variable) == v) for v, at in sorted(when.items())]
        says = f"What “{variable.name}” is, the patcher's position says."
        found.append((Lemma(f"{variable.name}-follows", says, both(*parts)), column, other, value))
    return found

"""Which moves does a system have, written out: each action, for each instance and each value of its choice.

The expressions of a move are those of the system with every local variable replaced by a *cell*: the variable of one
instance. The instance is a number, or stays open: the one that acts, the one that a quantifier speaks of, the one that
a broadcast reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.system.expressions import (
    FALSE,
    TRUE,
    Add,
    And,
    Constant,
    Equal,
    Every,
    Expr,
    Not,
    Or,
    Read,
    Subtract,
    Variable,
    both,
    either,
    equal,
    every,
    read,
)
from models.system.system import Action, Effect, Invariant, Mark, TransitionSystem
from models.system.visitor import Rewriter, nodes

ACTING, QUANTIFIED, RECEIVING = -1, -2, -3  # instances that stay open


@dataclass(frozen=True)
class Cell:
    """A place in the state: a variable, and for a component's, of which instance (its number, or an open one)."""

    variable: Variable
    owner: int | None

    def may_be(self, other: Cell) -> bool:
        """Whether both can be the same place."""
        if self.variable is not other.variable:
            return False
        return self.owner == other.owner or min(self.owner or 0, other.owner or 0) < 0


@dataclass(frozen=True, eq=False)
class Write:
    """`cell` := `value`. Where the cell is the receiving instance's, for all of them."""

    cell: Cell
    value: Expr


@dataclass(frozen=True, eq=False)
class Move:
    """One action of one instance (None: the patcher) with one choice.

    `changes`: whether the result differs from the source; TRUE where the guard sees to it.
    """

    action: Action
    instance: int | None
    choice: int
    guard: Expr
    changes: Expr
    writes: tuple[Write, ...]
    marks: tuple[tuple[Mark, Expr], ...]

    @property
    def name(self) -> str:
        """The action, with its choice if it has one."""
        choice = self.action.choice
        return f"{self.action.name}: {choice.labels[self.choice]}" if choice else self.action.name

    def says(self, actor: str) -> str:
        """The action's sentence."""
        choice = self.action.choice
        return self.action.says.replace("{cpu}", actor).replace(
            "{choice}", choice.labels[self.choice] if choice else ""
        )


class Cells:
    """Replaces local variables by cells. With `open_`, acting, quantified and receiving instances stay open."""

    def __init__(self, system: TransitionSystem, open_: bool) -> None:
        self.system, self.open = system, open_
        self.of: dict[Variable, Cell] = {v: Cell(v, None) for v in system.globals}
        self._reads: dict[Cell, Read] = {}
        self._rewriters: dict[tuple[int | None, int | None, bool], _Place] = {}

    def read(self, variable: Variable, owner: int | None) -> Read:
        """The value of a cell."""
        if variable.component is None:
            return read(variable)
        cell = Cell(variable, owner)
        if cell not in self._reads:
            stand_in = Variable(variable.name, variable.type, variable.initial, None, variable.says, variable.where)
            self.of[stand_in] = cell
            self._reads[cell] = read(stand_in)
        return self._reads[cell]

    def place(self, root: Expr, acting: int | None = None, bound: int | None = None, flat: bool = False) -> Expr:
        """`root` over cells. `flat`: quantifiers are written out whatever else stays open."""
        key = acting, bound, flat or not self.open
        if key not in self._rewriters:
            self._rewriters[key] = _Place(self, *key)
        return self._rewriters[key].visit(root)

    def cells_in(self, root: Expr) -> list[Cell]:
        """The cells that an expression reads."""
        return [self.of[node.variable] for node in nodes(root) if isinstance(node, Read)]

    def moves(self) -> tuple[Move, ...]:
        """All moves, in the order of actions, instances and choices; those that can never be enabled are left out."""
        found = []
        for action in self.system.actions:
            count = self.system.counts[action.actor] if action.actor else 0
            actors: Sequence[int | None] = [None] if not action.actor else [ACTING] if self.open else range(count)
            for actor in actors:
                for choice in action.values:
                    move = self._move(action, actor, choice)
                    if move.guard is not FALSE:
                        found.append(move)
        return tuple(found)

    def _move(self, action: Action, actor: int | None, choice: int) -> Move:
        def placed(root: Expr, bound: int | None = None) -> Expr:
            return self.place(action.at(root, choice), actor, bound)

        guard = placed(action.guard)
        writes = []
        for effect in action.effects:
            for owner in self._owners(effect, actor):
                value = placed(effect.value, owner if effect.broadcast else None)
                if value is not self.read(effect.variable, owner):
                    writes.append(Write(Cell(effect.variable, owner), value))
        marks = tuple((mark, placed(mark.when)) for mark in action.marks)
        return Move(action, actor, choice, guard, self._changes(guard, writes), tuple(writes), marks)

    def _owners(self, effect: Effect, actor: int | None) -> Sequence[int | None]:
        component = effect.variable.component
        if not effect.broadcast:
            return [actor if component else None]
        assert component is not None
        return [RECEIVING] if self.open else range(self.system.counts[component])

    def _changes(self, guard: Expr, writes: Sequence[Write]) -> Expr:
        facts = guard.args if isinstance(guard, And) else (guard,)
        differ = []
        for write in writes:
            cell, value = write.cell, write.value
            if cell.owner == RECEIVING:
                assert cell.variable.component is not None
                body = equal(self._requantified(self.read(cell.variable, RECEIVING)), self._requantified(value))
                differ.append(~every(cell.variable.component, body))
            elif _is_new(self.read(cell.variable, cell.owner), value, facts):
                return TRUE
            else:
                differ.append(~equal(self.read(cell.variable, cell.owner), value))
        return either(*differ)

    def _requantified(self, root: Expr) -> Expr:
        """What is said of the receiving instance, said of the quantified one."""
        return _Requantify(self).visit(root)

    def written_out(self, root: Expr) -> Expr:
        """The same without quantifiers."""
        return _WriteOut(self).visit(root)

    def invariants(self) -> list[tuple[Invariant, Expr]]:
        """The system's invariants over cells."""
        return [(i, self.place(i.holds)) for i in self.system.invariants]

    def halted(self) -> Expr:
        return self.place(self.system.halted)

    def goal(self) -> Expr:
        return self.place(self.system.progress.goal) if self.system.progress else FALSE


class _Place(Rewriter):
    def __init__(self, cells: Cells, acting: int | None, bound: int | None, flat: bool) -> None:
        super().__init__()
        self.cells, self.acting, self.bound, self.flat = cells, acting, bound, flat

    def on_read(self, node: Read) -> Expr:
        owner = self.bound if node.bound else self.acting
        return node if node.variable.component is None or owner is None else self.cells.read(node.variable, owner)

    def on_every(self, node: Every, body: Expr) -> Expr:
        if not self.flat:  # a quantifier inside another is written out: one open name is enough
            return every(node.component, self.cells.place(node.args[0], self.acting, QUANTIFIED, flat=True))
        instances = range(self.cells.system.counts[node.component])
        return both(*(self.cells.place(node.args[0], self.acting, i, flat=True) for i in instances))


class _WriteOut(Rewriter):
    def __init__(self, cells: Cells) -> None:
        super().__init__()
        self.cells = cells

    def on_every(self, node: Every, body: Expr) -> Expr:
        return both(
            *(_Number(self.cells, i).visit(node.args[0]) for i in range(self.cells.system.counts[node.component]))
        )


class _Requantify(_WriteOut):
    def on_read(self, node: Read) -> Expr:
        cell = self.cells.of[node.variable]
        return self.cells.read(cell.variable, QUANTIFIED) if cell.owner == RECEIVING else node


class _Number(Rewriter):
    def __init__(self, cells: Cells, number: int) -> None:
        super().__init__()
        self.cells, self.number = cells, number

    def on_read(self, node: Read) -> Expr:
        cell = self.cells.of[node.variable]
        return self.cells.read(cell.variable, self.number) if cell.owner == QUANTIFIED else node


def _is_new(old: Read, value: Expr, facts: Sequence[Expr]) -> bool:
    """Whether `value` certainly differs from `old` where `facts` hold."""
    if isinstance(value, (Add, Subtract)) and value.args[0] is old:
        return isinstance(value.args[1], Constant) and value.args[1].value != 0
    if isinstance(value, Not):
        return value.args[0] is old
    return isinstance(value, Constant) and any(_excludes(fact, old, value) for fact in facts)


def _excludes(fact: Expr, old: Read, value: Constant) -> bool:
    """Whether `fact` implies that `old` is not `value`."""
    match fact:
        case Equal(args=(a, Constant(value=known))):
            return a is old and known != value.value
        case Or(args=parts):
            return all(_excludes(part, old, value) for part in parts)
        case Not(args=(Equal(args=(a, b)),)):
            return a is old and b is value
        case Not(args=(a,)):
            return a is old and bool(value.value)
    return fact is old and not value.value


def schedule(cells: Cells, writes: Sequence[Write]) -> tuple[list[Write], list[Write]]:
    """In which order to write so that every value is read before it is overwritten: (to be computed first, the rest).

    The rest can be written one after the other, once the values of the first have been put aside; then those.
    """

    def disturbs(write: Write, other: Write) -> bool:
        read_by = cells.cells_in(other.value)
        if write is other:
            return write.cell.owner == RECEIVING and any(c.may_be(write.cell) and c.owner != RECEIVING for c in read_by)
        return any(write.cell.may_be(cell) for cell in read_by)

    aside, rest, left = [], [], list(writes)
    while left:
        ready = next((w for w in left if not any(disturbs(w, other) for other in left)), None)
        if ready is None:
            ready = left[0]
            aside.append(ready)
        else:
            rest.append(ready)
        left.remove(ready)
    return aside, rest

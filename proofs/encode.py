"""Expressions → Z3 terms.

A boolean becomes a Bool, an enumeration or bits a bit-vector just wide enough. A `Frame` holds the terms of one
symbolic state: the shared variables, and the locals of a few instances. `Encoder` turns an expression into a term
over a frame, for one acting and one bound instance; `every` becomes a conjunction over the frame's instances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import z3

from models.system.evaluate import State
from models.system.expressions import (
    Add,
    And,
    BitAnd,
    BitOr,
    Bits,
    Bool,
    Component,
    Constant,
    Enum,
    Equal,
    Every,
    Expr,
    If,
    Less,
    Not,
    Or,
    Parameter,
    Read,
    Subtract,
    Type,
    Variable,
)
from models.system.system import Action, TransitionSystem
from models.system.visitor import Visitor

Term = Any  # z3.BoolRef | z3.BitVecRef: the package has no types
_Meaning = Callable[[int | None], Term]  # of the bound instance


def width(type_: Type) -> int:
    """How many bits a value of an enumeration or of bits needs."""
    match type_:
        case Enum():
            return max(1, (len(type_.labels) - 1).bit_length())
        case Bits():
            return type_.width
    raise TypeError(f"{type_} is no bit-vector")


def literal(value: int, type_: Type) -> Term:
    """The Z3 term of a value."""
    return z3.BoolVal(bool(value)) if isinstance(type_, Bool) else z3.BitVecVal(value, width(type_))


def unknown(name: str, type_: Type) -> Term:
    """A Z3 constant for a value that is not known."""
    return z3.Bool(name) if isinstance(type_, Bool) else z3.BitVec(name, width(type_))


def in_domain(term: Term, type_: Type) -> list[Term]:
    """That a bit-vector is one of an enumeration's labels; nothing where every value is one."""
    if isinstance(type_, Enum) and len(type_.labels) < 1 << width(type_):
        return [z3.ULT(term, z3.BitVecVal(len(type_.labels), width(type_)))]
    return []


def conjunction(terms: Sequence[Term]) -> Term:
    """All of some Boolean terms; as `z3.And`, which takes most of its time to look at the types."""
    return _junction(z3.Z3_mk_and, terms) if terms else z3.BoolVal(True)


def disjunction(terms: Sequence[Term]) -> Term:
    """At least one of some Boolean terms."""
    return _junction(z3.Z3_mk_or, terms) if terms else z3.BoolVal(False)


def _junction(make: Callable[..., Any], terms: Sequence[Term]) -> Term:
    if len(terms) == 1:
        return terms[0]
    context = terms[0].ctx
    return z3.BoolRef(make(context.ref(), len(terms), (z3.Ast * len(terms))(*(t.as_ast() for t in terms))), context)


@dataclass(frozen=True)
class Frame:
    """A symbolic state of a few instances of each component: terms for every variable.

    `members`: for each component the positions in `locals` that are its instances.
    """

    shared: Mapping[Variable, Term]
    locals: tuple[Mapping[Variable, Term], ...]
    members: Mapping[Component, tuple[int, ...]]

    @staticmethod
    def fresh(system: TransitionSystem, actors: tuple[Component, ...], prefix: str = "") -> Frame:
        """A frame of unknowns; `actors`: the component of each instance.

        Unknowns are told apart by where their variables stand, as any text may be the name of a variable.
        """
        shared = {v: unknown(f"{prefix}g{k} {v.name}", v.type) for k, v in enumerate(system.globals)}
        locals_ = tuple(
            {v: unknown(f"{prefix}l{i}.{k} {v.name}", v.type) for k, v in enumerate(system.locals(c))}
            for i, c in enumerate(actors)
        )
        members = {c: tuple(i for i, owner in enumerate(actors) if owner is c) for c in system.components}
        return Frame(shared, locals_, members)

    def domains(self) -> list[Term]:
        """That every variable has a value of its type."""
        found = []
        for values in (self.shared, *self.locals):
            for variable, term in values.items():
                found += in_domain(term, variable.type)
        return found

    def initial(self) -> list[Term]:
        """That every variable has its initial value."""
        return [
            term == literal(variable.initial, variable.type)
            for values in (self.shared, *self.locals)
            for variable, term in values.items()
        ]

    def equals(self, other: Frame) -> list[Term]:
        """That two frames are the same state, variable by variable."""
        pairs = zip((self.shared, *self.locals), (other.shared, *other.locals), strict=True)
        return [a[v] == b[v] for a, b in pairs for v in a]

    def state(self, system: TransitionSystem, model: Any) -> State:
        """The state that a model of a solver gives to this frame."""

        def number(term: Term) -> int:
            value = model.eval(term, model_completion=True)
            return int(z3.is_true(value)) if z3.is_bool(value) else int(value.as_long())

        return State(
            tuple(number(self.shared[v]) for v in system.globals),
            tuple(tuple(number(term) for term in values.values()) for values in self.locals),
        )


class Encoder(Visitor[_Meaning]):
    """Encodes expressions over one frame, for one acting instance."""

    def __init__(self, frame: Frame, actor: int | None = None, choice: Term = None) -> None:
        super().__init__()
        self.frame, self.actor, self.choice = frame, actor, choice

    def term(self, root: Expr, bound: int | None = None) -> Term:
        """`root` as a Z3 term; `bound` is the instance that `each` means outside every quantifier."""
        return self.visit(root)(bound)

    def on_constant(self, node: Constant) -> _Meaning:
        term = literal(node.value, node.type)
        return lambda bound: term

    def on_read(self, node: Read) -> _Meaning:
        variable = node.variable
        if variable.component is None:
            term = self.frame.shared[variable]
            return lambda bound: term

        def local(bound: int | None) -> Term:
            who = bound if node.bound else self.actor
            assert who is not None, f"whose {variable.name}?"
            return self.frame.locals[who][variable]

        return local

    def on_parameter(self, node: Parameter) -> _Meaning:
        return lambda bound: self.choice

    def on_not(self, node: Not, a: _Meaning) -> _Meaning:
        return _once(lambda bound: z3.Not(a(bound)))

    def on_and(self, node: And, args: list[_Meaning]) -> _Meaning:
        return _once(lambda bound: conjunction([arg(bound) for arg in args]))

    def on_or(self, node: Or, args: list[_Meaning]) -> _Meaning:
        return _once(lambda bound: disjunction([arg(bound) for arg in args]))

    def on_equal(self, node: Equal, a: _Meaning, b: _Meaning) -> _Meaning:
        return _once(lambda bound: a(bound) == b(bound))

    def on_less(self, node: Less, a: _Meaning, b: _Meaning) -> _Meaning:
        return _once(lambda bound: z3.ULT(a(bound), b(bound)))

    def on_arithmetic(self, node: Expr, a: _Meaning, b: _Meaning) -> _Meaning:
        match node:
            case Add():
                return _once(lambda bound: a(bound) + b(bound))
            case Subtract():
                return _once(lambda bound: a(bound) - b(bound))
            case BitAnd():
                return _once(lambda bound: a(bound) & b(bound))
            case BitOr():
                return _once(lambda bound: a(bound) | b(bound))
        raise TypeError(f"no rule for {type(node).__name__}")

    def on_if(self, node: If, condition: _Meaning, a: _Meaning, b: _Meaning) -> _Meaning:
        return _once(lambda bound: z3.If(condition(bound), a(bound), b(bound)))

    def on_every(self, node: Every, body: _Meaning) -> _Meaning:
        members = self.frame.members[node.component]
        return _once(lambda bound: conjunction([body(i) for i in members]))


def _once(make: _Meaning) -> _Meaning:
    """`make`, with each term made once, so that what the DAG shares the terms share."""
    made: dict[int | None, Term] = {}

    def remembered(bound: int | None) -> Term:
        if bound not in made:
            made[bound] = make(bound)
        return made[bound]

    return remembered


@dataclass(frozen=True)
class Taken:
    """One action, taken by one instance (None: the patcher) from a frame: when it may be, and what it leads to."""

    frame: Frame
    action: Action
    actor: int | None
    choice: Term
    enabled: tuple[Term, ...]
    after: Frame
    encoder: Encoder


def take(system: TransitionSystem, frame: Frame, action: Action, actor: int | None) -> Taken:
    """The step of `action` from `frame`: its guard, that the system is not halted, and the frame after it."""
    choice, domain = None, []
    if action.choice is not None:
        bits = max(1, (len(action.choice.labels) - 1).bit_length())
        choice = z3.BitVec("choice", bits)
        if len(action.choice.labels) < 1 << bits:
            domain = [z3.ULT(choice, z3.BitVecVal(len(action.choice.labels), bits))]
    encoder = Encoder(frame, actor, choice)
    shared = dict(frame.shared)
    locals_ = [dict(values) for values in frame.locals]
    for effect in action.effects:
        variable = effect.variable
        if effect.broadcast:
            assert variable.component is not None
            for i in frame.members[variable.component]:
                locals_[i][variable] = encoder.term(effect.value, i)
        elif variable.component is None:
            shared[variable] = encoder.term(effect.value)
        else:
            assert actor is not None
            locals_[actor][variable] = encoder.term(effect.value)
    enabled = (*domain, encoder.term(action.guard), z3.Not(encoder.term(system.halted)))
    return Taken(frame, action, actor, choice, enabled, Frame(shared, tuple(locals_), frame.members), encoder)

"""What expressions are: an immutable, hash-consed DAG with types; two equal expressions are one object.

Every value is an int at run time: a boolean is 0 or 1, an enumeration the index of its label, bits an unsigned
number. Build expressions with Python's operators (`&`, `|`, `~`, `==`, `+`, …) and with `every`, `some` and `if_else`.
`&`, `|` and `~` are logical on booleans and bitwise on bits. Constructors fold what is constant, no more.

What walks over them is in `visitor.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, Union, cast
from weakref import WeakValueDictionary

from models.system.errors import Location, ModelError, caller


@dataclass(frozen=True)
class Bool:
    """Truth values."""

    def contains(self, value: int) -> bool:
        return value in (0, 1)

    def show(self, value: int) -> str:
        return "yes" if value else "no"


@dataclass(frozen=True)
class Enum:
    """A finite set of labels; a value is the index of its label."""

    name: str
    labels: tuple[str, ...]

    def contains(self, value: int) -> bool:
        return 0 <= value < len(self.labels)

    def show(self, value: int) -> str:
        return self.labels[value]


@dataclass(frozen=True)
class Bits:
    """Unsigned numbers of `width` bits; `+` and `-` wrap around."""

    width: int

    def contains(self, value: int) -> bool:
        return 0 <= value < 1 << self.width

    def show(self, value: int) -> str:
        return str(value)


Type = Bool | Enum | Bits
BOOL = Bool()


@dataclass(frozen=True, eq=False)
class Component:
    """A kind of part of which there are several, all alike (the CPUs); how many, the system says."""

    name: str


@dataclass(frozen=True, eq=False)
class Variable:
    """A named piece of state: one value, or one for each instance of `component`.

    `bits`: of a set kept as bits, what each bit stands for.
    """

    name: str
    type: Type
    initial: int
    component: Component | None
    says: str
    where: Location
    bits: tuple[str, ...] = ()

    @property
    def is_set(self) -> bool:
        """Whether a value stands for a set whose members have names of their own."""
        return 0 < len(self.bits) == len(set(self.bits))

    def members(self, value: int) -> tuple[str, ...]:
        """The members of the set that `value` stands for."""
        return tuple(name for k, name in enumerate(self.bits) if value >> k & 1)


@dataclass(frozen=True, eq=False)
class Choice:
    """A finite parameter of an action: which of `labels`. Its values are 0 … len(labels) - 1."""

    name: str
    labels: tuple[str, ...]


class Expr:
    """A node. `type` is its type, `where` the line that first made it, `args` its operands."""

    __slots__ = ("__weakref__", "args", "type", "where")
    args: tuple[Expr, ...]
    type: Type
    where: Location

    def __bool__(self) -> bool:
        raise TypeError(
            "an expression has no truth value while the model is being built: use `&`, `|`, `~` instead of "
            "`and`, `or`, `not`, and `if_else(condition, a, b)` instead of `if`"
        )

    __hash__ = object.__hash__

    def __eq__(self, other: Operand) -> Expr:  # type: ignore[override]
        return equal(self, other)

    def __ne__(self, other: Operand) -> Expr:  # type: ignore[override]
        return ~equal(self, other)

    def __invert__(self) -> Expr:
        return negate(self)

    def __and__(self, other: Operand) -> Expr:
        if isinstance(self.type, Bool):
            return both(self, lift(other, BOOL))
        return bitwise(BitAnd, self, lift(other, self.type))

    def __or__(self, other: Operand) -> Expr:
        if isinstance(self.type, Bool):
            return either(self, lift(other, BOOL))
        return bitwise(BitOr, self, lift(other, self.type))

    __rand__ = __and__
    __ror__ = __or__

    def __add__(self, other: Operand) -> Expr:
        return bitwise(Add, self, lift(other, self.type))

    def __sub__(self, other: Operand) -> Expr:
        return bitwise(Subtract, self, lift(other, self.type))

    def __lt__(self, other: Operand) -> Expr:
        return less(self, lift(other, self.type))

    def __gt__(self, other: Operand) -> Expr:
        return less(lift(other, self.type), self)

    def __le__(self, other: Operand) -> Expr:
        return ~(self > other)

    def __ge__(self, other: Operand) -> Expr:
        return ~(self < other)

    def is_in(self, values: Iterable[Operand]) -> Expr:
        """Whether this equals one of `values`."""
        return either(*(equal(self, value) for value in values))

    def __repr__(self) -> str:
        match self:
            case Constant():
                return self.type.show(self.value)
            case Read():
                return ("its " if self.bound else "") + self.variable.name
            case Parameter():
                return self.choice.name
        return f"{type(self).__name__}({', '.join(map(repr, self.args))})"


Operand = Union[Expr, int, bool, str]


class Constant(Expr):
    __slots__ = ("value",)
    value: int


class Read(Expr):
    """The value of a variable: of the acting instance, or (`bound`) of the one that a quantifier or broadcast names."""

    __slots__ = ("bound", "variable")
    variable: Variable
    bound: bool


class Parameter(Expr):
    """The value of an action's choice."""

    __slots__ = ("choice",)
    choice: Choice


class Not(Expr):
    __slots__ = ()


class And(Expr):
    __slots__ = ()


class Or(Expr):
    __slots__ = ()


class Equal(Expr):
    __slots__ = ()


class Less(Expr):
    """Unsigned comparison."""

    __slots__ = ()


class Add(Expr):
    __slots__ = ()


class Subtract(Expr):
    __slots__ = ()


class BitAnd(Expr):
    __slots__ = ()


class BitOr(Expr):
    __slots__ = ()


class If(Expr):
    __slots__ = ()


class Every(Expr):
    """Whether `args[0]` holds for every instance of `component`, each in turn being the bound one."""

    __slots__ = ("component",)
    component: Component


N = TypeVar("N", bound=Expr)
_made: WeakValueDictionary[tuple[Any, ...], Expr] = WeakValueDictionary()  # ids stay valid: a node holds its operands


def _make(kind: type[N], type_: Type, args: tuple[Expr, ...] = (), **fields: Any) -> N:
    key = (kind, type_, *map(id, args), *(f if isinstance(f, int) else id(f) for f in fields.values()))
    known = _made.get(key)
    if known is not None:
        return cast(N, known)
    node = object.__new__(kind)
    node.type, node.args, node.where = type_, args, caller()
    for name, value in fields.items():
        setattr(node, name, value)
    _made[key] = node
    return node


def constant(value: int, type_: Type) -> Constant:
    """The constant `value` of `type_`. Raises ModelError when the type does not contain it."""
    if not type_.contains(value):
        raise ModelError(f"{value} is not a value of {type_}", caller())
    return _make(Constant, type_, value=int(value))


TRUE = constant(1, BOOL)
FALSE = constant(0, BOOL)


def lift(value: Operand, type_: Type) -> Expr:
    """`value` as an expression of `type_`: a label becomes its index. Raises ModelError on a mismatch."""
    if isinstance(value, Expr):
        if value.type != type_:
            raise ModelError(f"type mismatch: {value!r} is {value.type}, {type_} is needed", caller())
        return value
    if isinstance(value, str):
        if not isinstance(type_, Enum) or value not in type_.labels:
            raise ModelError(f"“{value}” is no label of {type_}", caller())
        return constant(type_.labels.index(value), type_)
    return constant(int(value), type_)


def read(variable: Variable, bound: bool = False) -> Read:
    """The value of `variable`."""
    if bound and variable.component is None:
        raise ModelError(f"{variable.name} belongs to no component: it cannot be bound by a quantifier", caller())
    return _make(Read, variable.type, variable=variable, bound=int(bound))


def parameter(choice: Choice) -> Parameter:
    """The value of `choice`, as bits wide enough for it."""
    return _make(Parameter, Bits(max(1, (len(choice.labels) - 1).bit_length())), choice=choice)


def negate(a: Expr) -> Expr:
    """Logical negation. Raises ModelError on anything but a boolean."""
    lift(a, BOOL)
    if isinstance(a, Constant):
        return FALSE if a.value else TRUE
    return a.args[0] if isinstance(a, Not) else _make(Not, BOOL, (a,))


def _junction(kind: type[And] | type[Or], unit: Constant, zero: Constant, operands: tuple[Expr, ...]) -> Expr:
    flat: dict[int, Expr] = {}
    for operand in operands:
        lift(operand, BOOL)
        for part in operand.args if isinstance(operand, kind) else (operand,):
            if part is zero:
                return zero
            if part is not unit:
                flat[id(part)] = part
    if any(id(part.args[0]) in flat for part in flat.values() if isinstance(part, Not)):
        return zero
    parts = tuple(flat.values())
    if not parts:
        return unit
    return parts[0] if len(parts) == 1 else _make(kind, BOOL, parts)


def both(*operands: Expr) -> Expr:
    """Conjunction of any number of booleans."""
    return _junction(And, TRUE, FALSE, operands)


def either(*operands: Expr) -> Expr:
    """Disjunction of any number of booleans."""
    return _junction(Or, FALSE, TRUE, operands)


def equal(a: Expr, other: Operand) -> Expr:
    """Whether two values of one type are the same."""
    b = lift(other, a.type)
    if a is b:
        return TRUE
    if isinstance(a, Constant) and isinstance(b, Constant):
        return FALSE
    if isinstance(a, Constant):
        a, b = b, a
    if isinstance(a.type, Bool) and isinstance(b, Constant):
        return a if b.value else negate(a)
    return _make(Equal, BOOL, (a, b))


def less(a: Expr, b: Expr) -> Expr:
    """Whether the number `a` is below `b`."""
    if not isinstance(a.type, Bits):
        raise ModelError(f"`<` needs numbers, {a!r} is {a.type}", caller())
    if isinstance(a, Constant) and isinstance(b, Constant):
        return TRUE if a.value < b.value else FALSE
    return FALSE if a is b else _make(Less, BOOL, (a, b))


def bitwise(kind: type[Expr], a: Expr, b: Expr) -> Expr:
    if not isinstance(a.type, Bits):
        raise ModelError(f"{kind.__name__} needs numbers, {a!r} is {a.type}", caller())
    if isinstance(a, Constant) and isinstance(b, Constant):
        return constant(ARITHMETIC[kind](a.value, b.value) & ((1 << a.type.width) - 1), a.type)
    if kind is BitAnd:
        if a is b:
            return a
        if any(isinstance(x, Constant) and x.value == 0 for x in (a, b)):
            return constant(0, a.type)
    if kind is BitOr:
        if a is b or (isinstance(b, Constant) and b.value == 0):
            return a
        if isinstance(a, Constant) and a.value == 0:
            return b
    return _make(kind, a.type, (a, b))


ARITHMETIC: dict[type[Expr], Any] = {
    Add: lambda a, b: a + b,
    Subtract: lambda a, b: a - b,
    BitAnd: lambda a, b: a & b,
    BitOr: lambda a, b: a | b,
}


def if_else(condition: Expr, a: Operand, b: Operand, type_: Type | None = None) -> Expr:
    """`a` where `condition` holds, else `b`; `type_` is needed when neither is an expression."""
    lift(condition, BOOL)
    kind = a.type if isinstance(a, Expr) else b.type if isinstance(b, Expr) else type_
    if kind is None:
        raise ModelError("if_else cannot tell the type of two plain values: name it", caller())
    yes, no = lift(a, kind), lift(b, kind)
    if isinstance(condition, Constant):
        return yes if condition.value else no
    return yes if yes is no else _make(If, kind, (condition, yes, no))


def every(component: Component, body: Expr) -> Expr:
    """Whether `body` holds for every instance; write `each(x)` in it for the instance's own value of x."""
    lift(body, BOOL)
    return body if isinstance(body, Constant) else _make(Every, BOOL, (body,), component=component)


def some(component: Component, body: Expr) -> Expr:
    """Whether `body` holds for at least one instance."""
    return ~every(component, ~body)

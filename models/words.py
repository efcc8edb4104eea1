"""Expressions in words, for the sentences of traces."""

from __future__ import annotations

from models.system.expressions import (
    Add,
    BitAnd,
    BitOr,
    Bool,
    Constant,
    Equal,
    Every,
    Expr,
    If,
    Less,
    Not,
    Operand,
    Parameter,
    Read,
    Type,
    lift,
)
from models.system.visitor import Visitor

_OPERATORS = {Add: "+", BitAnd: "&", BitOr: "|"}


def describe(value: Operand, type_: Type | None = None) -> str:
    """An expression as a reader of a trace wants it; a plain value is one of `type_`."""
    if not isinstance(value, Expr):
        assert type_ is not None
        value = lift(value, type_)
    return _Words().visit(value)


class _Words(Visitor[str]):
    def on_constant(self, node: Constant) -> str:
        return node.type.show(node.value)

    def on_read(self, node: Read) -> str:
        return f"“{node.variable.name}”"

    def on_parameter(self, node: Parameter) -> str:
        return node.choice.name

    def on_not(self, node: Not, a: str) -> str:
        return f"not {a}" if isinstance(node.args[0], Read) else f"not ({a})"

    def on_and(self, node: Expr, args: list[str]) -> str:
        return " and ".join(args)

    def on_or(self, node: Expr, args: list[str]) -> str:
        return f"({' or '.join(args)})"

    def on_equal(self, node: Equal, a: str, b: str) -> str:
        if isinstance(node.args[0], Constant):
            a, b = b, a
        return f"{a} is {b}"

    def on_less(self, node: Less, a: str, b: str) -> str:
        return f"{a} is less than {b}"

    def on_arithmetic(self, node: Expr, a: str, b: str) -> str:
        return f"{a} {_OPERATORS.get(type(node), '-')} {b}"

    def on_if(self, node: If, condition: str, a: str, b: str) -> str:
        if isinstance(node.type, Bool):
            return f"({a} if {condition}, else {b})"
        return f"{a} (or {b} unless {condition})"

    def on_every(self, node: Every, body: str) -> str:
        return f"for every {node.component.name} {body}"

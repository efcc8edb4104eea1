"""How an expression reads: the text of a formula, for messages and reports."""

from __future__ import annotations

from models.system.expressions import (
    Add,
    And,
    BitAnd,
    BitOr,
    Constant,
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
    Visitor,
)

_SIGNS: dict[type[Expr], str] = {Add: "+", Subtract: "-", BitAnd: "&", BitOr: "|"}


class _Show(Visitor[str]):
    def on_constant(self, node: Constant) -> str:
        return node.type.show(node.value)

    def on_read(self, node: Read) -> str:
        return ("its " if node.bound else "") + node.variable.name

    def on_parameter(self, node: Parameter) -> str:
        return node.choice.name

    def on_not(self, node: Not, a: str) -> str:
        return f"not {a}"

    def on_and(self, node: And, args: list[str]) -> str:
        return "(" + " and ".join(args) + ")"

    def on_or(self, node: Or, args: list[str]) -> str:
        return "(" + " or ".join(args) + ")"

    def on_equal(self, node: Equal, a: str, b: str) -> str:
        return f"{a} = {b}"

    def on_less(self, node: Less, a: str, b: str) -> str:
        return f"{a} < {b}"

    def on_arithmetic(self, node: Expr, a: str, b: str) -> str:
        return f"({a} {_SIGNS[type(node)]} {b})"

    def on_if(self, node: If, condition: str, a: str, b: str) -> str:
        return f"({a} if {condition} else {b})"

    def on_every(self, node: Every, body: str) -> str:
        return f"every {node.component.name}: {body}"


def show(a: Expr) -> str:
    """`a` as text."""
    return _Show().visit(a)

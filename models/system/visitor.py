"""Walks over expressions: one abstract visitor, and what is made with it.

A back end is a subclass of `Visitor`: one method per kind of node, so that a new kind breaks every back end until it
is handled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

from models.system.errors import ModelError
from models.system.expressions import (
    Add,
    And,
    BitAnd,
    BitOr,
    Choice,
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
    Variable,
    bitwise,
    both,
    constant,
    either,
    equal,
    every,
    if_else,
    less,
    negate,
    read,
)

T = TypeVar("T")


class Visitor(ABC, Generic[T]):
    """A memoised walk from the leaves up, without recursion; one result of type T per node."""

    def __init__(self) -> None:
        self._done: dict[Expr, T] = {}

    def visit(self, root: Expr) -> T:
        done, stack = self._done, [root]
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
                continue
            todo = [arg for arg in node.args if arg not in done]
            if todo:
                stack.extend(todo)
            else:
                stack.pop()
                done[node] = self._dispatch(node, [done[arg] for arg in node.args])
        return done[root]

    def _dispatch(self, node: Expr, args: list[T]) -> T:
        match node:
            case Constant():
                return self.on_constant(node)
            case Read():
                return self.on_read(node)
            case Parameter():
                return self.on_parameter(node)
            case Not():
                return self.on_not(node, args[0])
            case And():
                return self.on_and(node, args)
            case Or():
                return self.on_or(node, args)
            case Equal():
                return self.on_equal(node, args[0], args[1])
            case Less():
                return self.on_less(node, args[0], args[1])
            case Add() | Subtract() | BitAnd() | BitOr():
                return self.on_arithmetic(node, args[0], args[1])
            case If():
                return self.on_if(node, args[0], args[1], args[2])
            case Every():
                return self.on_every(node, args[0])
        raise TypeError(f"no rule for {type(node).__name__}")

    @abstractmethod
    def on_constant(self, node: Constant) -> T: ...
    @abstractmethod
    def on_read(self, node: Read) -> T: ...
    @abstractmethod
    def on_parameter(self, node: Parameter) -> T: ...
    @abstractmethod
    def on_not(self, node: Not, a: T) -> T: ...
    @abstractmethod
    def on_and(self, node: And, args: list[T]) -> T: ...
    @abstractmethod
    def on_or(self, node: Or, args: list[T]) -> T: ...
    @abstractmethod
    def on_equal(self, node: Equal, a: T, b: T) -> T: ...
    @abstractmethod
    def on_less(self, node: Less, a: T, b: T) -> T: ...
    @abstractmethod
    def on_arithmetic(self, node: Expr, a: T, b: T) -> T: ...
    @abstractmethod
    def on_if(self, node: If, condition: T, a: T, b: T) -> T: ...
    @abstractmethod
    def on_every(self, node: Every, body: T) -> T: ...


class Rewriter(Visitor[Expr]):
    """The identity; subclasses replace some kinds of node. What becomes constant is folded."""

    def on_constant(self, node: Constant) -> Expr:
        return node

    def on_read(self, node: Read) -> Expr:
        return node

    def on_parameter(self, node: Parameter) -> Expr:
        return node

    def on_not(self, node: Not, a: Expr) -> Expr:
        return negate(a)

    def on_and(self, node: And, args: list[Expr]) -> Expr:
        return both(*args)

    def on_or(self, node: Or, args: list[Expr]) -> Expr:
        return either(*args)

    def on_equal(self, node: Equal, a: Expr, b: Expr) -> Expr:
        return equal(a, b)

    def on_less(self, node: Less, a: Expr, b: Expr) -> Expr:
        return less(a, b)

    def on_arithmetic(self, node: Expr, a: Expr, b: Expr) -> Expr:
        return bitwise(type(node), a, b)

    def on_if(self, node: If, condition: Expr, a: Expr, b: Expr) -> Expr:
        return if_else(condition, a, b)

    def on_every(self, node: Every, body: Expr) -> Expr:
        return every(node.component, body)


class _Bind(Rewriter):
    def on_read(self, node: Read) -> Expr:
        return read(node.variable, node.variable.component is not None)

    def on_every(self, node: Every, body: Expr) -> Expr:
        raise ModelError("a quantifier inside another is not supported: say it with two conjuncts", node.where)


class _Choose(Rewriter):
    def __init__(self, choice: Choice, value: int) -> None:
        super().__init__()
        self.choice, self.value = choice, value

    def on_parameter(self, node: Parameter) -> Expr:
        return constant(self.value, node.type) if node.choice is self.choice else node


class _Substitute(Rewriter):
    def __init__(self, values: Mapping[Variable, Expr]) -> None:
        super().__init__()
        self.values = values

    def on_read(self, node: Read) -> Expr:
        return node if node.bound else self.values.get(node.variable, node)


def substituted(a: Expr, values: Mapping[Variable, Expr]) -> Expr:
    """`a` as it is once each of these variables has its new value."""
    return _Substitute(values).visit(a)


def each(a: Expr) -> Expr:
    """`a` as the quantified (or, in a broadcast, the receiving) instance sees it."""
    return _Bind().visit(a)


def choose(a: Expr, choice: Choice, value: int) -> Expr:
    """`a` with the parameter of `choice` replaced by `value`."""
    return _Choose(choice, value).visit(a)


def nodes(root: Expr) -> list[Expr]:
    """Every distinct node below and including `root`."""
    seen: dict[Expr, None] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen[node] = None
            stack.extend(node.args)
    return list(seen)

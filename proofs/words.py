"""Expressions as text that a person can read: lemmas, guards, what escapes."""

from __future__ import annotations

from collections.abc import Sequence

from models.system.expressions import (
    Add,
    And,
    BitAnd,
    BitOr,
    Bool,
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
    Variable,
)
from models.system.visitor import Visitor

_SIGNS: dict[type[Expr], str] = {Add: "+", Subtract: "-", BitAnd: "&", BitOr: "|"}
_Phrase = tuple[str, int]  # the text, and how loosely it holds together
_NAME, _TEST, _CHOICE, _AND, _OR, _IF = range(6)


def words(root: Expr) -> str:
    """`root` in one line; of the second of two instances, variables are called “the other's”."""
    return _Words().visit(root)[0]


def parts(root: Expr) -> list[str]:
    """The same, a line for each part of a conjunction."""
    return [words(part) for part in root.args] if isinstance(root, And) else [words(root)]


class _Words(Visitor[_Phrase]):
    def on_constant(self, node: Constant) -> _Phrase:
        return _value(node), _NAME

    def on_read(self, node: Read) -> _Phrase:
        return _name(node), _NAME

    def on_parameter(self, node: Parameter) -> _Phrase:
        return f"the chosen {node.choice.name}", _NAME

    def on_not(self, node: Not, a: _Phrase) -> _Phrase:
        inner = node.args[0]
        match inner:
            case And():
                return f"never {_list([self.visit(arg) for arg in inner.args], ' with ', _TEST)}", _AND
            case Equal():
                left, right = (self.visit(arg) for arg in inner.args)
                return f"{_in(left, _NAME)} ≠ {_in(right, _NAME)}", _TEST
            case Or() if (found := _values(inner)) is not None:
                return f"{_name(found[0])} is not {_ranges(found[0].variable, found[1])}", _CHOICE
        return f"not {_in(a, _NAME)}", _TEST

    def on_and(self, node: And, args: list[_Phrase]) -> _Phrase:
        return _list(args, " and ", _TEST), _AND

    def on_or(self, node: Or, args: list[_Phrase]) -> _Phrase:
        premises = [self.visit(arg.args[0]) for arg in node.args if isinstance(arg, Not)]
        rest = [arg for arg in node.args if not isinstance(arg, Not)]
        if premises and rest:
            premise = premises[0][0] if len(premises) == 1 else _list(premises, " and ", _TEST)
            found = self.merged(rest)
            return f"if {premise} then {found[0][0] if len(found) == 1 else _list(found, ' or ', _TEST)}", _IF
        found = self.merged(node.args)
        return found[0] if len(found) == 1 else (_list(found, " or ", _TEST), _OR)

    def merged(self, args: Sequence[Expr]) -> list[_Phrase]:
        """Alternatives; those that give values of one variable as one."""
        found: dict[Read, list[int]] = {}
        others = []
        for arg in args:
            values = _values(arg)
            if values is None:
                others.append(self.visit(arg))
            else:
                found.setdefault(values[0], []).extend(values[1])
        said: list[_Phrase] = []
        for x, numbers in found.items():
            if len(numbers) > 1:
                said.append((f"{_name(x)} is {_ranges(x.variable, sorted(set(numbers)))}", _CHOICE))
            else:
                said.append((f"{_name(x)} = {_ranges(x.variable, numbers)}", _TEST))
        return [*said, *others]

    def on_equal(self, node: Equal, a: _Phrase, b: _Phrase) -> _Phrase:
        members = _members(node)
        return (members or f"{_in(a, _NAME)} = {_in(b, _NAME)}"), _TEST

    def on_less(self, node: Less, a: _Phrase, b: _Phrase) -> _Phrase:
        return f"{_in(a, _NAME)} < {_in(b, _NAME)}", _TEST

    def on_arithmetic(self, node: Expr, a: _Phrase, b: _Phrase) -> _Phrase:
        return f"{_in(a, _NAME)} {_SIGNS[type(node)]} {_in(b, _NAME)}", _TEST

    def on_if(self, node: If, condition: _Phrase, a: _Phrase, b: _Phrase) -> _Phrase:
        return f"{_in(a, _TEST)} if {_in(condition, _AND)}, else {_in(b, _TEST)}", _IF

    def on_every(self, node: Every, body: _Phrase) -> _Phrase:
        return f"for every {node.component.name}: {_in(body, _TEST)}", _IF


def _in(phrase: _Phrase, loosest: int) -> str:
    """A phrase within another: in brackets where it holds together more loosely."""
    text, level = phrase
    return text if level <= loosest else f"({text})"


def _list(phrases: Sequence[_Phrase], word: str, loosest: int) -> str:
    return word.join(_in(phrase, loosest) for phrase in phrases)


def _value(node: Constant) -> str:
    if isinstance(node.type, Bool):
        return "true" if node.value else "false"
    return f"“{node.type.show(node.value)}”" if isinstance(node.type, Enum) else node.type.show(node.value)


def _name(x: Read) -> str:
    return ("the other's " if x.bound else "") + x.variable.name


def _members(node: Equal) -> str | None:
    """Of a test of a set kept as bits: what it holds, or lacks."""
    masked, value = node.args
    if not (isinstance(masked, BitAnd) and isinstance(value, Constant)):
        return None
    x, mask = masked.args
    if not (isinstance(x, Read) and isinstance(mask, Constant) and x.variable.bits):
        return None
    names = [f"“{label}”" for i, label in enumerate(x.variable.bits) if mask.value >> i & 1]
    if value.value == 0:
        return f"{_name(x)} lacks {' and '.join(names)}"
    return f"{_name(x)} has {' and '.join(names)}" if value.value == mask.value else None


def _values(node: Expr) -> tuple[Read, list[int]] | None:
    """Of `x = a`, or of `x = a or x = b or …`: x, and the values."""
    tests = node.args if isinstance(node, Or) else (node,)
    found: list[int] = []
    reads = set()
    for test in tests:
        if not isinstance(test, Equal) or not isinstance(test.args[0], Read) or not isinstance(test.args[1], Constant):
            return None
        reads.add(test.args[0])
        found.append(test.args[1].value)
    return (reads.pop(), sorted(found)) if len(reads) == 1 else None


def _ranges(variable: Variable, values: Sequence[int]) -> str:
    """Values by their labels, long runs by their ends."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])

    def show(value: int) -> str:
        label = variable.type.show(value)
        return f"“{label}”" if isinstance(variable.type, Enum) else label

    said = []
    for run in runs:
        said += [f"{show(run[0])} to {show(run[-1])}"] if len(run) > 2 else [show(value) for value in run]
    return " or ".join(said)

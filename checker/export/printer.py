"""How does an expression over cells become text: with few parentheses, and never longer than it has to be?"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

from checker.export.names import Names
from models.system.errors import Location
from models.system.expressions import (
    And,
    Bits,
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
    Type,
    Variable,
    read,
)
from models.system.system import TransitionSystem
from models.system.visitor import Rewriter, Visitor, nodes

OR, AND, NOT, BITS, COMPARED, SUM, PRODUCT, ATOM = range(8)  # what binds how tightly, the loosest first
MOST_BITS = 30  # sums have to fit the numbers of the other languages
LONGEST = 200  # nodes of an expression in one piece, if it says something twice

Text = tuple[str, int]


def roots_of(system: TransitionSystem) -> list[Expr]:
    """Every expression of a system."""
    roots = [a.guard for a in system.actions] + [e.value for a in system.actions for e in a.effects]
    roots += [m.when for _, m in system.marks()] + [i.holds for i in system.invariants] + [system.halted]
    return roots + ([system.progress.goal] if system.progress else [])


class Inexpressible(Exception):
    """The other language has no word for a part of the system."""


def types_of(system: TransitionSystem) -> list[Type]:
    """Every type that something has, each once, those of the variables first. Raises Inexpressible."""
    inner = (node.type for root in roots_of(system) for node in nodes(root))
    found = list(dict.fromkeys([*(v.type for v in system.variables), *inner]))
    for type_ in found:
        if isinstance(type_, Bits) and type_.width > MOST_BITS:
            raise Inexpressible(f"numbers of {type_.width} bits: the other languages have {MOST_BITS} at most")
    return found


class Labels:
    """The identifiers of every value of every enumeration, and of the enumerations themselves."""

    def __init__(self, system: TransitionSystem, names: Names) -> None:
        self.types: dict[Enum, str] = {}
        self.labels: dict[Enum, list[str]] = {}
        for type_ in types_of(system):
            if isinstance(type_, Enum):
                self.types[type_] = names.new(f"{type_.name}_t")
                self.labels[type_] = [names.new(f"{type_.name} {label}") for label in type_.labels]


class Printer(Visitor[Text]):
    """An expression in a language whose operators are C's, give or take."""

    signs: ClassVar = {"not": "!", "and": "&&", "or": "||", "equal": "==", "differs": "!="}

    def __init__(self, labels: Labels, place: Callable[[Variable], str]) -> None:
        super().__init__()
        self.labels, self.place = labels, place

    def text(self, root: Expr, level: int = 0) -> str:
        """`root`, in parentheses if it binds less tightly than `level`."""
        return inside(self.visit(root), level)

    def on_constant(self, node: Constant) -> Text:
        match node.type:
            case Bool():
                return ("true" if node.value else "false"), ATOM
            case Enum():
                return self.labels.labels[node.type][node.value], ATOM
        return str(node.value), ATOM

    def on_read(self, node: Read) -> Text:
        return self.place(node.variable), ATOM

    def on_parameter(self, node: Parameter) -> Text:
        raise TypeError("a choice that was not made")

    def on_not(self, node: Not, a: Text) -> Text:
        inner = node.args[0]
        if isinstance(inner, (Equal, Less)):
            b, c = (self.text(arg, SUM) for arg in inner.args)
            return f"{b} {self.signs['differs'] if isinstance(inner, Equal) else '>='} {c}", COMPARED
        if isinstance(inner, (And, Or)) and all(isinstance(arg, (Not, Equal, Less, Read)) for arg in inner.args):
            joined, level = ("or", OR) if isinstance(inner, And) else ("and", AND)
            return f" {self.signs[joined]} ".join(self.text(~arg, NOT) for arg in inner.args), level
        return f"{self.signs['not']}{inside(a, ATOM)}", NOT

    def on_and(self, node: And, args: list[Text]) -> Text:
        return f" {self.signs['and']} ".join(inside(arg, AND) for arg in args), AND

    def on_or(self, node: Or, args: list[Text]) -> Text:
        return f" {self.signs['or']} ".join(inside(arg, NOT) for arg in args), OR

    def on_equal(self, node: Equal, a: Text, b: Text) -> Text:
        return f"{inside(a, SUM)} {self.signs['equal']} {inside(b, SUM)}", COMPARED

    def on_less(self, node: Less, a: Text, b: Text) -> Text:
        return f"{inside(a, SUM)} < {inside(b, SUM)}", COMPARED

    @abstractmethod
    def on_arithmetic(self, node: Expr, a: Text, b: Text) -> Text: ...

    @abstractmethod
    def on_if(self, node: If, condition: Text, a: Text, b: Text) -> Text: ...

    @abstractmethod
    def on_every(self, node: Every, body: Text) -> Text: ...


def inside(text: Text, level: int) -> str:
    """A piece of text as an operand of something that binds as tightly as `level`."""
    return text[0] if text[1] >= level else f"({text[0]})"


class _Size(Visitor[int]):
    """How many nodes an expression has when nothing is shared."""

    def on_constant(self, node: Constant) -> int:
        return 1

    def on_read(self, node: Read) -> int:
        return 1

    def on_parameter(self, node: Parameter) -> int:
        return 1

    def on_not(self, node: Not, a: int) -> int:
        return 1 + a

    def on_and(self, node: And, args: list[int]) -> int:
        return 1 + sum(args)

    def on_or(self, node: Or, args: list[int]) -> int:
        return 1 + sum(args)

    def on_equal(self, node: Equal, a: int, b: int) -> int:
        return 1 + a + b

    def on_less(self, node: Less, a: int, b: int) -> int:
        return 1 + a + b

    def on_arithmetic(self, node: Expr, a: int, b: int) -> int:
        return 1 + a + b

    def on_if(self, node: If, condition: int, a: int, b: int) -> int:
        return 1 + condition + a + b

    def on_every(self, node: Every, body: int) -> int:
        return 1 + body


class Pieces:
    """Cuts expressions that say something so often that they would be long into pieces that are said once."""

    def __init__(self) -> None:
        self._size = _Size()

    def is_long(self, root: Expr) -> bool:
        """Whether `root` is long, and would be shorter in pieces."""
        size = self._size.visit(root)
        return size > LONGEST and size > 2 * len(nodes(root))

    def cut(self, root: Expr) -> tuple[list[tuple[Variable, Expr]], Expr]:
        """Pieces, each over cells and pieces before it, and what is then left of `root`."""
        uses = Counter(id(arg) for node in nodes(root) for arg in node.args)
        cut = _Cut({node for node in nodes(root) if node.args and uses[id(node)] > 1})
        rest = cut.visit(root)
        return cut.pieces, rest


class _Cut(Rewriter):
    def __init__(self, shared: set[Expr]) -> None:
        super().__init__()
        self.shared = shared
        self.pieces: list[tuple[Variable, Expr]] = []

    def _dispatch(self, node: Expr, args: list[Expr]) -> Expr:
        made = super()._dispatch(node, args)
        if node not in self.shared or not made.args:
            return made
        piece = Variable(f"part_{len(self.pieces) + 1}", made.type, 0, None, "", Location("", 0))
        self.pieces.append((piece, made))
        return read(piece)

"""Claims: expressions are shared, typed, refuse to be Python conditions, and mean what Python means by them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.system.errors import ModelError
from models.system.evaluate import Evaluator, State
from models.system.expressions import (
    BOOL,
    FALSE,
    TRUE,
    Bits,
    Choice,
    Component,
    Constant,
    Enum,
    Expr,
    both,
    constant,
    either,
    equal,
    every,
    if_else,
    less,
    lift,
    negate,
    parameter,
    read,
    some,
)
from models.system.system import Builder
from models.system.visitor import Rewriter, Visitor, choose, each, nodes

COLOUR = Enum("colour", ("red", "green", "blue"))
B = Builder("an example")
CPU = B.component("cpu", 3)
FLAG = B.variable("flag", BOOL, 0)
NUMBER = B.variable("number", Bits(3), 5)
PAINT = B.variable("paint", COLOUR, "green")
MINE = B.variable("mine", Bits(2), 0, CPU)
SYSTEM = B.build()
EVALUATOR = Evaluator(SYSTEM)


def value(expression: Expr, mine: tuple[int, ...] = (0, 0, 0), actor: int | None = None, choice: int = 0) -> int:
    """The value where flag = 0, number = 5, paint = green and the CPUs' `mine` are given."""
    return EVALUATOR.value(expression, State((0, 5, 1), tuple((m,) for m in mine)), actor, choice)


def next_line() -> int:
    """The number of the line after the one that calls this."""
    return sys._getframe(1).f_lineno + 1


# ---- identity -------------------------------------------------------------------------------------------------------

SAME: dict[str, Callable[[], Expr]] = {
    "constant": lambda: constant(3, Bits(3)),
    "read": lambda: read(MINE.variable),
    "bound": lambda: each(MINE),
    "equal": lambda: PAINT == "red",
    "less": lambda: NUMBER < 3,
    "sum": lambda: NUMBER + 1,
    "and": lambda: FLAG & (NUMBER == 1),
    "or": lambda: either(FLAG, NUMBER == 1),
    "not": lambda: ~FLAG,
    "if": lambda: if_else(FLAG, NUMBER, 3),
    "every": lambda: every(CPU, each(MINE) == 1),
    "some": lambda: some(CPU, each(MINE) == 1),
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_equal_expressions_are_one_object(make: Callable[[], Expr]) -> None:
    assert make() is make()
    assert hash(make()) == hash(make())


def test_different_expressions_are_different_objects() -> None:
    made = [make() for make in SAME.values()]
    assert len({id(e) for e in made}) == len(made)


def test_types_tell_constants_apart() -> None:
    assert constant(1, Bits(1)) is not constant(1, Bits(2))
    assert constant(1, BOOL) is TRUE is not constant(1, Bits(1))
    assert constant(0, COLOUR) is not constant(0, Enum("other", COLOUR.labels))


def test_variables_of_one_name_are_told_apart() -> None:
    other = Builder("another").variable("flag", BOOL, 0)
    assert other is not FLAG
    assert both(other, FLAG) is not both(FLAG, FLAG)


def test_a_shared_operand_is_visited_once() -> None:
    deep: Expr = NUMBER
    for _ in range(200):
        deep = deep + deep
    assert len(nodes(deep)) == 201
    assert Rewriter().visit(deep) is deep  # 2²⁰⁰ visits otherwise


def test_depth_needs_no_recursion() -> None:
    deep: Expr = NUMBER
    for k in range(20_000):
        deep = deep + (k % 7 + 1)
    assert len(nodes(deep)) == 20_000 + 1 + 7
    assert Rewriter().visit(deep) is deep


# ---- not Python's conditions ----------------------------------------------------------------------------------------


def test_an_expression_is_no_python_condition() -> None:
    with pytest.raises(TypeError, match=r"use `&`, `\|`, `~`"):
        bool(FLAG)
    with pytest.raises(TypeError):
        _ = FLAG and NUMBER
    with pytest.raises(TypeError):
        _ = not FLAG
    with pytest.raises(TypeError):
        _ = 1 < NUMBER < 3
    with pytest.raises(TypeError):
        _ = 1 if PAINT == "red" else 2
    with pytest.raises(TypeError):
        _ = FLAG in [NUMBER == 5]


# ---- what is refused, and where -------------------------------------------------------------------------------------


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "number for an enumeration of other labels": (lambda: equal(PAINT, NUMBER), "type mismatch"),
    "number of another width": (lambda: NUMBER == MINE, "type mismatch"),
    "junction of numbers": (lambda: both(NUMBER, FLAG), "type mismatch"),
    "negation of a number": (lambda: negate(NUMBER), "type mismatch"),
    "condition that is a number": (lambda: if_else(NUMBER, 1, 2, Bits(2)), "type mismatch"),
    "branches of two types": (lambda: if_else(FLAG, NUMBER, PAINT), "type mismatch"),
    "quantified number": (lambda: every(CPU, each(MINE)), "type mismatch"),
    "unknown label": (lambda: PAINT == "violet", "“violet” is no label"),
    "label for a number": (lambda: NUMBER == "red", "“red” is no label"),
    "number out of range": (lambda: NUMBER == 8, "8 is not a value"),
    "negative number": (lambda: NUMBER + -1, "-1 is not a value"),
    "order of labels": (lambda: PAINT < "blue", "needs numbers"),
    "sum of truth values": (lambda: FLAG + 1, "needs numbers"),
    "two plain values": (lambda: if_else(FLAG, 1, 2), "cannot tell the type"),
    "global bound": (lambda: read(NUMBER.variable, bound=True), "belongs to no component"),
    "nested quantifier": (lambda: every(CPU, each(every(CPU, each(MINE) == 1))), "inside another"),
    "one-line lift": (lambda: lift("violet", COLOUR), "“violet” is no label"),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_names_its_line(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ModelError, match=says) as refused:
        make()
    where = refused.value.where
    assert where is not None
    assert where.file == __file__
    assert where.line == make.__code__.co_firstlineno
    assert str(refused.value).startswith(f"{__file__}:{where.line}: ")


def test_an_expression_knows_the_line_that_made_it() -> None:
    line = next_line()
    made = (NUMBER + 2) == 7
    assert (made.where.file, made.where.line) == (__file__, line)


# ---- what is folded, and what it means ------------------------------------------------------------------------------


def test_constants_fold() -> None:
    three = constant(3, Bits(3))
    assert both() is TRUE and either() is FALSE
    assert (FLAG & False) is FALSE and (FLAG | True) is TRUE
    assert both(FLAG, TRUE) is FLAG and both(FLAG, FLAG) is FLAG
    assert both(FLAG, ~FLAG) is FALSE and either(FLAG, ~FLAG) is TRUE
    assert ~~FLAG is FLAG
    assert (NUMBER == NUMBER) is TRUE and (NUMBER < NUMBER) is FALSE
    assert (three == 4) is FALSE and (three < 4) is TRUE
    assert three + 7 is constant(2, Bits(3)) and three - 4 is constant(7, Bits(3))
    assert if_else(TRUE, NUMBER, 3) is NUMBER and if_else(FLAG, NUMBER, NUMBER) is NUMBER
    assert every(CPU, TRUE) is TRUE and some(CPU, FALSE) is FALSE
    assert (FLAG == True) is FLAG and (FLAG == False) is ~FLAG  # noqa: E712


def test_comparison_with_a_constant_has_one_form() -> None:
    assert equal(constant(3, Bits(3)), NUMBER) is (NUMBER == 3)


@dataclass(frozen=True)
class Sample:
    """A random expression built twice (constants folded; constants hidden in variables), and Python's answer."""

    folded: Expr
    hidden: Expr
    python: int


WIDTH = 3
HIDE = Builder("constants in variables")
HIDDEN = {
    (t, n): HIDE.variable(f"{t}_{n}", Bits(t) if t else BOOL, n) for t in (0, WIDTH) for n in range(2 ** (t or 1))
}
FREE_NUMBERS = [HIDE.variable(f"number_{k}", Bits(WIDTH), k + 2) for k in range(3)]
FREE_FLAGS = [HIDE.variable(f"flag_{k}", BOOL, k) for k in range(2)]
HIDING = Evaluator(HIDE.build())


def leaves(type_: int) -> st.SearchStrategy[Sample]:
    known = st.integers(0, 2 ** (type_ or 1) - 1).map(
        lambda n: Sample(constant(n, Bits(type_) if type_ else BOOL), HIDDEN[type_, n], n)
    )
    free = st.sampled_from(FREE_NUMBERS if type_ else FREE_FLAGS).map(lambda v: Sample(v, v, v.variable.initial))
    return known | free


def apply(expression: Callable[..., Expr], python: Callable[..., int | bool], *args: Sample) -> Sample:
    return Sample(
        expression(*(a.folded for a in args)),
        expression(*(a.hidden for a in args)),
        int(python(*(a.python for a in args))),
    )


def numbers(depth: int) -> st.SearchStrategy[Sample]:
    if depth == 0:
        return leaves(WIDTH)
    n, b, limit = numbers(depth - 1), flags(depth - 1), 1 << WIDTH
    return st.one_of(
        leaves(WIDTH),
        st.builds(lambda x, y: apply(lambda p, q: p + q, lambda p, q: (p + q) % limit, x, y), n, n),
        st.builds(lambda x, y: apply(lambda p, q: p - q, lambda p, q: (p - q) % limit, x, y), n, n),
        st.builds(lambda x, y: apply(lambda p, q: p & q, lambda p, q: p & q, x, y), n, n),
        st.builds(lambda x, y: apply(lambda p, q: p | q, lambda p, q: p | q, x, y), n, n),
        st.builds(lambda c, x, y: apply(if_else, lambda r, p, q: p if r else q, c, x, y), b, n, n),
    )


def flags(depth: int) -> st.SearchStrategy[Sample]:
    if depth == 0:
        return leaves(0)
    n, b = numbers(depth - 1), flags(depth - 1)
    several = st.lists(b, min_size=0, max_size=4)
    return st.one_of(
        leaves(0),
        several.map(lambda parts: apply(both, lambda *p: all(p), *parts)),
        several.map(lambda parts: apply(either, lambda *p: any(p), *parts)),
        b.map(lambda x: apply(negate, lambda p: not p, x)),
        st.builds(lambda x, y: apply(equal, lambda p, q: p == q, x, y), n, n),
        st.builds(lambda x, y: apply(equal, lambda p, q: p == q, x, y), b, b),
        st.builds(lambda x, y: apply(less, lambda p, q: p < q, x, y), n, n),
        st.builds(lambda x, y: apply(lambda p, q: p <= q, lambda p, q: p <= q, x, y), n, n),
        st.builds(lambda x, y: apply(lambda p, q: p >= q, lambda p, q: p >= q, x, y), n, n),
        st.builds(lambda c, x, y: apply(if_else, lambda r, p, q: p if r else q, c, x, y), b, b, b),
    )


@given(numbers(3) | flags(3))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_folding_preserves_meaning(sample: Sample) -> None:
    state = HIDING.initial()
    assert HIDING.value(sample.folded, state) == sample.python
    assert HIDING.value(sample.hidden, state) == sample.python
    assert Rewriter().visit(sample.folded) is sample.folded


class _Settle(Rewriter):
    """Replaces every variable by its initial value: whatever is built must fold to one constant."""

    def on_read(self, node: Expr) -> Expr:  # type: ignore[override]
        return constant(getattr(node, "variable").initial, node.type)  # noqa: B009


@given(numbers(3) | flags(3))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_what_has_no_variable_is_a_constant(sample: Sample) -> None:
    settled = _Settle().visit(sample.hidden)
    assert isinstance(settled, Constant)
    assert settled.value == sample.python


# ---- quantifiers, choices, words ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mine", [(1, 1, 1), (1, 0, 1), (0, 0, 0), (3, 3, 1)])
def test_quantifiers_look_at_every_instance(mine: tuple[int, ...]) -> None:
    one = each(MINE) == 1
    assert value(every(CPU, one), mine) == all(m == 1 for m in mine)
    assert value(some(CPU, one), mine) == any(m == 1 for m in mine)
    assert value(~every(CPU, ~one), mine) == value(some(CPU, one), mine)


@pytest.mark.parametrize("actor", [0, 1, 2])
def test_a_quantifier_sees_the_actor_and_each_of_the_others(actor: int) -> None:
    """Without `each` a variable means the actor's even below a quantifier: “mine is the largest”."""
    mine = (2, 0, 3)
    assert value(every(CPU, each(MINE) <= MINE), mine, actor) == all(m <= mine[actor] for m in mine)


def test_two_components_are_quantified_apart() -> None:
    builder = Builder("two kinds")
    left, right = builder.component("left", 2), builder.component("right", 1)
    x, y = builder.variable("x", BOOL, 1, left), builder.variable("y", BOOL, 0, right)
    evaluator = Evaluator(builder.build())
    assert evaluator.value(every(left, each(x)), evaluator.initial()) == 1
    assert evaluator.value(some(right, each(y)), evaluator.initial()) == 0


def test_a_choice_is_a_number_until_it_is_made() -> None:
    choice = Choice("which", ("a", "b", "c"))
    which = parameter(choice)
    twice = which + which
    assert which.type == Bits(2)
    for made in range(3):
        assert value(twice, choice=made) == 2 * made % 4
        settled = choose(twice, choice, made)
        assert isinstance(settled, Constant) and settled.value == 2 * made % 4
    assert choose(twice, Choice("which", ("a", "b", "c")), 1) is twice


def test_an_expression_prints_itself() -> None:
    assert repr((PAINT == "red") & ~FLAG) == "And(Equal(paint, red), Not(flag))"
    assert repr(every(CPU, each(MINE) < 2)) == "Every(Less(its mine, 2))"
    assert repr(if_else(FLAG, NUMBER, 3)) == "If(flag, number, 3)"


def test_every_kind_of_node_has_a_method_in_every_back_end() -> None:
    """A visitor that lacks one cannot even be created."""
    methods = {name for name in vars(Visitor) if name.startswith("on_")}
    assert methods == Visitor.__abstractmethods__
    with pytest.raises(TypeError):
        type("Half", (Visitor,), {name: lambda *a: None for name in list(methods)[1:]})()


def test_components_of_one_name_are_different() -> None:
    assert every(Component("cpu"), FLAG) is not every(Component("cpu"), FLAG)

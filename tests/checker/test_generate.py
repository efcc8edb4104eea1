"""The code generator against the reference evaluator: damaged in one place at a time, it has to be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from checker.search import generate
from checker.search.python import explore
from checker.search.result import Limits
from models.system.expressions import Bits, Component, Expr, Operand, Read, if_else
from models.system.system import Builder, Mark, TransitionSystem
from tests.checker.reference import survey

SIGNS = {"+": "-", "-": "+", "&": "|", "|": "&"}


def thorough() -> TransitionSystem:
    """Every kind of node in a place where it matters."""
    b = Builder("thorough")
    cpu = b.component("cpu", 2)
    g = b.variable("g", Bits(2), 0)
    n = b.variable("n", Bits(2), 0, cpu)
    m = b.variable("m", Bits(2), 3, cpu)

    def step(name: str, guard: Expr, effects: list[tuple[Expr, Operand]]) -> None:
        mark = Mark("p", name, (n < m) & ~(g == 2), False, "is marked")
        b.action(name, actor=cpu, guard=guard, effects=effects, says=name, marks=[mark])

    step("add", (n == 0) | (n == 1) | (m == 2), [(n, n + 1), (m, if_else(n == 1, m - 1, m))])
    step("wrap", ~(n < 2) & (m < 3), [(n, n + 3), (m, (m & 1) | (n & 2))])
    step("share", (n == 2) & (g < 2), [(g, g + 1)])
    b.action("end", guard=g == 2, effects=[(g, 3)], broadcast=[(n, n_of(cpu, n))], says="ends")
    return b.build()


def n_of(cpu: Component, n: Read) -> Expr:
    from models.system.visitor import each

    return each(n) | 1


def assert_agrees(system: TransitionSystem) -> None:
    found, outcome = survey(system), explore(system, Limits(states=10_000)).outcome
    assert (outcome.states, outcome.transitions) == (len(found.edges), found.transitions)
    assert {m.kind: p.steps for m, p in outcome.marks.items()} == {m.kind: p for m, p in found.marks.items()}


def test_the_generator_agrees_with_the_evaluator() -> None:
    assert_agrees(thorough())


Damage = Callable[..., str]
DAMAGED: dict[str, Damage] = {
    "on_if": lambda self, node, condition, a, b: f"({b} if {condition} else {a})",
    "on_less": lambda self, node, a, b: f"({a} <= {b})",
    "on_equal": lambda self, node, a, b: f"({a} >= {b})",
    "on_not": lambda self, node, a: a,
    "on_and": lambda self, node, args: args[0],
    "on_or": lambda self, node, args: args[0],
    "on_constant": lambda self, node: str(node.value and node.value - 1),
    "on_arithmetic": lambda self, node, a, b: f"(({a} {SIGNS[generate._SIGNS[type(node)]]} {b}) & 3)",
}


@pytest.mark.parametrize("method", sorted(DAMAGED))
def test_a_damaged_generator_is_seen(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(generate._Python, method, DAMAGED[method])
    with pytest.raises(AssertionError):
        assert_agrees(thorough())


def test_a_generator_that_forgets_to_wrap_around_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwrapped(self: Any, node: Expr, a: str, b: str) -> str:
        return f"({a} {generate._SIGNS[type(node)]} {b})"

    monkeypatch.setattr(generate._Python, "on_arithmetic", unwrapped)
    with pytest.raises((AssertionError, generate.Unsupported)):
        assert_agrees(thorough())

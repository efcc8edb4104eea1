"""Claims: an expression and a step mean to Z3 what they mean to the reference evaluator; a wrong encoding is seen.

Systems are drawn from the whole language; every variable is fixed to a value, and what Z3 makes of that is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st

from models.system.evaluate import Evaluator, State, members_of
from models.system.expressions import (
    BOOL,
    Add,
    Bits,
    Bool,
    Choice,
    Enum,
    Expr,
    Parameter,
    Read,
    Type,
    Variable,
    every,
    if_else,
    parameter,
)
from models.system.system import Action, Builder, TransitionSystem
from models.system.visitor import each, nodes
from proofs import encode
from proofs.encode import Encoder, Frame, Taken, literal, take
from tests.checker.drawn import _Drawn, drawn


def frame_of(system: TransitionSystem, state: State) -> Frame:
    """The frame in which every variable has its value in `state`."""
    actors = tuple(component for component, _ in system.instances)
    shared = {v: literal(value, v.type) for v, value in zip(system.globals, state.shared, strict=True)}
    locals_ = tuple(
        {v: literal(value, v.type) for v, value in zip(system.locals(c), values, strict=True)}
        for c, values in zip(actors, state.instances, strict=True)
    )
    return Frame(shared, locals_, Frame.fresh(system, actors).members)


def number(term: Any) -> int:
    """The value of a term without unknowns."""
    value = z3.simplify(term)
    if z3.is_bool(value):
        assert z3.is_true(value) or z3.is_false(value), value
        return int(z3.is_true(value))
    return int(value.as_long())


def state_of(system: TransitionSystem, frame: Frame) -> State:
    """The state that a frame without unknowns is."""
    return State(
        tuple(number(frame.shared[v]) for v in system.globals),
        tuple(
            tuple(number(values[v]) for v in system.locals(c))
            for (c, _), values in zip(system.instances, frame.locals, strict=True)
        ),
    )


def size(type_: Type) -> int:
    match type_:
        case Enum():
            return len(type_.labels)
        case Bits():
            return 1 << type_.width
    return 2


def some_state(system: TransitionSystem, r: Random) -> State:
    """Any values, reachable or not."""

    def values(variables: tuple[Variable, ...]) -> tuple[int, ...]:
        return tuple(r.randrange(size(v.type)) for v in variables)

    return State(values(system.globals), tuple(values(system.locals(c)) for c, _ in system.instances))


def assert_means_the_same(
    system: TransitionSystem, root: Expr, state: State, actor: int | None = None, choice: int = 0
) -> None:
    """The value of an expression."""
    parameters = [node for node in nodes(root) if isinstance(node, Parameter)]
    chosen = literal(choice, parameters[0].type) if parameters else None
    found = number(encode.Encoder(frame_of(system, state), actor, chosen).term(root))
    expected = Evaluator(system).value(root, state, actor, choice)
    assert found == expected, f"{root!r} is {found} to Z3, {expected} to the evaluator, in {state}"


def assert_steps_the_same(system: TransitionSystem, state: State) -> None:
    """Every action of everybody with every choice: whether it may be, and every variable afterwards."""
    evaluator = Evaluator(system)
    possible = {(step.action, step.instance, step.choice): step.state for step in evaluator.successors(state)}
    frame = frame_of(system, state)
    for action in system.actions:
        for actor in members_of(system, action.actor) if action.actor else [None]:
            taken = encode.take(system, frame, action, actor)
            for choice in action.values:
                made = chosen(taken, choice)
                found = state_of(system, made.after) if all(number(term) for term in made.enabled) else None
                expected = possible.get((action, actor, choice))
                assert found == expected, f"{action.name} by {actor}, choice {choice}, from {state}"


def chosen(taken: Taken, value: int) -> Taken:
    """A step with its choice made."""
    if taken.choice is None:
        return taken
    pair = (taken.choice, z3.BitVecVal(value, taken.choice.size()))

    def fixed(values: Any) -> dict[Variable, Any]:
        return {v: z3.substitute(term, pair) for v, term in values.items()}

    after = Frame(fixed(taken.after.shared), tuple(map(fixed, taken.after.locals)), taken.after.members)
    return replace(taken, enabled=tuple(z3.substitute(term, pair) for term in taken.enabled), after=after)


# ---- drawn ----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 10**9))
def test_drawn_expressions_mean_the_same(seed: int) -> None:
    made = _Drawn(seed)
    system, r = made.b.build(), Random(seed)
    actor = r.choice([None, *range(len(system.instances))])
    own = made.local[system.instances[actor][0]] if actor is not None else []
    choice = Choice("which", ("one", "two", "three")[: r.randint(1, 3)])
    for type_ in (BOOL, Bits(2), Bits(3)):
        root = made.expression(type_, [*made.shared, *own], choice, 4)
        assert_means_the_same(system, root, some_state(system, r), actor, r.randrange(len(choice.labels)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 10**9))
def test_drawn_steps_lead_to_the_same_states(seed: int) -> None:
    system, r = drawn(seed), Random(seed)
    for state in (Evaluator(system).initial(), some_state(system, r), some_state(system, r)):
        assert_steps_the_same(system, state)


# ---- one of everything ----------------------------------------------------------------------------------------------


def thorough() -> TransitionSystem:
    """Two components, and every kind of node and of effect where it makes a difference."""
    b = Builder("thorough")
    cpu, device = b.component("cpu", 2), b.component("device", 1)
    colour = Enum("colour", ("red", "green", "blue"))
    g, paint = b.variable("g", Bits(2), 0), b.variable("paint", colour, "green")
    n, told = b.variable("n", Bits(2), 0, cpu), b.variable("told", BOOL, 0, cpu)
    queue = b.variable("queue", Bits(2), 3, device)
    two, three = Choice("which", ("left", "right")), Choice("which", ("a", "b", "c"))
    heard = every(cpu, each(told)) & ~every(device, each(queue) == 3)
    b.action("tell", guard=heard | (g == 3), effects=[(g, g + 3)], broadcast=[(told, each(n) < g)], says="tells")
    b.action(
        "take", actor=cpu, guard=n < 2, effects=[(n, n - g), (g, n)], broadcast=[(queue, each(queue) & g)], says=""
    )
    b.action("shout", actor=cpu, guard=told, broadcast=[(n, if_else(told, each(n) + 1, n))], says="shouts")
    b.action("ask", actor=device, guard=~(queue == g), effects=[(queue, queue | g)], broadcast=[(told, 1)], says="asks")
    which = parameter(three)
    paints = if_else(which == 0, "red", if_else(which == 1, "green", "blue", colour), colour)
    b.action("paint", guard=which < 3, effects=[(paint, paints), (g, which)], choice=three, says="paints")
    b.action("turn", actor=device, guard=parameter(two) == 1, effects=[(queue, g)], choice=two, says="turns")
    b.halted = (paint == "blue") & every(cpu, each(n) == 0)
    return b.build()


THOROUGH = thorough()


def every_state() -> Iterator[State]:
    g, n, queue = (range(4) for _ in range(3))
    for values in product(g, range(3), n, range(2), (0, 1, 3), range(2), queue):
        yield State(values[:2], (values[2:4], values[4:6], values[6:]))


def assert_agrees(every_nth: int = 7) -> None:
    for state in list(every_state())[::every_nth]:
        assert_steps_the_same(THOROUGH, state)


def test_steps_of_a_system_with_one_of_everything_lead_to_the_same_states() -> None:
    assert_agrees(5)


# ---- wrong on purpose -----------------------------------------------------------------------------------------------

Rule = Callable[..., Any]
right_arithmetic, right_read = Encoder.on_arithmetic, Encoder.on_read


def signed(self: Encoder, node: Expr, a: Rule, b: Rule) -> Rule:
    return lambda bound: a(bound) < b(bound)


def saturating(self: Encoder, node: Expr, a: Rule, b: Rule) -> Rule:
    """`+` that stays at the greatest value."""
    if not isinstance(node, Add):
        return right_arithmetic(self, node, a, b)
    return lambda bound: z3.If(
        z3.BVAddNoOverflow(a(bound), b(bound), False), a(bound) + b(bound), ~(a(bound) ^ a(bound))
    )


def first_only(self: Encoder, node: Expr, body: Rule) -> Rule:
    return lambda bound: body(self.frame.members[node.component][0])  # type: ignore[attr-defined]


def of_the_actor(self: Encoder, node: Read) -> Rule:
    """The actor's value, where the bound instance's is meant."""
    right = right_read(self, node)
    if self.actor is None or node.variable not in self.frame.locals[self.actor]:
        return right
    return lambda bound: right(self.actor)


WRONG: dict[str, Rule] = {
    "on_less signed": signed,
    "on_less or equal": lambda self, node, a, b: lambda bound: z3.ULE(a(bound), b(bound)),
    "on_if swapped": lambda self, node, c, a, b: lambda bound: z3.If(c(bound), b(bound), a(bound)),
    "on_every over too few": first_only,
    "on_every bound too late": lambda self, node, body: lambda bound: body(self.frame.members[node.component][-1]),
    "on_arithmetic that does not wrap": saturating,
    "on_not forgotten": lambda self, node, a: a,
    "on_and of the first": lambda self, node, args: args[0],
    "on_or of the first": lambda self, node, args: args[0],
    "on_read of the actor": of_the_actor,
}


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_encoder_is_seen(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, how.partition(" ")[0], WRONG[how])
    with pytest.raises(AssertionError):
        assert_agrees()


def misses_the_mover(system: TransitionSystem, frame: Frame, action: Action, actor: int | None) -> Taken:
    """A broadcast by an instance reaches the others only."""
    taken = take(system, frame, action, actor)
    cast = {effect.variable for effect in action.effects if effect.broadcast}
    kept = [
        {v: frame.locals[i][v] if i == actor and v in cast else term for v, term in values.items()}
        for i, values in enumerate(taken.after.locals)
    ]
    return replace(taken, after=replace(taken.after, locals=tuple(kept)))


def one_after_the_other(system: TransitionSystem, frame: Frame, action: Action, actor: int | None) -> Taken:
    """Each effect sees what the one before it wrote."""
    taken = take(system, frame, action, actor)
    for effect in action.effects:
        after = take(system, frame, replace(action, effects=(effect,)), actor).after
        frame = Frame(after.shared, after.locals, after.members)
    return replace(taken, after=frame)


def though_halted(system: TransitionSystem, frame: Frame, action: Action, actor: int | None) -> Taken:
    taken = take(system, frame, action, actor)
    return replace(taken, enabled=taken.enabled[:-1])


def without_its_guard(system: TransitionSystem, frame: Frame, action: Action, actor: int | None) -> Taken:
    taken = take(system, frame, action, actor)
    return replace(taken, enabled=(taken.enabled[-1],))


@pytest.mark.parametrize("wrong", [misses_the_mover, one_after_the_other, though_halted, without_its_guard])
def test_a_step_that_is_encoded_wrongly_is_seen(wrong: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "take", wrong)
    with pytest.raises(AssertionError):
        assert_agrees()


# ---- frames ---------------------------------------------------------------------------------------------------------


def test_a_model_is_read_back_as_the_state_that_it_is() -> None:
    frame = Frame.fresh(THOROUGH, tuple(component for component, _ in THOROUGH.instances))
    for state in list(every_state())[::50]:
        solver = z3.Solver()
        solver.add(*frame.domains(), *frame.equals(frame_of(THOROUGH, state)))
        assert solver.check() == z3.sat
        assert frame.state(THOROUGH, solver.model()) == state
    solver = z3.Solver()
    solver.add(*frame.initial())
    assert solver.check() == z3.sat
    assert frame.state(THOROUGH, solver.model()) == Evaluator(THOROUGH).initial()


def test_domains_leave_out_what_is_no_label() -> None:
    frame = Frame.fresh(THOROUGH, tuple(component for component, _ in THOROUGH.instances))
    solver = z3.Solver()
    solver.add(*frame.domains())
    for variable, term in frame.shared.items():
        assert not isinstance(variable.type, Bool)
        seen = set()
        solver.push()
        while solver.check() == z3.sat:
            seen.add(solver.model().eval(term, model_completion=True).as_long())
            solver.add(z3.And(*(term != value for value in seen)))
        solver.pop()
        assert seen == set(range(size(variable.type)))

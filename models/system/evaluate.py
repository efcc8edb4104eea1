"""The reference evaluator: what a transition system means, written to be obviously right, not fast.

Every other engine is compared with it, and every trace is replayed on it before anyone sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from models.system.expressions import (
    ARITHMETIC,
    And,
    Bits,
    Component,
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
    Variable,
)
from models.system.system import Action, Invariant, Mark, TransitionSystem
from models.system.visitor import Visitor


@dataclass(frozen=True)
class State:
    """Values of the globals, and of each instance's locals, in the order of the system's variables."""

    shared: tuple[int, ...]
    instances: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Step:
    """One transition: `instance` is the acting one's position in `system.instances`, None for the patcher."""

    action: Action
    instance: int | None
    choice: int
    state: State


@dataclass(frozen=True)
class _Environment:
    state: State
    actor: int | None
    bound: int | None
    choice: int


_Meaning = Callable[[_Environment], int]


class _Evaluate(Visitor[_Meaning]):
    """Turns an expression into a closure over an environment."""

    def __init__(self, system: TransitionSystem) -> None:
        super().__init__()
        self.system = system
        self.place: dict[Variable, int] = {}
        for group in (system.globals, *(system.locals(c) for c in system.components)):
            self.place.update({variable: i for i, variable in enumerate(group)})

    def on_constant(self, node: Constant) -> _Meaning:
        return lambda env: node.value

    def on_read(self, node: Read) -> _Meaning:
        place = self.place[node.variable]
        if node.variable.component is None:
            return lambda env: env.state.shared[place]

        def local(env: _Environment) -> int:
            who = env.bound if node.bound else env.actor
            assert who is not None
            return env.state.instances[who][place]

        return local

    def on_parameter(self, node: Parameter) -> _Meaning:
        return lambda env: env.choice

    def on_not(self, node: Not, a: _Meaning) -> _Meaning:
        return lambda env: 1 - a(env)

    def on_and(self, node: And, args: list[_Meaning]) -> _Meaning:
        return lambda env: int(all(arg(env) for arg in args))

    def on_or(self, node: Or, args: list[_Meaning]) -> _Meaning:
        return lambda env: int(any(arg(env) for arg in args))

    def on_equal(self, node: Equal, a: _Meaning, b: _Meaning) -> _Meaning:
        return lambda env: int(a(env) == b(env))

    def on_less(self, node: Less, a: _Meaning, b: _Meaning) -> _Meaning:
        return lambda env: int(a(env) < b(env))

    def on_arithmetic(self, node: Expr, a: _Meaning, b: _Meaning) -> _Meaning:
        assert isinstance(node.type, Bits)
        operation, limit = ARITHMETIC[type(node)], 1 << node.type.width
        return lambda env: int(operation(a(env), b(env))) % limit

    def on_if(self, node: If, condition: _Meaning, a: _Meaning, b: _Meaning) -> _Meaning:
        return lambda env: a(env) if condition(env) else b(env)

    def on_every(self, node: Every, body: _Meaning) -> _Meaning:
        members = members_of(self.system, node.component)
        return lambda env: int(all(body(_Environment(env.state, env.actor, i, env.choice)) for i in members))


def members_of(system: TransitionSystem, component: Component | None) -> list[int]:
    """The positions in `system.instances` that belong to `component`."""
    return [i for i, (c, _) in enumerate(system.instances) if c is component]


class Evaluator:
    """Runs a transition system step by step."""

    def __init__(self, system: TransitionSystem) -> None:
        self.system = system
        self._visitor = _Evaluate(system)

    def value(
        self, root: Expr, state: State, actor: int | None = None, choice: int = 0, bound: int | None = None
    ) -> int:
        """The value of `root` in `state`, for one acting instance and one choice."""
        return self._visitor.visit(root)(_Environment(state, actor, bound, choice))

    def initial(self) -> State:
        """The one initial state."""
        return State(
            tuple(v.initial for v in self.system.globals),
            tuple(tuple(v.initial for v in self.system.locals(c)) for c, _ in self.system.instances),
        )

    def read(self, state: State, name: str, instance: int | None = None) -> int:
        """The value of the variable called `name`. Raises KeyError when there is none."""
        for variable, place in self._visitor.place.items():
            if variable.name == name:
                return state.shared[place] if instance is None else state.instances[instance][place]
        raise KeyError(name)

    def halted(self, state: State) -> bool:
        return bool(self.value(self.system.halted, state))

    def successors(self, state: State) -> Iterator[Step]:
        """Every enabled (action, instance, choice), in that order, including those that change nothing."""
        if self.halted(state):
            return
        for action in self.system.actions:
            actors = members_of(self.system, action.actor) if action.actor else [None]
            for actor in actors:
                for choice in action.values:
                    if self.value(action.guard, state, actor, choice):
                        yield Step(action, actor, choice, self.apply(action, state, actor, choice))

    def transitions(self, state: State) -> Iterator[Step]:
        """The successors that differ from `state`."""
        return (step for step in self.successors(state) if step.state != state)

    def apply(self, action: Action, state: State, actor: int | None, choice: int) -> State:
        """The state after `action`; all values are read before any is written."""
        shared = list(state.shared)
        instances = [list(values) for values in state.instances]
        for effect in action.effects:
            place = self._visitor.place[effect.variable]
            if effect.broadcast:
                for i in members_of(self.system, effect.variable.component):
                    instances[i][place] = self.value(effect.value, state, actor, choice, bound=i)
            elif effect.variable.component is None:
                shared[place] = self.value(effect.value, state, actor, choice)
            else:
                assert actor is not None
                instances[actor][place] = self.value(effect.value, state, actor, choice)
        return State(tuple(shared), tuple(tuple(values) for values in instances))

    def marks(self, step: Step, before: State) -> list[Mark]:
        """The marks of a step that was taken in the state `before`."""
        return [m for m in step.action.marks if self.value(m.when, before, step.instance, step.choice)]

    def broken(self, state: State) -> list[Invariant]:
        """The invariants that `state` breaks."""
        return [i for i in self.system.invariants if not self.value(i.holds, state)]

"""What a transition system is: variables, actions, and what is claimed of them.

A `Builder` collects the parts and checks them; `Builder.build` returns the immutable `TransitionSystem` that every
back end reads. In an action of a component, a component's variable means the acting instance's; `each(x)` means the
bound instance's, inside `every` and in the value of a broadcast.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.system.errors import Location, ModelError, caller
from models.system.expressions import (
    BOOL,
    FALSE,
    TRUE,
    Choice,
    Component,
    Every,
    Expr,
    Operand,
    Parameter,
    Read,
    Type,
    Variable,
    lift,
    read,
)
from models.system.visitor import choose, nodes


class Fairness(enum.Enum):
    """The strong-fairness group of an action: infinitely often enabled, then infinitely often taken."""

    NONE = "none"  # the environment may never do it; it may also do it for ever
    NEVER_ON_CYCLE = "never on a cycle"  # as NONE, and a run does it finitely often
    PATCHER = "patcher"
    ACKNOWLEDGE = "acknowledge"
    HANDLER = "handler"
    TASK = "task"
    RESUME = "resume"

    @property
    def is_fair(self) -> bool:
        return self not in (Fairness.NONE, Fairness.NEVER_ON_CYCLE)


@dataclass(frozen=True, eq=False)
class Effect:
    """`variable` := `value`; with `broadcast`, in every instance, where `each(x)` is the receiver's x."""

    variable: Variable
    value: Expr
    broadcast: bool = False


@dataclass(frozen=True, eq=False)
class Mark:
    """What it means that an action is taken when `when` holds (read before the effects).

    A mark with `premise` says that `property` was put to the test; otherwise the property is broken, in the way that
    `kind` names. `says` is one sentence for the end of a trace.
    """

    property: str
    kind: str
    when: Expr
    premise: bool
    says: str


@dataclass(frozen=True, eq=False)
class Action:
    """One kind of step. `actor` is the acting component, or None for the patcher.

    A choice value is part of the action's identity. `guard` enables it; `effects` happen at once. `fault`: it leads to
    an error state, so that it is no wonder if it never fires. `who`: the thread that acts, where `actor` is None.
    """

    name: str
    actor: Component | None
    guard: Expr
    effects: tuple[Effect, ...]
    says: str
    where: Location
    fairness: Fairness = Fairness.NONE
    choice: Choice | None = None
    marks: tuple[Mark, ...] = ()
    fault: bool = False
    who: str = "patcher"

    @property
    def values(self) -> range:
        """The values of the choice; one value where there is none."""
        return range(len(self.choice.labels) if self.choice else 1)

    def at(self, expression: Expr, value: int) -> Expr:
        """`expression` for one value of the choice."""
        return choose(expression, self.choice, value) if self.choice else expression


@dataclass(frozen=True, eq=False)
class Invariant:
    """`holds` in every reachable state, or `property` is broken in the way that `kind` names."""

    property: str
    kind: str
    holds: Expr
    says: str


@dataclass(frozen=True, eq=False)
class Progress:
    """`property`: from everywhere `goal` stays reachable, and every fair run reaches it."""

    property: str
    goal: Expr
    says: str


@dataclass(frozen=True, eq=False)
class TransitionSystem:
    """A finite system. No action is enabled where `halted` holds."""

    name: str
    components: tuple[Component, ...]
    variables: tuple[Variable, ...]
    actions: tuple[Action, ...]
    invariants: tuple[Invariant, ...]
    progress: Progress | None
    halted: Expr
    counts: Mapping[Component, int]  # how many instances there are of each component

    @property
    def globals(self) -> tuple[Variable, ...]:
        return tuple(v for v in self.variables if v.component is None)

    def locals(self, component: Component) -> tuple[Variable, ...]:
        return tuple(v for v in self.variables if v.component is component)

    @property
    def instances(self) -> tuple[tuple[Component, int], ...]:
        """All instances of all components, in order: (component, number within it)."""
        return tuple((c, i) for c in self.components for i in range(self.counts[c]))

    def resized(self, counts: Mapping[Component, int]) -> TransitionSystem:
        """The same system with other numbers of instances; the names are those of this one."""
        return replace(self, counts={**self.counts, **counts})

    def marks(self) -> Iterator[tuple[Action, Mark]]:
        for action in self.actions:
            for mark in action.marks:
                yield action, mark


def _refuse_unprintable(name: str, where: Location, what: str = "a name") -> None:
    """Names and sentences stand in generated code, in files for other tools, and on terminals. Raises ModelError."""
    if not name.isprintable():
        raise ModelError(f"{name!r} cannot be {what}: it has characters that do not print", where)


@dataclass
class Builder:
    """Collects a transition system part by part; every part is checked when it is added.

    `where` stands for the line of actions that name none of their own; by default, the line that adds them.
    """

    name: str
    where: Location | None = None
    components: list[Component] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    invariants: list[Invariant] = field(default_factory=list)
    progress: Progress | None = None
    halted: Expr = FALSE
    counts: dict[Component, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _refuse_unprintable(self.name, self.where or caller())

    def component(self, name: str, count: int) -> Component:
        if count < 1:
            raise ModelError(f"{name}: at least one instance is needed, not {count}", caller())
        return self.adopt(Component(name), count)

    def adopt(self, component: Component, count: int) -> Component:
        """Use a component that was made elsewhere."""
        _refuse_unprintable(component.name, self.where or caller())
        self.components.append(component)
        self.counts[component] = count
        return component

    def declare(self, variable: Variable) -> Read:
        """Use a variable that was made elsewhere, and return its value as an expression."""
        _refuse_unprintable(variable.name, variable.where)
        _refuse_unprintable(variable.says, variable.where, "what is said")
        if any(v.name == variable.name for v in self.variables):
            raise ModelError(f"two variables are called “{variable.name}”", variable.where)
        self.variables.append(variable)
        return read(variable)

    def variable(
        self,
        name: str,
        type_: Type,
        initial: Operand,
        component: Component | None = None,
        says: str = "",
        bits: Sequence[str] = (),
    ) -> Read:
        """Declare a variable and return its value as an expression. `bits`: what each bit of a set stands for."""
        start = lift(initial, type_)
        return self.declare(Variable(name, type_, getattr(start, "value"), component, says, caller(), tuple(bits)))  # noqa: B009

    def action(
        self,
        name: str,
        *,
        actor: Component | None = None,
        guard: Expr = TRUE,
        effects: Sequence[tuple[Expr, Operand]] = (),
        broadcast: Sequence[tuple[Expr, Operand]] = (),
        says: str,
        where: Location | None = None,
        fairness: Fairness = Fairness.NONE,
        choice: Choice | None = None,
        marks: Sequence[Mark] = (),
        fault: bool = False,
        who: str = "patcher",
    ) -> None:
        """Add an action; `effects` assign to globals and to the actor's own variables, `broadcast` to everybody's.

        Raises ModelError for an unknown variable, a wrong type, a variable assigned twice, or another's variable read.
        """
        place = where or self.where or caller()
        _refuse_unprintable(name, place)
        made = []
        for pairs, everywhere in ((effects, False), (broadcast, True)):
            for target, value in pairs:
                if not isinstance(target, Read):
                    raise ModelError(f"{name}: only a variable can be assigned, not {target!r}", place)
                made.append(Effect(target.variable, lift(value, target.type), everywhere))
        marks = tuple(marks)
        action = Action(name, actor, lift(guard, BOOL), tuple(made), says, place, fairness, choice, marks, fault, who)
        if any(a.name == name for a in self.actions):
            raise ModelError(f"two actions are called “{name}”", place)
        self._check(action)
        self.actions.append(action)

    def _check(self, action: Action) -> None:
        assigned: set[Variable] = set()
        for effect in action.effects:
            variable = effect.variable
            if variable in assigned:
                raise ModelError(f"{action.name}: {variable.name} is assigned twice", action.where)
            assigned.add(variable)
            assignable = (
                variable.component is not None if effect.broadcast else variable.component in (None, action.actor)
            )
            if not assignable:
                raise ModelError(
                    f"{action.name}: {variable.name} belongs to "
                    f"{variable.component.name if variable.component else 'no component'}, "
                    f"which this action cannot assign {'everywhere' if effect.broadcast else 'alone'}",
                    action.where,
                )
            self._check_reads(action, effect.value, variable.component if effect.broadcast else None)
        self._check_reads(action, action.guard, None)
        for mark in action.marks:
            self._check_reads(action, mark.when, None)

    def _check_reads(self, action: Action, root: Expr, bound: Component | None) -> None:
        stack: list[tuple[Expr, Component | None]] = [(root, bound)]
        seen: set[tuple[Expr, Component | None]] = set()
        while stack:
            node, binder = entry = stack.pop()
            if entry in seen:
                continue
            seen.add(entry)
            if isinstance(node, Read):
                self._check_read(node, action, binder)
            elif isinstance(node, Parameter) and node.choice is not action.choice:
                raise ModelError(f"{action.name}: “{node.choice.name}” is not its choice", action.where)
            inner = node.component if isinstance(node, Every) else binder
            stack.extend((arg, inner) for arg in node.args)

    def _check_read(self, node: Read, action: Action, binder: Component | None) -> None:
        variable = node.variable
        if variable not in self.variables:
            raise ModelError(f"{action.name}: unknown variable {variable.name}", action.where)
        owner = binder if node.bound else action.actor
        if variable.component is not None and variable.component is not owner:
            raise ModelError(
                f"{action.name}: whose {variable.name} is meant? Use every(…, each(…)) for other instances",
                action.where,
            )

    def invariant(self, property_: str, kind: str, holds: Expr, says: str) -> None:
        """Claim that `holds` in every reachable state; it may mention components only inside `every`."""
        for node in nodes(holds):
            if isinstance(node, Read) and node.variable.component is not None and not node.bound:
                raise ModelError(f"{property_}: {node.variable.name} needs a quantifier", caller())
        self.invariants.append(Invariant(property_, kind, lift(holds, BOOL), says))

    def build(self) -> TransitionSystem:
        """The finished system."""
        return TransitionSystem(
            self.name,
            tuple(self.components),
            tuple(self.variables),
            tuple(self.actions),
            tuple(self.invariants),
            self.progress,
            self.halted,
            dict(self.counts),
        )

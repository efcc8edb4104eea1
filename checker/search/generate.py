"""From a transition system to Python source: successor functions of one instance, and of the patcher.

A state is (shared values, one tuple of locals per instance). Most actions depend on the shared values and on one
instance; the patcher's also ask something of every instance and change each alike. The generated functions follow that
shape, so that the engine can remember what they said:

  moves_C(g, l)   what an instance of component C can do: (action, choice, shared', locals', marks)
  globals_(g)     what the patcher may do as far as the shared values go: (action, shared')
  asks_K_C(g, l)  whether an instance allows the patcher's action K
  casts_K_C(g, l) what it does to an instance
  broken_C(g, l)  the invariants that an instance breaks
  runs_C(g, l)    whether an instance does not halt the system

An action or condition of any other shape has no place here: `generate` says which (`Unsupported`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from models.system.expressions import (
    TRUE,
    Add,
    And,
    BitAnd,
    BitOr,
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
    Subtract,
    Variable,
    both,
)
from models.system.system import Action, Effect, TransitionSystem
from models.system.visitor import Visitor, nodes


class Unsupported(Exception):
    """A part of the system does not have the shape that the generated code relies on."""


_SIGNS: dict[type[Expr], str] = {Add: "+", Subtract: "-", BitAnd: "&", BitOr: "|"}


class _Python(Visitor[str]):
    """An expression as Python source over local names."""

    def __init__(self, names: dict[Variable, str]) -> None:
        super().__init__()
        self.names = names

    def on_constant(self, node: Constant) -> str:
        return str(node.value)

    def on_read(self, node: Read) -> str:
        return self.names[node.variable]

    def on_parameter(self, node: Parameter) -> str:
        raise Unsupported("a choice that was not made")

    def on_not(self, node: Not, a: str) -> str:
        return f"(not {a})"

    def on_and(self, node: And, args: list[str]) -> str:
        return "(" + " and ".join(args) + ")"

    def on_or(self, node: Or, args: list[str]) -> str:
        reads = [arg.args[0] for arg in node.args if isinstance(arg, Equal) and isinstance(arg.args[1], Constant)]
        if len(reads) == len(args) and all(read is reads[0] for read in reads):
            values = sorted(arg.args[1].value for arg in node.args if isinstance(arg.args[1], Constant))
            return f"({self.visit(reads[0])} in {{{', '.join(map(str, values))}}})"
        return "(" + " or ".join(args) + ")"

    def on_equal(self, node: Equal, a: str, b: str) -> str:
        return f"({a} == {b})"

    def on_less(self, node: Less, a: str, b: str) -> str:
        return f"({a} < {b})"

    def on_arithmetic(self, node: Expr, a: str, b: str) -> str:
        text = f"({a} {_SIGNS[type(node)]} {b})"
        assert isinstance(node.type, Bits)
        return f"({text} & {(1 << node.type.width) - 1})" if isinstance(node, (Add, Subtract)) else text

    def on_if(self, node: If, condition: str, a: str, b: str) -> str:
        return f"({a} if {condition} else {b})"

    def on_every(self, node: Every, body: str) -> str:
        raise Unsupported("a quantifier in the middle of an expression")


def split(condition: Expr) -> tuple[Expr, dict[Component, Expr]]:
    """A conjunction as a condition on the shared values and one on each instance of some components.

    Raises Unsupported where a quantifier stands anywhere but among the conjuncts.
    """
    shared: list[Expr] = []
    bodies: dict[Component, Expr] = {}
    for part in condition.args if isinstance(condition, And) else (condition,):
        if isinstance(part, Every):
            bodies[part.component] = both(bodies.get(part.component, TRUE), part.args[0])
        elif any(isinstance(node, Every) for node in nodes(part)):
            raise Unsupported("a quantifier below something other than a conjunction")
        else:
            shared.append(part)
    return both(*shared), bodies


Function = Callable[..., Any]


@dataclass(frozen=True)
class Generated:
    """The generated functions, and the source that they came from."""

    source: str
    moves: dict[Component, Function]
    shared_moves: Function
    asks: dict[tuple[int, Component], Function]
    casts: dict[tuple[int, Component], Function]
    broken: dict[Component, Function]
    runs: dict[Component, Function]
    goal: Function


class _Writer:
    def __init__(self, system: TransitionSystem) -> None:
        self.system = system
        self.lines: list[str] = []
        self.names = {v: _identifier(v.name, i) for i, v in enumerate(system.variables)}
        self.python = _Python(self.names)
        self.marks = {mark: k for k, (_, mark) in enumerate(system.marks())}

    def line(self, text: str, depth: int = 0) -> None:
        self.lines.append("    " * depth + text)

    def text(self, expression: Expr) -> str:
        return self.python.visit(expression)

    def function(self, name: str, groups: Sequence[tuple[str, Sequence[Variable]]]) -> None:
        self.line(f"def {name}({', '.join(argument for argument, _ in groups)}):")
        for argument, variables in groups:
            if variables:
                self.line(f"({', '.join(self.names[v] for v in variables)},) = {argument}", 1)

    def values(self, variables: Sequence[Variable], effects: Sequence[Effect], action: Action, choice: int) -> str:
        """The tuple of new values, or the old tuple's name where nothing changes."""
        new = {e.variable: self.text(action.at(e.value, choice)) for e in effects if e.variable in variables}
        return f"({', '.join(new.get(v, self.names[v]) for v in variables)},)" if new else ""

    def mark_list(self, action: Action, choice: int) -> str:
        parts = []
        for mark in action.marks:
            when = self.text(action.at(mark.when, choice))
            parts.append(f"*(({self.marks[mark]},) if {when} else ())" if when != "1" else str(self.marks[mark]))
        return f"({', '.join(parts)},)" if parts else "()"

    def instance_moves(self, component: Component) -> None:
        shared, local = self.system.globals, self.system.locals(component)
        self.function(f"moves_{component.name}", [("g", shared), ("l", local)])
        self.line("out = []", 1)
        for k, action in enumerate(self.system.actions):
            if action.actor is not component:
                continue
            if any(e.broadcast for e in action.effects):
                raise Unsupported(f"“{action.name}”: an instance that broadcasts")
            for choice in action.values:
                self.line(f"if {self.text(action.at(action.guard, choice))}:  # {action.name}", 1)
                g = self.values(shared, action.effects, action, choice) or "g"
                l = self.values(local, action.effects, action, choice) or "l"
                self.line(f"out.append(({k}, {choice}, {g}, {l}, {self.mark_list(action, choice)}))", 2)
        self.line("return out", 1)

    def shared_moves(self) -> None:
        shared = self.system.globals
        later: list[tuple[int, Action, dict[Component, Expr]]] = []
        self.function("globals_", [("g", shared)])
        self.line("out = []", 1)
        for k, action in enumerate(self.system.actions):
            if action.actor is not None:
                continue
            if action.choice is not None:
                raise Unsupported(f"“{action.name}”: a choice of the patcher")
            guard, bodies = split(action.guard)
            later.append((k, action, bodies))
            if action.marks:
                raise Unsupported(f"“{action.name}”: a mark on an action of the patcher")
            self.line(f"if {self.text(guard)}:  # {action.name}", 1)
            g = self.values(shared, [e for e in action.effects if not e.broadcast], action, 0) or "g"
            self.line(f"out.append(({k}, {g}))", 2)
        self.line("return out", 1)
        for k, action, bodies in later:
            for component in self.system.components:
                local = self.system.locals(component)
                if component in bodies:
                    self.function(f"asks_{k}_{component.name}", [("g", shared), ("l", local)])
                    self.line(f"return {self.text(bodies[component])}", 1)
                effects = [e for e in action.effects if e.broadcast and e.variable.component is component]
                if effects:
                    self.function(f"casts_{k}_{component.name}", [("g", shared), ("l", local)])
                    self.line(f"return {self.values(local, effects, action, 0)}", 1)

    def claims(self) -> None:
        shared = self.system.globals
        pieces = [split(invariant.holds) for invariant in self.system.invariants]
        if any(whole is not TRUE for whole, _ in pieces):
            raise Unsupported("an invariant on the shared values alone")
        running, bodies = split(~self.system.halted)
        if running is not TRUE:
            raise Unsupported("a system that halts by its shared values")
        for component in self.system.components:
            local = self.system.locals(component)
            self.function(f"broken_{component.name}", [("g", shared), ("l", local)])
            self.line("out = []", 1)
            for k, (_, parts) in enumerate(pieces):
                if component in parts:
                    self.line(f"if not {self.text(parts[component])}: out.append({k})", 1)
            self.line("return out", 1)
            self.function(f"runs_{component.name}", [("g", shared), ("l", local)])
            self.line(f"return {self.text(bodies.get(component, TRUE))}", 1)
        goal, quantified = split(self.system.progress.goal) if self.system.progress else (TRUE, {})
        if quantified:
            raise Unsupported("a goal that asks something of every instance")
        self.function("goal", [("g", shared)])
        self.line(f"return {self.text(goal)}", 1)


def _identifier(name: str, number: int) -> str:
    return re.sub(r"\W", "_", name) + f"_{number}"


def generate(system: TransitionSystem) -> Generated:
    """Generate and compile. Raises Unsupported for a system of another shape."""
    writer = _Writer(system)
    for component in system.components:
        writer.instance_moves(component)
    writer.shared_moves()
    writer.claims()
    source = "\n".join(writer.lines) + "\n"
    scope: dict[str, Any] = {}
    exec(compile(source, f"<generated from {system.name}>", "exec"), scope)
    actions = range(len(system.actions))

    def per_action(prefix: str) -> dict[tuple[int, Component], Function]:
        names = {(k, c): f"{prefix}_{k}_{c.name}" for k in actions for c in system.components}
        return {key: scope[name] for key, name in names.items() if name in scope}

    return Generated(
        source,
        {c: scope[f"moves_{c.name}"] for c in system.components},
        scope["globals_"],
        per_action("asks"),
        per_action("casts"),
        {c: scope[f"broken_{c.name}"] for c in system.components},
        {c: scope[f"runs_{c.name}"] for c in system.components},
        scope["goal"],
    )

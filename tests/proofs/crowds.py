"""Small systems drawn at random in which instances meet: what one of them cannot do alone, several may do.

Guards are a few values that things must have, effects a few that they get, so that much is unreachable and proofs are
about something. Some guards, values and claims speak of all instances, or of some.
"""

from __future__ import annotations

from random import Random

from models.system.expressions import BOOL, Bits, Component, Expr, Operand, Read, both, every, if_else, some
from models.system.system import Builder, Mark, TransitionSystem
from models.system.visitor import each


class _Crowd:
    def __init__(self, seed: int) -> None:
        self.r = Random(seed)
        self.b = Builder(f"crowd {seed}")
        names = ("cpu", "device")[: self.r.choice((1, 1, 2))]
        self.components = [self.b.component(name, 1) for name in names]
        self.shared = [self.variable(f"g{i}") for i in range(self.r.randint(1, 2))]
        self.local = {
            c: [self.variable(f"{c.name}_{i}", c) for i in range(self.r.randint(1, 2))] for c in self.components
        }

    def variable(self, name: str, component: Component | None = None) -> Read:
        return self.b.variable(name, self.r.choice((BOOL, BOOL, Bits(2))), 0, component, says=name)

    def value(self, variable: Read) -> int:
        return self.r.randrange(1 << variable.type.width if isinstance(variable.type, Bits) else 2)

    def literal(self, variables: list[Read]) -> Expr:
        variable = self.r.choice(variables)
        return variable == self.value(variable)

    def about_all(self) -> Expr:
        """Something that is asked of all instances of a component, or rarely of some."""
        component = self.r.choice(self.components)
        quantifier = some if self.r.random() < 0.15 else every
        return quantifier(component, each(self.literal(self.local[component])))

    def guard(self, variables: list[Read]) -> Expr:
        parts = [self.literal(variables) for _ in range(2)]
        return both(*parts[self.r.randint(0, 1) :], *([self.about_all()] if self.r.random() < 0.4 else []))

    def assigned(self, variables: list[Read], most: int) -> list[tuple[Expr, Operand]]:
        """New values for some variables."""
        made: list[tuple[Expr, Operand]] = []
        for variable in self.r.sample(variables, self.r.randint(min(1, most), min(most, len(variables)))):
            value: Expr | int = self.value(variable)
            if self.r.random() < 0.05:
                value = if_else(self.about_all(), value, variable)
            made.append((variable, value))
        return made

    def cast(self, taken: list[Expr]) -> list[tuple[Expr, Operand]]:
        """New values for what everybody has, or those of whom something is true."""
        component = self.r.choice(self.components)
        left = [v for v in self.local[component] if all(v is not other for other in taken)]
        if not left or self.r.random() < 0.6:
            return []
        variable = self.r.choice(left)
        condition = each(self.literal(self.local[component]))
        return [(variable, if_else(condition, self.value(variable), each(variable)))]

    def action(self, number: int) -> None:
        actor = self.r.choice([None, *self.components, *self.components])
        own = self.local[actor] if actor else []
        effects = self.assigned([*self.shared, *own], 2)
        marks = [
            Mark("met", str(k), both(*(self.literal([*self.shared, *own]) for _ in range(2))), False, "is met")
            for k in range(self.r.randint(0, 2))
        ]
        self.b.action(
            f"action {number}",
            actor=actor,
            guard=self.guard([*self.shared, *own]),
            effects=effects,
            broadcast=self.cast([target for target, _ in effects]),
            says="acts",
            marks=marks,
        )

    def system(self) -> TransitionSystem:
        for number in range(self.r.randint(4, 7)):
            self.action(number)
        for k in range(10):
            component = self.r.choice(self.components)
            literals = (self.literal([*self.shared, *self.local[component]]) for _ in range(2))
            self.b.invariant("never", str(k), every(component, each(~both(*literals))), "came to be")
        return self.b.build()


def crowd(seed: int) -> TransitionSystem:
    """The system that belongs to a number, with one instance of each component."""
    return _Crowd(seed).system()

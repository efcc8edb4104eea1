"""Small systems drawn at random from the whole language of systems, shapes that no strategy has included."""

from __future__ import annotations

from random import Random

from models.system.expressions import (
    BOOL,
    Bits,
    Choice,
    Component,
    Enum,
    Expr,
    Operand,
    Read,
    Type,
    both,
    constant,
    either,
    every,
    if_else,
    parameter,
    some,
)
from models.system.system import Builder, Fairness, Mark, Progress, TransitionSystem
from models.system.visitor import each

COLOURS = Enum("colour of “it”", ("dark red", "11/22", "*/ light-blue", "dark_red"))
TYPES: tuple[Type, ...] = (BOOL, COLOURS, Bits(2), Bits(3))
WORDS = ("int", "rule", "of", "now", "while", "state 1", "end", "*/", "begin", "do", "byte", "assert")


class _Drawn:
    def __init__(self, seed: int) -> None:
        self.r = Random(seed)
        self.b = Builder(f"drawn {seed}")
        counts = self.r.choice([(), (1,), (2,), (3,), (1, 2)])
        self.components = [self.b.component(WORDS[i], n) for i, n in enumerate(counts)]
        words = list(WORDS)
        self.r.shuffle(words)
        self.shared = [self.variable(words.pop()) for _ in range(self.r.randint(1, 2))]
        self.local = {c: [self.variable(words.pop(), c) for _ in range(self.r.randint(1, 2))] for c in self.components}

    def variable(self, name: str, component: Component | None = None) -> Read:
        type_ = self.r.choice(TYPES)
        initial = self.r.randrange(len(self.values(type_)))
        found = self.b.variable(name, type_, initial, component, says="what */ it is -- or “was”")
        assert isinstance(found, Read)
        return found

    @staticmethod
    def values(type_: Type) -> range:
        match type_:
            case Bits():
                return range(1 << type_.width)
            case Enum():
                return range(len(type_.labels))
        return range(2)

    def expression(
        self, type_: Type, reads: list[Expr], choice: Choice | None, depth: int, quantifier: bool = True
    ) -> Expr:
        """A random expression of `type_` over `reads`."""

        def operand(of: Type) -> Expr:
            return self.expression(of, reads, choice, depth - 1, quantifier)

        fitting = [e for e in reads if e.type == type_]
        if depth <= 0 or self.r.random() < 0.15:
            if fitting and self.r.random() < 0.8:
                return self.r.choice(fitting)
            if choice is not None and isinstance(type_, Bits) and parameter(choice).type == type_:
                return parameter(choice)
            value = self.r.choice(self.values(type_))
            return constant(value, type_)
        if self.r.random() < 0.2:
            return if_else(operand(BOOL), operand(type_), operand(type_))
        match type_:
            case Bits():
                a, b = operand(type_), operand(type_)
                return self.r.choice(
                    [a + b, a - b, a & b, a | b, a + 1, a - 1, a & 2, a | 3, a | 5 if type_.width > 2 else a]
                )
            case Enum():
                return if_else(operand(BOOL), operand(type_), self.r.choice(self.values(type_)))
        kind = self.r.randrange(6)
        if kind == 0 and self.components and quantifier:
            component = self.r.choice(self.components)
            inner = [*reads, *(each(v) for v in self.local[component])]
            body = self.expression(BOOL, inner, choice, depth - 1, False)
            return self.r.choice([every, some])(component, body)
        if kind == 1:
            return ~operand(BOOL)
        if kind == 2:
            return self.r.choice([both, either])(operand(BOOL), operand(BOOL), operand(BOOL))
        number = self.r.choice([t for t in TYPES if isinstance(t, Bits)])
        if kind == 3:
            return operand(number) < operand(number)
        of = self.r.choice(TYPES)
        if kind == 4 and isinstance(of, Bits):
            return (operand(of) & 2) == 2
        return operand(of) == operand(of)

    def action(self, number: int) -> None:
        actor = self.r.choice([None, *self.components])
        own = self.local[actor] if actor else []
        reads: list[Expr] = [*self.shared, *own]
        choice = Choice("which", ("one", "two", "three")[: self.r.randint(1, 3)]) if self.r.random() < 0.3 else None
        effects: list[tuple[Expr, Operand]] = []
        casts: list[tuple[Expr, Operand]] = []
        for variable in [*self.shared, *own]:
            if self.r.random() < 0.5:
                effects.append((variable, self.expression(variable.type, reads, choice, 2)))
        for component in self.components:
            for variable in self.local[component]:
                if self.r.random() < 0.3 and all(variable is not target for target, _ in effects):
                    inner = [*reads, *(each(v) for v in self.local[component])]
                    casts.append((variable, self.expression(variable.type, inner, choice, 2, False)))
        marks = [
            Mark("safe “p”", f"k{self.r.randint(1, 2)}", self.expression(BOOL, reads, choice, 2), premise, "is */ met")
            for premise in (True, False)
            if self.r.random() < 0.3
        ]
        self.b.action(
            f'{WORDS[number % len(WORDS)]} “{number}” \\ " 100%',
            actor=actor,
            guard=self.expression(BOOL, reads, choice, self.r.randint(1, 3)),
            effects=effects,
            broadcast=casts,
            says="{cpu} does it to {choice} */ \\",
            fairness=self.r.choice(list(Fairness)),
            choice=choice,
            marks=marks,
        )

    def system(self) -> TransitionSystem:
        for number in range(self.r.randint(2, 5)):
            self.action(number)
        if self.r.random() < 0.5:
            self.b.invariant("q", "", self.expression(BOOL, list(self.shared), None, 3), "it is broken")
        if self.r.random() < 0.4:
            self.b.halted = both(self.expression(BOOL, list(self.shared), None, 2), self.shared[0] == 1)
        self.b.progress = Progress(
            "completes", self.expression(BOOL, list(self.shared), None, 2) & (self.shared[0] == 1), "it ends"
        )
        return self.b.build()


def drawn(seed: int) -> TransitionSystem:
    """The system that belongs to a number."""
    return _Drawn(seed).system()

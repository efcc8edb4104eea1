"""A hash of what a proof is about: the system, whatever the number of instances, and the lemmas."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from models.system.expressions import Bits, Bool, Component, Constant, Enum, Every, Expr, Parameter, Read, Type
from models.system.system import TransitionSystem
from proofs.lemma import Lemma


def system_hash(system: TransitionSystem) -> str:
    """SHA-256 of everything that the system means; sentences and line numbers do not count."""
    return hashlib.sha256("\n".join(_Text().system(system)).encode()).hexdigest()


def lemmas_hash(lemmas: Iterable[Lemma]) -> str:
    """SHA-256 of the lemmas, in their order."""
    text = _Text()
    lines = [f"{lemma.name} {_names(lemma.about)} {text.of(lemma.holds)}" for lemma in lemmas]
    return hashlib.sha256("\n".join([*text.lines, *lines]).encode()).hexdigest()


class _Text:
    """Expressions line by line, each node once: `number kind details operands`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.numbers: dict[Expr, int] = {}

    def of(self, root: Expr) -> int:
        stack = [root]
        while stack:
            node = stack[-1]
            todo = [arg for arg in node.args if arg not in self.numbers]
            if node in self.numbers:
                stack.pop()
            elif todo:
                stack.extend(reversed(todo))
            else:
                stack.pop()
                self.numbers[node] = len(self.numbers)
                operands = " ".join(str(self.numbers[arg]) for arg in node.args)
                self.lines.append(f"{self.numbers[node]} {type(node).__name__} {_details(node)} {operands}")
        return self.numbers[root]

    def system(self, system: TransitionSystem) -> list[str]:
        rest = [f"component {c.name}" for c in system.components]
        for v in system.variables:
            rest.append(f"variable {v.name} {_type(v.type)} {v.initial} {v.component.name if v.component else ''}")
        for a in system.actions:
            actor = a.actor.name if a.actor else ""
            labels = a.choice.labels if a.choice else ""
            rest.append(f"action {a.name} {actor} {labels} {a.fairness.name} {self.of(a.guard)}")
            rest += [f"effect {e.variable.name} {e.broadcast} {self.of(e.value)}" for e in a.effects]
            rest += [f"mark {m.property} {m.kind} {m.premise} {self.of(m.when)}" for m in a.marks]
        rest += [f"invariant {i.property} {i.kind} {self.of(i.holds)}" for i in system.invariants]
        rest.append(f"halted {self.of(system.halted)}")
        if system.progress:
            rest.append(f"progress {system.progress.property} {self.of(system.progress.goal)}")
        return [*self.lines, *rest]


def _names(components: Iterable[Component]) -> str:
    return ",".join(c.name for c in components)


def _type(type_: Type) -> str:
    match type_:
        case Bool():
            return "bool"
        case Enum(labels=labels):
            return f"enum{labels}"
        case Bits(width=width):
            return f"bits{width}"


def _details(node: Expr) -> str:
    match node:
        case Constant():
            return f"{node.value}:{_type(node.type)}"
        case Read():
            return f"{node.variable.name}{'*' if node.bound else ''}"
        case Parameter():
            return node.choice.name
        case Every():
            return node.component.name
    return ""

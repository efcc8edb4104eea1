"""What a system must look like for a proof about a few CPUs to be one about any number; checked on the model.

Let a system have shared values g and alike instances l_1 … l_N. A step names at most one instance m, its mover. If
every guard says of other instances only what holds for *all* of them, and every new value depends on g, on the mover
and on the instance that it belongs to, then restricting a run of N instances to some that include the mover gives a
run of fewer. So an invariant over k instances is inductive for any N ≥ k when it is so

  - with k instances, for steps of the patcher and of one of the k, and
  - with k + 1 instances, for steps of one outside the k, where such a step can change anything but its mover.

This is the argument of parameterised model checking with a cutoff (Namjoshi, VMCAI 2007; Pnueli, Ruah, Zuck, TACAS
2001). A guard that asks whether *some* instance does this or that is lost in the restriction: `Obstacle`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from models.system.errors import Location
from models.system.expressions import And, Every, Expr, Not, Or, Read
from models.system.system import TransitionSystem
from models.system.visitor import nodes
from proofs.lemma import Lemma


@dataclass(frozen=True)
class Obstacle:
    """Why a proof for a few instances would say nothing about many. `who`: the action or property, `where`: its line."""

    who: str
    why: str
    where: Location | None = None

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}“{self.who}” {self.why}"


@dataclass(frozen=True)
class Shape:
    """What was found. `interferes`: the actions of instances that change more than their mover. `least`: how many
    instances the properties speak of at once. The argument applies where there are no `obstacles`.
    """

    obstacles: tuple[Obstacle, ...]
    interferes: tuple[str, ...]
    least: int


def shape(system: TransitionSystem) -> Shape:
    """Look at every part of `system`."""
    obstacles = list(_obstacles(system))
    interferes = tuple(
        action.name
        for action in system.actions
        if action.actor is not None and any(e.broadcast or e.variable.component is None for e in action.effects)
    )
    least = max((_together(part) for i in system.invariants for part in conjuncts(i.holds)), default=1)
    return Shape(tuple(obstacles), interferes, max(1, least))


def _obstacles(system: TransitionSystem) -> Iterator[Obstacle]:
    if not system.components:
        yield Obstacle(system.name, "has no component of which there could be any number")
    if not universal(system.halted, negated=True):
        yield Obstacle(
            "halted", "asks whether some instance runs on; only “some instance is in an error” can be restricted"
        )
    for action in system.actions:
        if not universal(action.guard):
            yield Obstacle(
                action.name,
                "asks whether some instance …; only guards over all instances can be restricted",
                action.where,
            )
        for effect in action.effects:
            if any(isinstance(node, Every) for node in nodes(effect.value)):
                yield Obstacle(
                    action.name, f"writes a value to {effect.variable.name} that depends on all instances", action.where
                )
        for mark in action.marks:
            if not mark.premise and not universal(mark.when):
                yield Obstacle(action.name, f"breaks {mark.property} when some instance …", action.where)
    for invariant in system.invariants:
        if not universal(invariant.holds):
            yield Obstacle(invariant.property, "says that some instance …")


def universal(root: Expr, negated: bool = False) -> bool:
    """Whether `root` (or its negation), true of many instances, is true of each few of them: no quantifier is negated."""
    stack = [(root, negated)]
    while stack:
        node, flipped = stack.pop()
        match node:
            case Every():
                if flipped:
                    return False
            case Not():
                stack.append((node.args[0], not flipped))
            case And() | Or():
                stack.extend((arg, flipped) for arg in node.args)
            case _:
                if any(isinstance(inner, Every) for inner in nodes(node)):
                    return False
    return True


def conjuncts(root: Expr) -> list[Expr]:
    """The parts of a conjunction, or `root` alone."""
    return list(root.args) if isinstance(root, And) else [root]


def objection(lemma: Lemma, system: TransitionSystem, index: int) -> Obstacle | None:
    """Why a lemma cannot stand in an invariant over `index` instances; None where it can."""
    if any(isinstance(node, Every) for node in nodes(lemma.holds)):
        return Obstacle(lemma.name, "quantifies over instances; a lemma speaks of one or two of them")
    if len(lemma.about) > index or any(component not in system.components for component in lemma.about):
        return Obstacle(lemma.name, f"speaks of {', '.join(c.name for c in lemma.about)}, not of {index} of the system")
    for node in nodes(lemma.holds):
        if isinstance(node, Read) and node.variable.component is not None:
            place = int(node.bound)
            if place >= len(lemma.about) or lemma.about[place] is not node.variable.component:
                return Obstacle(lemma.name, f"reads {node.variable.name} of an instance that it does not speak of")
    return None


def _together(part: Expr) -> int:
    """How many instances it may take to break `part`."""
    return sum(isinstance(node, Every) for node in nodes(part))

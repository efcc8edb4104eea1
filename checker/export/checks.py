"""What can be asserted of a system? Each way to break a property, and each premise that makes it no empty promise."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from models.system.errors import ScenarioError
from models.system.system import Invariant, Mark, TransitionSystem


@dataclass(frozen=True)
class Check:
    """One way to break `property`; with `premise`, that it is put to the test, which is nothing bad."""

    property: str
    kind: str
    premise: bool = False

    def __str__(self) -> str:
        name = f"{self.property}/{self.kind}" if self.kind else self.property
        return f"premise of {name}" if self.premise else name


def check_of(source: Mark | Invariant) -> Check:
    """The check that a mark or an invariant belongs to."""
    return Check(source.property, source.kind, isinstance(source, Mark) and source.premise)


def checks(system: TransitionSystem) -> tuple[Check, ...]:
    """All checks of a system, each once, in the order of its invariants and marks."""
    sources: list[Mark | Invariant] = [*system.invariants, *(mark for _, mark in system.marks())]
    return tuple(dict.fromkeys(check_of(source) for source in sources))


def chosen(system: TransitionSystem, names: Collection[str]) -> tuple[Check, ...]:
    """The checks that `names` mean: “property”, “property/kind”, “premise of property”, or “all” that is no premise.

    Raises ScenarioError for a name that means none.
    """
    known = checks(system)
    found: set[Check] = set()
    for name in names:
        meant = {c for c in known if str(c) == name or (not c.premise and (c.property == name or name == "all"))}
        if not meant and name != "all":
            raise ScenarioError(f"{system.name} has no property “{name}”; it has {', '.join(map(str, known))}")
        found |= meant
    return tuple(c for c in known if c in found)

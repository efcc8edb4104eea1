"""A lemma: one named part of an invariant, as an expression over the shared variables and one or two instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.system.expressions import Component, Expr


@dataclass(frozen=True, eq=False)
class Lemma:
    """`holds` in every reachable state.

    `about`: of which instances it speaks. Their variables are read plainly for the first, and with `each(…)` for the
    second; it holds for every instance, or every pair of two different ones. `says`: one sentence why it is needed.
    """

    name: str
    says: str
    holds: Expr
    about: tuple[Component, ...] = ()


@dataclass(frozen=True)
class Invariant:
    """The conjunction of some lemmas. `origin`: who wrote it."""

    lemmas: tuple[Lemma, ...]
    origin: Literal["written", "found", "found by Spacer"]
    index: int  # k: over how many instances it speaks at once

    def without(self, lemma: Lemma) -> Invariant:
        """The rest of it."""
        return Invariant(tuple(l for l in self.lemmas if l is not lemma), self.origin, self.index)

"""A published bug of live code patching: the protocol before the fix, the protocol after it, and what must come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.protocol import Expect, Strategy
from models.system.errors import Location, ModelError, caller

if TYPE_CHECKING:
    from models.program import Program


@dataclass(frozen=True)
class Bug:
    """One bug, as executable as its fix.

    `before` does what `found` expects: the first property that it names as violated is the bug, and its shortest trace
    contains the sentences in `shows`, in this order (each is a part of a step's sentence). `after` does what `fixed`
    expects. `story`: the interleaving as it was published, in a few sentences. `model`: how the model differs from the
    code, and what it leaves out; "" where it does not.
    """

    identifier: str
    title: str
    date: str
    architecture: str
    subsystem: str
    source: str
    story: str
    before: Strategy | Program
    found: Expect
    shows: Sequence[str]
    after: Strategy | Program
    fixed: Expect
    model: str = ""
    where: Location = field(default_factory=caller, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a bug that nothing breaks, or that shows nothing."""
        if not self.found.violated:
            raise ModelError(f"{self.identifier}: which property is violated before the fix?", self.where)
        if not self.shows:
            raise ModelError(f"{self.identifier}: what has its trace to contain?", self.where)
        if self.fixed.violated:
            raise ModelError(f"{self.identifier}: a fix does not violate {self.fixed.violated[0]}", self.where)

    @property
    def breaks(self) -> str:
        """The property, or property/kind, that the bug is about."""
        return self.found.violated[0]

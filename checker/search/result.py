"""What every engine answers with, whatever it did inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from models.system.system import Invariant, Mark

INTERRUPTED = "interrupted"  # why a search stopped that somebody stopped

Taken = tuple[int, int | None, int]  # an action's index, the acting instance's position (None: patcher), the choice


@dataclass(frozen=True)
class Limits:
    """Where a search gives up: states stored, seconds, mebibytes of the process. None is no limit."""

    states: int | None = None
    seconds: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Path:
    """A run from the initial state. `cycle` steps at the end repeat for ever; with `rests`, nothing more happens."""

    steps: tuple[Taken, ...]
    cycle: int = 0
    rests: bool = False


@dataclass
class Exploration:
    """The outcome of a search.

    `states`, `transitions`: of the full system. `depth`: of the deepest state. `stopped`: why the search is not
    complete, or "". `fired`: indices of the actions that were enabled somewhere. `marks`, `broken`: for each mark and
    invariant that was met, a shortest path. `progress`: a path after which the goal is not reached, with the reason.
    `progress_known`: whether the question was answered.
    """

    engine: str
    states: int = 0
    transitions: int = 0
    depth: int = 0
    stopped: str = ""
    fired: set[int] = field(default_factory=set)
    marks: dict[Mark, Path] = field(default_factory=dict)
    broken: dict[Invariant, Path] = field(default_factory=dict)
    progress: tuple[Path, str] | None = None
    progress_known: bool = False

    @property
    def complete(self) -> bool:
        return not self.stopped


@dataclass(frozen=True)
class Progressing:
    """How far a search has come: for the progress line."""

    states: int
    depth: int
    frontier: int


Report = Callable[[Progressing], None]

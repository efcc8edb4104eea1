"""What every engine answers with, whatever it did inside."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from models.system.system import Invariant, Mark

INTERRUPTED = "interrupted"  # why a search stopped that somebody stopped

Taken = tuple[int, int | None, int]  # an action's index, the acting instance's position (None: patcher), the choice


@dataclass(frozen=True)
class Limits:
    """Where a search gives up: states stored, seconds, mebibytes of the process. None is no limit."""

    states: int | None = None
    seconds: float | None = None
    memory: int | None = None

    def exceeded(self, states: int, seconds: float) -> str:
        """Which limit a search has met, in words; "" if none."""
        if self.states is not None and states > self.states:
            return f"more than {self.states:,} states"
        if self.seconds is not None and seconds > self.seconds:
            return f"more than {self.seconds:g} seconds"
        if self.memory is not None and peak_memory() > self.memory:
            return f"more than {self.memory:,} MiB of memory"
        return ""


def peak_memory() -> int:
    """The most memory that this process has had at once, in MiB."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used >> 20 if sys.platform == "darwin" else used >> 10


class Path:
    """A run from the initial state. `cycle` steps at the end repeat for ever; with `rests`, nothing more happens.

    Its length is known at once; `find` gives the steps when somebody asks for them.
    """

    def __init__(self, steps: tuple[Taken, ...], cycle: int = 0, rests: bool = False) -> None:
        self.length, self.cycle, self.rests = len(steps), cycle, rests
        self._find: Callable[[], tuple[Taken, ...]] = lambda: steps

    @staticmethod
    def later(length: int, find: Callable[[], tuple[Taken, ...]]) -> Path:
        """A path of `length` steps that are looked for on demand."""
        path = Path(())
        path.length, path._find = length, find
        return path

    @cached_property
    def steps(self) -> tuple[Taken, ...]:
        """The steps, in order. Raises TooLarge where they cannot be had any more."""
        found = self._find()
        assert len(found) == self.length
        return found

    @property
    def order(self) -> list[Taken]:
        """What puts paths of the same length in the order of the frontier: the patcher before every instance."""
        return [(action, -1 if instance is None else instance, choice) for action, instance, choice in self.steps]


class TooLarge(Exception):
    """The space is too large for a question about it; the message says which."""


@dataclass
class Exploration:
    """The outcome of a search.

    `engine`, `threads`, `symmetry`, `compact`: how it was done. `states`, `transitions`: of the full system.
    `explored`: states stored; under symmetry, one for each orbit. `depth`: of the deepest state. `stopped`: why the
    search is not complete, or "". `fired`: indices of the actions that were enabled somewhere. `marks`, `broken`: for
    each mark and invariant that was met, a shortest path. `progress`: a path after which the goal is not reached, with
    the reason. `progress_known`: whether the question was answered, and if not `progress_note` may say why.
    """

    engine: str
    threads: int = 1
    symmetry: bool = False
    compact: bool = False
    states: int = 0
    transitions: int = 0
    explored: int = 0
    depth: int = 0
    stopped: str = ""
    fired: set[int] = field(default_factory=set)
    marks: dict[Mark, Path] = field(default_factory=dict)
    broken: dict[Invariant, Path] = field(default_factory=dict)
    progress: tuple[Path, str] | None = None
    progress_known: bool = False
    progress_note: str = ""

    @property
    def complete(self) -> bool:
        return not self.stopped


@dataclass(frozen=True)
class Progressing:
    """How far a search has come: for the progress line.

    `states`: how many `unit`s are stored. `share`: of everything there is, how much is done; None where that is not known.
    """

    states: int
    depth: int
    frontier: int
    share: float | None = None
    unit: str = "states"


Report = Callable[[Progressing], None]

"""What checking, telling and reporting need of a composed model, whether it came from a strategy or from a program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from models.machines.isa import Isa
from models.machines.views import Fetchable, Value, View
from models.protocol import Expect
from models.scenario import Scenario
from models.system.errors import Location
from models.system.system import TransitionSystem
from models.text import Granule, Outcome

Reader = Callable[[str], int]  # the value of a shared variable in some state


class Subject(Protocol):
    """What can be checked: a strategy or a program."""

    @property
    def name(self) -> str: ...
    @property
    def says(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def expects(self) -> Sequence[Expect]: ...
    @property
    def isa(self) -> Isa: ...
    @property
    def where(self) -> Location: ...


class Place(Fetchable, Protocol):
    """A place that CPUs fetch from, in words."""

    def explain(self, code: bytes) -> str:
        """What a CPU runs that fetched `code` there."""


class Shown(Protocol):
    """A piece of text that traces keep in view: a site, or a region."""

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def granules(self) -> tuple[Granule, ...]: ...
    def explain(self, code: bytes) -> str:
        """The bytes in words."""


class Model(ABC):
    """A composed model. `system` is what engines read; everything else is for people."""

    system: TransitionSystem
    scenario: Scenario

    @property
    @abstractmethod
    def subject(self) -> Subject:
        """The strategy or program that it came from."""

    @property
    @abstractmethod
    def shown(self) -> Sequence[Shown]:
        """The text that traces keep in view."""

    @property
    @abstractmethod
    def view(self) -> View | None:
        """What CPUs fetch; None where nothing is fetched."""

    @property
    @abstractmethod
    def fetches(self) -> Mapping[str, tuple[Place, Outcome]]:
        """For each action that executes text: where, and with what outcome."""

    @property
    @abstractmethod
    def size(self) -> str:
        """Its bounds in a few words: CPUs, sites."""

    @property
    @abstractmethod
    def circumstances(self) -> list[str]:
        """What the verdicts apply to, in a few words each."""

    @property
    @abstractmethod
    def labels(self) -> Mapping[str, Location]:
        """The steps that can be left out, in order, and where each stands (first). What is only claimed is none of them."""

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """The same for machines (see docs/json.md)."""

    def claims(self, name: str) -> bool:
        """Whether it says anything about a property; a strategy does of each."""
        return True

    @abstractmethod
    def trivial(self, name: str) -> str:
        """Why a property holds for want of what it is about; "" where it does not."""

    @abstractmethod
    def allowed(self, name: str, read: Reader) -> str:
        """What property `name` asks of an execution in a state, at the end of a trace that breaks it; "" where nobody says."""

    def seen(self, shown: Shown, value: Value) -> str:
        """What one CPU may fetch of a piece of text, byte by byte, `··` where it has nothing; "" if that is plain memory."""
        if self.view is None:
            return ""
        found: dict[int, str] = {}
        for place in self.view.text.sites:
            if place.granules[0].site == shown.index:
                found |= enumerate(self.view.seen(place, value).split(), place.granules[0].start)
        length = shown.granules[-1].stop
        return " ".join(found.get(at, "··") for at in range(length)) if found else ""


def plural(count: int, noun: str) -> str:
    """`1 site`, `2 sites`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

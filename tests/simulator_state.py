"""What a state of the simulator is made of (see `simulator.py`)."""

from __future__ import annotations

from typing import NamedTuple

from models.protocol import Meaning, Stub

NO_CLAIM = -1
GOES_ON = -1  # where the handler returns to: behind the site
NO_RETURN = "no return address"
PUSH, STI, SHADOWED, JUMP = "push", "sti", "jmp, shadowed", "jmp"
IN_STUB = (PUSH, STI, SHADOWED, JUMP)
HANDLER = ("trapped", "searching", "handling", "rereading")  # where a CPU is inside the handler's read side

Violation = tuple[str, str]  # property, kind
History = tuple[bytes, ...]  # of one site, for each byte: the distinct values that a fetch may return, sorted


class Spot(NamedTuple):
    """Where a task that does not run is: see `Cpu`. `owes`: RCU-tasks waits for it. `asleep`: of its own will."""

    place: str
    site: int
    stack: tuple[str, ...]
    pending: tuple[str, ...]
    target: str
    owes: bool = False
    asleep: bool = False


class Cpu(NamedTuple):
    """One CPU. `site` is where it is or came from, or, when `returning`, where the handler's IRET leads.

    `ipi`: a sync request waits for it. `references`: its counts of the claim. `latest`: for each site, the latest round
    whose meaning it is known to have run. `stack`: the functions that it is in, outermost first; `pending`: what the
    outermost has yet to call. `target`: where an IRET leads if not to the site or behind it. `grace`, `owes`: RCU and
    RCU-tasks wait for it. `waiting`: the task that was preempted or sleeps; `under`: what an NMI has interrupted.
    """

    place: str
    site: int
    history: tuple[History, ...]
    ipi: bool
    references: int
    latest: tuple[int, ...]
    stack: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    target: str = ""
    halt: str = "running"
    grace: bool = False
    owes: bool = False
    waiting: Spot | None = None
    under: Spot | None = None

    @property
    def runs(self) -> bool:
        """Whether it is not parked, or in an NMI all the same."""
        return self.under is not None or self.halt in ("running", "asked")

    def spot(self, owes: bool = False, asleep: bool = False) -> Spot:
        """Where its task is."""
        return Spot(self.place, self.site, self.stack, self.pending, self.target, owes, asleep)

    def at(self, spot: Spot) -> Cpu:
        """The CPU with its task somewhere else."""
        return self._replace(
            place=spot.place, site=spot.site, stack=spot.stack, pending=spot.pending, target=spot.target
        )


GONE = Spot("elsewhere", GOES_ON, (), (), "")


class State(NamedTuple):
    """Everything. `missing`: the offsets of the store under way that have yet to land; None when none is under way.

    `words`: whom each data word names. `freed`: functions that are free. `stubs`: what was written to those that are
    there, by round. `reading`: the patcher is in a read-side section.
    """

    memory: tuple[bytes, ...]
    pc: int
    missing: frozenset[int] | None
    asked: bool
    claim: int
    begun: int
    returned: int
    cpus: tuple[Cpu, ...]
    words: tuple[tuple[str, Meaning], ...] = ()
    freed: frozenset[str] = frozenset()
    stubs: tuple[tuple[Stub, int], ...] = ()
    reading: bool = False


class Event(NamedTuple):
    """One step, as an observer tells it. `actor` None is the patcher; then `step` is the number of its planned step.

    `what` names the step and `outcome` what came of it; `violations` are what the simulator holds against it.
    """

    actor: int | None
    what: str
    site: int = -1
    outcome: str = ""
    violations: frozenset[Violation] = frozenset()
    step: int = -1


Move = tuple[Event, State]


def now(memory: tuple[bytes, ...]) -> tuple[History, ...]:
    """The histories of a CPU that has just serialised."""
    return tuple(tuple(bytes((value,)) for value in site) for site in memory)


def changed(items: tuple, index: int, value: object) -> tuple:  # type: ignore[type-arg]
    """`items` with one of them replaced."""
    return (*items[:index], value, *items[index + 1 :])

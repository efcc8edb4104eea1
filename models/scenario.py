"""What a strategy is checked under: which instructions it replaces by which, how often, on what machine."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase

from models.machines.fetch import X86_LINUX, Machine, first_of
from models.machines.isa import Isa
from models.protocol import MOST_FUNCTIONS, Call, Function, Instruction, Nop
from models.system.errors import ScenarioError

TRANSITIONS = ("call:call", "nop:call", "call:nop")


MOST_CPUS = 512  # so that a number of states can still be printed
MOST_SITES = 200  # so that the targets of calls can be told apart bytewise from every site


@dataclass(frozen=True)
class Scenario:
    """Bounds and circumstances of one check. `without` are the labels of the steps left out.

    `transition` and `rounds` are None where the strategy's own say (call:call, one round, or its own sequence).
    `preempt` is also on when the strategy frees something.
    """

    machine: Machine = X86_LINUX
    transition: str | None = None
    rounds: int | None = None
    cpus: int = 2
    sites: int = 2
    without: frozenset[str] = frozenset()
    preempt: bool = False
    nmi: bool = False

    def __post_init__(self) -> None:
        """Refuse bounds that mean nothing."""
        if self.transition is not None and self.transition not in TRANSITIONS:
            raise ScenarioError(f"unknown transition “{self.transition}”; there are {', '.join(TRANSITIONS)}")
        for name in ("rounds", "cpus", "sites"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ScenarioError(f"at least one of {name} is needed, not {value}")
        if self.cpus > MOST_CPUS:
            raise ScenarioError(f"at most {MOST_CPUS} CPUs are possible, not {self.cpus:,}")
        if self.sites > MOST_SITES:
            raise ScenarioError(f"at most {MOST_SITES} sites are possible, not {self.sites:,}")


def usual(isa: Isa) -> Scenario:
    """The scenario that is meant where nothing is said of it: the first machine of an architecture, and the usual bounds."""
    return Scenario(machine=first_of(isa))


def versions(transition: str, rounds: int) -> list[Instruction]:
    """What a site holds before, and after each of `rounds` rounds: every call is of a target of its own."""
    old, new = transition.split(":")
    kinds = [old if number % 2 == 0 else new for number in range(rounds + 1)]
    if kinds.count("call") > MOST_FUNCTIONS:
        raise ScenarioError(f"{rounds} rounds need more than the {MOST_FUNCTIONS} call targets that a model can have")
    targets = iter(Function(name) for name in ascii_uppercase)
    return [Call(next(targets)) if kind == "call" else Nop() for kind in kinds]

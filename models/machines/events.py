"""What happens to a CPU from outside: acknowledgements, stop-machine, NMIs, preemption, sleep and resumption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.machines.places import ELSEWHERE, ERRORS, NOWHERE
from models.machines.views import Assignments
from models.system.expressions import Expr, Read, if_else
from models.system.system import Fairness

if TYPE_CHECKING:
    from models.machines.cpu import Cpu


class Events:
    """Adds to a CPU what happens to it from outside."""

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu
        self.plan, self.machine, self.place = cpu.plan, cpu.machine, cpu.place

    def add_actions(self) -> None:
        """Add every event that this model has."""
        self._interrupts()
        self._tasks()

    def _interrupts(self) -> None:
        """Acknowledging what the patcher asks for, stop-machine, NMIs."""
        enabled = self.cpu.at(*self.cpu.places.interruptible()) & self.cpu.in_task
        serialised = self.cpu.view.serialised()
        if self.cpu.ipi is not None:
            self.cpu.add(
                "acknowledge",
                self.cpu.ipi & enabled & self.cpu.runs,
                [(self.cpu.ipi, 0), *serialised],
                "{cpu} takes the IPI and serialises",
                Fairness.ACKNOWLEDGE,
            )
        if self.cpu.grace is not None:
            places = self.cpu.places  # a handler is a reader until its IRET
            readers = places.handler() + places.returning() + places.sections()
            self.cpu.add(
                "pass a quiescent state",
                self.cpu.grace & self.cpu.in_task & ~self.cpu.at(*readers),
                [(self.cpu.grace, 0)],
                "{cpu} is in no read-side critical section",
                Fairness.ACKNOWLEDGE,
            )
        if self.cpu.halt is not None:
            self.cpu.add(
                "park",
                (self.cpu.halt == "asked") & enabled,
                [(self.cpu.halt, "parked")],
                "{cpu} parks with interrupts off",
                Fairness.ACKNOWLEDGE,
            )
            self.cpu.add(
                "leave",
                (self.cpu.halt == "released") & self.cpu.in_task,
                [(self.cpu.halt, "running"), *serialised],
                "{cpu} serialises and leaves",
                Fairness.ACKNOWLEDGE,
            )
        if self.cpu.under is not None:
            self._nmi(self.cpu.under, serialised)

    def _nmi(self, under: Read, serialised: Assignments) -> None:
        resumed: Expr = self.place
        for stub in self.plan.stubs:
            if stub.interrupts_off:
                *_, shadowed, jump = self.cpu.places.stub(stub)
                resumed = if_else(self.place == shadowed, jump, resumed)
        self.cpu.add(
            "nmi",
            self.cpu.in_task & ~self.cpu.at(*ERRORS),
            [(under, resumed), (self.place, ELSEWHERE)],
            "{cpu} takes an NMI",
            Fairness.NEVER_ON_CYCLE,
        )
        effects: Assignments = [(self.place, under), (under, NOWHERE)]
        self.cpu.add(
            "nmi returns",
            ~self.cpu.in_task & self.cpu.at(ELSEWHERE),
            effects + (serialised if self.machine.iret_serialises else []),
            "{cpu}'s NMI returns by IRET" + (", which serialises" if self.machine.iret_serialises else ""),
            Fairness.RESUME,
        )

    def _tasks(self) -> None:
        """Voluntary switches, preemption, sleeping and resumption."""
        usual = self.cpu.in_task & self.cpu.runs
        if self.cpu.owes is not None:
            self.cpu.add(
                "switch",
                self.cpu.owes & self.cpu.at(ELSEWHERE) & usual,
                [(self.cpu.owes, 0)],
                "{cpu}'s task makes a voluntary switch",
                Fairness.ACKNOWLEDGE,
            )
        if self.cpu.saved is None:
            return
        owes: Assignments = []
        back: Assignments = []
        slept: Assignments = []
        if self.cpu.owes is not None and self.cpu.saved_owes is not None:
            owes = [(self.cpu.saved_owes, self.cpu.owes), (self.cpu.owes, 0)]
            back = [(self.cpu.owes, self.cpu.saved_owes), (self.cpu.saved_owes, 0)]
            slept = [(self.cpu.saved_owes, 0), (self.cpu.owes, 0)]
        if self.cpu.asleep is not None:
            back.append((self.cpu.asleep, 0))
            slept.append((self.cpu.asleep, 1))
        dropped = self.cpu.view.dropped()  # a stale view is the CPU's, not the task's
        free = (self.cpu.saved == NOWHERE) & usual
        if self.plan.preempts:
            self.cpu.add(
                "preempt",
                free & self.cpu.at(*self.cpu.places.preemptible()),
                [(self.cpu.saved, self.place), (self.place, ELSEWHERE), *owes, *dropped],
                "{cpu}'s task is preempted where it is; another runs",
                Fairness.NEVER_ON_CYCLE,
            )
        sleepers = [self.cpu.places.inside(f, 0) for f in self.cpu.freed if f.sleeps]
        if sleepers:
            self.cpu.add(
                "sleep",
                free & self.cpu.at(*sleepers),
                [(self.cpu.saved, self.place), (self.place, ELSEWHERE), *slept, *dropped],
                "{cpu}'s task goes to sleep inside the function (a voluntary switch); another runs",
                Fairness.NEVER_ON_CYCLE,
            )
        self.cpu.add(
            "resume",
            ~(self.cpu.saved == NOWHERE) & self.cpu.at(ELSEWHERE) & usual,
            [(self.place, self.cpu.saved), (self.cpu.saved, NOWHERE), *back, *dropped],
            "{cpu} resumes the waiting task where it was",
            Fairness.RESUME,
        )

"""Where a CPU can be: the labels of its program counter, and which of them have what in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from models.machines.fetch import Gate
from models.protocol import Function, PolicyKind, Stub

if TYPE_CHECKING:
    from models.plan import Plan

ELSEWHERE, NOWHERE = "elsewhere", "nowhere"
RETURNING = "returning"
TORN_PLACE, UNDEFINED, UNCLAIMED, DEAD_CLAIM, LOST = (
    "crashed: torn",
    "crashed: undefined",
    "crashed: unclaimed trap",
    "crashed: released claim",
    "crashed: lost",
)
ERRORS = (TORN_PLACE, UNDEFINED, UNCLAIMED, DEAD_CLAIM, LOST)
NO_RETURN = "in a function without a return address"


class Places:
    """The places of one plan. `NOWHERE` is no place: what a variable holds that names none."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.freed = set(plan.freed)
        self.labels = tuple(dict.fromkeys(self._all()))

    def _all(self) -> Iterator[str]:
        """Every place where a CPU can be in this model."""
        yield from (NOWHERE, ELSEWHERE)
        for site in self.plan.sites:
            s = site.index
            yield f"at site {s}"
            if self.plan.traps:
                yield from (f"trapped at site {s}", f"handling site {s}")
                if self.plan.counted:
                    yield f"searching site {s}"
                if self.plan.strategy.rereads:
                    yield f"rereading site {s}"
        for function in self.plan.functions.values():
            for s in range(len(self.plan.sites)):
                yield self.inside(function, s)
        if self.plan.traps:
            yield RETURNING
            yield from (f"{RETURNING} to {place}" for place in self._handler_targets())
        if any(not table.step.policy.pushes for table in self.plan.claims):
            yield NO_RETURN
        for stub in self.plan.stubs:
            yield from self.stub(stub)
        yield from ERRORS

    def _handler_targets(self) -> Iterator[str]:
        """Where the handler's IRET can lead, other than elsewhere."""
        policies = [table.step.policy for table in self.plan.claims]
        goes_back = self.plan.strategy.rereads or any(policy.kind is PolicyKind.RETRY for policy in policies)
        emulated = [policy.target for policy in policies if policy.target]
        for table in self.plan.claims:
            old = table.step.policy.kind is PolicyKind.EMULATE_OLD
            if old or table.step.policy.kind is PolicyKind.EMULATE_NEW:
                emulated += [f for f in [self.plan.versions[table.round - old].calls] if f]
        for s in range(len(self.plan.sites)):
            if goes_back:
                yield f"at site {s}"
            for function in emulated:
                if (place := self.inside(function, s)) != ELSEWHERE:
                    yield place
        if any(not table.step.policy.pushes for table in self.plan.claims):
            yield NO_RETURN
        for stub in self.plan.stubs:
            yield next(self.stub(stub))

    def inside(self, function: Function, site: int) -> str:
        """Where a CPU is that has called `function` from a site; elsewhere if nothing depends on it."""
        if function.reads is not None:
            return f"in {function.name} from site {site}"
        return f"in {function.name}" if function in self.freed else ELSEWHERE

    def stub(self, stub: Stub) -> Iterator[str]:
        name = f"stub of site {stub.site}"
        yield f"at push in {name}"
        if stub.interrupts_off:
            yield f"at sti in {name}"
            yield f"at jmp in {name}, shadowed"
        if not stub.interrupts_off or self.plan.scenario.nmi:
            yield f"at jmp in {name}"

    def handler(self) -> list[str]:
        starts = ("trapped at", "handling", "searching", "rereading")
        return [p for p in self.labels if p.startswith(starts)]

    def returning(self) -> list[str]:
        """The places of a handler that has acted and has yet to return."""
        return [p for p in self.labels if p.startswith(RETURNING)]

    def of_code(self, code: Stub | Function) -> list[str]:
        """The places whose PC or return address is in `code`."""
        if isinstance(code, Stub):
            inside = list(self.stub(code))
        else:
            inside = list({self.inside(code, s.index): None for s in self.plan.sites})
        return inside + [f"{RETURNING} to {place}" for place in inside]

    def sections(self) -> list[str]:
        """The places in functions that are read-side critical sections."""
        sections = [f for f in self.plan.functions.values() if not f.preemptible]
        return [p for f in sections for s in self.plan.sites if (p := self.inside(f, s.index)) != ELSEWHERE]

    def interruptible(self) -> list[str]:
        """The places where interrupts are enabled, so that an IPI is taken."""
        off = [p for p in self.labels if p in (NOWHERE, *ERRORS)]
        for stub in self.plan.stubs:
            if stub.interrupts_off:
                off += list(self.stub(stub))[:3]
        if self.plan.scenario.machine.gate is Gate.INTERRUPT:
            off += self.handler()
            off += self.returning()
        return [p for p in self.labels if p not in off]

    def preemptible(self) -> list[str]:
        """Where a task may be preempted: in what is freed; everywhere with interrupts on, if asked for."""
        candidates = [
            p
            for p in self.interruptible()
            if not p.startswith((ELSEWHERE, "trapped", "handling", "searching", "rereading", RETURNING))
        ]
        candidates = [p for p in candidates if p not in self.sections()]
        if self.plan.scenario.preempt:
            return candidates
        codes: list[Stub | Function] = [*self.plan.freed, *self.plan.stubs]
        coded = {p for code in codes for p in self.of_code(code)}
        return [p for p in candidates if p in coded]

"""What a CPU does: arrive, fetch, execute, trap, handle, return; take interrupts, NMIs, preemption; acknowledge.

Every CPU is alike and runs for ever: elsewhere → at a site → execute → in the called function → elsewhere. Functions
that nothing depends on (never freed, reading no word) take no time: calling one leads straight to elsewhere.

Left out: a site reached with interrupts off (raises no alarm and misses none that matters to a site: it is the same
run with the acknowledgement delayed); an NMI inside an NMI, and a trap inside an NMI ending it early (may miss bugs of
nested NMI frames); user mode; the memory management behind code that is freed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.machines.fetch import Gate
from models.machines.views import Assignments, Text, View, make_view
from models.properties import (
    BACK,
    BALANCED,
    CLAIMED,
    EARLY,
    FREED,
    OLD_OR_NEW,
    STALE,
    TORN,
    judge,
    latest_round,
    reason,
    who,
)
from models.protocol import (
    NOBODY,
    Call,
    Function,
    Instruction,
    Meaning,
    Policy,
    PolicyKind,
    Probe,
    StopMachine,
    Stub,
    Sync,
    WaitForReaders,
    WaitForTasks,
    Word,
)
from models.system.expressions import (
    BOOL,
    FALSE,
    TRUE,
    Bits,
    Choice,
    Component,
    Enum,
    Expr,
    Operand,
    Read,
    both,
    each,
    either,
    every,
    if_else,
    parameter,
)
from models.system.system import Builder, Fairness, Mark
from models.text import OutcomeKind, SiteText

if TYPE_CHECKING:
    from models.plan import Plan

ELSEWHERE, NOWHERE = "elsewhere", "nowhere"
NOT_ALLOCATED, ALLOCATED = "not allocated", "allocated"
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


def stub_content(number: int) -> str:
    """What a stub holds that was written in this round."""
    return f"for round {number}"


@dataclass(frozen=True)
class Shared:
    """The global variables that CPUs read."""

    text: Text
    begun: Read
    returned: Read
    claim: Read
    words: dict[Word, Read]
    live: dict[Stub | Function, Read]
    reading: Read | None


class Cpu:
    """The replicated half of a model: places, variables and actions of one CPU."""

    def __init__(self, builder: Builder, component: Component, plan: Plan, shared: Shared) -> None:
        self.builder, self.component, self.plan, self.shared = builder, component, plan, shared
        scenario = plan.scenario
        self.machine = scenario.machine
        self.freed = set(plan.freed)
        self.returns: dict[str, str] = {}  # the places of a handler about to return that actions lead to: where to
        places = list(dict.fromkeys(self._places()))
        self.place_type = Enum("place", tuple(places))
        here = self.place_type
        self.place = builder.variable("place", here, ELSEWHERE, component, says="where the CPU is")
        self.view: View = make_view(builder, component, shared.text, self.machine)
        latest = Bits(max(1, plan.rounds.bit_length()))
        self.latest = [
            builder.variable(f"latest_{s.index}", latest, 0, component, says=f"the latest round seen at site {s.index}")
            for s in plan.sites
        ]

        def flag(name: str, needed: object, says: str) -> Read | None:
            return builder.variable(name, BOOL, 0, component, says=says) if needed else None

        self.ipi = flag("ipi", plan.uses(Sync), "whether a sync request waits for this CPU")
        self.grace = flag("grace", plan.uses(WaitForReaders), "whether an RCU grace period waits for this CPU")
        self.owes = flag("owes", plan.uses(WaitForTasks), "whether RCU-tasks waits for the running task")
        self.count = (
            builder.variable("count", Bits(2), 0, component, says="references to the claim") if plan.counted else None
        )
        self.halt = (
            builder.variable(
                "halt",
                Enum("halt", ("running", "asked", "parked", "released")),
                "running",
                component,
                says="stop-machine",
            )
            if plan.uses(StopMachine)
            else None
        )
        sleepers = any(f.sleeps for f in self.freed)
        switches = plan.preempts or sleepers
        self.saved = (
            builder.variable("saved", here, NOWHERE, component, says="where the waiting task is") if switches else None
        )
        asleep = flag("asleep", sleepers, "whether the waiting task sleeps, having made a voluntary switch")
        self.asleep, self.sleeping = asleep, asleep if asleep is not None else FALSE
        self.saved_owes = flag(
            "saved_owes", switches and self.owes is not None, "whether RCU-tasks waits for the waiting task"
        )
        self.under = (
            builder.variable("under", here, NOWHERE, component, says="what the NMI interrupted")
            if scenario.nmi
            else None
        )
        live = every(component, each(~self._in_dead_code()))
        builder.halted = ~both(every(component, each(~self.place.is_in(ERRORS))), live)
        self._invariants(live)

    # ---- places -----------------------------------------------------------------------------------------------------

    def _places(self) -> Iterator[str]:
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
                yield self._inside(function, s)
        if self.plan.traps:
            yield RETURNING
            yield from (f"{RETURNING} to {place}" for place in self._handler_targets())
        if any(not table.step.policy.pushes for table in self.plan.claims):
            yield NO_RETURN
        for stub in self.plan.stubs:
            yield from self._stub_places(stub)
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
                if (place := self._inside(function, s)) != ELSEWHERE:
                    yield place
        if any(not table.step.policy.pushes for table in self.plan.claims):
            yield NO_RETURN
        for stub in self.plan.stubs:
            yield next(self._stub_places(stub))

    def _inside(self, function: Function, site: int) -> str:
        """Where a CPU is that has called `function` from a site; elsewhere if nothing depends on it."""
        if function.reads is not None:
            return f"in {function.name} from site {site}"
        return f"in {function.name}" if function in self.freed else ELSEWHERE

    def _stub_places(self, stub: Stub) -> Iterator[str]:
        name = f"stub of site {stub.site}"
        yield f"at push in {name}"
        if stub.interrupts_off:
            yield f"at sti in {name}"
            yield f"at jmp in {name}, shadowed"
        if not stub.interrupts_off or self.plan.scenario.nmi:
            yield f"at jmp in {name}"

    def at(self, *places: str) -> Expr:
        """Whether the CPU is at one of `places`; those that this model lacks do not count."""
        return self.place.is_in([p for p in places if p in self.place_type.labels])

    def _among(self, variable: Read | None, places: Sequence[str]) -> Expr:
        return FALSE if variable is None else variable.is_in([p for p in places if p in self.place_type.labels])

    def _handler_places(self) -> list[str]:
        starts = ("trapped at", "handling", "searching", "rereading")
        return [p for p in self.place_type.labels if p.startswith(starts)]

    def _code_places(self, code: Stub | Function) -> list[str]:
        """The places whose PC or return address is in `code`."""
        if isinstance(code, Stub):
            inside = list(self._stub_places(code))
        else:
            inside = list({self._inside(code, s.index): None for s in self.plan.sites})
        return inside + [f"{RETURNING} to {place}" for place in inside]

    def _in_dead_code(self) -> Expr:
        """Whether the PC, what an NMI interrupted, or the saved task is in code that is not allocated."""
        parts = []
        for code, live in self.shared.live.items():
            places = self._code_places(code)
            anywhere = either(*(self._among(v, places) for v in (self.place, self.saved, self.under)))
            parts.append(anywhere & (live == NOT_ALLOCATED))
        return either(*parts)

    def no_handlers(self) -> Expr:
        """No CPU is in the handler's read side."""
        if self.count is not None:
            return every(self.component, each(self.count == 0))
        places = self._handler_places()
        inside = self._among(self.place, places) | self._among(self.under, places)
        return every(self.component, each(~inside))

    def interruptible(self) -> list[str]:
        """The places where interrupts are enabled, so that an IPI is taken."""
        off = [p for p in self.place_type.labels if p in (NOWHERE, *ERRORS)]
        for stub in self.plan.stubs:
            if stub.interrupts_off:
                off += list(self._stub_places(stub))[:3]
        if self.machine.gate is Gate.INTERRUPT:
            off += self._handler_places()
            off += [p for p in self.place_type.labels if p.startswith(RETURNING)]
        return [p for p in self.place_type.labels if p not in off]

    # ---- conditions -------------------------------------------------------------------------------------------------

    @property
    def in_task(self) -> Expr:
        """Not in an NMI."""
        return self.under == NOWHERE if self.under is not None else TRUE

    @property
    def runs(self) -> Expr:
        """Not parked by stop-machine, or in an NMI."""
        if self.halt is None:
            return TRUE
        return self.halt.is_in(("running", "asked")) | ~self.in_task

    def _may_arrive(self) -> Expr:
        """Whether code that contains sites runs.

        An NMI's own code runs sites only where the interrupted CPU could not: when it is parked. Elsewhere that adds
        no run that a delayed acknowledgement does not have too.
        """
        if self.halt is None:
            return self.in_task
        return if_else(self.in_task, self.halt.is_in(("running", "asked")), self.halt.is_in(("parked", "released")))

    def undefined_unless(self, exempt: Expr) -> tuple[Expr, Operand]:
        """The broadcast of a store that is undefined for every running CPU that is not `exempt` (already bound)."""
        safe = exempt | each(~self.runs)
        return (self.place, if_else(safe, each(self.place), UNDEFINED))

    # ---- actions ----------------------------------------------------------------------------------------------------

    def _add(
        self,
        name: str,
        guard: Expr,
        effects: Assignments,
        says: str,
        fairness: Fairness,
        marks: Sequence[Mark] = (),
        choice: Choice | None = None,
    ) -> None:
        self.builder.action(
            name,
            actor=self.component,
            guard=guard,
            effects=effects,
            says=says,
            where=self.plan.strategy.where,
            fairness=fairness,
            choice=choice,
            marks=marks,
            fault=any(
                value in ERRORS for variable, value in effects if variable is self.place and isinstance(value, str)
            ),
        )

    def add_actions(self) -> None:
        """Add everything that a CPU does."""
        self._arrive()
        for site in self.plan.sites:
            self._execute(site)
            if self.plan.traps:
                self._handle(site)
        self._iret()
        self._functions()
        self._stubs()
        self._interrupts()
        self._tasks()
        at = [self.at(f"at site {site.index}") for site in self.plan.sites]
        handler = [p for p in self.place_type.labels if p.startswith(RETURNING)] + self._handler_places()
        # what is fetched in a handler is dropped by an IRET that serialises, before anything of it runs
        prefetches = ~self.at(*handler) if self.machine.iret_serialises else TRUE
        self.view.add_actions(at, self.runs, prefetches)

    def _arrive(self) -> None:
        sites = self.plan.sites
        choice = Choice("site", tuple(f"site {s.index}" for s in sites))
        which = parameter(choice)
        target: Expr | str = f"at site {sites[-1].index}"
        for s in reversed(range(len(sites) - 1)):
            target = if_else(which == s, f"at site {s}", target, self.place_type)
        self._add(
            "arrive",
            self.at(ELSEWHERE) & self._may_arrive(),
            [(self.place, target)],
            "{cpu} arrives at {choice}",
            Fairness.NONE,
            choice=choice,
        )

    def _execute(self, site: SiteText) -> None:
        s = site.index
        here = self.at(f"at site {s}") & self.runs
        during = self.shared.begun > self.shared.returned
        tested = Mark(TORN, "", during, True, "")
        for outcome in self.view.outcomes(site):
            guard = here & self.view.possible(site, outcome)
            done = self.view.executed()
            if outcome.kind is OutcomeKind.TRAP:
                self._add(
                    f"trap at site {s}",
                    guard,
                    [(self.place, f"trapped at site {s}"), *done],
                    f"{{cpu}} fetches the trap byte at site {s} and traps",
                    Fairness.TASK,
                    [tested, Mark(CLAIMED, "", TRUE, True, "")],
                )
            elif outcome.kind is OutcomeKind.TORN:
                self._add(
                    f"torn at site {s}",
                    guard,
                    [(self.place, TORN_PLACE), *done],
                    f"{{cpu}} executes a torn instruction at site {s}",
                    Fairness.TASK,
                    [tested],
                )
            else:
                assert outcome.version is not None
                place, marks, effects = self._run(outcome.version, s)
                self._add(
                    f"execute “{outcome.version}” at site {s}",
                    guard,
                    [(self.place, place), *effects, *done],
                    f"{{cpu}} executes “{outcome.version}” at site {s}",
                    Fairness.TASK,
                    [tested, *marks],
                )

    def _run(self, version: Instruction, site: int) -> tuple[str, list[Mark], Assignments]:
        """Running an instruction or its emulation: where it leads, how it is judged, what the ghosts record."""
        function = version.calls
        if function is None:
            return (ELSEWHERE, *self._judged(NOBODY, site))
        balanced = Mark(BALANCED, "", TRUE, True, "")
        place = self._inside(function, site)
        if function.reads is not None:
            return place, [balanced, *self._entering(place)], []
        marks, effects = self._judged((function.name,), site)
        return place, [balanced, *self._entering(place), *marks], effects

    def _entering(self, place: str) -> list[Mark]:
        """That code which is freed some time is entered: `no-freed-code` is put to the test."""
        coded = [code for code in self.shared.live if place in self._code_places(code)]
        return [Mark(FREED, "", TRUE, True, "")] if coded else []

    def _judged(self, meaning: Meaning, site: int) -> tuple[list[Mark], Assignments]:
        """The marks of an execution with `meaning` taking effect, and the update of the ghost behind `never-back`."""
        begun, returned, latest = self.shared.begun, self.shared.returned, self.latest[site]
        meanings, rounds = self.plan.meanings, self.plan.rounds
        safe = [f.name for f in self.plan.strategy.safe]
        marks: dict[tuple[str, str, str], list[Expr]] = {}
        value: Expr = latest
        for b, e in [(x, y) for x in range(rounds + 1) for y in (x, x + 1) if y <= rounds]:
            now = (begun == e) & (returned == b)
            verdict = judge(meaning, meanings, e, b, safe)
            if verdict.property:
                key = (verdict.property, verdict.kind, reason(verdict, meaning, meanings, e, b))
                marks.setdefault(key, []).append(now)
                continue
            if meaning not in meanings:
                continue  # a safe substitute belongs to no round
            for seen in range(b, e + 1):
                come_to = latest_round(meaning, meanings, e, seen)
                if come_to is None:
                    says = f"this CPU had run {who(meanings[seen])} here and now runs {who(meaning)} again"
                    marks.setdefault((BACK, "back", says), []).append(now & (latest == seen))
                elif come_to != seen:
                    value = if_else(now & (latest == seen), come_to, value)
        found = [Mark(p, kind, either(*when), False, says) for (p, kind, says), when in marks.items()]
        update: Assignments = [(latest, value)] if value is not latest else []
        return [*self._premises(latest), *found], update

    def _premises(self, latest: Expr) -> list[Mark]:
        begun, returned = self.shared.begun, self.shared.returned
        return [
            Mark(STALE, "", returned > 0, True, ""),
            Mark(EARLY, "", begun < self.plan.rounds, True, ""),
            Mark(OLD_OR_NEW, "", begun > returned, True, ""),
            Mark(BACK, "", (begun > 0) & (latest > 0), True, ""),
        ]

    def _handle(self, site: SiteText) -> None:
        """Look-up of the claim, action, IRET; with counts, taking the count and searching are two steps."""
        s, claim = site.index, self.shared.claim
        found = [f"claim {i + 1}" for i, table in enumerate(self.plan.claims) if s in table.finds]
        trapped = self.at(f"trapped at site {s}") & self.runs
        handling = f"handling site {s}"
        drop: Assignments = []
        if self.count is None:
            self._look_up(f"trapped at site {s}", s, claim.is_in(found), ~claim.is_in(found), drop)
        else:
            drop = [(self.count, self.count - 1)]
            self._add(
                f"take the count for site {s}",
                trapped & (self.count > 0),
                [(self.place, f"searching site {s}"), (self.count, self.count + 1)],
                f"{{cpu}}'s handler takes a count and searches for site {s}",
                Fairness.HANDLER,
            )
            self._unclaimed(f"no count for site {s}", trapped & (self.count == 0), s, [])
            missing = ~claim.is_in([*found, "none"])
            self._look_up(f"searching site {s}", s, claim.is_in(found), missing, drop)
            self._dead_claim(
                f"search a released claim for site {s}", self.at(f"searching site {s}") & (claim == "none"), s
            )
        for policy in dict.fromkeys(table.step.policy for table in self.plan.claims):
            self._act(policy, site, self.at(handling) & self.runs, drop)
        policies = {table.step.policy for table in self.plan.claims}
        if len(policies) > 1 or any(policy.reads_claim for policy in policies):
            self._dead_claim(f"act on a released claim for site {s}", self.at(handling) & ~claim.is_in(found), s)
        if self.plan.strategy.rereads:
            self._reread(site)

    def _look_up(self, place: str, s: int, found: Expr, missing: Expr, drop: Assignments) -> None:
        here = self.at(place) & self.runs
        self._add(
            f"find site {s}",
            here & found,
            [(self.place, f"handling site {s}")],
            f"{{cpu}}'s handler looks up site {s}: it is claimed",
            Fairness.HANDLER,
        )
        self._unclaimed(f"do not find site {s}", here & missing, s, drop)

    def _unclaimed(self, name: str, guard: Expr, s: int, drop: Assignments) -> None:
        rereads = self.plan.strategy.rereads
        if self.plan.probes:
            return self._pass_on(name, guard, s, drop)
        self._add(
            name,
            guard,
            [(self.place, f"rereading site {s}" if rereads else UNCLAIMED), *drop],
            f"{{cpu}}'s handler looks up site {s}: nobody claims it" + ("" if rereads else ", which is fatal"),
            Fairness.HANDLER,
        )

    def _pass_on(self, name: str, guard: Expr, s: int, drop: Assignments) -> None:
        """A trap that the patcher's claim does not consume goes to the probe's owner."""
        (probe,) = self.plan.probes
        marks, effects = self._judged((probe.function.name,), s)
        self._add(
            name,
            guard,
            [(self.place, self._return_to(ELSEWHERE)), *effects, *drop],
            f"{{cpu}}'s handler leaves the trap at site {s} to the probe, which calls {probe.function.name}",
            Fairness.HANDLER,
            marks,
        )

    def _dead_claim(self, name: str, guard: Expr, s: int) -> None:
        self._add(
            name,
            guard & self.runs,
            [(self.place, DEAD_CLAIM)],
            f"{{cpu}}'s handler reads a claim for site {s} that has been released",
            Fairness.HANDLER,
        )

    def _act(self, policy: Policy, site: SiteText, here: Expr, drop: Assignments) -> None:
        """What the handler does at a claimed site: all claims of this policy whose table has the site.

        A policy that needs what the claim holds reads it now, and not when it was looked up.
        """
        s, claim = site.index, self.shared.claim
        tables = [
            (f"claim {i + 1}", t) for i, t in enumerate(self.plan.claims) if t.step.policy == policy and s in t.finds
        ]
        if not policy.reads_claim:
            alone = len({t.step.policy for t in self.plan.claims}) == 1
            guard = here if alone else here & claim.is_in([label for label, _ in tables])
            target = Call(policy.target) if policy.target else None
            self._act_once(policy, target, s, guard, drop)
            return
        groups: dict[Instruction, list[str]] = {}
        for label, table in tables:
            old = policy.kind is PolicyKind.EMULATE_OLD
            groups.setdefault(self.plan.versions[table.round - old], []).append(label)
        for meant, labels in groups.items():
            self._act_once(policy, meant, s, here & claim.is_in(labels), drop)

    def _return_to(self, target: str) -> str:
        """Where a handler is that has yet to return to `target`."""
        place = RETURNING if target == ELSEWHERE else f"{RETURNING} to {target}"
        self.returns[place] = target
        return place

    def _act_once(self, policy: Policy, meant: Instruction | None, s: int, guard: Expr, drop: Assignments) -> None:
        """One action of the handler; `meant` is the instruction that it stands for, if it stands for one."""
        marks: list[Mark] = []
        effects: Assignments = []
        if isinstance(meant, Probe) and policy.kind in (PolicyKind.EMULATE_OLD, PolicyKind.EMULATE_NEW):
            return self._pass_on(f"handler leaves site {s} to “{meant}”", guard, s, drop)
        if policy.kind is PolicyKind.RETRY:
            place, says = self._return_to(f"at site {s}"), f"lets it go back to site {s}"
        elif policy.kind is PolicyKind.REDIRECT:
            assert meant is not None
            marks, effects = self._judged((meant.calls.name,) if meant.calls else NOBODY, s)
            stub = next((stub for stub in self.plan.stubs if stub.site == s), None)
            place = LOST if stub is None else self._return_to(next(self._stub_places(stub)))
            marks += self._entering(place)
            says = f"redirects it to the stub of site {s}, which stands for “{meant}”"
        elif policy.kind is PolicyKind.SKIP or meant is None or meant.calls is None:
            marks, effects = self._judged(NOBODY, s)
            place, says = self._return_to(ELSEWHERE), f"skips the instruction at site {s}"
        else:
            inside, marks, effects = self._run(meant, s)
            inside = inside if policy.pushes else NO_RETURN
            place = self._return_to(inside)
            says = f"emulates “{meant}” at site {s}" + ("" if policy.pushes else " without pushing a return address")
        name = f"handler {says}"
        if any(action.name == name for action in self.builder.actions):
            name = f"{name} (“{policy.kind.value}”)"
        self._add(
            name,
            guard,
            [(self.place, place), *effects, *drop],
            f"{{cpu}}'s handler {says}",
            Fairness.HANDLER,
            marks,
        )

    def _reread(self, site: SiteText) -> None:
        s = site.index
        here = self.at(f"rereading site {s}") & self.runs
        self._add(
            f"reread site {s}: no trap byte",
            here & self.shared.text.may_have_first(site, trap=False),
            [(self.place, self._return_to(f"at site {s}"))],
            f"{{cpu}}'s handler reads site {s} again: the trap byte is gone, so it goes back there",
            Fairness.HANDLER,
        )
        self._add(
            f"reread site {s}: trap byte",
            here & self.shared.text.may_have_first(site, trap=True),
            [(self.place, UNCLAIMED)],
            f"{{cpu}}'s handler reads site {s} again: the trap byte is there and nobody claims it, which is fatal",
            Fairness.HANDLER,
        )

    def _iret(self) -> None:
        """The handler's return, to wherever it said."""
        serialised = self.view.serialised() if self.machine.iret_serialises else []
        words = ", which serialises" if self.machine.iret_serialises else ""
        for place, target in self.returns.items():
            where = "goes on" if target == ELSEWHERE else f"goes on {target}"
            self._add(
                f"iret to {target}",
                self.at(place) & self.runs,
                [(self.place, target), *serialised],
                f"{{cpu}}'s handler returns{words}; it {where}",
                Fairness.HANDLER,
            )

    def _functions(self) -> None:
        """Reading the words that functions read, and returning from functions."""
        for function in self.plan.functions.values():
            for site in self.plan.sites if function.reads is not None else ():
                self._read_word(function, site.index)
            if function in self.freed and function.reads is None:
                self._add(
                    f"return from {function.name}",
                    self.at(f"in {function.name}") & self.runs,
                    [(self.place, ELSEWHERE)],
                    f"{{cpu}} returns from {function.name}",
                    Fairness.TASK,
                )
        if NO_RETURN in self.place_type.labels:
            self._add(
                "return without a return address",
                self.at(NO_RETURN) & self.runs,
                [(self.place, LOST)],
                "{cpu} returns from a function for which no return address was pushed",
                Fairness.TASK,
            )

    def _read_word(self, function: Function, s: int) -> None:
        assert function.reads is not None
        word = self.shared.words[function.reads]
        for value in self.plan.words[function.reads]:
            marks, effects = self._judged(value, s)
            tracked = [f for name in value if (f := self.plan.functions.get(name)) in self.freed and f is not None]
            targets: list[Function | None] = [*tracked] or [None]
            for target in targets:
                place = f"in {target.name}" if target else ELSEWHERE
                label = "{" + ", ".join(value) + "}"
                entered = f", and is in {target.name}" if target else ""
                self._add(
                    f"{function.name} reads {label} for site {s}{entered}",
                    self.at(self._inside(function, s)) & self.runs & (word == label),
                    [(self.place, place), *effects],
                    f"{{cpu}} reads “{function.reads.name}” in {function.name} for site {s}: it calls {who(value)}{entered}",
                    Fairness.TASK,
                    [*marks, *self._entering(place)],
                )

    def _stubs(self) -> None:
        """The instructions of the stubs; the new target was settled when the handler acted."""
        for stub in self.plan.stubs:
            places = list(self._stub_places(stub))
            jumps = [place for place in places if place.startswith("at jmp")]
            for place, following in itertools.pairwise(places):
                if place in jumps:
                    break
                self._add(
                    f"step {place}",
                    self.at(place) & self.runs,
                    [(self.place, following)],
                    f"{{cpu}} runs {place.split()[1]} in the stub of site {stub.site}",
                    Fairness.TASK,
                )
            for place in jumps:
                for number in range(1, self.plan.rounds + 1):
                    function = self.plan.versions[number].calls
                    target = self._inside(function, stub.site) if function else ELSEWHERE
                    self._add(
                        f"step {place} (round {number})",
                        self.at(place) & self.runs & (self.shared.live[stub] == stub_content(number)),
                        [(self.place, target)],
                        f"{{cpu}} runs jmp in the stub of site {stub.site}",
                        Fairness.TASK,
                        self._entering(target),
                    )

    def _interrupts(self) -> None:
        """Acknowledging what the patcher asks for, stop-machine, NMIs."""
        enabled = self.at(*self.interruptible()) & self.in_task
        serialised = self.view.serialised()
        if self.ipi is not None:
            self._add(
                "acknowledge",
                self.ipi & enabled & self.runs,
                [(self.ipi, 0), *serialised],
                "{cpu} takes the IPI and serialises",
                Fairness.ACKNOWLEDGE,
            )
        if self.grace is not None:
            readers = self._handler_places() + self._section_places()
            self._add(
                "pass a quiescent state",
                self.grace & self.in_task & ~self.at(*readers),
                [(self.grace, 0)],
                "{cpu} is in no read-side critical section",
                Fairness.ACKNOWLEDGE,
            )
        if self.halt is not None:
            self._add(
                "park",
                (self.halt == "asked") & enabled,
                [(self.halt, "parked")],
                "{cpu} parks with interrupts off",
                Fairness.ACKNOWLEDGE,
            )
            self._add(
                "leave",
                (self.halt == "released") & self.in_task,
                [(self.halt, "running"), *serialised],
                "{cpu} serialises and leaves",
                Fairness.ACKNOWLEDGE,
            )
        if self.under is not None:
            self._nmi(self.under, serialised)

    def _section_places(self) -> list[str]:
        """The places in functions that are read-side critical sections."""
        sections = [f for f in self.plan.functions.values() if not f.preemptible]
        return [p for f in sections for s in self.plan.sites if (p := self._inside(f, s.index)) != ELSEWHERE]

    def _nmi(self, under: Read, serialised: Assignments) -> None:
        resumed: Expr = self.place
        for stub in self.plan.stubs:
            if stub.interrupts_off:
                *_, shadowed, jump = self._stub_places(stub)
                resumed = if_else(self.place == shadowed, jump, resumed)
        self._add(
            "nmi",
            self.in_task & ~self.at(*ERRORS),
            [(under, resumed), (self.place, ELSEWHERE)],
            "{cpu} takes an NMI",
            Fairness.NEVER_ON_CYCLE,
        )
        effects: Assignments = [(self.place, under), (under, NOWHERE)]
        self._add(
            "nmi returns",
            ~self.in_task & self.at(ELSEWHERE),
            effects + (serialised if self.machine.iret_serialises else []),
            "{cpu}'s NMI returns by IRET" + (", which serialises" if self.machine.iret_serialises else ""),
            Fairness.RESUME,
        )

    def _tasks(self) -> None:
        """Voluntary switches, preemption, sleeping and resumption."""
        usual = self.in_task & self.runs
        if self.owes is not None:
            self._add(
                "switch",
                self.owes & self.at(ELSEWHERE) & usual,
                [(self.owes, 0)],
                "{cpu}'s task makes a voluntary switch",
                Fairness.ACKNOWLEDGE,
            )
        if self.saved is None:
            return
        owes: Assignments = []
        back: Assignments = []
        slept: Assignments = []
        if self.owes is not None and self.saved_owes is not None:
            owes = [(self.saved_owes, self.owes), (self.owes, 0)]
            back = [(self.owes, self.saved_owes), (self.saved_owes, 0)]
            slept = [(self.saved_owes, 0), (self.owes, 0)]
        if self.asleep is not None:
            back.append((self.asleep, 0))
            slept.append((self.asleep, 1))
        dropped = self.view.executed()  # what was fetched ahead is dropped; a stale view is the CPU's, not the task's
        free = (self.saved == NOWHERE) & usual
        if self.plan.preempts:
            self._add(
                "preempt",
                free & self.at(*self._preemptible()),
                [(self.saved, self.place), (self.place, ELSEWHERE), *owes, *dropped],
                "{cpu}'s task is preempted where it is; another runs",
                Fairness.NEVER_ON_CYCLE,
            )
        sleepers = [self._inside(f, 0) for f in self.freed if f.sleeps]
        if sleepers:
            self._add(
                "sleep",
                free & self.at(*sleepers),
                [(self.saved, self.place), (self.place, ELSEWHERE), *slept, *dropped],
                "{cpu}'s task goes to sleep inside the function (a voluntary switch); another runs",
                Fairness.NEVER_ON_CYCLE,
            )
        self._add(
            "resume",
            ~(self.saved == NOWHERE) & self.at(ELSEWHERE) & usual,
            [(self.place, self.saved), (self.saved, NOWHERE), *back, *dropped],
            "{cpu} resumes the waiting task where it was",
            Fairness.RESUME,
        )

    def _preemptible(self) -> list[str]:
        """Where a task may be preempted: in what is freed; everywhere with interrupts on, if asked for."""
        candidates = [
            p
            for p in self.interruptible()
            if not p.startswith((ELSEWHERE, "trapped", "handling", "searching", "rereading", RETURNING))
        ]
        candidates = [p for p in candidates if p not in self._section_places()]
        if self.plan.scenario.preempt:
            return candidates
        coded = {p for code in self.shared.live for p in self._code_places(code)}
        return [p for p in candidates if p in coded]

    # ---- what must hold ---------------------------------------------------------------------------------------------

    def _invariants(self, live: Expr) -> None:
        def never(property_: str, kind: str, place: str, says: str) -> None:
            self.builder.invariant(property_, kind, every(self.component, each(~self.at(place))), says)

        never(TORN, "torn", TORN_PLACE, "the bytes that it executed are no whole version of the instruction")
        never(
            TORN, "undefined", UNDEFINED, "an instruction that may be in flight was changed: what happens is undefined"
        )
        never(CLAIMED, "unclaimed", UNCLAIMED, "the trap finds no claim")
        never(CLAIMED, "released", DEAD_CLAIM, "the handler read a claim after its release")
        never(BALANCED, "no-return", LOST, "the return goes to whatever lies on the stack")
        if self.shared.live:
            self.builder.invariant(
                FREED, "freed", live, "a PC, return address or saved PC is in code that is not allocated"
            )

"""What a CPU does: arrive, fetch, execute, trap, handle, return; take interrupts, NMIs, preemption; acknowledge.

Every CPU is alike and runs for ever: elsewhere → at a site → execute → in the called function → elsewhere. Functions
that nothing depends on (never freed, reading no word) take no time: calling one leads straight to elsewhere.

Left out: a site reached with interrupts off (raises no alarm and misses none that matters to a site: it is the same
run with the acknowledgement delayed); an NMI inside an NMI, and a trap inside an NMI ending it early (may miss bugs of
nested NMI frames); user mode; the memory management behind code that is freed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.machines.events import Events
from models.machines.handler import Handler
from models.machines.places import (
    DEAD_CLAIM,
    ELSEWHERE,
    ERRORS,
    LOST,
    NO_RETURN,
    NOWHERE,
    TORN_PLACE,
    UNCLAIMED,
    UNDEFINED,
    Places,
)
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
    Function,
    Instruction,
    Meaning,
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
    either,
    every,
    if_else,
    parameter,
)
from models.system.system import Builder, Fairness, Mark
from models.system.visitor import each
from models.text import Outcome, OutcomeKind, SiteText

if TYPE_CHECKING:
    from models.plan import Plan

NOT_ALLOCATED, ALLOCATED = "not allocated", "allocated"


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
        self.fetches: dict[str, tuple[SiteText, Outcome]] = {}  # by action: where it fetches, and what comes of it
        self.places = Places(plan)
        here = self.place_type = Enum("place", self.places.labels)
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

    def at(self, *places: str) -> Expr:
        """Whether the CPU is at one of `places`; those that this model lacks do not count."""
        return self.place.is_in([p for p in places if p in self.places.labels])

    def _among(self, variable: Read | None, places: Sequence[str]) -> Expr:
        return FALSE if variable is None else variable.is_in([p for p in places if p in self.places.labels])

    def _in_dead_code(self) -> Expr:
        """Whether the PC, what an NMI interrupted, or the saved task is in code that is not allocated."""
        parts = []
        for code, live in self.shared.live.items():
            places = self.places.of_code(code)
            anywhere = either(*(self._among(v, places) for v in (self.place, self.saved, self.under)))
            parts.append(anywhere & (live == NOT_ALLOCATED))
        return either(*parts)

    def no_handlers(self) -> Expr:
        """No CPU is in the handler's read side."""
        if self.count is not None:
            return every(self.component, each(self.count == 0))
        places = self.places.handler()
        inside = self._among(self.place, places) | self._among(self.under, places)
        return every(self.component, each(~inside))

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

    def add(
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
            Handler(self).add_actions()
        self._functions()
        self._stubs()
        Events(self).add_actions()
        at = [self.at(f"at site {site.index}") for site in self.plan.sites]
        handler = self.places.returning() + self.places.handler()
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
        self.add(
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
            done = self.view.executed(site)
            name = f"execute “{outcome}” at site {s}" if outcome.version is not None else f"{outcome} at site {s}"
            self.fetches[name] = (site, outcome)
            if outcome.kind is OutcomeKind.TRAP:
                self.add(
                    name,
                    guard,
                    [(self.place, f"trapped at site {s}"), *done],
                    f"{{cpu}} fetches the trap byte at site {s} and traps",
                    Fairness.TASK,
                    [tested, Mark(CLAIMED, "", TRUE, True, "")],
                )
            elif outcome.kind is OutcomeKind.TORN:
                self.add(
                    name,
                    guard,
                    [(self.place, TORN_PLACE), *done],
                    f"{{cpu}} executes a torn instruction at site {s}",
                    Fairness.TASK,
                    [tested],
                )
            else:
                assert isinstance(outcome.version, Instruction)
                place, marks, effects = self.run(outcome.version, s)
                self.add(
                    name,
                    guard,
                    [(self.place, place), *effects, *done],
                    f"{{cpu}} executes “{outcome.version}” at site {s}",
                    Fairness.TASK,
                    [tested, *marks],
                )

    def run(self, version: Instruction, site: int) -> tuple[str, list[Mark], Assignments]:
        """Running an instruction or its emulation: where it leads, how it is judged, what the ghosts record."""
        function = version.calls
        if function is None:
            return (ELSEWHERE, *self.judged(NOBODY, site))
        balanced = Mark(BALANCED, "", TRUE, True, "")
        place = self.places.inside(function, site)
        if function.reads is not None:
            return place, [balanced, *self.entering(place)], []
        marks, effects = self.judged((function.name,), site)
        return place, [balanced, *self.entering(place), *marks], effects

    def entering(self, place: str) -> list[Mark]:
        """That code which is freed some time is entered: `no-freed-code` is put to the test."""
        coded = [code for code in self.shared.live if place in self.places.of_code(code)]
        return [Mark(FREED, "", TRUE, True, "")] if coded else []

    def judged(self, meaning: Meaning, site: int) -> tuple[list[Mark], Assignments]:
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

    def _functions(self) -> None:
        """Reading the words that functions read, and returning from functions."""
        for function in self.plan.functions.values():
            for site in self.plan.sites if function.reads is not None else ():
                self._read_word(function, site.index)
            if function in self.freed and function.reads is None:
                self.add(
                    f"return from {function.name}",
                    self.at(f"in {function.name}") & self.runs,
                    [(self.place, ELSEWHERE)],
                    f"{{cpu}} returns from {function.name}",
                    Fairness.TASK,
                )
        if NO_RETURN in self.places.labels:
            self.add(
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
            marks, effects = self.judged(value, s)
            tracked = [f for name in value if (f := self.plan.functions.get(name)) in self.freed and f is not None]
            targets: list[Function | None] = [*tracked] or [None]
            for target in targets:
                place = f"in {target.name}" if target else ELSEWHERE
                label = "{" + ", ".join(value) + "}"
                entered = f", and is in {target.name}" if target else ""
                self.add(
                    f"{function.name} reads {label} for site {s}{entered}",
                    self.at(self.places.inside(function, s)) & self.runs & (word == label),
                    [(self.place, place), *effects],
                    f"{{cpu}} reads “{function.reads.name}” in {function.name} for site {s}: it calls {who(value)}{entered}",
                    Fairness.TASK,
                    [*marks, *self.entering(place)],
                )

    def _stubs(self) -> None:
        """The instructions of the stubs; the new target was settled when the handler acted."""
        for stub in self.plan.stubs:
            places = list(self.places.stub(stub))
            jumps = [place for place in places if place.startswith("at jmp")]
            for place, following in itertools.pairwise(places):
                if place in jumps:
                    break
                self.add(
                    f"step {place}",
                    self.at(place) & self.runs,
                    [(self.place, following)],
                    f"{{cpu}} runs {place.split()[1]} in the stub of site {stub.site}",
                    Fairness.TASK,
                )
            for place in jumps:
                for number in range(1, self.plan.rounds + 1):
                    function = self.plan.versions[number].calls
                    target = self.places.inside(function, stub.site) if function else ELSEWHERE
                    self.add(
                        f"step {place} (round {number})",
                        self.at(place) & self.runs & (self.shared.live[stub] == stub_content(number)),
                        [(self.place, target)],
                        f"{{cpu}} runs jmp in the stub of site {stub.site}",
                        Fairness.TASK,
                        self.entering(target),
                    )

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

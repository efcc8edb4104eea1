"""Words for lemmas: when in the course of the update, what a CPU can have fetched, and where a CPU is.

Time is the patcher's position. A moment is the number of the move that the patcher makes next; a *time* is a set of
moments, put together with `&`, `|` and `-`, and `Words.at` makes a condition of it. What memory, claims and words
hold is a function of the moment (`Words.held`), since nobody but the patcher changes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from models.compose import StrategyModel
from models.machines.views import BufferedView, StaleView
from models.machines.x86 import TRAP_BYTE
from models.plan import Planned
from models.protocol import (
    Claim,
    Free,
    Function,
    Release,
    ResumeMachine,
    Step,
    StopMachine,
    Stub,
    Sync,
    WaitForReaders,
    WaitForTasks,
    Write,
)
from models.system.expressions import TRUE, Bits, Constant, Enum, Expr, Read, Variable, both, constant, either, read
from models.system.system import Action
from models.system.visitor import nodes
from models.text import Granule, SiteText

Time = frozenset[int]
TWO_MOVES = (Sync, WaitForReaders, WaitForTasks, StopMachine, ResumeMachine)  # a request, and a wait for the answers


@dataclass(frozen=True)
class Span:
    """A planned step and its moves, `first` to `last`; it is over from the moment `last + 1` on."""

    planned: Planned
    first: int
    last: int


@dataclass(frozen=True)
class Window:
    """At `moment`, a CPU of which `when` holds may have fetched what memory held from `start` on."""

    moment: int
    when: Expr
    start: int


def implies(condition: Expr, conclusion: Expr) -> Expr:
    """That `conclusion` holds where `condition` does."""
    return either(~condition, conclusion)


class Words:
    """The vocabulary of one model."""

    def __init__(self, model: StrategyModel) -> None:
        self.plan, self.cpu, self.system = model.plan, model.cpu, model.system
        self.moves = [action for action in self.system.actions if action.actor is None]
        (self.patcher,) = [v for v in self.system.globals if v.name == "patcher"]
        self.end = len(self.moves)  # the moment when all is done

    # ---- time -------------------------------------------------------------------------------------------------------

    @cached_property
    def spans(self) -> list[Span]:
        """The planned steps in order, with their moves."""
        found, move, done = [], 0, 0
        for end in self.plan.returns:
            for planned in self.plan.steps[done:end]:
                step = planned.step
                moves = len(planned.writes) if isinstance(step, Write) else 1 + isinstance(step, TWO_MOVES)
                found.append(Span(planned, move, move + moves - 1))
                move += moves
            move, done = move + 1, end  # the return of the round
        return found

    def steps(self, *kinds: type[Step]) -> list[Span]:
        """The steps of some kinds."""
        return [span for span in self.spans if isinstance(span.planned.step, kinds)]

    def moments(self, start: int, stop: int) -> Time:
        """From the moment `start` up to, not including, `stop`."""
        return frozenset(range(start, stop))

    def before(self, span: Span) -> Time:
        """Until a step is over."""
        return self.moments(0, span.last + 1)

    def since(self, span: Span) -> Time:
        """From when a step is over."""
        return self.moments(span.last + 1, self.end + 1)

    def during(self, number: int) -> Time:
        """From the return of the round before until the return of this round."""
        returned = self.held[self.cpu.shared.returned.variable]
        return frozenset(moment for moment, value in enumerate(returned) if value == number - 1)

    def changed(self, site: SiteText, number: int) -> Time:
        """The moments of a round at which `site` does not hold what it held when the round came."""
        round_ = self.during(number)
        memories = [self.held[self.cpu.shared.text.memory[granule].variable] for granule in site.granules]
        first = min(round_)
        return frozenset(t for t in round_ if any(memory[t] != memory[first] for memory in memories))

    def claimed(self) -> Time:
        """While a claim has been made and not yet released."""
        found: set[int] = set()
        for span in self.steps(Claim, Release):
            since = self.since(span)
            found = found | since if isinstance(span.planned.step, Claim) else found - since
        return frozenset(found)

    def claim_stands(self) -> Time:
        """While the handler finds a table."""
        return frozenset(t for t, held in enumerate(self.held[self.cpu.shared.claim.variable]) if held)

    def enterable(self, code: Stub | Function) -> tuple[Time, Time]:
        """When any CPU may be in code that is there; and while a grace period is waited for after which it is freed."""
        there = frozenset(t for t, held in enumerate(self.held[self.cpu.shared.live[code].variable]) if held)
        graces: list[Span] = []
        waited: Time = frozenset()
        for span in self.steps(WaitForTasks, Free):
            step = span.planned.step
            if isinstance(step, WaitForTasks):
                graces.append(span)
            elif isinstance(step, Free) and step.code == code and graces:
                waited |= self.moments(graces[-1].last, graces[-1].last + 1)
                there -= self.moments(graces[-1].last, span.last + 1)
        return there, waited

    def stopped(self) -> Time:
        """While all CPUs stand: from when they have been waited for until they are let go."""
        found: set[int] = set()
        for span in self.steps(StopMachine, ResumeMachine):
            if isinstance(span.planned.step, StopMachine):
                found |= self.since(span)
            else:
                found -= self.moments(span.first + 1, self.end + 1)
        return frozenset(found)

    def at(self, time: Iterable[int]) -> Expr:
        """That it is one of these moments."""
        return read(self.patcher).is_in(sorted(time))

    @cached_property
    def held(self) -> dict[Variable, list[int]]:
        """What every shared variable but the patcher's position holds, moment by moment."""
        found = {v: [v.initial] for v in self.system.globals if v is not self.patcher}
        for move in self.moves:
            written = _written(move)
            for variable, values in found.items():
                values.append(written.get(variable, values[-1]))
        return found

    def follows(self, variables: Iterable[Read]) -> Expr:
        """That each of some shared variables holds what the patcher's moves until now make it hold."""
        parts = []
        for variable in variables:
            values = self.held[variable.variable]
            for value in dict.fromkeys(values):
                then = [moment for moment, held in enumerate(values) if held == value]
                parts.append(implies(self.at(then), variable == value))
        return both(*parts)

    # ---- what was fetched -------------------------------------------------------------------------------------------

    @cached_property
    def windows(self) -> list[Window]:
        """For each moment, since when a CPU has surely serialised.

        While the patcher waits for a sync, those that have answered have done so since its request, the others since
        the request of the sync before; afterwards all have answered.
        """
        found, start = [], 0
        syncs = {span.first + 1: span for span in self.steps(Sync, ResumeMachine)}  # by the moment after the request
        for moment in range(self.end + 1):
            if moment in syncs:
                stopped = isinstance(syncs[moment].planned.step, ResumeMachine)
                answered = self.cpu.runs if stopped or self.cpu.ipi is None else ~self.cpu.ipi
                found.append(Window(moment, ~answered, start))
                found.append(Window(moment, answered, moment))
                start = moment
            else:
                found.append(Window(moment, TRUE, start))
        return found

    def contents(self, granule: Granule, window: Window) -> frozenset[int]:
        """What memory held there in a window."""
        memory = self.held[self.cpu.shared.text.memory[granule].variable]
        return frozenset(memory[window.start : window.moment + 1])

    def sees_only(self, windows: Sequence[Window], sites: Sequence[SiteText]) -> Expr:
        """That what a CPU can have fetched of `sites` was there in the window that applies to it."""
        parts = []
        for site in sites:
            for k, granule in enumerate(site.granules):
                for contents, when in self._grouped(granule, windows).items():
                    parts.append(implies(when, self._fetched_among(site, k, contents)))
        return both(*parts)

    def may_have_seen_trap(self, site: SiteText) -> Expr:
        """That the first byte of `site` was the trap byte at some moment since the CPU surely serialised."""
        head = site.granules[0]
        traps = {i for i, content in enumerate(head.contents) if any(string[:1] == TRAP_BYTE for string in content)}
        return self.applies([window for window in self.windows if self.contents(head, window) & traps])

    def applies(self, windows: Sequence[Window]) -> Expr:
        """That one of some windows is the one that applies."""
        groups: dict[Expr, set[int]] = {TRUE: set()}
        for window in windows:
            moments = groups.setdefault(window.when, set())
            other = groups.get(~window.when, set())
            if window.moment in other:  # one or the other always applies
                other.discard(window.moment)
                groups[TRUE].add(window.moment)
            else:
                moments.add(window.moment)
        return either(*(self.at(moments) & when for when, moments in groups.items()))

    def _grouped(self, granule: Granule, windows: Sequence[Window]) -> dict[frozenset[int], Expr]:
        """The windows by what memory held in them, each group as one condition."""
        groups: dict[frozenset[int], list[Window]] = {}
        for window in windows:
            groups.setdefault(self.contents(granule, window), []).append(window)
        return {contents: self.applies(group) for contents, group in groups.items()}

    def _fetched_among(self, site: SiteText, k: int, contents: frozenset[int]) -> Expr:
        """That what the CPU can have fetched of granule k of `site` is among `contents`."""
        view, granule = self.cpu.view, site.granules[k]
        match view:
            case StaleView():
                mask = view.views[granule]
                assert isinstance(mask.type, Bits)
                others = (1 << mask.type.width) - 1
                for content in contents:
                    others &= ~view.mask(granule, content)
                return (mask & constant(others, mask.type)) == 0
            case BufferedView():
                mine = view.fetching == f"site {site.index}"
                return implies(mine, view.read[k].is_in([0, *(content + 1 for content in sorted(contents))]))
        return TRUE  # nothing is fetched ahead

    # ---- where a CPU is ---------------------------------------------------------------------------------------------

    def runs(self, places: Sequence[str]) -> Expr:
        """That what a CPU runs is at one of `places`, or has been interrupted there by an NMI."""
        return self._any_at((self.cpu.place, self.cpu.under), places)

    def within(self, places: Sequence[str]) -> Expr:
        """That a CPU is at one of `places`, or will be when its NMI returns or its waiting task goes on."""
        return self._any_at((self.cpu.place, self.cpu.under, self.cpu.saved), places)

    def _any_at(self, variables: Sequence[Read | None], places: Sequence[str]) -> Expr:
        known = [place for place in places if place in self.cpu.places.labels]
        return either(*(variable.is_in(known) for variable in variables if variable is not None))

    def unused(self) -> list[str]:
        """The places to which nothing in this model leads."""
        type_ = self.cpu.place.type
        assert isinstance(type_, Enum)
        led_to = {v.initial for v in self.system.variables if v.type == type_}
        for action in self.system.actions:
            for effect in action.effects:
                led_to |= {n.value for n in nodes(effect.value) if isinstance(n, Constant) and n.type == type_}
        return [label for value, label in enumerate(type_.labels) if value not in led_to]

    def searching(self) -> list[str]:
        """The places of a trap handler that has taken a count."""
        return [place for place in self.cpu.places.handler() if not place.startswith("trapped")]

    def masked(self, site: SiteText) -> list[str]:
        """The places with interrupts off of a trap handler for `site`, and of the stub that it may lead to."""
        places = self.cpu.places
        found = [place for place in places.handler() if place.endswith(f"site {site.index}")]
        for stub in self.plan.stubs:
            if stub.site == site.index:
                found += [p for p in places.of_code(stub) if p in places.labels and p not in places.interruptible()]
        return found


def _written(move: Action) -> dict[Variable, int]:
    """What one of the patcher's moves stores in shared variables: plain values."""
    stored = {}
    for effect in move.effects:
        if effect.variable.component is None:
            assert isinstance(effect.value, Constant), f"“{move.name}” computes {effect.variable.name}"
            stored[effect.variable] = effect.value.value
    return stored

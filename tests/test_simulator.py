"""Claims: a simulator of bytes, written independently, and the composed model agree on what can happen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from checker.search.python import explore
from models.compose import compose
from models.machines.fetch import X86_CONSERVATIVE, X86_LINUX, X86_TRAP_GATE, Machine
from models.protocol import (
    TRAP,
    Claim,
    Discard,
    Function,
    Policy,
    Release,
    Site,
    Step,
    Steps,
    Strategy,
    Sync,
    WaitForHandlers,
    Write,
    emulate,
    emulate_new,
    emulate_old,
    retry,
    skip,
)
from models.scenario import Scenario
from models.skeletons import int3_update
from models.system.evaluate import Evaluator, State
from models.system.system import Action
from tests.simulator import Cpu, Event, Simulator, Violation, explore_all, run
from tests.simulator import State as Concrete

MACHINES = (X86_LINUX, X86_CONSERVATIVE, X86_TRAP_GATE)
TRANSITIONS = ("call:call", "nop:call", "call:nop")
THIRD = Function("third")
POLICIES = {
    "skip": skip,
    "emulate old": emulate_old,
    "emulate new": emulate_new,
    "emulate a third": emulate(THIRD),
    "retry": retry,
}
LABELS = ("claim", "trap", "sync-1", "tail", "sync-2", "first-byte", "sync-3", "release")

quick = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def strategy(name: str, steps: Steps, rereads: bool = False, safe: bool = True) -> Strategy:
    return Strategy(name, "made for this test", "this file", steps, safe=(THIRD,) if safe else (), rereads=rereads)


def whole_store(sites: Sequence[Site]) -> Iterator[Step]:
    for site in sites:
        yield Write(site.whole, site.new)
    yield Sync()


def tail_then_head(sites: Sequence[Site]) -> Iterator[Step]:
    for site in sites:
        yield Write(site.tail, site.new)
        yield Sync()
        yield Write(site.first_byte, site.new)
    yield Sync()


def unsorted_claim(sites: Sequence[Site]) -> Iterator[Step]:
    yield from int3_update(sites[::-1], skip)


def whole_over_trap(sites: Sequence[Site]) -> Iterator[Step]:
    yield Claim(emulate_old, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    for site in sites:
        yield Write(site.whole, site.new)
    yield Sync()
    yield Release()


def ranges(sites: Sequence[Site]) -> Iterator[Step]:
    yield Claim(emulate_new, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP)
        yield Sync()
        yield Write(site.bytes(1, 3), site.new)
        yield Write(site.bytes(2, 5), site.new)
        yield Sync()
        yield Write(site.first_byte, site.new)


def text_poke(sites: Sequence[Site]) -> Iterator[Step]:
    yield from int3_update(sites, emulate_new, counted=True)
    yield WaitForHandlers()
    yield Discard()


STRATEGIES = (
    *(
        strategy(f"int3, {name}{', counted' if counted else ''}", lambda sites, p=p, c=counted: int3_update(sites, p, c))
        for name, p in POLICIES.items()
        for counted in (False, True)
    ),
    strategy("int3 that re-reads", lambda sites: int3_update(sites, emulate_old), rereads=True),
    strategy("int3, counted, that re-reads", lambda sites: int3_update(sites, emulate_new, True), rereads=True),
    strategy("int3, third target not safe", lambda sites: int3_update(sites, emulate(THIRD)), safe=False),
    strategy("text-poke", text_poke),
    strategy("whole store", whole_store),
    strategy("tail, then head", tail_then_head),
    strategy("unsorted claim", unsorted_claim),
    strategy("whole store over the trap byte", whole_over_trap),
    strategy("odd ranges", ranges),
)


def labels_of(made: Strategy) -> tuple[str, ...]:
    """The labels that can be left out of a strategy of the list."""
    return LABELS if made.name.startswith("int3") else ()


# ---- every run of the simulator is a run of the model ---------------------------------------------------------------


class Disagreement(AssertionError):
    """The simulator did what the model cannot do, or judged or stored otherwise."""


class Tracker:
    """The set of model states that are compatible with the simulator's events so far."""

    def __init__(self, simulator: Simulator, scenario: Scenario) -> None:
        self.simulator = simulator
        self.system = compose(simulator.strategy, scenario).system
        self.evaluator = Evaluator(self.system)
        self.actions = {action.name: action for action in self.system.actions}
        self.position = next(i for i, v in enumerate(self.system.globals) if v.name == "patcher")
        self.memory = [
            (i, int(site), int(start), v.type)
            for i, v in enumerate(self.system.globals)
            if (match := re.fullmatch(r"memory_(\d+)_(\d+)", v.name))
            for site, start in [match.groups()]
        ]
        self.moves = [a for a in self.system.actions if a.actor is None]
        self.owned = self.owned_moves()
        self.known: dict[tuple[State, str, int | None, int], tuple[State, frozenset[Violation]] | None] = {}
        self.reset()

    def reset(self) -> None:
        self.states = {self.evaluator.initial()}

    def owned_moves(self) -> list[range]:
        """For each of the simulator's planned steps, the positions of the model's moves; fails if names differ."""
        found, position = [], 0
        for planned in self.simulator.program:
            name = re.escape(f"return {planned.round}" if planned.step is None else planned.label)
            where = f" site {planned.step.place.site.index}" if isinstance(planned.step, Write) else ""
            pattern = re.compile(rf"{name}{where}( begins| done| request| wait)?( \(round {planned.round}\))?( #\d+)?")
            first = position
            for part in (None, " done", " wait"):
                match = pattern.fullmatch(self.moves[position].name) if position < len(self.moves) else None
                if match and (part is None or match[1] == part):
                    position += 1
            if position == first:
                raise Disagreement(f"the model has no move for “{planned.label}” of round {planned.round}")
            found.append(range(first, position))
        if position != len(self.moves):
            raise Disagreement(f"the simulator has no step for “{self.moves[position].name}”")
        return found

    def follow(self, seen: Event, after: Concrete) -> None:
        """Keep the states that the model can be in after `seen`; at least one must be left."""
        followed = self.patcher(seen) if seen.actor is None else self.cpu(seen)
        if not followed:
            raise Disagreement(f"the model cannot do this: {seen}")
        self.states = {state for state, broken in followed if broken == seen.violations}
        if not self.states:
            raise Disagreement(f"judged otherwise by the model: {seen}, {[set(broken) for _, broken in followed]}")
        for state in self.states:
            self.compare_memory(state, seen, after)

    def take(self, state: State, action: Action, actor: int | None, choice: int) -> tuple[State, frozenset[Violation]] | None:
        """The state after `action` and what the model says is broken by it; None if it is not enabled."""
        key = (state, action.name, actor, choice)
        if key not in self.known:
            self.known[key] = self.taken(*key[:1], action, actor, choice)
        return self.known[key]

    def taken(self, state: State, action: Action, actor: int | None, choice: int) -> tuple[State, frozenset[Violation]] | None:
        value = self.evaluator.value
        if self.evaluator.halted(state) or not value(action.guard, state, actor, choice):
            return None
        after = self.evaluator.apply(action, state, actor, choice)
        marks = [m for m in action.marks if not m.premise and value(m.when, state, actor, choice)]
        return after, frozenset((b.property, b.kind) for b in (*marks, *self.evaluator.broken(after)))

    def patcher(self, seen: Event) -> set[tuple[State, frozenset[Violation]]]:
        """A store's landing bytes are internal to the model, and a store that it takes as one move may be any of them."""
        owned, found = self.owned[seen.step], set()
        split = len(owned) == 2
        for state in self.states:
            at = state.shared[self.position]
            must = seen.what not in ("begins", "lands", "done") or (seen.what != "lands" and split)
            may = at in owned and not (seen.what == "lands" and split)
            if may and (result := self.take(state, self.moves[at], None, 0)):
                found.add(result)
            if not must and (at in owned or at == owned.stop) and not (seen.what == "done" and at in owned):
                found.add((state, frozenset()))
        return found

    def cpu(self, seen: Event) -> set[tuple[State, frozenset[Violation]]]:
        action = self.actions.get(self.name_of(seen))
        if action is None:
            raise Disagreement(f"the model has no action “{self.name_of(seen)}”")
        choice = seen.site if seen.what == "arrive" else 0
        return {r for state in self.states if (r := self.take(state, action, seen.actor, choice))}

    def name_of(self, seen: Event) -> str:
        """How the model calls what the simulator did."""
        s = seen.site
        emulates = f"emulates “{seen.outcome}”" if seen.outcome != "nop" else "skips the instruction"
        return {
            "trap": f"trap at site {s}",
            "torn": f"torn at site {s}",
            "execute": f"execute “{seen.outcome}” at site {s}",
            "take-count": f"take the count for site {s}",
            "no-count": f"no count for site {s}",
            "find": f"find site {s}",
            "miss": f"do not find site {s}",
            "search-released": f"search a released claim for site {s}",
            "act-released": f"act on a released claim for site {s}",
            "emulate": f"handler {emulates} at site {s}",
            "retry": f"handler lets it go back to site {s}",
            "reread-trap": f"reread site {s}: trap byte",
            "reread-clear": f"reread site {s}: no trap byte",
            "iret": "iret to elsewhere" if s < 0 else f"iret to at site {s}",
        }.get(seen.what, seen.what)

    def compare_memory(self, state: State, seen: Event, after: Concrete) -> None:
        """The simulator's bytes are among those that the model's memory may hold; in flux these are several."""
        for place, site, start, type_ in self.memory:
            for offset, alternatives in enumerate(type_.show(state.shared[place]).split(), start):
                value = after.memory[site][offset]
                if f"{value:02x}" not in alternatives.split("/"):
                    raise Disagreement(f"byte {offset} of site {site} is {value:02x}, not {alternatives}, after {seen}")


@dataclass(frozen=True)
class Setting:
    """One strategy under one scenario."""

    strategy: Strategy
    machine: Machine = X86_LINUX
    transition: str = "call:call"
    rounds: int = 1
    cpus: int = 1
    sites: int = 1
    without: str = ""

    def simulator(self, kind: type[Simulator] = Simulator) -> Simulator:
        without = {self.without} - {""}
        return kind(self.strategy, self.machine, self.transition, self.rounds, self.cpus, self.sites, without)

    def scenario(self) -> Scenario:
        without = frozenset({self.without} - {""})
        return Scenario(self.machine, self.transition, self.rounds, self.cpus, self.sites, without)


@cache
def tracked(setting: Setting) -> Tracker:
    return Tracker(setting.simulator(), setting.scenario())


def follow(tracker: Tracker, simulator: Simulator, schedule: Sequence[int]) -> set[Violation]:
    """Follow one run; the violations that it showed."""
    tracker.reset()
    broken: set[Violation] = set()
    for seen, after in run(simulator, schedule):
        tracker.follow(seen, after)
        broken |= seen.violations
    return broken


@st.composite
def settings_drawn(draw: st.DrawFn) -> Setting:
    made = draw(st.sampled_from(STRATEGIES))
    return Setting(
        made,
        draw(st.sampled_from(MACHINES)),
        draw(st.sampled_from(TRANSITIONS)),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 2)),
        draw(st.sampled_from(("", "", *labels_of(made)))),
    )


@settings(quick, max_examples=150)
@given(settings_drawn(), st.lists(st.binary(min_size=150, max_size=150), min_size=3, max_size=3))
def test_every_simulated_run_is_a_run_of_the_model(setting: Setting, schedules: list[bytes]) -> None:
    tracker = tracked(setting)
    for schedule in schedules:
        for broken in sorted(follow(tracker, tracker.simulator, schedule)):
            event("/".join(broken))

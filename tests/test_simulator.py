"""Claims: a simulator of bytes, written independently, and the composed model agree on what can happen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from random import Random

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
    Instruction,
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
from tests.simulator import Cpu, Event, Simulator, Violation, changed, explore_all, run
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
Taken = tuple[State, frozenset[Violation]]  # of the model: where a step leads, and what it breaks
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


def whole_over_trap(sites: Sequence[Site], claims: bool = True) -> Iterator[Step]:
    if claims:
        yield Claim(emulate_old, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    for site in sites:
        yield Write(site.whole, site.new)
    yield Sync()
    if claims:
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


def overlapping(sites: Sequence[Site]) -> Iterator[Step]:
    """Whole stores of which one byte, or none, is new."""
    yield Claim(emulate_old, sites)
    for site in sites:
        yield Write(site.whole, site.old)
        yield Write(site.first_byte, TRAP)
        yield Write(site.whole, site.old)
        yield Sync()
        yield Write(site.whole, site.new)


def text_poke(sites: Sequence[Site]) -> Iterator[Step]:
    yield from int3_update(sites, emulate_new, counted=True)
    yield WaitForHandlers()
    yield Discard()


STRATEGIES = (
    *(
        strategy(f"int3, {name}{', counted' * counted}", partial(int3_update, policy=policy, counted=counted))
        for name, policy in POLICIES.items()
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
    strategy("stores that change nothing or little", overlapping),
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
        self.known: dict[tuple[State, str, int | None, int], Taken | None] = {}
        self.reset()

    def reset(self) -> None:
        self.states = frozenset({self.evaluator.initial()})

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
        self.states = self.followed(self.states, seen, after)

    def followed(self, states: frozenset[State], seen: Event, after: Concrete) -> frozenset[State]:
        """The states that the model can be in after `seen`. Raises Disagreement if there is none."""
        found = self.patcher(states, seen) if seen.actor is None else self.cpu(states, seen)
        if not found:
            raise Disagreement(f"the model cannot do this: {seen}")
        left = frozenset(state for state, broken in found if broken == seen.violations)
        if not left:
            raise Disagreement(f"the model judges {seen} otherwise: {[set(broken) for _, broken in found]}")
        if after.missing is None or len(self.owned[after.pc]) == 2:  # else the one byte that changes may land any time
            for state in left:
                self.compare_memory(state, seen, after)
        return left

    def take(self, state: State, action: Action, actor: int | None, choice: int = 0) -> Taken | None:
        """The state after `action` and what the model says is broken by it; None if it is not enabled. Remembered."""
        key = (state, action.name, actor, choice)
        if key not in self.known:
            value, self.known[key] = self.evaluator.value, None
            if not self.evaluator.halted(state) and value(action.guard, state, actor, choice):
                after = self.evaluator.apply(action, state, actor, choice)
                marks = [m for m in action.marks if not m.premise and value(m.when, state, actor, choice)]
                invariants = self.evaluator.broken(after)
                broken = {(m.property, m.kind) for m in marks} | {(i.property, i.kind) for i in invariants}
                self.known[key] = after, frozenset(broken)
        return self.known[key]

    def patcher(self, states: frozenset[State], seen: Event) -> set[Taken]:
        """What the model does for a step of the patcher.

        Where a store is two moves, the bytes that land in between are internal to the model. Where it is one (no more
        than one byte changes), any of the landing bytes may be the one that matters.
        """
        owned, found = self.owned[seen.step], set()
        landing = seen.what in ("begins", "lands", "done")
        internal = seen.what == "lands" if len(owned) == 2 else landing
        for state in states:
            at = state.shared[self.position]
            if at in owned and not (internal and len(owned) == 2) and (taken := self.take(state, self.moves[at], None)):
                found.add(taken)
            if internal and (at == owned.stop or seen.what != "done"):
                found.add((state, frozenset()))
        return found

    def cpu(self, states: frozenset[State], seen: Event) -> set[Taken]:
        action = self.actions.get(self.name_of(seen))
        if action is None:
            raise Disagreement(f"the model has no action “{self.name_of(seen)}”")
        choice = seen.site if seen.what == "arrive" else 0
        return {taken for state in states if (taken := self.take(state, action, seen.actor, choice))}

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


def random_runs(seed: int, count: int, length: int) -> Iterator[bytes]:
    chance = Random(seed)
    return (chance.randbytes(length) for _ in range(count))


def runs_all(tracker: Tracker, simulator: Simulator) -> int:
    """Follow every run of the simulator; the number of pairs of its state and the model's states."""
    start = (simulator.initial(), frozenset({tracker.evaluator.initial()}))
    known, stack = {start}, [start]
    while stack:
        state, states = stack.pop()
        for seen, after in simulator.moves(state):
            pair = (after, tracker.followed(states, seen, after))
            if pair not in known:
                known.add(pair)
                stack.append(pair)
    return len(known)


@settings(quick, max_examples=60)
@given(settings_drawn(), st.integers(0, 2**32))
def test_every_simulated_run_is_a_run_of_the_model(setting: Setting, seed: int) -> None:
    tracker = tracked(setting)
    broken = {v for schedule in random_runs(seed, 6, 250) for v in follow(tracker, tracker.simulator, schedule)}
    for violation in sorted(broken):
        event("/".join(violation))


@pytest.mark.parametrize("made", STRATEGIES, ids=lambda made: made.name)
def test_all_runs_at_one_cpu_and_site_are_runs_of_the_model(made: Strategy) -> None:
    for transition in ("call:call", "nop:call"):
        tracker = tracked(Setting(made, transition=transition))
        assert runs_all(tracker, tracker.simulator) > 50


# ---- the same properties are broken ---------------------------------------------------------------------------------


def simulated(setting: Setting, kind: type[Simulator] = Simulator) -> set[Violation]:
    return explore_all(setting.simulator(kind))[0]


def searched(setting: Setting) -> set[Violation]:
    """What the model's state space breaks."""
    outcome = explore(compose(setting.strategy, setting.scenario()).system).outcome
    assert outcome.complete
    marks = {(mark.property, mark.kind) for mark in outcome.marks if not mark.premise}
    return marks | {(invariant.property, invariant.kind) for invariant in outcome.broken}


INT3 = ("claim", "trap", "sync", "tail new", "sync", "first new", "sync", "release")
STEPS = (*dict.fromkeys(INT3), "first old", "tail old", "whole new", "whole old")


def steps_of(names: Sequence[str], policy: Policy, counted: bool) -> Steps:
    """The steps called `names` at every site; a release of nothing is left out."""

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        claimed = False
        for name in names:
            if name == "claim":
                yield Claim(policy, sites, counted)
                claimed = True
            elif name == "release":
                if claimed:
                    yield Release()
                claimed = False
            elif name == "sync":
                yield Sync()
            else:
                for site in sites:
                    place = {"first": site.first_byte, "tail": site.tail, "whole": site.whole}
                    where, _, what = name.partition(" ")
                    content = {"old": site.old, "new": site.new}.get(what, TRAP)
                    yield Write(place.get(where, site.first_byte), content)

    return steps


@st.composite
def names_drawn(draw: st.DrawFn) -> list[str]:
    """Up to six steps in any order, or the int3 sequence with some steps dropped, moved or put in."""
    if draw(st.booleans()):
        return draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=6))
    names = list(INT3)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(names) - 1))
        change = draw(st.sampled_from(("drop", "drop", "move", "add")))
        name = names.pop(place) if change != "add" else draw(st.sampled_from(STEPS))
        if change != "drop":
            names.insert(draw(st.integers(0, len(names))), name)
    return names


@settings(quick, max_examples=60)
@given(
    names_drawn(),
    st.sampled_from(tuple(POLICIES.values())),
    st.booleans(),
    st.booleans(),
    st.sampled_from(MACHINES),
    st.sampled_from(TRANSITIONS),
)
def test_small_strategies_break_the_same_properties(
    names: list[str], policy: Policy, counted: bool, rereads: bool, machine: Machine, transition: str
) -> None:
    made = strategy("drawn", steps_of(names, policy, counted), rereads)
    setting = Setting(made, machine, transition)
    broken = simulated(setting)
    event(", ".join("/".join(violation) for violation in sorted(broken)) or "nothing")
    assert broken == searched(setting)


INT3_OLD = strategy("int3", lambda sites: int3_update(sites, emulate_old))
INT3_NEW = strategy("int3", lambda sites: int3_update(sites, emulate_new))


@pytest.mark.parametrize("without", ["", "claim", "trap", "sync-1", "sync-3"])
def test_two_cpus_break_the_same_properties(without: str) -> None:
    setting = Setting(INT3_OLD, cpus=2, without=without)
    assert simulated(setting) == searched(setting)


@pytest.mark.parametrize("without", ["", "sync-1", "first-byte", "sync-3"])
def test_two_sites_break_the_same_properties(without: str) -> None:
    setting = Setting(INT3_NEW, sites=2, without=without)
    assert simulated(setting) == searched(setting)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
@pytest.mark.parametrize("counted", [False, True], ids=["flag", "counted"])
def test_two_rounds_break_the_same_properties(machine: Machine, counted: bool) -> None:
    made = strategy("two rounds", lambda sites: int3_update(sites, emulate_new, counted))
    for without in ("", "sync-3"):
        setting = Setting(made, machine, rounds=2, without=without)
        assert simulated(setting) == searched(setting)


# ---- where the model is wrong (each of these was found by this simulator) -------------------------------------------


def site_by_site(sites: Sequence[Site]) -> Iterator[Step]:
    """One descriptor for one site at a time, taken over by the next site without waiting for handlers."""
    for site in sites:
        yield Claim(emulate_old, [site])
        yield Write(site.first_byte, TRAP)
        yield Sync()
        yield Write(site.tail, site.new)
        yield Sync()
        yield Write(site.first_byte, site.new)


def test_a_handler_must_not_act_on_a_claim_that_has_been_taken_over_by_another_site() -> None:
    setting = Setting(strategy("site by site", site_by_site, rereads=True), sites=2)
    assert ("traps-claimed", "released") in simulated(setting)
    assert simulated(setting) == searched(setting)


def test_reading_a_byte_again_while_it_is_overwritten_may_find_the_trap_byte() -> None:
    made = strategy("whole store, re-reads", lambda sites: whole_over_trap(sites, claims=False), rereads=True)
    tracker = tracked(Setting(made))
    runs_all(tracker, tracker.simulator)


def trap_and_tail_at_once(sites: Sequence[Site]) -> Iterator[Step]:
    yield Claim(skip, sites)
    for site in sites:
        yield Write(site.whole, TRAP + b"\x11\x22\x33\x44")


def test_a_longer_store_may_start_with_the_trap_byte() -> None:
    setting = Setting(strategy("trap and tail at once", trap_and_tail_at_once))
    assert simulated(setting) == searched(setting)


def two_policies(sites: Sequence[Site]) -> Iterator[Step]:
    yield Claim(skip, sites)
    yield Write(sites[0].first_byte, TRAP)
    yield Claim(emulate_old, sites)


def test_two_policies_may_come_to_the_same() -> None:
    setting = Setting(strategy("two policies", two_policies), transition="nop:call")
    assert simulated(setting) == searched(setting)


# ---- a wrong simulator is noticed -----------------------------------------------------------------------------------


class DeafToInterrupts(Simulator):
    """Acknowledges without serialising."""

    def acknowledged(self, cpu: Cpu, state: Concrete) -> Cpu:
        return cpu._replace(ipi=False)


class Skips(Simulator):
    """The handler calls nobody, whatever the policy."""

    def stands_for(self, policy: Policy, entry: Site | None) -> Function | None:
        return None


class NeverSerialises(Simulator):
    """Neither interrupts nor IRET nor chance make a CPU forget what a byte was."""

    def serialised(self, cpu: Cpu, state: Concrete) -> Cpu:
        return cpu


class Coherent(Simulator):
    """Every fetch reads memory."""

    def seen(self, cpu: Cpu, site: int, offset: int, value: int) -> Cpu:
        history = changed(cpu.history[site], offset, bytes((value,)))
        return cpu._replace(history=changed(cpu.history, site, history))


class TakesAnyTail(Simulator):
    """Looks at the first byte only."""

    def runs(self, site: int, code: bytes) -> Instruction | str:
        same = [text for version, text in self.legal[site].items() if version[:1] == code[:1]]
        return same[0] if same else super().runs(site, code)


@pytest.mark.parametrize("kind", [DeafToInterrupts, Skips, NeverSerialises, TakesAnyTail])
def test_a_simulator_that_does_what_it_must_not_is_noticed(kind: type[Simulator]) -> None:
    setting = Setting(INT3_OLD)
    assert simulated(setting, kind) != searched(setting)
    with pytest.raises(Disagreement):
        runs_all(tracked(setting), setting.simulator(kind))
    with pytest.raises(Disagreement):
        for schedule in random_runs(1, 50, 250):
            follow(tracked(setting), setting.simulator(kind), schedule)


def test_a_simulator_that_can_do_too_little_is_noticed() -> None:
    setting = Setting(strategy("whole store", whole_store))
    assert simulated(setting, Coherent) != searched(setting)

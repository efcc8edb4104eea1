"""A concrete simulator of live code patching: real bytes, a real decoder, one small step at a time.

It shares nothing with the composed model but the vocabulary of strategies and where functions and sites lie. Memory is
an array of bytes; a store lands byte by byte, in any order; every CPU has, for each byte of the text, the *history* of
the values that the byte held since this CPU last serialised. A fetch takes each byte from its history, independently,
and what iced-x86 makes of the bytes decides what happens. Executions are judged by their meaning: S[b..e]
of the rounds that have returned and begun.

`moves` lists every step that is possible in a state; states are immutable and hashable, so runs can be random (`run`)
or all of them can be explored (`explore_all`). For machines that fetch bytes from stale sets and store byte by byte.
What a CPU does is in `simulator_cpu.py`, what a state is made of in `simulator_state.py`.

Left out: two stubs for one site, words that name functions which read words, more than one probe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from models.machines.fetch import Granularity, Machine, Staleness, StoreAtomicity
from models.protocol import (
    Allocate,
    Call,
    Claim,
    Discard,
    Free,
    Function,
    Instruction,
    Meaning,
    Nop,
    Probe,
    ReadLock,
    ReadUnlock,
    Release,
    ResumeMachine,
    Site,
    Step,
    Steps,
    StopMachine,
    Store,
    Strategy,
    Stub,
    Sync,
    WaitForHandlers,
    WaitForReaders,
    WaitForTasks,
    Write,
)
from models.scenario import Scenario
from models.text import AddressBook, encode, site_address
from tests.simulator_cpu import LENGTH, Cpus
from tests.simulator_state import (
    GOES_ON,
    HANDLER,
    NO_CLAIM,
    Cpu,
    Event,
    Move,
    State,
    Violation,
    changed,
    now,
)

__all__ = ["Cpu", "Event", "Simulator", "State", "Violation", "changed", "explore_all", "run"]


class Planned(NamedTuple):
    """A step of the patcher: its round, from 1, and its label. `step` None is the return of the round."""

    round: int
    label: str
    step: Step | None
    claim: int = NO_CLAIM


def texts(transition: str, rounds: int) -> list[Instruction]:
    """What the sites hold before and after each round: the two sides of `transition` in turn, every call a new one."""
    names = iter("ABCDEFGH")
    sides = transition.split(":")
    return [Call(Function(next(names))) if sides[n % 2] == "call" else Nop() for n in range(rounds + 1)]


def means(instruction: Instruction) -> Meaning:
    """Who is called when `instruction` is executed."""
    return (instruction.calls.name,) if instruction.calls else ()


class Simulator(Cpus):
    """A strategy on a machine: its initial state and every step from any state. Methods can be overridden to err."""

    def __init__(
        self,
        strategy: Strategy,
        machine: Machine,
        transition: str = "call:call",
        rounds: int = 1,
        cpus: int = 1,
        sites: int = 1,
        without: Iterable[str] = (),
        preempt: bool = False,
        nmi: bool = False,
    ) -> None:
        """Unroll the strategy's steps. Raises NotImplementedError for what this simulator does not know."""
        shape = (machine.granularity, machine.staleness, machine.store_atomicity, machine.havoc)
        if shape != (Granularity.BYTE, Staleness.STALE, StoreAtomicity.BYTE, False):
            raise NotImplementedError(f"{strategy.name} on {machine.name}")
        self.strategy, self.machine, self.cpus, self.sites, self.nmi = strategy, machine, cpus, sites, nmi
        self.texts, self.meanings, sources = self.sequence(transition, rounds)
        self.safe = {function.name for function in strategy.safe}
        self.claims: list[Claim] = []
        self.program = [
            p for number, steps in enumerate(sources, 1) for p in self.one_round(number, steps, set(without))
        ]
        self.counted = any(claim.counted for claim in self.claims)
        self.addresses = [site_address(s, strategy.offset) for s in range(sites)]
        self.book = AddressBook(strategy.offset, sites)
        self.functions = self.known_functions()
        frees = [p.step.code for p in self.program if isinstance(p.step, Free)]
        self.mortal = {code.name for code in frees if isinstance(code, Function)}
        self.preempts, self.preempts_anywhere = preempt or bool(frees), preempt
        self.stubs = self.known_stubs()
        probes = dict.fromkeys(text for text in self.texts if isinstance(text, Probe))
        self.probe = next(iter(probes), None)
        self.legal = [{self.encoded(text, s): text for text in self.texts} for s in range(sites)]
        self.fetches = cache(self.fetched)

    @classmethod
    def of(cls, strategy: Strategy, scenario: Scenario) -> Simulator:
        """The simulator of a strategy in a scenario."""
        return cls(
            strategy,
            scenario.machine,
            scenario.transition or "call:call",
            scenario.rounds or 1,
            scenario.cpus,
            scenario.sites,
            scenario.without,
            scenario.preempt,
            scenario.nmi,
        )

    # ---- the strategy -----------------------------------------------------------------------------------------------

    def sequence(self, transition: str, rounds: int) -> tuple[list[Instruction], list[Meaning], list[Steps]]:
        """What sites hold and mean before and after each round, and each round's steps."""
        own = self.strategy.rounds
        if own:
            held = [self.strategy.before, *(r.text for r in own)]
            called = [self.strategy.before_means, *(r.means for r in own)]
            return held, [tuple(sorted(f.name for f in some)) for some in called], [r.steps for r in own]
        held = texts(transition, rounds)
        assert self.strategy.steps is not None
        return held, [means(text) for text in held], [self.strategy.steps] * rounds

    def one_round(self, number: int, steps: Steps, without: set[str]) -> Iterator[Planned]:
        """One round's steps without those whose label is left out, then its return.

        Syncs without a label of their own are numbered. A step whose partner was left out does nothing.
        """
        sites = [Site(s, self.texts[number - 1], self.texts[number]) for s in range(self.sites)]
        syncs = 0
        for step in steps(sites):
            label = step.label or step.default_label()
            if isinstance(step, Sync) and not step.label:
                syncs += 1
                label = f"sync-{syncs}"
            if label in without or self.is_alone(step):
                continue
            claim = NO_CLAIM
            if isinstance(step, Claim):
                claim = len(self.claims)
                self.claims.append(step)
            yield Planned(number, label, step, claim)
        yield Planned(number, "return", None)

    def is_alone(self, step: Step) -> bool:
        """Whether the partner of a step is not there, so that it has nothing to do; remembers what is there."""
        there = self.__dict__.setdefault("there", set())
        match step:
            case Claim():
                there |= {"claim"}
                (there.add if step.counted else there.discard)("count")
            case StopMachine() | ReadLock():
                there.add(type(step))
            case Allocate(stub=stub):
                there.add(stub)
            case Release():
                return _taken(there, "claim")
            case Discard():
                return "count" not in there
            case ResumeMachine():
                return _taken(there, StopMachine)
            case ReadUnlock():
                return _taken(there, ReadLock)
            case Free(code=Stub() as stub):
                return _taken(there, stub)
        return False

    def known_functions(self) -> dict[str, Function]:
        """All functions, by name; those that the versions call lie first, then others in the order of the steps."""
        found = [text.calls for text in self.texts]
        for planned in self.program:
            match planned.step:
                case Claim(policy=policy):
                    found.append(policy.target)
                case Store():
                    found += planned.step.functions
                case Write(content=Call(function=function)):
                    found.append(function)
        found += [text.over.calls for text in self.texts if isinstance(text, Probe)]
        known = {f.name: f for f in found if f is not None}
        for function in known.values():
            self.book.address(function)
        words = {f.reads for f in known.values() if f.reads is not None}
        named = {name for word in words for name in word.initial}
        named |= {f.name for p in self.program if isinstance(p.step, Store) for f in p.step.functions}
        for name in named:
            known.setdefault(name, Function(name))
        if any(known[name].reads is not None for name in named):
            raise NotImplementedError("a word that names a function which reads a word")
        return known

    def known_stubs(self) -> dict[int, Stub]:
        """The stub of each site."""
        found: dict[int, Stub] = {}
        for planned in self.program:
            match planned.step:
                case Allocate(stub=stub) | Free(code=Stub() as stub):
                    if found.setdefault(stub.site, stub) != stub:
                        raise NotImplementedError("two stubs for one site")
        return found

    def encoded(self, instruction: Instruction, site: int) -> bytes:
        return encode(instruction, self.addresses[site], LENGTH, self.book)

    def initial(self) -> State:
        start = self.texts[1] if self.strategy.starts_with_new else self.texts[0]
        memory = tuple(self.encoded(start, s) for s in range(self.sites))
        cpu = Cpu("elsewhere", GOES_ON, now(memory), False, 0, (0,) * self.sites)
        words = {f.reads.name: f.reads.initial for f in self.functions.values() if f.reads is not None}
        words |= {p.step.word.name: p.step.word.initial for p in self.program if isinstance(p.step, Store)}
        return State(memory, 0, None, False, NO_CLAIM, 0, 0, (cpu,) * self.cpus, tuple(sorted(words.items())))

    def moves(self, state: State) -> list[Move]:
        """Every step that is possible; none once a CPU has crashed or is in code that is not there."""
        if any(cpu.place == "crashed" or self.is_dead(state, cpu) for cpu in state.cpus):
            return []
        found = list(self.patcher(state)) if state.pc < len(self.program) else []
        for number in range(len(state.cpus)):
            found += self.cpu(state, number)
        if not self.mortal and not self.stubs:
            return found
        return [(self.seen_dead(event, after), after) for event, after in found]

    def seen_dead(self, event: Event, after: State) -> Event:
        """`event`, with what is wrong where a CPU is now in code that is not there."""
        if not any(self.is_dead(after, cpu) for cpu in after.cpus):
            return event
        return event._replace(violations=event.violations | {("no-freed-code", "freed")})

    # ---- the patcher ------------------------------------------------------------------------------------------------

    def patcher(self, state: State) -> Iterator[Move]:
        """What the patcher may do next: several things only while a store lands."""
        planned, pc = self.program[state.pc], state.pc
        after = state._replace(pc=pc + 1)

        def all_cpus(of: State, **changes: object) -> State:
            return of._replace(cpus=tuple(cpu._replace(**changes) for cpu in of.cpus))

        match planned.step:
            case Write():
                yield from self.store(state, planned.step, planned.round)
            case Store(word=word):
                words = {**dict(state.words), word.name: planned.step.value}
                begun = max(state.begun, planned.round)
                yield Event(None, "data", step=pc), after._replace(words=tuple(sorted(words.items())), begun=begun)
            case Sync() | WaitForReaders() | WaitForTasks() | StopMachine() | ResumeMachine() if not state.asked:
                asked = self.requested(state, planned.step)
                yield Event(None, "request", step=pc), asked._replace(asked=True)
            case Sync() | WaitForReaders() | WaitForTasks() | StopMachine() | ResumeMachine():
                if self.is_over(state, planned.step):
                    yield Event(None, "wait", step=pc), after._replace(asked=False)
            case Claim(counted=counted):
                begun_ = all_cpus(after, references=1) if counted else after
                yield Event(None, "claim", step=pc), begun_._replace(claim=planned.claim)
            case Release() if self.counted:
                cpus = tuple(
                    cpu._replace(references=cpu.references - 1) if cpu.references else cpu for cpu in state.cpus
                )
                yield Event(None, "release", step=pc), after._replace(cpus=cpus)
            case Release() | Discard():
                yield Event(None, "release", step=pc), after._replace(claim=NO_CLAIM)
            case WaitForHandlers():
                if not any(self.is_in_handler(cpu) for cpu in state.cpus):
                    yield Event(None, "wait-handlers", step=pc), after
            case ReadLock() | ReadUnlock():
                yield Event(None, "reads", step=pc), after._replace(reading=isinstance(planned.step, ReadLock))
            case Allocate(stub=stub):
                stubs = {**dict(state.stubs), stub: planned.round}
                yield Event(None, "allocate", step=pc), after._replace(stubs=tuple(stubs.items()))
            case Free(code=Stub() as stub):
                stubs = tuple(entry for entry in state.stubs if entry[0] != stub)
                yield Event(None, "free", step=pc), after._replace(stubs=stubs)
            case Free(code=Function(name=name)):
                yield Event(None, "free", step=pc), after._replace(freed=state.freed | {name})
            case None:
                done = planned.round
                yield Event(None, "return", step=pc), after._replace(returned=done, begun=max(state.begun, done))

    def requested(self, state: State, step: Step) -> State:
        """What every CPU is asked for."""
        match step:
            case Sync():
                cpus = tuple(cpu._replace(ipi=True) for cpu in state.cpus)
            case WaitForReaders():
                cpus = tuple(cpu._replace(grace=True) for cpu in state.cpus)
            case WaitForTasks():
                cpus = tuple(
                    cpu._replace(owes=True, waiting=cpu.waiting and cpu.waiting._replace(owes=not cpu.waiting.asleep))
                    for cpu in state.cpus
                )
            case _:
                halt = "asked" if isinstance(step, StopMachine) else "released"
                cpus = tuple(cpu._replace(halt=halt) for cpu in state.cpus)
        return state._replace(cpus=cpus)

    def is_over(self, state: State, step: Step) -> bool:
        """Whether every CPU has done what it was asked for."""
        match step:
            case Sync():
                return not any(cpu.ipi for cpu in state.cpus)
            case WaitForReaders():
                return not state.reading and not any(cpu.grace for cpu in state.cpus)
            case WaitForTasks():
                return not any(cpu.owes or (cpu.waiting is not None and cpu.waiting.owes) for cpu in state.cpus)
        return all(cpu.halt == ("parked" if isinstance(step, StopMachine) else "running") for cpu in state.cpus)

    def is_in_handler(self, cpu: Cpu) -> bool:
        """Whether the CPU is in the handler's read side, as WaitForHandlers sees it."""
        inside = cpu.place in HANDLER or (cpu.under is not None and cpu.under.place in HANDLER)
        return bool(cpu.references) if self.counted else inside

    def store(self, state: State, step: Write, round_: int) -> Iterator[Move]:
        """One byte of a store lands: any that is missing. The first one begins the round."""
        place, s = step.place, step.place.site.index
        data = step.content
        if not isinstance(data, bytes):
            data = self.encoded(data, s)[place.start : place.stop]
        missing = state.missing or frozenset(range(place.start, place.stop))
        for offset in missing:
            value = data[offset - place.start]
            memory = bytearray(state.memory[s])
            memory[offset] = value
            rest = missing - {offset}
            what = "store" if len(data) == 1 else "begins" if state.missing is None else "lands" if rest else "done"
            yield (
                Event(None, what, s, step=state.pc),
                state._replace(
                    memory=changed(state.memory, s, bytes(memory)),
                    missing=rest or None,
                    pc=state.pc if rest else state.pc + 1,
                    begun=max(state.begun, round_),
                    cpus=tuple(self.seen(cpu, s, offset, value) for cpu in state.cpus),
                ),
            )

    def seen(self, cpu: Cpu, site: int, offset: int, value: int) -> Cpu:
        """`cpu` when a byte of the text has become `value`: it may fetch this or what it might have fetched before."""
        held = cpu.history[site][offset]
        if value in held:
            return cpu
        history = changed(cpu.history[site], offset, bytes(sorted({*held, value})))
        return cpu._replace(history=changed(cpu.history, site, history))


def run(simulator: Simulator, schedule: Sequence[int]) -> Iterator[tuple[Event, State]]:
    """One run: each number of the schedule chooses one of the possible steps."""
    state = simulator.initial()
    for choice in schedule:
        moves = simulator.moves(state)
        if not moves:
            return
        event, state = moves[choice % len(moves)]
        yield event, state


def explore_all(simulator: Simulator, most: int | None = None) -> tuple[set[Violation], int]:
    """Every violation that some run shows, and the number of states. Raises Large where there are more than `most`."""
    start = simulator.initial()
    seen, stack, broken = {start}, [start], set[Violation]()
    while stack:
        for event, after in simulator.moves(stack.pop()):
            broken |= event.violations
            if after not in seen:
                seen.add(after)
                stack.append(after)
        if most is not None and len(seen) > most:
            raise Large(f"more than {most:,} states")
    return broken, len(seen)


class Large(Exception):
    """There are more states than were allowed."""


def _taken(there: set[object], partner: object) -> bool:
    """Whether `partner` is not there; it is not afterwards."""
    missing = partner not in there
    there.discard(partner)
    return missing

"""A concrete simulator of live code patching: real bytes, a real decoder, one small step at a time.

It shares nothing with the composed model but the vocabulary of strategies and where functions and sites lie. Memory is
an array of bytes; a store lands byte by byte, in any order; every CPU has, for each byte of the text, the *history* of
the values that the byte held since this CPU last serialised. A fetch takes each byte from its history, independently,
and what iced-x86 makes of the bytes decides what happens. Executions are judged by their meaning: S[b..e]
of the rounds that have returned and begun.

`moves` lists every step that is possible in a state; states are immutable and hashable, so runs can be random (`run`)
or all of them can be explored (`explore_all`). For machines that fetch bytes from stale sets and store byte by byte.

Left out: stubs, freeing, preemption, NMIs, stop-machine, RCU, data words, forgotten pushes, strategies' own sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

from iced_x86 import Decoder, Mnemonic

from models.machines.fetch import Gate, Granularity, Machine, Staleness, StoreAtomicity
from models.protocol import (
    TRAP,
    Call,
    Claim,
    Discard,
    Function,
    Instruction,
    Meaning,
    Nop,
    Policy,
    PolicyKind,
    Release,
    Site,
    Step,
    Strategy,
    Sync,
    WaitForHandlers,
    Write,
)
from models.text import AddressBook, encode, site_address

LENGTH = 5
NO_CLAIM = -1
GOES_ON = -1  # where the handler returns to: behind the site
HANDLER = ("trapped", "searching", "handling", "rereading")  # where a CPU is inside the handler's read side

Violation = tuple[str, str]  # property, kind
History = tuple[bytes, ...]  # of one site, for each byte: the distinct values that a fetch may return, sorted


class Cpu(NamedTuple):
    """One CPU. `site` is where it is, or, when `returning`, where the handler's IRET leads.

    `ipi`: a sync request waits for it. `references`: its counts of the claim. `latest`: for each site, the latest round
    whose meaning it is known to have run.
    """

    place: str
    site: int
    history: tuple[History, ...]
    ipi: bool
    references: int
    latest: tuple[int, ...]


class State(NamedTuple):
    """Everything. `missing`: the offsets of the store under way that have yet to land; None when none is under way."""

    memory: tuple[bytes, ...]
    pc: int
    missing: frozenset[int] | None
    asked: bool
    claim: int
    begun: int
    returned: int
    cpus: tuple[Cpu, ...]


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


class Simulator:
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
    ) -> None:
        """Unroll the strategy's steps. Raises NotImplementedError for what this simulator does not know."""
        shape = (machine.granularity, machine.staleness, machine.store_atomicity, machine.havoc)
        if shape != (Granularity.BYTE, Staleness.STALE, StoreAtomicity.BYTE, False) or strategy.steps is None:
            raise NotImplementedError(f"{strategy.name} on {machine.name}")
        self.strategy, self.machine, self.cpus, self.sites = strategy, machine, cpus, sites
        self.texts = texts(transition, rounds)
        self.meanings = [means(text) for text in self.texts]
        self.safe = {function.name for function in strategy.safe}
        self.claims: list[Claim] = []
        self.program = [planned for number in range(1, rounds + 1) for planned in self.one_round(number, set(without))]
        self.policies = {claim.policy for claim in self.claims}
        self.counted = any(claim.counted for claim in self.claims)
        self.addresses = [site_address(s, strategy.offset) for s in range(sites)]
        self.book = self.address_book()
        self.legal = [{self.encoded(text, s): text for text in self.texts} for s in range(sites)]
        self.fetches = cache(self.fetched)

    # ---- the strategy -----------------------------------------------------------------------------------------------

    def one_round(self, number: int, without: set[str]) -> Iterator[Planned]:
        """One round's steps without those whose label is left out, then its return.

        Syncs without a label of their own are numbered. The release of a claim that was left out does nothing.
        """
        sites = [Site(s, self.texts[number - 1], self.texts[number]) for s in range(self.sites)]
        syncs = 0
        assert self.strategy.steps is not None
        for step in self.strategy.steps(sites):
            label = step.label or step.default_label()
            if isinstance(step, Sync) and not step.label:
                syncs += 1
                label = f"sync-{syncs}"
            if label in without or (isinstance(step, Release | Discard) and not self.claims):
                continue
            claim = NO_CLAIM
            if isinstance(step, Claim):
                claim = len(self.claims)
                self.claims.append(step)
            elif not isinstance(step, Write | Sync | Release | Discard | WaitForHandlers):
                raise NotImplementedError(type(step).__name__)
            yield Planned(number, label, step, claim)
        yield Planned(number, "return", None)

    def address_book(self) -> AddressBook:
        """Where functions lie: those that the versions call first, then others in the order of the steps."""
        book = AddressBook(self.strategy.offset, self.sites)
        functions = [text.calls for text in self.texts]
        for planned in self.program:
            if isinstance(planned.step, Claim):
                functions.append(planned.step.policy.target)
            elif isinstance(planned.step, Write) and isinstance(planned.step.content, Call):
                functions.append(planned.step.content.function)
        for function in functions:
            if function is not None:
                book.address(function)
        return book

    def encoded(self, instruction: Instruction, site: int) -> bytes:
        return encode(instruction, self.addresses[site], LENGTH, self.book)

    def initial(self) -> State:
        start = self.texts[1] if self.strategy.starts_with_new else self.texts[0]
        memory = tuple(self.encoded(start, s) for s in range(self.sites))
        cpu = Cpu("elsewhere", GOES_ON, now(memory), False, 0, (0,) * self.sites)
        return State(memory, 0, None, False, NO_CLAIM, 0, 0, (cpu,) * self.cpus)

    def moves(self, state: State) -> list[Move]:
        """Every step that is possible; none once a CPU has crashed."""
        if any(cpu.place == "crashed" for cpu in state.cpus):
            return []
        found = list(self.patcher(state)) if state.pc < len(self.program) else []
        for number in range(len(state.cpus)):
            found += self.cpu(state, number)
        return found

    # ---- the patcher ------------------------------------------------------------------------------------------------

    def patcher(self, state: State) -> Iterator[Move]:
        """What the patcher may do next: several things only while a store lands."""
        planned, pc = self.program[state.pc], state.pc
        after = state._replace(pc=pc + 1)
        match planned.step:
            case Write():
                yield from self.store(state, planned.step, planned.round)
            case Sync() if not state.asked:
                asked = tuple(cpu._replace(ipi=True) for cpu in state.cpus)
                yield Event(None, "request", step=pc), state._replace(asked=True, cpus=asked)
            case Sync():
                if not any(cpu.ipi for cpu in state.cpus):
                    yield Event(None, "wait", step=pc), after._replace(asked=False)
            case Claim(counted=counted):
                cpus = tuple(cpu._replace(references=1) for cpu in state.cpus) if counted else state.cpus
                yield Event(None, "claim", step=pc), after._replace(claim=planned.claim, cpus=cpus)
            case Release() if self.counted:
                cpus = tuple(
                    cpu._replace(references=cpu.references - 1) if cpu.references else cpu for cpu in state.cpus
                )
                yield Event(None, "release", step=pc), after._replace(cpus=cpus)
            case Release() | Discard():
                yield Event(None, "release", step=pc), after._replace(claim=NO_CLAIM)
            case WaitForHandlers():
                if not any(cpu.references if self.counted else cpu.place in HANDLER for cpu in state.cpus):
                    yield Event(None, "wait-handlers", step=pc), after
            case None:
                done = planned.round
                yield Event(None, "return", step=pc), after._replace(returned=done, begun=max(state.begun, done))

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

    # ---- a CPU ------------------------------------------------------------------------------------------------------

    def cpu(self, state: State, number: int) -> Iterator[Move]:
        """What a CPU may do next."""
        cpu = state.cpus[number]
        s = cpu.site

        def move(what: str, after: Cpu, outcome: str = "", *broken: Violation) -> Move:
            event = Event(number, what, s, outcome, frozenset(broken))
            return event, state._replace(cpus=changed(state.cpus, number, after))

        def crash(what: str, property_: str, kind: str) -> Move:
            return move(what, cpu._replace(place="crashed"), "", (property_, kind))

        def unclaimed(what: str, after: Cpu) -> Move:
            if self.strategy.rereads:
                return move(what, after._replace(place="rereading"))
            return crash(what, "traps-claimed", "unclaimed")

        match cpu.place:
            case "elsewhere":
                for site in range(self.sites):
                    _, after = move("arrive", cpu._replace(place="at", site=site))
                    yield Event(number, "arrive", site), after
            case "at":
                for outcome in self.fetches(s, cpu.history[s]):
                    if outcome == "trap":
                        yield move("trap", cpu._replace(place="trapped"))
                    elif isinstance(outcome, str):
                        yield crash("torn", "no-torn-instruction", "torn")
                    else:
                        broken, latest = self.judged(state, cpu, outcome.calls)
                        gone = cpu._replace(place="elsewhere", site=GOES_ON, latest=latest)
                        yield move("execute", gone, str(outcome), *broken)
            case "trapped" if self.counted and cpu.references:
                yield move("take-count", cpu._replace(place="searching", references=cpu.references + 1))
            case "trapped" if self.counted:
                yield unclaimed("no-count", cpu)
            case "searching" if state.claim == NO_CLAIM:
                yield crash("search-released", "traps-claimed", "released")
            case "trapped" | "searching" if self.is_claimed(state.claim, s):
                yield move("find", cpu._replace(place="handling"))
            case "trapped":
                yield unclaimed("miss", cpu)
            case "searching":
                yield unclaimed("miss", cpu._replace(references=cpu.references - 1))
            case "handling":
                yield self.act(state, cpu, move, crash)
            case "rereading" if state.memory[s][:1] == TRAP:
                yield crash("reread-trap", "traps-claimed", "unclaimed")
            case "rereading":
                yield move("reread-clear", cpu._replace(place="returning"))
            case "returning":
                there = cpu._replace(place="elsewhere" if s == GOES_ON else "at")
                yield move("iret", self.serialised(there, state) if self.machine.iret_serialises else there)
        masked = self.machine.gate is Gate.INTERRUPT and cpu.place in (*HANDLER, "returning")
        if cpu.ipi and not masked:
            yield move("acknowledge", self.acknowledged(cpu, state))
        yield move("serialise", self.serialised(cpu, state))

    def serialised(self, cpu: Cpu, state: State) -> Cpu:
        """`cpu` after it has serialised: it fetches what memory holds now."""
        return cpu._replace(history=now(state.memory))

    def acknowledged(self, cpu: Cpu, state: State) -> Cpu:
        return self.serialised(cpu, state)._replace(ipi=False)

    def fetched(self, site: int, history: History) -> list[Instruction | str]:
        """What can come of a fetch: every choice of bytes is decoded."""
        return list(dict.fromkeys(self.runs(site, bytes(code)) for code in product(*history)))

    def runs(self, site: int, code: bytes) -> Instruction | str:
        """What a CPU runs that fetched `code`: `trap`, a version that may be there, or `torn`."""
        decoded = Decoder(64, code + b"\x90" * 15, ip=self.addresses[site]).decode()
        if decoded.mnemonic == Mnemonic.INT3:
            return "trap"
        version = self.legal[site].get(code)
        if version is None:
            return "torn"
        if decoded.mnemonic == Mnemonic.CALL:
            aim = self.book.name_at(decoded.near_branch_target)
            return version if version.calls and version.calls.name == aim else "torn"
        return (
            version if decoded.mnemonic == Mnemonic.NOP and version.calls is None and decoded.len == LENGTH else "torn"
        )

    # ---- the trap handler -------------------------------------------------------------------------------------------

    def is_claimed(self, claim: int, site: int) -> bool:
        """Whether a binary search (as lib/bsearch.c does it) finds the site's address in the claim's table."""
        table = [self.addresses[entry.index] for entry in self.claims[claim].sites] if claim != NO_CLAIM else []
        base, count = 0, len(table)
        while count:
            pivot = base + count // 2
            if table[pivot] == self.addresses[site]:
                return True
            if self.addresses[site] > table[pivot]:
                base, count = pivot + 1, count - 1
            count //= 2
        return False

    def act(self, state: State, cpu: Cpu, move: Callable[..., Move], crash: Callable[..., Move]) -> Move:
        """The handler does what the policy says. What it needs of the claim it reads now; if it is gone, that is fatal.

        A handler that knows a single policy, and one that needs nothing of the claim, does not read it again.
        """
        policy = next(iter(self.policies))
        reads = (PolicyKind.EMULATE_OLD, PolicyKind.EMULATE_NEW)
        entry: Site | None = None
        if len(self.policies) > 1 or policy.kind in reads:
            claim = self.claims[state.claim] if state.claim != NO_CLAIM else None
            entry = next((site for site in claim.sites if site.index == cpu.site), None) if claim else None
            if claim is None or entry is None:
                return crash("act-released", "traps-claimed", "released")
            policy = claim.policy
        done = cpu._replace(place="returning", references=cpu.references - self.counted)
        if policy.kind is PolicyKind.RETRY:
            return move("retry", done)
        callee = self.stands_for(policy, entry)
        broken, latest = self.judged(state, cpu, callee)
        what = f"call {callee.name}" if callee else "nop"
        return move("emulate", done._replace(site=GOES_ON, latest=latest), what, *broken)

    def stands_for(self, policy: Policy, entry: Site | None) -> Function | None:
        """The function that the handler calls in the site's stead; None is nobody."""
        if policy.kind is PolicyKind.SKIP:
            return None
        if policy.kind is PolicyKind.EMULATE_OTHER:
            return policy.target
        if entry is None or not policy.pushes or policy.kind not in (PolicyKind.EMULATE_OLD, PolicyKind.EMULATE_NEW):
            raise NotImplementedError(policy.kind.value)
        return (entry.old if policy.kind is PolicyKind.EMULATE_OLD else entry.new).calls

    # ---- judging ----------------------------------------------------------------------------------------------------

    def judged(self, state: State, cpu: Cpu, callee: Function | None) -> tuple[list[Violation], tuple[int, ...]]:
        """What is wrong with calling `callee` (None: nobody) at the CPU's site now, and its latest rounds after it."""
        meaning: Meaning = (callee.name,) if callee else ()
        before, after = state.returned, state.begun
        rounds = [j for j, other in enumerate(self.meanings) if other == meaning]
        if not any(before <= j <= after for j in rounds):
            if any(j < before for j in rounds):
                return [("new-after-return", "stale")], cpu.latest
            if rounds:
                return [("old-before-start", "early")], cpu.latest
            if callee is None:
                return [("old-or-new", "missed")], cpu.latest
            return [] if callee.name in self.safe else [("old-or-new", "wrong-target")], cpu.latest
        least = max(before, cpu.latest[cpu.site])
        reached = [j for j in rounds if least <= j <= after]
        if not reached:
            return [("never-back", "back")], cpu.latest
        return [], changed(cpu.latest, cpu.site, min(reached))


def now(memory: tuple[bytes, ...]) -> tuple[History, ...]:
    """The histories of a CPU that has just serialised."""
    return tuple(tuple(bytes((value,)) for value in site) for site in memory)


def changed(items: tuple, index: int, value: object) -> tuple:  # type: ignore[type-arg]
    """`items` with one of them replaced."""
    return (*items[:index], value, *items[index + 1 :])


def run(simulator: Simulator, schedule: Sequence[int]) -> Iterator[tuple[Event, State]]:
    """One run: each number of the schedule chooses one of the possible steps."""
    state = simulator.initial()
    for choice in schedule:
        moves = simulator.moves(state)
        if not moves:
            return
        event, state = moves[choice % len(moves)]
        yield event, state


def explore_all(simulator: Simulator) -> tuple[set[Violation], int]:
    """Every violation that some run shows, and the number of states."""
    start = simulator.initial()
    seen, stack, broken = {start}, [start], set[Violation]()
    while stack:
        for event, after in simulator.moves(stack.pop()):
            broken |= event.violations
            if after not in seen:
                seen.add(after)
                stack.append(after)
    return broken, len(seen)

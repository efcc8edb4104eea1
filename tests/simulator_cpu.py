"""What a CPU of the simulator does: its task, its trap handler, and what happens to it from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from iced_x86 import Decoder, Mnemonic

from models.machines.fetch import Gate, Machine
from models.protocol import (
    TRAP,
    Claim,
    Function,
    Instruction,
    Meaning,
    Policy,
    PolicyKind,
    Probe,
    Site,
    Strategy,
    Stub,
)
from models.text import AddressBook
from tests.simulator_state import (
    GOES_ON,
    GONE,
    HANDLER,
    IN_STUB,
    JUMP,
    NO_CLAIM,
    NO_RETURN,
    PUSH,
    SHADOWED,
    STI,
    Cpu,
    Event,
    History,
    Move,
    Spot,
    State,
    Violation,
    changed,
    now,
)

LENGTH = 5


class Cpus:
    """The half of the simulator that knows CPUs. Methods can be overridden to err."""

    strategy: Strategy
    machine: Machine
    sites: int
    nmi: bool
    preempts: bool  # whether tasks are preempted in code that is freed
    preempts_anywhere: bool
    counted: bool
    texts: list[Instruction]
    meanings: list[Meaning]
    safe: set[str]
    claims: list[Claim]
    addresses: list[int]
    book: AddressBook
    legal: list[dict[bytes, Instruction]]
    functions: dict[str, Function]
    mortal: set[str]  # functions that some step frees
    stubs: dict[int, Stub]  # by site
    probe: Probe | None
    fetches: Callable[[int, History], list[Instruction | str]]

    def cpu(self, state: State, number: int) -> Iterator[Move]:
        """What a CPU may do next."""
        cpu = state.cpus[number]
        s = cpu.site

        def move(what: str, after: Cpu, outcome: str = "", *broken: Violation) -> Move:
            event = Event(number, what, s, outcome, frozenset(broken))
            return event, state._replace(cpus=changed(state.cpus, number, after))

        def crash(what: str, property_: str, kind: str) -> Move:
            return move(what, cpu._replace(place="crashed"), "", (property_, kind))

        if cpu.place == "elsewhere" and (cpu.halt in ("running", "asked")) == (cpu.under is None):
            for site in range(self.sites):
                _, after = move("arrive", cpu._replace(place="at", site=site))
                yield Event(number, "arrive", site), after
        if cpu.runs:
            yield from self.task(state, cpu, move, crash)
            yield from self.handler(state, cpu, move, crash)
        yield from self.events(state, cpu, move)
        yield move("serialise", self.serialised(cpu, state))

    # ---- a task -----------------------------------------------------------------------------------------------------

    def task(self, state: State, cpu: Cpu, move: Callable[..., Move], crash: Callable[..., Move]) -> Iterator[Move]:
        """Executing a site, being in functions, running a stub."""
        s = cpu.site
        match cpu.place:
            case "at":
                for outcome in self.fetches(s, cpu.history[s]):
                    if outcome == "trap":
                        yield move("trap", cpu._replace(place="trapped"))
                    elif isinstance(outcome, str):
                        yield crash("torn", "no-torn-instruction", "torn")
                    else:
                        broken, latest, spot = self.called(state, cpu, outcome.calls)
                        yield move("execute", cpu.at(spot)._replace(latest=latest), str(outcome), *broken)
            case "reads":
                yield self.reads(state, cpu, move)
            case "in" if cpu.pending:
                inside = cpu._replace(stack=(*cpu.stack[:-1], cpu.pending[0]), pending=cpu.pending[1:])
                yield move("calls the next", inside)
            case "in":
                yield move("return", cpu.at(GONE))
            case place if place == NO_RETURN:
                yield crash("returns", "balanced-stack", "no-return")
            case place if place in IN_STUB:
                yield move("step", cpu.at(self.stepped(state, cpu)))

    def called(self, state: State, cpu: Cpu, callee: Function | None) -> tuple[list[Violation], tuple[int, ...], Spot]:
        """A call from the CPU's site, and of whom (None: nobody): what is wrong with it, and where the CPU then is."""
        if callee is None:
            return *self.judged(state, cpu, ()), GONE
        if callee.reads is not None:
            return [], cpu.latest, Spot("reads", cpu.site, (callee.name,), (), "")
        return *self.judged(state, cpu, (callee.name,)), self.inside(callee.name, cpu.site)

    def inside(self, name: str, site: int) -> Spot:
        """Being in a function, where anything depends on that."""
        return Spot("in", site, (name,), (), "") if name in self.mortal else GONE

    def reads(self, state: State, cpu: Cpu, move: Callable[..., Move]) -> Move:
        """A function reads its word, and calls one after the other whom it names; its own return address stays."""
        caller = self.functions[cpu.stack[0]]
        assert caller.reads is not None
        named = dict(state.words)[caller.reads.name]
        broken, latest = self.judged(state, cpu, named)
        matter = [
            name
            for name in named
            if name in self.mortal or (caller.name in self.mortal and self.functions[name].sleeps)
        ]
        cpu = cpu._replace(latest=latest)
        if not matter:
            return move("read", cpu.at(GONE), "", *broken)
        after = cpu._replace(place="in", stack=(caller.name, matter[0]), pending=tuple(matter[1:]))
        return move("read", after, "", *broken)

    def stepped(self, state: State, cpu: Cpu) -> Spot:
        """The next instruction of a stub."""
        stub = self.stubs[cpu.site]
        if cpu.place in (SHADOWED, JUMP):
            function = self.texts[dict(state.stubs)[stub]].calls
            if function is None:
                return GONE
            if function.reads is not None:
                return Spot("reads", cpu.site, (function.name,), (), "")
            return self.inside(function.name, cpu.site)
        following = {PUSH: STI if stub.interrupts_off else JUMP, STI: SHADOWED}[cpu.place]
        return cpu._replace(place=following).spot()

    def is_dead(self, state: State, cpu: Cpu) -> bool:
        """Whether the CPU, or a task of it, is in code that is not there."""
        there = {stub for stub, _ in state.stubs}
        for spot in (cpu.spot(), cpu.waiting, cpu.under):
            if spot is None:
                continue
            in_stub = spot.place in IN_STUB or spot.target == PUSH
            if state.freed & set(spot.stack) or (in_stub and self.stubs[spot.site] not in there):
                return True
        return False

    # ---- what happens to it -----------------------------------------------------------------------------------------

    def events(self, state: State, cpu: Cpu, move: Callable[..., Move]) -> Iterator[Move]:
        """Interrupts, stop-machine, NMIs, RCU, preemption, sleep."""
        if cpu.under is not None:
            if cpu.place == "elsewhere":
                back = cpu.at(cpu.under)._replace(under=None)
                yield move("nmi returns", self.serialised(back, state) if self.machine.iret_serialises else back)
            return
        if self.nmi:
            spot = cpu.spot()
            spot = spot._replace(place=JUMP) if spot.place == SHADOWED else spot
            yield move("nmi", cpu.at(GONE)._replace(under=spot))
        if cpu.grace and not self.is_reader(cpu):
            yield move("passes a quiescent state", cpu._replace(grace=False))
        if cpu.halt == "asked" and self.is_interruptible(cpu):
            yield move("park", cpu._replace(halt="parked"))
        if cpu.halt == "released":
            yield move("leave", self.serialised(cpu, state)._replace(halt="running"))
        if not cpu.runs:
            return
        if cpu.ipi and self.is_interruptible(cpu):
            yield move("acknowledge", self.acknowledged(cpu, state))
        yield from self.tasks(cpu, move)

    def tasks(self, cpu: Cpu, move: Callable[..., Move]) -> Iterator[Move]:
        """Switches between the task that runs and the one that waits."""
        if cpu.place == "elsewhere":
            if cpu.owes:
                yield move("switch", cpu._replace(owes=False))
            if cpu.waiting is not None:
                yield move("resume", cpu.at(cpu.waiting)._replace(owes=cpu.waiting.owes, waiting=None))
        if cpu.waiting is not None:
            return
        if self.is_preemptible(cpu):
            yield move("preempt", cpu.at(GONE)._replace(owes=False, waiting=cpu.spot(cpu.owes)))
        if cpu.place in ("in", "reads") and self.functions[cpu.stack[-1]].sleeps and self.mortal & set(cpu.stack):
            yield move("sleep", cpu.at(GONE)._replace(owes=False, waiting=cpu.spot(asleep=True)))

    def is_interruptible(self, cpu: Cpu) -> bool:
        """Whether interrupts are on (not in an NMI)."""
        if cpu.place in (*HANDLER, "returning"):
            return self.machine.gate is not Gate.INTERRUPT
        return cpu.place == JUMP or not (cpu.place in IN_STUB and self.stubs[cpu.site].interrupts_off)

    def is_reader(self, cpu: Cpu) -> bool:
        """Whether it is in a read-side section: a handler, or a function that cannot be preempted."""
        return cpu.place in (*HANDLER, "returning") or any(not self.functions[f].preemptible for f in cpu.stack)

    def is_preemptible(self, cpu: Cpu) -> bool:
        if cpu.place in ("elsewhere", *HANDLER, "returning") or not self.is_interruptible(cpu) or self.is_reader(cpu):
            return False
        in_mortal = cpu.place in IN_STUB or bool(self.mortal & set(cpu.stack))
        return self.preempts_anywhere or (self.preempts and in_mortal)

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

    def handler(self, state: State, cpu: Cpu, move: Callable[..., Move], crash: Callable[..., Move]) -> Iterator[Move]:
        """From the trap to the IRET."""
        s = cpu.site

        def unclaimed(what: str, after: Cpu) -> Move:
            if self.probe is not None:
                return self.passed_on(state, after, move)
            if self.strategy.rereads:
                return move(what, after._replace(place="rereading"))
            return crash(what, "traps-claimed", "unclaimed")

        match cpu.place:
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
                place = cpu.target or ("elsewhere" if s == GOES_ON else "at")
                there = cpu._replace(place=place, target="")
                yield move("iret", self.serialised(there, state) if self.machine.iret_serialises else there)

    def passed_on(self, state: State, cpu: Cpu, move: Callable[..., Move]) -> Move:
        """The trap is left to the probe, whose owner calls its function."""
        assert self.probe is not None
        broken, latest = self.judged(state, cpu, (self.probe.function.name,))
        return move("probe", cpu.at(GONE)._replace(place="returning", latest=latest), "", *broken)

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
        policies = {claim.policy for claim in self.claims}
        policy = next(iter(policies))
        reads = (PolicyKind.EMULATE_OLD, PolicyKind.EMULATE_NEW, PolicyKind.REDIRECT)
        entry: Site | None = None
        if len(policies) > 1 or policy.kind in reads:
            claim = self.claims[state.claim] if state.claim != NO_CLAIM else None
            found = claim is not None and self.is_claimed(state.claim, cpu.site)
            if claim is None or not found:
                return crash("act-released", "traps-claimed", "released")
            entry = next(site for site in claim.sites if site.index == cpu.site)
            policy = claim.policy
        done = cpu._replace(place="returning", references=cpu.references - self.counted)
        if policy.kind is PolicyKind.RETRY:
            return move("retry", done)
        stands_for = {PolicyKind.EMULATE_OLD: entry and entry.old, PolicyKind.EMULATE_NEW: entry and entry.new}
        if isinstance(stands_for.get(policy.kind), Probe):
            return self.passed_on(state, done, move)
        callee = self.stands_for(policy, entry)
        broken, latest, spot = self.called(state, cpu, callee)
        if policy.kind is PolicyKind.REDIRECT:
            broken, latest = self.judged(state, cpu, (callee.name,) if callee else ())
            spot = Spot(PUSH, cpu.site, (), (), "") if cpu.site in self.stubs else Spot("lost", cpu.site, (), (), "")
        if spot.place == "lost":
            return move("lost", cpu._replace(place="crashed"), "", *broken, ("balanced-stack", "no-return"))
        if callee is not None and not policy.pushes and policy.kind is not PolicyKind.SKIP:
            spot = GONE._replace(place=NO_RETURN)
        what = f"call {callee.name}" if callee else "nop"
        target = "" if spot == GONE else spot.place
        back = done.at(spot)._replace(place="returning", target=target, latest=latest)
        return move("emulate", back, what, *broken)

    def stands_for(self, policy: Policy, entry: Site | None) -> Function | None:
        """The function that the handler calls in the site's stead; None is nobody."""
        if policy.kind is PolicyKind.SKIP:
            return None
        if policy.kind is PolicyKind.EMULATE_OTHER:
            return policy.target
        assert entry is not None
        return (entry.old if policy.kind is PolicyKind.EMULATE_OLD else entry.new).calls

    # ---- judging ----------------------------------------------------------------------------------------------------

    def judged(self, state: State, cpu: Cpu, meaning: Meaning) -> tuple[list[Violation], tuple[int, ...]]:
        """What is wrong with calling these functions from the CPU's site now, and its latest rounds after it."""
        before, after = state.returned, state.begun
        rounds = [j for j, other in enumerate(self.meanings) if other == meaning]
        if not any(before <= j <= after for j in rounds):
            if any(j < before for j in rounds):
                return [("new-after-return", "stale")], cpu.latest
            if rounds:
                return [("old-before-start", "early")], cpu.latest
            if not meaning:
                return [("old-or-new", "missed")], cpu.latest
            return [] if set(meaning) <= self.safe else [("old-or-new", "wrong-target")], cpu.latest
        least = max(before, cpu.latest[cpu.site])
        reached = [j for j in rounds if least <= j <= after]
        if not reached:
            return [("never-back", "back")], cpu.latest
        return [], changed(cpu.latest, cpu.site, min(reached))

"""What is the harness to do: a composed model's steps, text, functions and handler as a table that harness.c reads.

Nothing is invented here: bytes, claims and policies are those of the plan. Addresses are moved as a whole, from where
the kernel's text would be to where a process may map memory; calls are relative, so their bytes stay the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from models.compose import StrategyModel
from models.machines import x86
from models.machines.fetch import Gate, StoreAtomicity
from models.plan import Planned
from models.protocol import (
    NOBODY,
    Allocate,
    Claim,
    Discard,
    Free,
    Function,
    Instruction,
    Meaning,
    Policy,
    PolicyKind,
    Probe,
    ReadLock,
    ReadUnlock,
    Release,
    ResumeMachine,
    Step,
    StopMachine,
    Store,
    Stub,
    Sync,
    WaitForHandlers,
    WaitForReaders,
    WaitForTasks,
    Write,
)
from models.system.errors import ScenarioError
from models.text import encode, site_address

ALIGNMENTS = {"within-8": 0, "within-line": 6, "across-line": 62, "across-page": 62}  # offsets in a line
STORES = ("whole", "bytes")
SYNCS = ("membarrier", "signal", "barrier", "bare-signal", "none")  # the last three are for the survey

_MODEL_TEXT = site_address(0, 0)
_TEXT = 0x21000000  # where the sites are moved to: low, so that a stub can push their addresses
_STUBS, _DATA, _LOW, _HIGH = 0x20800000, 0x20900000, 0x20000000, 0xA8000000
_PAGE = 4096
_SLOW = b"\xf3\x90" * 8  # pause: what is freed takes a while, so that somebody may be inside
_MAGIC = 0x600D  # as in harness.c: what a site that was left by its end leaves behind
_MOST_SITES, _MOST_CLAIMS, _MOST_CELLS = 8, 200, 8_000_000


class Act(IntEnum):
    """What the handler does, as in harness.c."""

    SKIP = 0
    CALL = 1
    STUB = 2
    STUB_OFF = 3
    BACK = 4
    NOWHERE = 5


class Special(IntEnum):
    """How an execution ended that called nobody in particular, as in harness.c."""

    UNCLAIMED = 0
    DEAD_CLAIM = 1
    LOST = 2
    TORN = 3
    FREED = 4


@dataclass(frozen=True)
class Who:
    """What an execution led to: nobody, a function, or a function and whom the word that it read named."""

    function: Function | None = None
    read: Meaning | None = None

    @property
    def meaning(self) -> Meaning:
        if self.function is None:
            return NOBODY
        return (self.function.name,) if self.read is None else self.read


@dataclass(frozen=True)
class Handling:
    """What the handler does at a site of a claim: as the harness has it, and as the model calls it."""

    act: Act
    target: int
    pushes: bool
    kind: PolicyKind | None  # None: the owner of a probe
    meant: Instruction | None  # the instruction that it stands for, if it stands for one


@dataclass(frozen=True)
class Operation:
    """One operation of the patcher. `code` is what harness.c calls it; `moves`: how many steps the model makes of it."""

    code: str
    label: str
    a: int = 0
    b: int = 0
    moves: int = 1
    round: int = 0
    begins: bool = False


@dataclass(frozen=True)
class Setting:
    """How the steps are performed. `align`: None is the strategy's own offset.

    `brief`: the patcher never pauses for long between two steps, so that there are more trials; else it does now and then,
    and whole executions take place there.
    """

    align: str | None = None
    stores: str = "whole"
    sync: str = "membarrier"
    brief: bool = False

    @property
    def says(self) -> str:
        """In words: where the site lies, how it is stored to, how CPUs are synchronised."""
        return f"{self.align or 'as the strategy says'}, {self.stores} stores, sync by {self.sync}"


@dataclass
class Table:
    """What harness.c is given, and what its numbers mean."""

    model: StrategyModel
    setting: Setting
    operations: list[Operation] = field(default_factory=list)
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    whos: list[Who] = field(default_factory=lambda: [Who()])
    handling: dict[tuple[int, int], Handling] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill the tables. Raises ScenarioError for what cannot be performed."""
        plan = self.model.plan
        if len(plan.sites) > _MOST_SITES or len(plan.claims) > _MOST_CLAIMS:
            raise ScenarioError(f"on silicon there is room for at most {_MOST_SITES} sites and {_MOST_CLAIMS} claims")
        if self.setting.stores == "bytes" and plan.scenario.machine.store_atomicity is not StoreAtomicity.BYTE:
            raise ScenarioError(f"{plan.scenario.machine.name} assumes wider stores than bytes: --stores whole only")
        for function in plan.functions.values():
            values = plan.words[function.reads] if function.reads else [None]
            self.whos += [Who(function, value) for value in values]
        for number, table in enumerate(plan.claims, 1):
            for s in table.finds:
                self.handling[number, s] = self._handling(table.step.policy, table.round, s)
        for probe in plan.probes:
            for site in plan.sites:
                target = self.moved(site.book.address(probe.function))
                self.handling[0, site.index] = Handling(Act.CALL, target, True, None, probe)
        done = 0
        for number, end in enumerate(plan.returns, 1):
            for p in plan.steps[done:end]:
                self.operations.append(self._operation(p))
            begun = any(p.begins for p in plan.steps[done:end])
            self.operations.append(Operation("return", "return", round=number, begins=not begun))
            done = end
        seen = 1 << len(plan.sites) if self.masks else 1
        cells = (len(self.operations) + 1) ** 2 * len(plan.sites) * seen * self.events
        if len(self.operations) > 250 or cells > _MOST_CELLS:
            raise ScenarioError("too many steps and sites to count on silicon: take fewer")

    # ---- numbers and addresses --------------------------------------------------------------------------------------

    @property
    def claims(self) -> int:
        return len(self.model.plan.claims)

    @property
    def events(self) -> int:
        """How many events there are: by how a site was left and who was called; the special ones come last."""
        return (self.claims + 2) * len(self.whos) + len(Special)

    def special(self, kind: Special) -> int:
        """The number of an event that calls nobody in particular."""
        return self.events - len(Special) + kind

    @property
    def goes_back(self) -> bool:
        """Whether some handler lets a CPU run the site again."""
        return self.model.plan.strategy.rereads or any(h.act is Act.BACK for h in self.handling.values())

    @property
    def masks(self) -> bool:
        """Whether it is counted at which sites a thread has run the new before: with one round, and few sites."""
        return self.model.plan.rounds == 1 and len(self.model.plan.sites) <= 4

    def moved(self, address: int) -> int:
        """Where an address of the model's text is in the harness."""
        return address - _MODEL_TEXT + _TEXT + (0xFC0 if self.setting.align == "across-page" else 0)

    def stub_at(self, stub: Stub) -> int:
        return _STUBS + (2 * stub.site + stub.interrupts_off) * _PAGE

    def stub_code(self, stub: Stub, number: int) -> bytes:
        """A stub of round `number`. `sti` is not for processes: the patcher's syncs wait until the stub is left instead."""
        plan = self.model.plan
        site, function = plan.sites[stub.site], plan.versions[number].calls
        returns_to = self.moved(site.address) + site.length
        target = self.moved(site.book.address(function)) if function else returns_to
        parts = x86.stub(self.stub_at(stub), returns_to, target, stub.interrupts_off)
        return b"".join(x86.NOPS[1] if part == b"\xfb" else part for part in parts)

    def label(self, k: int) -> str:
        """An operation in words, by its number; the last number is that of the end."""
        return self.operations[k].label if k < len(self.operations) else "end"

    # ---- what the handler does --------------------------------------------------------------------------------------

    def _handling(self, policy: Policy, number: int, s: int) -> Handling:
        plan = self.model.plan
        kind, site = policy.kind, plan.sites[s]
        meant: Instruction | None = None
        if policy.reads_claim:
            meant = plan.versions[number - (kind is PolicyKind.EMULATE_OLD)]
        function = policy.target or (meant.calls if meant else None)
        if kind is PolicyKind.RETRY:
            return Handling(Act.BACK, 0, True, kind, None)
        if kind is PolicyKind.REDIRECT:
            stub = next((stub for stub in plan.stubs if stub.site == s), None)
            if stub is None:
                return Handling(Act.NOWHERE, 0, True, kind, meant)
            return Handling(Act.STUB_OFF if stub.interrupts_off else Act.STUB, self.stub_at(stub), True, kind, meant)
        if kind is PolicyKind.SKIP or function is None:
            return Handling(Act.SKIP, 0, True, kind, meant)
        target = self.moved(site.book.address(function))
        if isinstance(meant, Probe):  # the handler leaves it to the probe's owner
            return Handling(Act.CALL, target, True, None, meant)
        return Handling(Act.CALL, target, policy.pushes, kind, meant)

    # ---- what the patcher does --------------------------------------------------------------------------------------

    def _operation(self, p: Planned) -> Operation:
        def made(code: str, a: int = 0, b: int = 0, moves: int = 1) -> Operation:
            return Operation(code, p.label, a, b, moves, p.round, p.begins)

        plan, step = self.model.plan, p.step
        simple: dict[type[Step], tuple[str, int]] = {
            Sync: ("sync", 2),
            Release: ("release", 1),
            Discard: ("discard", 1),
            WaitForHandlers: ("wait-handlers", 1),
            WaitForReaders: ("wait-readers", 2),
            WaitForTasks: ("wait-tasks", 2),
            ReadLock: ("lock", 1),
            ReadUnlock: ("unlock", 1),
            StopMachine: ("stop", 2),
            ResumeMachine: ("resume", 2),
        }
        if type(step) in simple:
            code, moves = simple[type(step)]
            return made(code, moves=moves)
        match step:
            case Write():
                first = len(self.pieces)
                self.pieces += self._stores(p, step)
                return made("store", first, len(self.pieces) - first, len(p.writes))
            case Claim():
                return made("claim", p.claim)
            case Store(word=word):
                words = list(plan.words)
                return made("word", words.index(word), plan.words[word].index(step.value))
            case Allocate(stub=stub):
                self.pieces.append((self.stub_at(stub), self.stub_code(stub, p.round)))
                return made("allocate", len(self.pieces) - 1)
            case Free(code=Stub() as stub):
                return made("free", self.stub_at(stub))
            case Free(code=Function() as function):
                return made("free", self.moved(plan.sites[0].book.address(function)))
        raise TypeError(f"no rule for the step {type(step).__name__}")

    def _stores(self, p: Planned, step: Write) -> list[tuple[int, bytes]]:
        """The store instructions of one Write: a single one, or one for each byte, ascending.

        What is neither 1, 2, 4 nor 8 bytes long is stored as 8 bytes, of which those around it do not change: the aligned
        ones, if the site lies inside them.
        """
        site = self.model.plan.sites[step.place.site.index]
        start, stop = step.place.start, step.place.stop
        (string,) = p.writes[-1]
        address = self.moved(site.address)
        if self.setting.stores == "bytes":
            return [(address + k, string[k : k + 1]) for k in range(start, stop)]
        if stop - start in (1, 2, 4, 8):
            return [(address + start, string[start:stop])]
        ahead = address % 8 if address % 8 + site.length <= 8 else 0
        around = (x86.PADDING[:ahead] + string + x86.PADDING)[:8]
        return [(address - ahead, around)]

    # ---- the text that harness.c reads ------------------------------------------------------------------------------

    def codes(self) -> list[tuple[int, bytes]]:
        """What is written once: what lies around sites, and the functions."""
        plan = self.model.plan
        found = []
        for site in plan.sites:
            address = self.moved(site.address)
            ends = b"\xba" + (_MAGIC + site.index).to_bytes(4, "little") + b"\xc3"  # mov $MAGIC, %edx; ret
            found += [(address - 8, x86.PADDING[:8]), (address + site.length, x86.PADDING + ends)]
        words = list(plan.words)
        for function in plan.functions.values():
            number = next(i for i, who in enumerate(self.whos) if who.function is function)
            body = (
                (_SLOW if function in plan.freed else b"") + b"\xb8" + number.to_bytes(4, "little")
            )  # mov $number, %eax
            if function.reads is not None:  # mov word, %eax; add $number, %eax
                at = _DATA + 8 * words.index(function.reads)
                body = b"\x8b\x04\x25" + at.to_bytes(4, "little") + b"\x05" + number.to_bytes(4, "little")
            found.append((self.moved(plan.sites[0].book.address(function)), body + b"\xc3"))
        return found

    def resets(self) -> list[tuple[int, bytes]]:
        """What the sites hold at the start of every trial."""
        plan = self.model.plan
        start = plan.versions[1] if plan.strategy.starts_with_new else plan.versions[0]
        return [(self.moved(s.address), encode(start, s.address, s.length, s.book)) for s in plan.sites]

    def means_new(self) -> list[int]:
        """The numbers of those who are called when the new is run, where old and new differ."""
        old, *_, new = self.model.plan.meanings
        return [i for i, who in enumerate(self.whos) if who.meaning == new] if old != new else []

    def lines(self) -> Iterator[str]:
        """The table for harness.c, without what changes from run to run."""
        plan = self.model.plan
        yield f"region {_LOW:x} {_HIGH:x} {_DATA:x}"
        stubs = {self.stub_at(stub) for stub in plan.stubs}
        pages = {at & -_PAGE for start, code in self.codes() for at in (start, start + len(code) - 1)}
        for page in sorted(pages | stubs):
            yield f"page {page:x} {int(page in stubs)}"
        for kind, codes in (("code", self.codes()), ("reset", self.resets()), ("piece", self.pieces)):
            yield from (f"{kind} {at:x} {code.hex()}" for at, code in codes)
        yield from (f"site {self.moved(site.address):x}" for site in plan.sites)
        yield from (f"word {values.index(word.initial):x}" for word, values in plan.words.items())
        yield from (f"operation {o.code} {o.a:x} {o.b:x}" for o in self.operations)
        for (claim, s), h in self.handling.items():
            yield f"action {claim} {s} {h.act:d} {h.pushes:d} {h.target:x}"
        yield from (f"means-new {number}" for number in self.means_new())
        policies = {table.step.policy for table in plan.claims}
        rechecks = len(policies) > 1 or any(policy.reads_claim for policy in policies)
        flags = (plan.counted, rechecks, plan.strategy.rereads, bool(plan.probes))
        yield f"handler {self.claims} {len(self.whos)} " + " ".join(str(int(flag)) for flag in flags)

    def text(self, cpus: list[int], executions: int, seconds: float, patience: float) -> str:
        """All that harness.c reads. The patcher runs on the first of `cpus`, threads that execute on the others."""
        gate = self.model.plan.scenario.machine.gate is Gate.INTERRUPT
        settle, pause = 8, 64
        long = pause if self.setting.brief else 4096
        run = f"run {SYNCS.index(self.setting.sync)} {gate:d} {self.masks:d} {cpus[0]} {settle} {pause} {long}"
        asked = [f"parent {os.getpid()}", *(f"cpu {cpu}" for cpu in cpus[1:])]
        lines = [*self.lines(), *asked, f"{run} {executions} {seconds} {patience}"]
        return "\n".join(lines) + "\n"

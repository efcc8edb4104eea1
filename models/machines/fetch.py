"""What an instruction fetch may return: a space of fetch semantics, and the presets that are points in it.

Sources: Intel SDM 3A 8.1.3 (cross-modifying code) and its erratum on unsynchronised cross-modifying code; AMD APM 2
7.6.1; Linux arch/x86/kernel/alternative.c, and the mails that it rests on; Arm ARM B2.2.5, the published model of Arm's
fetches (Simner et al., ESOP 2020) and cfb00a357864; riscv-isa-manual ziccif.adoc and ziccid.adoc; for Power, Linux only.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from models.machines.isa import Isa
from models.system.errors import ScenarioError


class Granularity(enum.Enum):
    """How much of an instruction one read of the fetch unit takes.

    What is read at once is old or new as a whole, unless memory itself holds a mixture just then.
    """

    BYTE = "byte"
    ALIGNED_2 = "aligned-2"
    ALIGNED_4 = "aligned-4"
    ALIGNED_8 = "aligned-8"
    LINE = "line"
    INSTRUCTION = "instruction"


class Staleness(enum.Enum):
    """How far a fetch may lag behind memory.

    - `stale`: it returns any value that memory held since this CPU last serialised (see `maintenance`), in any order, also
      the new and then the old
    - `buffered`: it reads memory now, but what it read may be executed later; it may precede arrival at the site. A CPU
      holds at most one instruction, of programs up to four that change, in the order of its fetches; they are dropped by
      serialising and by switching tasks
    - `coherent`: fetched and executed in one step; only with `granularity=instruction`
    """

    STALE = "stale"
    BUFFERED = "buffered"
    COHERENT = "coherent"


class GranuleOrder(enum.Enum):
    """In which order the reads that make up one instruction happen; it means something only with `staleness=buffered`."""

    ANY = "any"
    ASCENDING = "ascending"


class StoreAtomicity(enum.Enum):
    """Which stores memory takes as one.

    One that crosses such a boundary is two steps, with every mixture of its pieces in between.
    """

    BYTE = "byte"
    ALIGNED_8 = "aligned-8"
    LINE = "line"
    INSTRUCTION = "instruction"


class StoreOrder(enum.Enum):
    """In which order a fetch sees the patcher's stores; it follows from `staleness`.

    - `unordered`: in none, until this CPU serialises; goes with `staleness=stale`
    - `program`: in that of the program; goes with the others
    """

    UNORDERED = "unordered"
    PROGRAM = "program"


class Gate(enum.Enum):
    """How a trap is delivered.

    - `interrupt-gate`: interrupts are off from the trap to the end of its handler, so that no IPI is taken in between
    - `trap-gate`: they stay on
    """

    INTERRUPT = "interrupt-gate"
    TRAP = "trap-gate"


class Maintenance(enum.Enum):
    """What a store needs before fetches see it for sure, besides serialising on the CPU that fetches.

    - `coherent`: nothing, as an instruction cache follows stores
    - `explicit`: the range cleaned and invalidated, for every CPU; until then fetches may return what memory held before,
      and then until that CPU serialises. Only with `staleness=stale`, and not on x86
    """

    COHERENT = "coherent"
    EXPLICIT = "explicit"


@dataclass(frozen=True)
class Machine:
    """A point in the fetch space. `says` is one sentence on what it assumes, `sources` a sentence for each value.

    Serialising is what the architecture calls so: on Arm it is a context synchronisation event, on RISC-V FENCE.I, on
    Power isync. Which changes are exempt from `havoc` is said on x86 by `trap_rule`, elsewhere by `isa.concurrent`.

    - `havoc`: changing an instruction that a running CPU may have in flight is undefined; then it violates
      no-torn-instruction at once
    - `trap_rule`: on x86, a one-byte store to or from the trap byte is exempt from `havoc`, and so are stores behind it
      while a CPU can only fetch the trap byte; elsewhere it has no effect. It is off only where `havoc` is on. That a CPU
      which fetched the trap byte ignores the tail is always so: the trap byte is a whole instruction
    - `iret_serialises`: the return from the trap handler, and from an NMI, serialises
    """

    name: str
    says: str
    granularity: Granularity
    staleness: Staleness
    order: GranuleOrder
    store_atomicity: StoreAtomicity
    store_order: StoreOrder
    havoc: bool = False
    trap_rule: bool = True
    iret_serialises: bool = True
    gate: Gate = Gate.INTERRUPT
    isa: Isa = Isa.X86
    maintenance: Maintenance = Maintenance.COHERENT
    sources: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse points that have no meaning, so that no toggle is silently without effect."""
        if self.staleness is Staleness.STALE:
            if self.order is not GranuleOrder.ANY or self.store_order is not StoreOrder.UNORDERED:
                raise ScenarioError(
                    f"{self.name}: stale fetches have no order: order=any and store_order=unordered only"
                )
        elif self.store_order is not StoreOrder.PROGRAM:
            raise ScenarioError(f"{self.name}: {self.staleness.value} fetches read memory: store_order=program only")
        if self.staleness is Staleness.COHERENT and self.granularity is not Granularity.INSTRUCTION:
            raise ScenarioError(f"{self.name}: coherent fetches take a whole instruction: granularity=instruction only")
        if self.staleness is Staleness.COHERENT and self.order is not GranuleOrder.ANY:
            raise ScenarioError(f"{self.name}: a coherent fetch is one read and has no order: order=any only")
        if not self.trap_rule and not self.havoc:
            raise ScenarioError(f"{self.name}: trap_rule exempts from havoc: it can be off only where havoc is on")
        self._refuse_other_isa()

    def _refuse_other_isa(self) -> None:
        """Refuse what has no meaning for this instruction set, or with these caches."""
        if not self.trap_rule and self.isa is not Isa.X86:
            raise ScenarioError(f"{self.name}: trap_rule is about int3 of x86: it is on, without effect, elsewhere")
        if self.maintenance is Maintenance.EXPLICIT and self.isa is Isa.X86:
            raise ScenarioError(f"{self.name}: x86 caches follow stores: maintenance=coherent only")
        if self.maintenance is Maintenance.EXPLICIT and self.staleness is not Staleness.STALE:
            raise ScenarioError(
                f"{self.name}: {self.staleness.value} fetches read memory: maintenance=explicit with stale only"
            )

    def vary(self, changes: Mapping[str, str]) -> Machine:
        """This machine with toggles set, all at once, and named after them. Raises ScenarioError for what does not exist."""
        fixed = ("name", "says", "isa", "sources")
        kinds = {f.name: type(getattr(self, f.name)) for f in fields(self) if f.name not in fixed}
        values: dict[str, Any] = {}
        for toggle, value in changes.items():
            key = toggle.replace("-", "_")
            if key == "isa":
                raise ScenarioError("another instruction set is another preset: isa is no toggle of a machine")
            if key not in kinds:
                raise ScenarioError(f"“{toggle}” is no toggle of a machine; there are {', '.join(sorted(kinds))}")
            kind = kinds[key]
            table = {"on": True, "off": False} if kind is bool else {member.value: member for member in kind}
            if value not in table:
                raise ScenarioError(f"{toggle}: “{value}” is none of {', '.join(table)}")
            values[key] = table[value]
        if not values:
            return self
        said = ",".join(f"{toggle}={value}" for toggle, value in changes.items())
        return replace(self, name=f"{self.name},{said}", says=f"{self.name}, changed to {said}", **values)


_LINUX = (
    ("granularity", "nothing wider than a byte is promised (Intel SDM 8.1.3; AMD 7.6.1 only within a quadword)"),
    ("staleness", "the SDM bounds neither prefetch nor its lag: any value since this CPU last serialised"),
    ("order", "no vendor orders the reads inside one instruction for several stores"),
    ("store_atomicity", "text_poke writes with memcpy: only single bytes are sure"),
    ("store_order", "TSO is promised for data, not for instruction fetch (Intel)"),
    (
        "trap_rule",
        "a one-byte store of or over int3 is seen old or new, the tail behind it is ignored (hpa, lkml 2010-01)",
    ),
    ("iret_serialises", "IRET is in both vendors' lists of serialising instructions (SDM 10.3, APM 7.6.4)"),
    ("gate", "#BP uses an interrupt gate on x86-64 Linux"),
    ("havoc", "off: the stale sets already hold every mixture"),
    ("maintenance", "the SDM (8.1.3) and the APM (7.6.1) ask for serialising, and for nothing that concerns caches"),
)


def _with(base: tuple[tuple[str, str], ...], **changed: str) -> tuple[tuple[str, str], ...]:
    return tuple((toggle, changed.get(toggle, sentence)) for toggle, sentence in base)


X86_LINUX = Machine(
    "x86-linux",
    "each byte of a fetch may be any value it held since the CPU last serialised; int3's first byte is whole",
    Granularity.BYTE,
    Staleness.STALE,
    GranuleOrder.ANY,
    StoreAtomicity.BYTE,
    StoreOrder.UNORDERED,
    sources=_LINUX,
)
X86_CONSERVATIVE = replace(
    X86_LINUX,
    name="x86-conservative",
    says="as x86-linux, and IRET is not trusted to serialise",
    iret_serialises=False,
    sources=_with(_LINUX, iret_serialises="off: what holds here needs no promise about IRET"),
)
X86_STRICT = replace(
    X86_LINUX,
    name="x86-strict",
    says="as x86-linux, and changing an instruction in flight is undefined unless the trap byte guards it",
    havoc=True,
    sources=_with(_LINUX, havoc="on: Intel's erratum on unsynchronised cross-modifying code"),
)
X86_INTEL_MANUAL = replace(
    X86_LINUX,
    name="x86-intel-manual",
    says="only what Intel's manual defines: stop every CPU, modify, serialise, run; no exemption for int3",
    havoc=True,
    trap_rule=False,
    sources=_with(
        _LINUX,
        havoc="on: Intel SDM 8.1.3 and the erratum",
        trap_rule="off: the exemption for int3 is in mails, not in the SDM",
    ),
)
X86_AMD = replace(
    X86_LINUX,
    name="x86-amd",
    says="AMD APM 2, 7.6.1: fetches read memory in order, bytes ascending, and may run later",
    staleness=Staleness.BUFFERED,
    order=GranuleOrder.ASCENDING,
    store_atomicity=StoreAtomicity.ALIGNED_8,
    store_order=StoreOrder.PROGRAM,
    sources=_with(
        _LINUX,
        granularity="the quadword may be read more than once while instructions are extracted (APM 7.6.1)",
        staleness="fetched bytes are kept until the CPU serialises (APM 7.6.1)",
        order="fetchers read memory sequentially between taken branches (APM 7.6.1)",
        store_atomicity="a store inside an aligned quadword is atomic (APM 7.3.2)",
        store_order="stores become visible to fetchers in program order (APM 7.6.1)",
        trap_rule="inserting a one-byte breakpoint is asynchronous modification, case 2 (APM 7.6.1)",
    ),
)
X86_COHERENT = replace(
    X86_LINUX,
    name="x86-coherent",
    says="whole instructions are fetched from memory and run at once: what one wishes were true",
    granularity=Granularity.INSTRUCTION,
    staleness=Staleness.COHERENT,
    store_atomicity=StoreAtomicity.INSTRUCTION,
    store_order=StoreOrder.PROGRAM,
    sources=_with(
        _LINUX, **dict.fromkeys(("granularity", "staleness", "store_atomicity"), "an idealisation: no vendor")
    ),
)
X86_STALE_INSTRUCTION = replace(
    X86_LINUX,
    name="x86-stale-instruction",
    says="whole instructions are stored and fetched, but any since the CPU last serialised",
    granularity=Granularity.INSTRUCTION,
    store_atomicity=StoreAtomicity.INSTRUCTION,
    sources=_with(
        _LINUX, **dict.fromkeys(("granularity", "store_atomicity"), "an idealisation: instructions never tear")
    ),
)
X86_BUFFERED = replace(
    X86_AMD,
    name="x86-buffered",
    says="fetches read memory byte by byte in any order and may run later; instructions are stored whole",
    order=GranuleOrder.ANY,
    store_atomicity=StoreAtomicity.INSTRUCTION,
    sources=_with(X86_AMD.sources, order="any: 7.6.1 without its promise of sequential reads"),
)
X86_BUFFERED_ASCENDING = replace(
    X86_BUFFERED,
    name="x86-buffered-ascending",
    says="fetches read memory byte by byte, ascending, and may run later; instructions are stored whole",
    order=GranuleOrder.ASCENDING,
    sources=X86_AMD.sources,
)
X86_TRAP_GATE = replace(
    X86_LINUX,
    name="x86-trap-gate",
    says="as x86-linux, but the trap handler runs with interrupts enabled (Linux does not do this)",
    gate=Gate.TRAP,
    sources=_with(_LINUX, gate="a trap gate leaves IF set: the theory of June 2025, refuted on the list"),
)

_ARM64 = (
    ("granularity", "each fetch is a single read of an aligned word, which is seen old or new"),
    ("staleness", "without DIC a fetch may return new and then old again, also after overwriting (ESOP 2020)"),
    ("order", "without DIC fetches are not ordered, as new may be followed by old (ESOP 2020)"),
    ("store_atomicity", "aligned stores are single-copy atomic; a misaligned one inside 8 bytes counts as one, too"),
    ("store_order", "follows from staleness: fetches see stores in no order"),
    ("trap_rule", "without effect: BRK is one of the instructions that may be exchanged"),
    ("iret_serialises", "an exception return synchronises the context (as FEAT_ExS EOS says, where there is that)"),
    ("gate", "taking an exception masks interrupts until the handler unmasks them"),
    ("havoc", "on: anything may happen unless old and new are both in the list of Arm ARM B2.2.5"),
    ("maintenance", "DC CVAU; DSB; IC IVAU; DSB by the writer, then ISB by each reader (Arm ARM, in cfb00a357864)"),
)
ARM64_DIC0 = Machine(
    "arm64-dic0",
    "Arm without DIC and IDC: aligned words, any until caches are maintained and the context synchronised",
    Granularity.ALIGNED_4,
    Staleness.STALE,
    GranuleOrder.ANY,
    StoreAtomicity.ALIGNED_8,
    StoreOrder.UNORDERED,
    havoc=True,
    isa=Isa.ARM64,
    maintenance=Maintenance.EXPLICIT,
    sources=_ARM64,
)
ARM64_DIC1 = replace(
    ARM64_DIC0,
    name="arm64-dic1",
    says="Arm with DIC and IDC: aligned words are read from memory in order, and may run later",
    staleness=Staleness.BUFFERED,
    order=GranuleOrder.ASCENDING,
    store_order=StoreOrder.PROGRAM,
    maintenance=Maintenance.COHERENT,
    sources=_with(
        _ARM64,
        staleness="fetches are coherent; what was fetched already may run until the reader's ISB",
        order="with DIC and IDC fetches are ordered by coherence: new and then old is excluded",
        store_order="follows from staleness: a fetch reads memory",
        maintenance="with IDC nothing has to be cleaned, with DIC nothing invalidated (CTR_EL0)",
    ),
)
_RISCV = (
    ("granularity", "a choice: nothing is promised, and instructions come in parcels of 16 bits"),
    ("staleness", "nothing bounds what a fetch returns until FENCE.I on this hart (Zifencei)"),
    ("order", "nothing orders two fetches (Zifencei)"),
    ("store_atomicity", "aligned stores are single-copy atomic; a misaligned one inside 8 bytes counts as one, too"),
    ("store_order", "follows from staleness: fetches see stores in no order"),
    ("trap_rule", "without effect: it is about int3 of x86"),
    ("iret_serialises", "off: xRET does not do what FENCE.I does (Linux sync_core.h for riscv)"),
    ("gate", "taking a trap disables interrupts until the handler enables them"),
    ("havoc", "off: no text calls a change undefined; nothing is promised of what a fetch returns"),
    ("maintenance", "none by the writer: the reader's FENCE.I suffices for stores that it has seen (Zifencei)"),
)
RISCV_BASE = Machine(
    "riscv-base",
    "RISC-V with Zifencei only: each 16 bits of a fetch may be any value since this hart's FENCE.I",
    Granularity.ALIGNED_2,
    Staleness.STALE,
    GranuleOrder.ANY,
    StoreAtomicity.ALIGNED_8,
    StoreOrder.UNORDERED,
    iret_serialises=False,
    isa=Isa.RISCV,
    sources=_RISCV,
)
RISCV_ZICCIF = replace(
    RISCV_BASE,
    name="riscv-ziccif",
    says="RISC-V with Ziccif: aligned words are fetched whole, and may be any since this hart's FENCE.I",
    granularity=Granularity.ALIGNED_4,
    sources=_with(
        _RISCV,
        granularity="aligned fetches of up to min(ILEN, XLEN) are atomic, with ILEN 32 (ziccif.adoc)",
        staleness="an aligned word is some word that was stored, and no hybrid (ziccif.adoc, riscv-profiles #19)",
        order="nothing orders two fetches, not even FENCE.I alone (ziccif.adoc)",
    ),
)
RISCV_ZICCID = replace(
    RISCV_ZICCIF,
    name="riscv-ziccid",
    says="RISC-V with Ziccid: aligned words are read from memory in order, and may run later",
    staleness=Staleness.BUFFERED,
    order=GranuleOrder.ASCENDING,
    store_order=StoreOrder.PROGRAM,
    sources=_with(
        RISCV_ZICCIF.sources,
        staleness="a fetch reads the latest stores into a bounded buffer, which FENCE.I flushes (ziccid.adoc)",
        order="a hart's fetches are in program order (ziccid.adoc)",
        store_order="fetches are reads in the global memory order (ziccid.adoc)",
    ),
)
POWER = Machine(
    "power",
    "Power: aligned words, any until caches are maintained and the context synchronised; no more is assumed",
    Granularity.ALIGNED_4,
    Staleness.STALE,
    GranuleOrder.ANY,
    StoreAtomicity.ALIGNED_8,
    StoreOrder.UNORDERED,
    iret_serialises=False,
    isa=Isa.POWER,
    maintenance=Maintenance.EXPLICIT,
    sources=(
        ("granularity", "an aligned word is fetched whole: Linux patch_instruction() relies on that"),
        ("staleness", "no bound is assumed until dcbst; sync; icbi; isync (Linux patch_instruction())"),
        ("order", "no order between fetches is assumed"),
        ("store_atomicity", "aligned stores of up to 8 bytes are atomic; ld and std are such"),
        ("store_order", "follows from staleness: fetches see stores in no order"),
        ("trap_rule", "without effect: it is about int3 of x86"),
        ("iret_serialises", "off: what holds here needs no promise about rfid"),
        ("gate", "an interrupt disables further ones until the handler enables them"),
        ("havoc", "off: what Book II leaves undefined was not read; a violation found without it happens anyway"),
        ("maintenance", "dcbst; sync; icbi by the writer, then isync by each reader (Linux patch_instruction())"),
    ),
)

PRESETS: dict[str, Machine] = {
    machine.name: machine
    for machine in (
        X86_LINUX,
        X86_CONSERVATIVE,
        X86_STRICT,
        X86_INTEL_MANUAL,
        X86_AMD,
        X86_COHERENT,
        X86_STALE_INSTRUCTION,
        X86_BUFFERED,
        X86_BUFFERED_ASCENDING,
        X86_TRAP_GATE,
        ARM64_DIC0,
        ARM64_DIC1,
        RISCV_BASE,
        RISCV_ZICCIF,
        RISCV_ZICCID,
        POWER,
    )
}


def presets_of(isa: Isa) -> dict[str, Machine]:
    """The presets of one architecture."""
    return {name: machine for name, machine in PRESETS.items() if machine.isa is isa}


X86_PRESETS: dict[str, Machine] = presets_of(Isa.X86)


def first_of(isa: Isa) -> Machine:
    """The machine that is meant where none is named: the first preset of the architecture."""
    return next(iter(presets_of(isa).values()))


def machine(name: str) -> Machine:
    """The machine called `name`: a preset, or a preset with toggles set, as in `x86-linux,gate=trap-gate`.

    >>> machine("x86-linux,gate=trap-gate").gate.value
    'trap-gate'

    Raises ScenarioError for an unknown preset, toggle or value.
    """
    preset, *parts = name.split(",")
    if preset not in PRESETS:
        raise ScenarioError(f"unknown machine “{preset}”")
    changes = {}
    for part in parts:
        toggle, equals, value = part.partition("=")
        if not equals:
            raise ScenarioError(f"“{part}” is not toggle=value")
        changes[toggle] = value
    return PRESETS[preset].vary(changes)

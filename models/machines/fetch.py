"""What an instruction fetch may return: a space of fetch semantics, and the presets that are points in it.

Sources: Intel SDM 3A 8.1.3 (cross-modifying code) and its erratum on unsynchronised cross-modifying code; AMD APM 2
7.6.1; Linux arch/x86/kernel/alternative.c, and the mails that it rests on.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from models.system.errors import ScenarioError


class Granularity(enum.Enum):
    """How much of an instruction one read of the fetch unit takes."""

    BYTE = "byte"
    ALIGNED_4 = "aligned-4"
    ALIGNED_8 = "aligned-8"
    LINE = "line"
    INSTRUCTION = "instruction"


class Staleness(enum.Enum):
    """How far a fetch may lag behind memory."""

    STALE = "stale"  # any value that memory held since this CPU last serialised, in any order
    BUFFERED = "buffered"  # reads memory now, may be executed later
    COHERENT = "coherent"  # fetched and executed in one step


class GranuleOrder(enum.Enum):
    """In which order the reads that make up one instruction happen."""

    ANY = "any"
    ASCENDING = "ascending"


class StoreAtomicity(enum.Enum):
    """Which stores a fetch sees whole; one that crosses the boundary never is."""

    BYTE = "byte"
    ALIGNED_8 = "aligned-8"
    LINE = "line"
    INSTRUCTION = "instruction"


class StoreOrder(enum.Enum):
    """In which order a fetch sees the patcher's stores."""

    UNORDERED = "unordered"  # until this CPU serialises
    PROGRAM = "program"


class Gate(enum.Enum):
    """How a trap is delivered."""

    INTERRUPT = "interrupt-gate"  # no IPI between the trap and the end of its handler
    TRAP = "trap-gate"  # interrupts stay enabled


@dataclass(frozen=True)
class Machine:
    """A point in the fetch space. `says` is one sentence on what it assumes, `sources` a sentence for each value."""

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

    def vary(self, changes: Mapping[str, str]) -> Machine:
        """This machine with toggles set, all at once, and named after them. Raises ScenarioError for what does not exist."""
        kinds = {f.name: type(getattr(self, f.name)) for f in fields(self) if f.name not in ("name", "says", "sources")}
        values: dict[str, Any] = {}
        for toggle, value in changes.items():
            key = toggle.replace("-", "_")
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
    )
}


def machine(name: str) -> Machine:
    """The machine called `name`: a preset, or a preset with toggles set, as in `x86-linux,gate=trap-gate`.

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

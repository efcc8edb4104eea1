"""Sites as real bytes: where they lie, what memory holds as stores land, and what every possible fetch decodes to.

A site's memory is a set of byte strings: one string, or, while a store that is not atomic is under way, every mixture
of old and new pieces. A *granule* is what one read of the fetch unit takes; what it may hold are its *contents*. Bytes
that are always written together share a granule when the fetch goes byte by byte (see `granules`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Protocol

from models.machines.fetch import Granularity, Machine, Staleness, StoreAtomicity
from models.machines.x86 import NOPS, TRAP_BYTE, call, decode
from models.protocol import MOST_FUNCTIONS, Function, Instruction, Nop, Probe
from models.system.errors import ModelError

Memory = frozenset[bytes]  # the byte strings, all of a site's length, that memory may hold just now

_FIRST_SITE = 0xFFFFFFFF81000000
_SITE_DISTANCE = 0x100
_FIRST_STUB = 0xFFFFFFFF80F00000
_TAIL_START = NOPS[5][1:]


class OutcomeKind(enum.Enum):
    """What a CPU ran when it executed a site."""

    TRAP = "trap"
    VERSION = "version"
    TORN = "torn"


class Whole(Protocol):
    """A whole instruction: hashable, and can be put into words."""

    def __hash__(self) -> int: ...
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Outcome:
    """What a CPU ran; `version` is set for a whole instruction."""

    kind: OutcomeKind
    version: Whole | None = None

    def __str__(self) -> str:
        return str(self.version) if self.version is not None else self.kind.value


TRAPPED = Outcome(OutcomeKind.TRAP)
TORN = Outcome(OutcomeKind.TORN)


@dataclass(frozen=True)
class Granule:
    """Bytes `start` up to `stop` of a site, read at once, and everything that they hold in the course of the updates."""

    site: int
    start: int
    stop: int
    contents: tuple[Memory, ...]

    @property
    def name(self) -> str:
        """How the bytes are called in sentences."""
        several = self.stop - self.start > 1
        return f"bytes {self.start} to {self.stop - 1}" if several else f"byte {self.start}"

    def content(self, memory: Memory) -> int:
        """The index in `contents` of what `memory` holds here."""
        return self.contents.index(project(memory, self.start, self.stop))


def project(memory: Memory, start: int, stop: int) -> Memory:
    """What some of a site's bytes may be."""
    return frozenset(string[start:stop] for string in memory)


def only_trap(memory: Memory) -> bool:
    """Whether a granule's content begins with the trap byte for sure."""
    return all(string[:1] == TRAP_BYTE for string in memory)


def site_address(index: int, offset: int) -> int:
    """Where site number `index` starts; `offset` is its place in a 64-byte line."""
    return _FIRST_SITE + index * _SITE_DISTANCE + offset


def stub_address(index: int) -> int:
    """Where the stub of site number `index` starts."""
    return _FIRST_STUB + index * _SITE_DISTANCE


class AddressBook:
    """Gives functions addresses such that the displacement bytes of different targets differ in every position.

    A mixed displacement then points at no function. Raises ModelError when there are more functions than that allows.
    """

    def __init__(self, offset: int, sites: int) -> None:
        self.offset, self.sites = offset, sites
        self._known: dict[str, int] = {}

    def address(self, function: Function) -> int:
        if function.name not in self._known:
            self._known[function.name] = self._place(function.name)
        return self._known[function.name]

    def name_at(self, address: int) -> str | None:
        """The function that starts at `address`, if any does."""
        return next((name for name, place in self._known.items() if place == address), None)

    def _place(self, name: str) -> int:
        if len(self._known) == MOST_FUNCTIONS:
            raise ModelError(f"no room for the function “{name}”: a model has at most {MOST_FUNCTIONS} functions")
        end = site_address(0, self.offset) + 5
        seeds = [bytes((0x11, 0x22, 0x33, 0x44)), bytes((0x51, 0x52, 0x73, 0x74))]
        seeds += [
            bytes((0x15 + 7 * k & 0xFF, 0x26 + 11 * k & 0xFF, 0x37 + 13 * k & 0xFF, 0x08 + k)) for k in range(112)
        ]
        for seed in seeds:
            address = end + int.from_bytes(seed, "little")
            if all(self._distinct(address, site) for site in range(self.sites)):
                return address
        raise ModelError(f"no room for the function “{name}”: at most {len(self._known)} can be told apart bytewise")

    def _distinct(self, address: int, site: int) -> bool:
        """Whether a call from `site` differs in every tail byte from every other target's and from the no-op's."""
        here = site_address(site, self.offset)
        tail = call(here, address)[1:]
        others = [call(here, other)[1:] for other in self._known.values()] + [_TAIL_START]
        return all(a != b for other in others for a, b in zip(tail, other, strict=True))


def encode(instruction: Instruction, address: int, length: int, book: AddressBook) -> bytes:
    """The bytes of a version at `address`."""
    if isinstance(instruction, Nop):
        return NOPS[length]
    if isinstance(instruction, Probe):
        return TRAP_BYTE + encode(instruction.over, address, length, book)[1:]
    return call(address, book.address(instruction.function))


def store(memory: Memory, start: int, data: bytes, address: int, machine: Machine) -> list[Memory]:
    """What memory holds, in turn, as `data` is stored at `start`: one step, or in flux and then done.

    Pieces that the machine stores at once land whole, in any order; pieces that do not change do not count.
    """
    (before,) = memory
    after = before[:start] + data + before[start + len(data) :]
    unit = {StoreAtomicity.BYTE: 1, StoreAtomicity.ALIGNED_8: 8, StoreAtomicity.LINE: 64}.get(machine.store_atomicity)
    pieces: dict[int, list[int]] = {}
    for offset in range(start, start + len(data)):
        if before[offset] != after[offset]:
            pieces.setdefault((address + offset) // unit if unit else 0, []).append(offset)
    done = frozenset({after})
    if len(pieces) <= 1:
        return [done]
    mixtures = set()
    for landed in product((False, True), repeat=len(pieces)):
        string = bytearray(before)
        for piece, new in zip(pieces.values(), landed, strict=True):
            for offset in piece:
                string[offset] = (after if new else before)[offset]
        mixtures.add(bytes(string))
    return [frozenset(mixtures), done]


def cuts(length: int, address: int, ranges: Iterable[tuple[int, int]], machine: Machine) -> list[int]:
    """Where granules begin and end: 0, …, `length`.

    Byte by byte, bytes that every one of `ranges` (the stores) covers alike form one granule: exact for stale fetches,
    since each byte still varies by itself. A buffered fetch reads a granule at one moment, so longer ones are halved.
    """
    widths = {Granularity.ALIGNED_2: 2, Granularity.ALIGNED_4: 4, Granularity.ALIGNED_8: 8, Granularity.LINE: 64}
    ends = {0, length}
    if machine.granularity is Granularity.BYTE:
        for start, stop in ranges:
            ends |= {start, stop}
        if machine.staleness is Staleness.BUFFERED:
            edges = sorted(ends)
            ends |= {(a + b) // 2 for a, b in pairwise(edges) if b - a > 1}
    elif machine.granularity in widths:
        width = widths[machine.granularity]
        ends |= {offset for offset in range(1, length) if (address + offset) % width == 0}
    return sorted(ends)


@dataclass(frozen=True)
class Pick:
    """One way to read a granule: the indices of the items that it needs, and the bytes that come out."""

    needs: frozenset[int]
    bytes: bytes


@dataclass(frozen=True)
class Mixture:
    """One way to read a whole site: for each granule the items needed, the bytes, and what they are."""

    needs: tuple[frozenset[int], ...]
    bytes: bytes
    outcome: Outcome


class SiteText:
    """One site: its address, its versions, its granules, and what every fetch of it would run."""

    def __init__(
        self,
        index: int,
        length: int,
        offset: int,
        book: AddressBook,
        versions: Sequence[Instruction],
        snapshots: Sequence[Memory],
        ends: Sequence[int],
    ) -> None:
        self.index, self.length, self.book = index, length, book
        self.address = site_address(index, offset)
        self.versions = {encode(v, self.address, length, book): v for v in versions}
        self.granules = tuple(
            Granule(index, a, b, tuple(dict.fromkeys(project(m, a, b) for m in snapshots))) for a, b in pairwise(ends)
        )

    @property
    def name(self) -> str:
        """The site in words."""
        return f"site {self.index}"

    def classify(self, code: bytes) -> Outcome:
        """What a CPU runs that fetched `code`: the trap, a whole version (only the bytes decoded count), or torn."""
        if code[:1] == TRAP_BYTE:
            return TRAPPED
        length = decode(code, self.address).length
        for version, instruction in self.versions.items():
            if version[:length] == code[:length] and decode(version, self.address).length == length:
                return Outcome(OutcomeKind.VERSION, instruction)
        return TORN

    def explain(self, code: bytes) -> str:
        """`code` in words: the instruction that it decodes to, and where that leads."""
        decoded = decode(code, self.address)
        outcome = self.classify(code)
        if outcome.version is not None:
            return str(outcome.version)
        if outcome is TORN and decoded.harmless:
            return f"{decoded.text}: torn, harmless by luck"
        if outcome is TORN and " 0x" in decoded.text:
            return f"{decoded.text}: torn, no function starts there"
        return decoded.text if outcome is TRAPPED else f"{decoded.text}: torn"

    def mixtures(self, picks: Sequence[Sequence[Pick]]) -> list[Mixture]:
        """Every way to read the site, given the ways to read each granule; of equal bytes, the least needy ways."""
        found: dict[tuple[tuple[frozenset[int], ...], Outcome], Mixture] = {}
        for combination in product(*picks):
            code = b"".join(pick.bytes for pick in combination)
            length, outcome = decode(code, self.address).length, self.classify(code)
            needs = tuple(
                pick.needs if granule.start < length else frozenset[int]()
                for pick, granule in zip(combination, self.granules, strict=True)
            )
            found.setdefault((needs, outcome), Mixture(needs, code, outcome))
        return list(found.values())


def least(mixtures: Sequence[Mixture], outcome: Outcome) -> list[tuple[frozenset[int], ...]]:
    """The minimal sets of items that make `outcome` possible."""
    needs = list(dict.fromkeys(m.needs for m in mixtures if m.outcome == outcome))
    return [n for n in needs if not any(o != n and all(a <= b for a, b in zip(o, n, strict=True)) for o in needs)]

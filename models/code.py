"""Regions as real bytes: their versions, what memory holds as stores land, and what a fetch at each boundary runs.

What `text.py` is for the one-instruction sites of strategies, this is for the regions of programs. Who stores what, and
when, is not known beforehand, so a granule's contents are everything that the program's stores can make of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product

from models.assembly import addresses
from models.machines.fetch import Granularity, Machine, Staleness, StoreAtomicity
from models.machines.isa import TRAPS, WIDTH, Isa, concurrent, decode, is_trap
from models.program import Range, Region
from models.system.errors import ModelError, ScenarioError
from models.text import (
    TORN,
    TRAPPED,
    Granule,
    Memory,
    Mixture,
    Outcome,
    OutcomeKind,
    Pick,
    cuts,
    project,
    site_address,
    store,
)


@dataclass(frozen=True)
class Piece:
    """One instruction of some version of a region: where it starts, its bytes, and how it is written.

    `leaves`: it never goes on behind itself; `target`: where a jump leads, in bytes from the region's start.
    """

    start: int
    code: bytes
    says: str
    leaves: bool
    target: int | None = None

    def __str__(self) -> str:
        return self.says

    @property
    def stop(self) -> int:
        return self.start + len(self.code)


@dataclass(frozen=True)
class Stored:
    """What one `Write` does: for each granule that it touches, in one or two stages, what each content becomes."""

    stages: tuple[Mapping[Granule, Mapping[int, int]], ...]


class RegionText:
    """A region laid out: address, versions as pieces, granules; `entries` are the boundaries where a run can be."""

    def __init__(self, index: int, region: Region, stores: Sequence[tuple[Range, bytes]], machine: Machine) -> None:
        self.index, self.region, self.machine = index, region, machine
        far = site_address(index, region.offset)
        self.address = far if machine.isa is Isa.X86 else far & 0x1FFFFFFF  # where every instruction set can reach
        self.targets = self._targets()
        self.versions = {name: self._assemble(name) for name in region.versions}
        self.length = self._length()
        self.code = {name: b"".join(p.code for p in pieces) for name, pieces in self.versions.items()}
        self.stores = [(self.start_stop(place), data) for place, data in stores]
        boundaries = {p.start for pieces in self.versions.values() for p in pieces}
        ends = self._cuts(boundaries)
        self.granules = self._granules(ends)
        self.entries = {start: Entry(self, start) for start in sorted(boundaries)}

    @property
    def name(self) -> str:
        """The region in words."""
        return f"“{self.region.name}”"

    # ---- layout -----------------------------------------------------------------------------------------------------

    def _assemble(self, name: str) -> tuple[Piece, ...]:
        region, found, at = self.region, [], 0
        for asm in region.versions[name]:
            code = asm.encode(self.address + at, self.targets.__getitem__)
            decoded = decode(asm.isa, code, self.address + at)
            if decoded.length != len(code):
                raise ModelError(f"“{asm.says}” is not one instruction: {code.hex(' ')}", region.where)
            target = None if decoded.target is None else decoded.target - self.address
            found.append(Piece(at, code, asm.says, asm.leaves or decoded.leaves, target))
            at += len(code)
        return tuple(found)

    def _targets(self) -> dict[str, int]:
        """An address for every name that an instruction mentions."""
        names: dict[str, None] = {}

        def note(name: str) -> int:
            names[name] = None
            return addresses(self.machine.isa, [name], self.address)[name]

        isa = self.machine.isa
        for asm in (asm for asms in self.region.versions.values() for asm in asms):
            if asm.isa is not isa:
                raise ScenarioError(
                    f"“{self.region.name}” holds instructions of {asm.isa.value}, and {self.machine.name} is {isa.value}: "
                    "choose another machine"
                )
            asm.encode(self.address, note)
        return addresses(self.machine.isa, list(names), self.address)

    def _length(self) -> int:
        lengths = {sum(len(p.code) for p in pieces) for pieces in self.versions.values()}
        if len(lengths) > 1:
            raise ModelError(
                f"the versions of “{self.region.name}” have {sorted(lengths)} bytes: fill the shorter ones up",
                self.region.where,
            )
        return lengths.pop()

    def start_stop(self, place: Range) -> tuple[int, int]:
        """A range of bytes in numbers. Raises ModelError for one that is not inside the region."""
        stop = self.length if place.stop is None else place.stop
        if not 0 <= place.start < stop <= self.length:
            raise ModelError(
                f"bytes {place.start} to {stop - 1} are not inside “{self.region.name}”", self.region.where
            )
        return place.start, stop

    def data(self, place: Range, content: str | bytes) -> bytes:
        """The bytes that a store of `content` to `place` writes. Raises ModelError."""
        start, stop = self.start_stop(place)
        if isinstance(content, str):
            if content not in self.code:
                raise ModelError(f"“{self.region.name}” has no version “{content}”", self.region.where)
            return self.code[content][start:stop]
        if len(content) != stop - start:
            raise ModelError(f"{len(content)} bytes do not fill bytes {start} to {stop - 1}", self.region.where)
        return content

    def _cuts(self, boundaries: Iterable[int]) -> list[int]:
        ranges = [(start, stop) for (start, stop), _ in self.stores]
        if self.machine.granularity is Granularity.INSTRUCTION:
            if any(len(pieces) > 1 for pieces in self.versions.values()):
                raise ScenarioError(
                    f"{self.machine.name} fetches whole instructions, and “{self.region.name}” has several of different "
                    f"lengths; choose a machine that fetches bytes or aligned words"
                )
            return [0, self.length]
        if self.machine.granularity is Granularity.BYTE:
            ranges += [(start, self.length) for start in boundaries]
        ends = cuts(self.length, self.address, ranges, self.machine)
        if self.machine.granularity is Granularity.BYTE and self.machine.staleness is Staleness.BUFFERED:
            edges = sorted({0, self.length, *(end for pair in ranges for end in pair)})
            finer = (range(start, stop) for start, stop in pairwise(edges) if self._shares(start, stop))
            ends = sorted({*ends, *(k for part in finer for k in part)})
        return ends

    def _shares(self, start: int, stop: int) -> bool:
        """Whether some two of the contents that these bytes may have are alike in some byte, but not in all.

        If not, each byte tells which content it is of, so that a mixture shows with two parts as well as byte by byte.
        """
        held = {code[start:stop] for code in self.code.values()}
        held |= {data[start - first : stop - first] for (first, last), data in self.stores if first <= start < last}
        return any(a != b and any(x == y for x, y in zip(a, b, strict=True)) for a, b in combinations(held, 2))

    def _granules(self, ends: Sequence[int]) -> tuple[Granule, ...]:
        """The granules, each with everything that it may come to hold."""
        first = next(iter(self.code.values()))
        found = []
        for start, stop in pairwise(ends):
            contents: dict[Memory, None] = {frozenset({first[start:stop]}): None}
            pending = list(contents)
            while pending:
                held = pending.pop(0)
                for place, data in self.stores:
                    for after in self._stages(held, start, stop, place, data):
                        if after not in contents:
                            contents[after] = None
                            pending.append(after)
            found.append(Granule(self.index, start, stop, tuple(contents)))
        return tuple(found)

    # ---- stores -----------------------------------------------------------------------------------------------------

    def _stages(self, held: Memory, start: int, stop: int, place: tuple[int, int], data: bytes) -> list[Memory]:
        """What a granule that holds `held` holds in turn as `data` is stored to `place`; both stages, or one."""
        low, high = max(start, place[0]), min(stop, place[1])
        if low >= high:
            return [held]
        part = data[low - place[0] : high - place[0]]
        made = [store(frozenset({before}), low - start, part, self.address + start, self.machine) for before in held]
        done = frozenset(string for stages in made for string in stages[-1])
        if not self.is_torn(place, data):
            return [done]
        flux = frozenset(string for stages in made for string in stages[0]) | held | done
        return [flux, done]

    def is_torn(self, place: tuple[int, int], data: bytes) -> bool:
        """Whether a store takes two steps: it writes several units of what the machine stores at once.

        Bytes that no version, and no other store, has otherwise do not count.
        """
        unit = {StoreAtomicity.BYTE: 1, StoreAtomicity.ALIGNED_8: 8, StoreAtomicity.LINE: 64}.get(
            self.machine.store_atomicity
        )
        if unit is None:
            return False
        others = [(0, code) for code in self.code.values()] + [(start, d) for (start, _), d in self.stores]

        def varies(offset: int) -> bool:
            held = {code[offset - start] for start, code in others if 0 <= offset - start < len(code)}
            return held != {data[offset - place[0]]}

        return len({(self.address + k) // unit for k in range(*place) if varies(k)}) > 1

    def stored(self, place: Range, content: str | bytes) -> Stored:
        """What a store does to the granules that it touches."""
        data, span = self.data(place, content), self.start_stop(place)
        stages = []
        for stage in range(2 if self.is_torn(span, data) else 1):
            changed: dict[Granule, Mapping[int, int]] = {}
            for granule in self.granules:
                if granule.start < span[1] and granule.stop > span[0]:
                    changed[granule] = {
                        k: granule.contents.index(self._stages(held, granule.start, granule.stop, span, data)[stage])
                        for k, held in enumerate(granule.contents)
                    }
            stages.append(changed)
        return Stored(tuple(stages))

    def undefined(self, place: Range, content: str | bytes) -> dict[Granule, list[int]]:
        """For each granule, the contents over which the vendor does not define this store while others run the code."""
        data, (start, stop) = self.data(place, content), self.start_stop(place)
        found: dict[Granule, list[int]] = {}
        for granule in self.granules:
            low, high = max(granule.start, start), min(granule.stop, stop)
            for k, held in enumerate(granule.contents) if low < high else ():
                for before in held:
                    after = (
                        before[: low - granule.start]
                        + data[low - start : high - start]
                        + before[high - granule.start :]
                    )
                    if after != before and not concurrent(self.machine.isa, before, after):
                        found.setdefault(granule, []).append(k)
                        break
        return found

    def version_at(self, version: str, granule: Granule) -> int | None:
        """Which content of a granule is this version's; None if it never has it."""
        wanted = project(frozenset({self.code[version]}), granule.start, granule.stop)
        return granule.contents.index(wanted) if wanted in granule.contents else None

    # ---- runs -------------------------------------------------------------------------------------------------------

    def at(self, start: int) -> frozenset[str]:
        """The versions that have an instruction starting there."""
        return frozenset(v for v, pieces in self.versions.items() if any(p.start == start for p in pieces))

    def consistent(self, piece: Piece, live: frozenset[str]) -> frozenset[str]:
        """Of the versions in `live`, those that have this piece."""
        return frozenset(
            v for v in live if any((p.start, p.code) == (piece.start, piece.code) for p in self.versions[v])
        )

    def explain(self, code: bytes) -> str:
        """The region's bytes in words: the version that they are, or the instructions that they decode to."""
        for name, known in self.code.items():
            if known == code:
                return f"“{name}”"
        said, at = [], 0
        while at < len(code):
            decoded = decode(self.machine.isa, code[at:], self.address + at)
            said.append(decoded.text)
            at += max(1, decoded.length)
        return "; ".join(said)


class Entry:
    """A boundary of a region where a run can be: what a fetch there may run (see `Fetchable` in machines/views.py).

    `index` is its number among all entries; the model gives it.
    """

    def __init__(self, text: RegionText, start: int) -> None:
        self.text, self.start, self.index = text, start, -1
        reach = start + (WIDTH[text.machine.isa] if text.machine.isa is not Isa.X86 else text.length)
        self.granules = tuple(g for g in text.granules if g.stop > start and g.start < reach)
        self.pieces = {p.code: p for pieces in text.versions.values() for p in pieces if p.start == start}

    @property
    def name(self) -> str:
        """The place in words."""
        return f"“{self.text.region.name}”" + (f" + {self.start}" if self.start else "")

    def trimmed(self, code: bytes) -> bytes:
        """Of the bytes of the granules, those from the entry on."""
        return code[self.start - self.granules[0].start :]

    def classify(self, code: bytes) -> Outcome:
        """What a CPU runs that fetched `code` here: the trap, a piece of some version, or something torn."""
        isa = self.text.machine.isa
        if is_trap(isa, code):
            return TRAPPED
        length = decode(isa, code, self.text.address + self.start).length
        piece = self.pieces.get(code[:length])
        return Outcome(OutcomeKind.VERSION, piece) if piece else TORN

    def mixtures(self, picks: Sequence[Sequence[Pick]]) -> list[Mixture]:
        """Every way to read from here on, given the ways to read each granule; of equal bytes, the least needy ways."""
        isa = self.text.machine.isa
        found: dict[tuple[tuple[frozenset[int], ...], Outcome], Mixture] = {}
        for combination in product(*picks):
            code = self.trimmed(b"".join(pick.bytes for pick in combination))
            outcome = self.classify(code)
            length = len(TRAPS[isa]) if outcome is TRAPPED else decode(isa, code, self.text.address + self.start).length
            needs = tuple(
                pick.needs if granule.start < self.start + length else frozenset[int]()
                for pick, granule in zip(combination, self.granules, strict=True)
            )
            found.setdefault((needs, outcome), Mixture(needs, code[:length], outcome))
        return list(found.values())

    def explain(self, code: bytes) -> str:
        """The instruction that `code` is here, in words."""
        isa = self.text.machine.isa
        decoded = decode(isa, code, self.text.address + self.start)
        outcome = self.classify(code)
        if outcome.version is not None:
            return str(outcome.version)
        return decoded.text if outcome is TRAPPED else f"{decoded.text}: torn"

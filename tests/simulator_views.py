"""What a CPU of the simulator fetches: any bytes since it last serialised, a buffer filled ahead of time, or memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise, product

from iced_x86 import Decoder, Mnemonic

from models.machines.fetch import Granularity, GranuleOrder, Machine, Staleness, StoreAtomicity
from models.protocol import Instruction
from models.text import AddressBook
from tests.simulator_state import HANDLER, Cpu, History, Move, State, changed, now

LENGTH = 5
EMPTY = (-1, ())
UNITS = {Granularity.ALIGNED_4: 4, Granularity.ALIGNED_8: 8, Granularity.LINE: 64}
STORES = {StoreAtomicity.BYTE: 1, StoreAtomicity.ALIGNED_8: 8, StoreAtomicity.LINE: 64}


class Views:
    """How fetches relate to memory. Methods can be overridden to err."""

    machine: Machine
    addresses: list[int]
    sites: int
    book: AddressBook
    legal: list[dict[bytes, Instruction]]
    fetches: Callable[[int, History], list[Instruction | str]]

    # ---- what belongs together --------------------------------------------------------------------------------------

    def pieces(self, site: int, start: int, stop: int) -> list[range]:
        """Parts of a store, each of which lands at once."""
        if self.machine.store_atomicity is StoreAtomicity.INSTRUCTION:
            return [range(start, stop)]
        return self.aligned(STORES[self.machine.store_atomicity], site, start, stop)

    def granules(self, site: int) -> list[range]:
        """Parts of a site, each of which is read at once."""
        match self.machine.granularity:
            case Granularity.BYTE:
                return [range(k, k + 1) for k in range(LENGTH)]
            case Granularity.INSTRUCTION:
                return [range(LENGTH)]
        return self.aligned(UNITS[self.machine.granularity], site, 0, LENGTH)

    def aligned(self, unit: int, site: int, start: int, stop: int) -> list[range]:
        inner = [k for k in range(start + 1, stop) if (self.addresses[site] + k) % unit == 0]
        return [range(a, b) for a, b in pairwise([start, *inner, stop])]

    # ---- what is remembered -----------------------------------------------------------------------------------------

    def history(self, memory: tuple[bytes, ...]) -> tuple[History, ...]:
        """What a CPU that has just serialised may fetch from stale sets."""
        if self.machine.staleness is not Staleness.STALE:
            return ()
        if self.machine.granularity is Granularity.BYTE:
            return now(memory)
        return tuple(tuple((text[g.start : g.stop],) for g in self.granules(site)) for site, text in enumerate(memory))

    def noticed(self, cpu: Cpu, site: int, offsets: range, text: bytes) -> Cpu:
        """`cpu` when these bytes of a site have landed, which now holds `text`."""
        if self.machine.staleness is not Staleness.STALE:
            return cpu
        if self.machine.granularity is Granularity.BYTE:
            for offset in offsets:
                cpu = self.seen(cpu, site, offset, text[offset])
            return cpu
        history = cpu.history[site]
        for k, granule in enumerate(self.granules(site)):
            held = text[granule.start : granule.stop]
            if held not in history[k]:
                history = changed(history, k, tuple(sorted((*history[k], held))))
        return cpu._replace(history=changed(cpu.history, site, history))

    def seen(self, cpu: Cpu, site: int, offset: int, value: int) -> Cpu:
        """`cpu` when a byte of the text has become `value`: it may fetch this or what it might have fetched before."""
        held = cpu.history[site][offset]
        if value in held:
            return cpu
        history = changed(cpu.history[site], offset, bytes(sorted({*held, value})))
        return cpu._replace(history=changed(cpu.history, site, history))

    def serialised(self, cpu: Cpu, state: State) -> Cpu:
        """`cpu` after it has serialised: it fetches what memory holds now."""
        return cpu._replace(history=self.history(state.memory), buffer=EMPTY)

    def executed(self, cpu: Cpu) -> Cpu:
        """`cpu` when it has executed what it had fetched."""
        return cpu._replace(buffer=EMPTY)

    def switched(self, cpu: Cpu) -> Cpu:
        """`cpu` when another task runs: what was fetched ahead is dropped."""
        return cpu._replace(buffer=EMPTY)

    # ---- fetching ---------------------------------------------------------------------------------------------------

    def outcomes(self, state: State, cpu: Cpu) -> list[Instruction | str]:
        """What executing the site where the CPU is can run now."""
        match self.machine.staleness:
            case Staleness.STALE:
                return self.fetches(cpu.site, cpu.history[cpu.site])
            case Staleness.COHERENT:
                return [self.runs(cpu.site, state.memory[cpu.site])]
        return self.buffered(cpu)

    def fetched(self, site: int, history: History) -> list[Instruction | str]:
        """What can come of a fetch: every choice of bytes is decoded."""
        if self.machine.granularity is Granularity.BYTE:
            return list(dict.fromkeys(self.runs(site, bytes(code)) for code in product(*history)))
        return list(dict.fromkeys(self.runs(site, b"".join(parts)) for parts in product(*history)))

    def buffered(self, cpu: Cpu) -> list[Instruction | str]:
        """What the fetch buffer holds of this site, if that is a whole instruction."""
        site, parts = cpu.buffer
        if site != cpu.site:
            return []
        known = b""
        for part in parts:
            if part is None:
                break
            known += part
        if len(known) < LENGTH:
            decoded = Decoder(64, known + b"\x90" * 15, ip=self.addresses[site]).decode() if known else None
            if decoded is None or max(1, decoded.len) > len(known):
                return []
        return [self.runs(site, known)]

    def fetching(self, state: State, cpu: Cpu, move: Callable[..., Move]) -> Iterator[Move]:
        """Reading a part of a site into the buffer, at the site or ahead of time."""
        if self.machine.staleness is not Staleness.BUFFERED or not cpu.runs:
            return
        ahead = not (self.machine.iret_serialises and cpu.place in (*HANDLER, "returning"))
        for site in range(self.sites):
            at = cpu.place == "at" and cpu.site == site
            mine, empty = cpu.buffer[0] == site, cpu.buffer == EMPTY
            if not (at or (ahead and (mine or empty))):
                continue
            granules = self.granules(site)
            parts: tuple[bytes | None, ...] = cpu.buffer[1] if mine else (None,) * len(granules)
            if parts[0] is not None and parts[0][:1] == b"\xcc":
                continue  # whatever lies behind a trap byte is not run
            for k, granule in enumerate(granules):
                before = all(part is not None for part in parts[:k])
                if parts[k] is None and (before or self.machine.order is GranuleOrder.ANY):
                    read = state.memory[site][granule.start : granule.stop]
                    got = changed(parts, k, read)
                    if k == 0 and read[:1] == b"\xcc":
                        got = (read, *(None for _ in granules[1:]))
                    yield move("fetch", cpu._replace(buffer=(site, got)))

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

"""Instructions for people who write models: one module for each instruction set, and addresses for what they name.

An instruction is written with names (`call("A")`); where it lies and where the names lie is decided later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from models.machines.isa import LEAST, Isa

Resolve = Callable[[str], int]
_NEAR = 1 << 14  # bytes around the code that other instructions may be in; no name is put there


@dataclass(frozen=True)
class Asm:
    """One instruction. `says`: how a disassembler would put it, with names. `leaves`: it never goes on behind itself.

    `encode(address, resolve)`: its bytes at `address`, where `resolve` gives the address of a name. It raises
    OverflowError for a target out of reach.
    """

    isa: Isa
    says: str
    encode: Callable[[int, Resolve], bytes]
    leaves: bool = False


@dataclass(frozen=True)
class _Spread:
    """How names are put: the first `first` bytes behind the code, others `step` from each other, all within `reach`.

    Two distances differ by a multiple of `step`. It is such that every field of the instructions differs then, whatever
    is carried into it from below, as `reach` keeps the factor small.
    """

    first: int
    step: int
    reach: int
    end: int = 1 << 64


_SPREADS = {
    Isa.X86: _Spread(0x44332216, 0x01010101, 1 << 31),  # 1 in each byte of a displacement
    Isa.ARM64: _Spread(0x00040404, 0x00040404, 1 << 25),  # 1 in each of the lower three bytes of imm26
    Isa.RISCV: _Spread(0x00011010, 0x00011010, 1 << 20),  # 0x11 in hi20, 0x10 in lo12; jal reaches 1 MiB
    Isa.POWER: _Spread(0x00010010, 0x00010010, 1 << 25, 1 << 31),  # 1 in the upper half, 0x10 in the lower
}


def addresses(isa: Isa, names: Sequence[str], near: int) -> dict[str, int]:
    """An address for each name, in reach of every instruction of `models.assembly` within 16 KiB of `near`.

    Wherever an instruction lies, its encodings for two of the names differ: on x86 in every byte of the displacement, on
    Arm in the lower three bytes of the branch's word, on RISC-V and Power in both halves of a pair (and in the branch).
    Half of one target and half of another then lead to none of the names. Power's pairs hold 31 bits, so there `near` is
    below 2 GiB. Raises OverflowError where there is no room for so many names.
    """
    distinct = list(dict.fromkeys(names))
    found = dict(zip(distinct, _places(isa, near), strict=False))
    if len(found) < len(distinct):
        raise OverflowError(f"near {near:#x}, {isa.value} can tell {len(found)} names apart, not {len(distinct)}")
    return found


def _places(isa: Isa, near: int) -> Iterator[int]:
    """Where names can be put, those behind the code first."""
    spread, origin = _SPREADS[isa], near - near % LEAST[isa]
    most = spread.reach - 2 * _NEAR
    behind = range(spread.first, most, spread.step)
    before = range(spread.first - spread.step, -most, -spread.step)
    for far in chain(behind, before):
        if abs(far) > 2 * _NEAR and 0 <= origin + far < spread.end:
            yield origin + far

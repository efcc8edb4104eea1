"""Power instructions (64 bits, little endian) as words: an absolute call by way of the count register, and a branch."""

from __future__ import annotations

from models.machines.encoding import distance, word

NOP = word(0x60000000)  # ori 0, 0, 0
TRAP = word(0x7FE00008)  # tw 31, 0, 0
LOAD = word(0xE9820000)  # ld r12, 0(r2)
MTCTR = word(0x7D8903A6)  # mtctr r12
BCTRL = word(0x4E800421)
_LIS, _ORI = 0x3D800000, 0x618C0000  # lis r12, …; ori r12, r12, …
_MOST = (1 << 31) - 1  # lis extends the sign
_BRANCH_REACH = 1 << 25


def lis(target: int) -> bytes:
    """`lis r12, hi(target)`: r12 holds the upper half. Raises OverflowError where 31 bits do not hold `target`."""
    return word(_LIS | _absolute(target) >> 16)


def ori(target: int) -> bytes:
    """`ori r12, r12, lo(target)`: r12 holds all of it after the lis of `target`. Raises OverflowError as that does."""
    return word(_ORI | _absolute(target) & 0xFFFF)


def branch(address: int, target: int) -> bytes:
    """`b target` at `address`. Raises OverflowError beyond 32 MiB."""
    return word(0x48000000 | distance("b", address, target, _BRANCH_REACH, 4) & 0x3FFFFFC)


def is_trap(code: bytes) -> bool:
    """Whether `code` begins with a word trap that is unconditional, `tw 31, …`."""
    return len(code) >= 4 and int.from_bytes(code[:4], "little") & 0xFFE007FF == 0x7FE00008


def _absolute(target: int) -> int:
    if not 0 <= target <= _MOST:
        raise OverflowError(f"lis with ori makes addresses from 0 to {_MOST:#x}, and {target:#x} is none of them")
    return target

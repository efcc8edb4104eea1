"""RV64 instructions as words: the pair that calls far, the jump that calls near, and the traps."""

from __future__ import annotations

from models.machines.encoding import distance, word

NOP = word(0x00000013)  # addi x0, x0, 0
TRAP = word(0x00100073)  # ebreak
PADDING = b"\x01\x00"  # c.nop: what follows where the last parcel begins a longer instruction
_SHORT_TRAP = b"\x02\x90"  # c.ebreak
_RA, _T0 = 1, 5
_PAIR_REACH = (1 << 31) - 0x800
_JAL_REACH = 1 << 20


def length(parcel: int) -> int:
    """How long an instruction is that begins with this 16-bit parcel, where there are none of more than 4 bytes."""
    return 4 if parcel & 3 == 3 else 2


def split(origin: int, target: int) -> tuple[int, int]:
    """The upper 20 and the lower, signed 12 bits of the way from an auipc at `origin` to `target`.

    The upper part is rounded so that the lower one can be negative. Raises OverflowError beyond 2 GiB.
    """
    far = distance("auipc with jalr", origin, target, _PAIR_REACH, 2)
    upper = (far + 0x800) >> 12
    return upper, far - (upper << 12)


def auipc(address: int, target: int) -> bytes:
    """`auipc t0, hi(target)` at `address`."""
    upper, _ = split(address, target)
    return word((upper & 0xFFFFF) << 12 | _T0 << 7 | 0x17)


def jalr(address: int, target: int) -> bytes:
    """`jalr t0, lo(target)(t0)` at `address`, whose auipc is the instruction before."""
    _, lower = split(address - 4, target)
    return word((lower & 0xFFF) << 20 | _T0 << 15 | _T0 << 7 | 0x67)


def jal(address: int, target: int) -> bytes:
    """`jal ra, target` at `address`. Raises OverflowError beyond 1 MiB."""
    far = distance("jal", address, target, _JAL_REACH, 2)
    bits = (far >> 20 & 1) << 19 | (far >> 1 & 0x3FF) << 9 | (far >> 11 & 1) << 8 | far >> 12 & 0xFF
    return word(bits << 12 | _RA << 7 | 0x6F)


def is_trap(code: bytes) -> bool:
    """Whether `code` begins with ebreak, in its longer or shorter form."""
    return code[:4] == TRAP or code[:2] == _SHORT_TRAP

"""A64 instructions as words, and which of them may be exchanged while other CPUs run them."""

from __future__ import annotations

from models.machines.encoding import distance, field, word

NOP = word(0xD503201F)
TRAP = word(0xD4200000)  # brk #0
_BRANCH_REACH = 1 << 27

# Mask and value of B, BL, BRK, HVC, NOP, SMC, SVC: what older manuals (ARM DDI 0487A.a, B2.6.5), newer ones (B2.2.5) and
# Linux's former aarch64_insn_hotpatch_safe() agree on. Newer manuals are cited with more (B.cond, CBZ, ISB, TBZ, …), but
# sources disagree there.
_EXCHANGEABLE = (
    (0xFC000000, 0x14000000),
    (0xFC000000, 0x94000000),
    (0xFFE0001F, 0xD4200000),
    (0xFFE0001F, 0xD4000002),
    (0xFFFFFFFF, 0xD503201F),
    (0xFFE0001F, 0xD4000003),
    (0xFFE0001F, 0xD4000001),
)


def branch(address: int, target: int, link: bool = False) -> bytes:
    """`b target`, or `bl target`, at `address`. Raises OverflowError beyond 128 MiB."""
    units = distance("bl" if link else "b", address, target, _BRANCH_REACH, 4) >> 2
    return word((0x94000000 if link else 0x14000000) | units & 0x3FFFFFF)


def mov(register: int, value: int) -> bytes:
    """`movz x<register>, #value`: 16 bits, the rest is zero. Raises ValueError for what does not fit."""
    return word(0xD2800000 | field("an immediate", value, 16) << 5 | field("a register", register, 5))


def is_trap(code: bytes) -> bool:
    """Whether `code` begins with BRK, with any immediate."""
    return _is(code[:4], 0xFFE0001F, 0xD4200000)


def exchangeable(code: bytes) -> bool:
    """Whether `code` is one instruction of the list under “Concurrent modification and execution of instructions”."""
    return any(_is(code, mask, value) for mask, value in _EXCHANGEABLE)


def _is(code: bytes, mask: int, value: int) -> bool:
    return len(code) == 4 and int.from_bytes(code, "little") & mask == value

"""Instruction sets: which instruction are these bytes, which one traps, which may be exchanged while other CPUs run?"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Any

from models.machines import arm64, power, riscv, x86
from models.machines.x86 import Decoded


class Isa(enum.Enum):
    """An instruction set. Power is the 64-bit one in little-endian order, RISC-V is RV64 with compressed instructions."""

    X86 = "x86"
    ARM64 = "arm64"
    RISCV = "riscv"
    POWER = "power"


TRAPS: dict[Isa, bytes] = {
    Isa.X86: x86.TRAP_BYTE,
    Isa.ARM64: arm64.TRAP,
    Isa.RISCV: riscv.TRAP,
    Isa.POWER: power.TRAP,
}
LEAST: dict[Isa, int] = {Isa.X86: 1, Isa.ARM64: 4, Isa.RISCV: 2, Isa.POWER: 4}  # bytes of the smallest instruction
WIDTH: dict[Isa, int] = {Isa.X86: 5, Isa.ARM64: 4, Isa.RISCV: 4, Isa.POWER: 4}  # bytes of what a site usually holds
_NOPS = ("nop", "c.nop")
_JUMPS = ("b", "j", "c.j")
_RETURNS = (
    "br",
    "ret",
    "eret",
    "jr",
    "c.jr",
    "mret",
    "sret",
    "blr",
    "bctr",
    "rfid",
)  # and jumps to where a register says
_COUNTED = ("j", "jal", "c.j", "c.beqz", "c.bnez", "beq", "bne", "blt", "bge", "bltu", "bgeu", "beqz", "bnez")


@lru_cache(maxsize=4096)
def decode(isa: Isa, code: bytes, address: int) -> Decoded:
    """What a CPU runs that fetches `code` at `address`, by iced-x86 for x86 and by capstone for the others.

    Where there is no such instruction, it is as long as the smallest (x86: as many bytes as were looked at).
    """
    if isa is Isa.X86:
        return x86.decode(code, address)
    padded = code + riscv.PADDING if isa is Isa.RISCV else code
    for _, length, mnemonic, operands in _disassembler(isa).disasm_lite(padded, address, 1):
        if isa is Isa.RISCV and mnemonic in _COUNTED:
            operands = _absolute(operands, address)
        text = f"{mnemonic} {operands.replace('#', '')}".strip()
        jumps = mnemonic in _JUMPS
        target = int(text.rpartition(" ")[2], 16) if jumps else None
        return Decoded(length, text, mnemonic in _NOPS and length == len(code), jumps or mnemonic in _RETURNS, target)
    return Decoded(LEAST[isa], "no valid instruction", False)


def is_trap(isa: Isa, code: bytes) -> bool:
    """Whether `code` begins with the instruction that a debugger writes, in any of its forms."""
    match isa:
        case Isa.X86:
            return code[:1] == x86.TRAP_BYTE
        case Isa.ARM64:
            return arm64.is_trap(code)
        case Isa.RISCV:
            return riscv.is_trap(code)
        case Isa.POWER:
            return power.is_trap(code)


def concurrent(isa: Isa, old: bytes, new: bytes) -> bool:
    """Whether the vendor allows one instruction to be changed into another while other CPUs may run it.

    Arm does where both are in a list (see `arm64.exchangeable`). x86 and RISC-V have no such list: int3 on x86 is a toggle
    of the machine, and what RISC-V's Ziccif promises is a granularity. Nor is one known here for Power: what Power ISA
    Book II may promise of concurrent modification was not looked up, so that nothing is exempt.
    """
    return isa is Isa.ARM64 and arm64.exchangeable(old) and arm64.exchangeable(new)


@lru_cache
def _disassembler(isa: Isa) -> Any:
    """Capstone for one instruction set; imported here, because few commands need it."""
    import capstone

    kinds = {
        Isa.ARM64: (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
        Isa.RISCV: (capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV64 | capstone.CS_MODE_RISCVC),
        Isa.POWER: (capstone.CS_ARCH_PPC, capstone.CS_MODE_64 | capstone.CS_MODE_LITTLE_ENDIAN),
    }
    return capstone.Cs(*kinds[isa])


def _absolute(operands: str, address: int) -> str:
    """Operands of which the last is a distance from `address`, with the place that it leads to instead."""
    *others, last = operands.split(", ")
    return ", ".join([*others, f"0x{address + int(last, 0) & (1 << 64) - 1:x}"])

"""RV64 instructions for models; each has 4 bytes, except what `raw` makes of 16 bits."""

from __future__ import annotations

from models.assembly import Asm, Resolve
from models.machines import riscv
from models.machines.encoding import word
from models.machines.isa import Isa


def nop() -> Asm:
    """`nop`, the longer form."""
    return _fixed(riscv.NOP, "nop")


def auipc(name: str) -> Asm:
    """`auipc t0, hi(name)`: the first of a pair, with `jalr` 4 bytes behind. Encoding raises OverflowError beyond 2 GiB."""

    def encode(address: int, resolve: Resolve) -> bytes:
        return riscv.auipc(address, resolve(name))

    return Asm(Isa.RISCV, f"auipc t0, hi({name})", encode)


def jalr(name: str) -> Asm:
    """`jalr t0, lo(name)(t0)`: the second of a pair, with `auipc` 4 bytes before. Encoding raises as that does."""

    def encode(address: int, resolve: Resolve) -> bytes:
        return riscv.jalr(address, resolve(name))

    return Asm(Isa.RISCV, f"jalr t0, lo({name})(t0)", encode)


def jal(name: str) -> Asm:
    """`jal ra, name`. Encoding raises OverflowError beyond 1 MiB."""

    def encode(address: int, resolve: Resolve) -> bytes:
        return riscv.jal(address, resolve(name))

    return Asm(Isa.RISCV, f"jal ra, {name}", encode)


def trap() -> Asm:
    """`ebreak`, the longer form."""
    return _fixed(riscv.TRAP, "ebreak")


def raw(code: int, says: str = "") -> Asm:
    """This instruction, wherever it lies: of 2 or 4 bytes, as its lowest two bits say. Raises OverflowError if it is longer."""
    if riscv.length(code) == 4:
        return _fixed(word(code), says or f".word {code:#010x}")
    return _fixed(code.to_bytes(2, "little"), says or f".half {code:#06x}")


def _fixed(code: bytes, says: str) -> Asm:
    return Asm(Isa.RISCV, says, lambda address, resolve: code)

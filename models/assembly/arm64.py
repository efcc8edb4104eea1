"""A64 instructions for models; each has 4 bytes."""

from __future__ import annotations

from models.assembly import Asm, Resolve
from models.machines import arm64
from models.machines.encoding import word
from models.machines.isa import Isa


def nop() -> Asm:
    """`nop`."""
    return _fixed(arm64.NOP, "nop")


def branch(name: str) -> Asm:
    """`b name`. Encoding raises OverflowError beyond 128 MiB."""

    def encode(address: int, resolve: Resolve) -> bytes:
        return arm64.branch(address, resolve(name))

    return Asm(Isa.ARM64, f"b {name}", encode, leaves=True)


def branch_link(name: str) -> Asm:
    """`bl name`. Encoding raises OverflowError beyond 128 MiB."""

    def encode(address: int, resolve: Resolve) -> bytes:
        return arm64.branch(address, resolve(name), link=True)

    return Asm(Isa.ARM64, f"bl {name}", encode)


def mov(register: int, value: int) -> Asm:
    """`mov x<register>, #value` with 16 bits: an instruction that may not be exchanged while others run it."""
    return _fixed(arm64.mov(register, value), f"mov x{register}, #{value:#x}")


def trap() -> Asm:
    """`brk #0`."""
    return _fixed(arm64.TRAP, "brk #0")


def raw(code: int, says: str = "") -> Asm:
    """This word, wherever it lies. Raises OverflowError where it has more than 32 bits."""
    return _fixed(word(code), says or f".word {code:#010x}")


def _fixed(code: bytes, says: str) -> Asm:
    return Asm(Isa.ARM64, says, lambda address, resolve: code)

"""Power instructions (64 bits, little endian) for models; each has 4 bytes."""

from __future__ import annotations

from models.assembly import Asm, Resolve
from models.machines import power
from models.machines.encoding import word
from models.machines.isa import Isa


def nop() -> Asm:
    """`nop`."""
    return _fixed(power.NOP, "nop")


def lis(name: str) -> Asm:
    """`lis r12, hi(name)`: the upper half of an absolute address. Encoding raises OverflowError from 2 GiB on."""
    return Asm(Isa.POWER, f"lis r12, hi({name})", lambda address, resolve: power.lis(resolve(name)))


def ori(name: str) -> Asm:
    """`ori r12, r12, lo(name)`: the lower half of an absolute address. Encoding raises OverflowError from 2 GiB on."""
    return Asm(Isa.POWER, f"ori r12, r12, lo({name})", lambda address, resolve: power.ori(resolve(name)))


def branch(name: str) -> Asm:
    """`b name`. Encoding raises OverflowError beyond 32 MiB."""

    def encode(address: int, resolve: Resolve) -> bytes:
        return power.branch(address, resolve(name))

    return Asm(Isa.POWER, f"b {name}", encode, leaves=True)


def load_word() -> Asm:
    """`ld r12, 0(r2)`: a target that is data, 64 bits of it."""
    return _fixed(power.LOAD, "ld r12, 0(r2)")


def mtctr() -> Asm:
    """`mtctr r12`."""
    return _fixed(power.MTCTR, "mtctr r12")


def bctrl() -> Asm:
    """`bctrl`: a call of what the count register holds."""
    return _fixed(power.BCTRL, "bctrl")


def trap() -> Asm:
    """`trap`, which is `tw 31, 0, 0`."""
    return _fixed(power.TRAP, "trap")


def raw(code: int, says: str = "") -> Asm:
    """This word, wherever it lies. Raises OverflowError where it has more than 32 bits."""
    return _fixed(word(code), says or f".word {code:#010x}")


def _fixed(code: bytes, says: str) -> Asm:
    return Asm(Isa.POWER, says, lambda address, resolve: code)

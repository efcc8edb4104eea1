"""x86-64 instructions for models."""

from __future__ import annotations

from models.assembly import Asm, Resolve
from models.machines import x86
from models.machines.isa import TRAPS, Isa


def nop(length: int = 5) -> Asm:
    """The no-op of 1 to 9 bytes that Intel recommends. Raises ValueError for other lengths."""
    if length not in x86.NOPS:
        raise ValueError(f"a no-op has {min(x86.NOPS)} to {max(x86.NOPS)} bytes, not {length}")
    return raw(x86.NOPS[length], "nop")


def call(name: str) -> Asm:
    """`call name`, 5 bytes. Encoding raises OverflowError beyond 2 GiB."""

    def encode(address: int, resolve: Resolve) -> bytes:
        return x86.call(address, resolve(name))

    return Asm(Isa.X86, f"call {name}", encode)


def jump(name: str) -> Asm:
    """`jmp name`, 5 bytes. Encoding raises OverflowError beyond 2 GiB."""

    def encode(address: int, resolve: Resolve) -> bytes:
        return x86.jump(address, resolve(name))

    return Asm(Isa.X86, f"jmp {name}", encode, leaves=True)


def push_rbp() -> Asm:
    """`push rbp`, 1 byte."""
    return raw(b"\x55", "push rbp")


def mov_rbp_rsp() -> Asm:
    """`mov rbp, rsp`, 3 bytes."""
    return raw(b"\x48\x89\xe5", "mov rbp, rsp")


def trap() -> Asm:
    """`int3`, 1 byte."""
    return raw(TRAPS[Isa.X86], "int3")


def raw(code: bytes, says: str = "") -> Asm:
    """These bytes, wherever they lie."""
    return Asm(Isa.X86, says or f".byte {code.hex(' ')}", lambda address, resolve: code)

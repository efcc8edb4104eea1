"""x86-64 instructions as bytes: encoding the few that protocols write, and decoding whatever a fetch returned."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from models.machines.encoding import distance

TRAP_BYTE = b"\xcc"
NOPS = {  # as Intel recommends them (SDM 2B, NOP)
    1: b"\x90",
    2: b"\x66\x90",
    3: b"\x0f\x1f\x00",
    4: b"\x0f\x1f\x40\x00",
    5: b"\x0f\x1f\x44\x00\x00",
    6: b"\x66\x0f\x1f\x44\x00\x00",
    7: b"\x0f\x1f\x80\x00\x00\x00\x00",
    8: b"\x0f\x1f\x84\x00\x00\x00\x00\x00",
    9: b"\x66\x0f\x1f\x84\x00\x00\x00\x00\x00",
}
PADDING = b"\x90" * 15  # what follows a site, so that every fetch decodes to something


@dataclass(frozen=True)
class Decoded:
    """One instruction as the CPU would run it: how many bytes it takes, its text, whether it is a whole-length no-op.

    `leaves`: it never goes on behind itself; `target`: where it jumps to then, if it says so itself.
    """

    length: int
    text: str
    harmless: bool
    leaves: bool = False
    target: int | None = None


def relative(opcode: bytes, address: int, length: int, target: int) -> bytes:
    """`opcode` with the 32-bit displacement from the end of an instruction at `address` to `target`.

    Raises OverflowError when the target is out of reach.
    """
    far = distance("a 32-bit displacement", address + length, target, 1 << 31)
    return opcode + far.to_bytes(4, "little", signed=True)


def call(address: int, target: int) -> bytes:
    """`call target` (e8 rel32) at `address`."""
    return relative(b"\xe8", address, 5, target)


def jump(address: int, target: int) -> bytes:
    """`jmp target` (e9 rel32) at `address`."""
    return relative(b"\xe9", address, 5, target)


def stub(address: int, returns_to: int, target: int, enables_interrupts: bool) -> tuple[bytes, ...]:
    """The instructions of a stub at `address` that calls `target` on behalf of a site: push; [sti;] jmp."""
    push = b"\x68" + (returns_to & 0xFFFFFFFF).to_bytes(4, "little")
    sti = (b"\xfb",) if enables_interrupts else ()
    jump_at = address + len(push) + len(sti)
    return (push, *sti, jump(jump_at, target))


@lru_cache(maxsize=4096)
def decode(code: bytes, address: int) -> Decoded:
    """What a CPU runs when it fetches `code` at `address` (with padding behind), by iced-x86."""
    from iced_x86 import Code, Decoder, FlowControl, Mnemonic

    instruction = Decoder(64, code + PADDING, ip=address).decode()
    if instruction.code == Code.INVALID:
        return Decoded(max(1, instruction.len), "no valid instruction", False)
    if instruction.mnemonic == Mnemonic.INT3:
        return Decoded(1, "int3", False)
    near = instruction.flow_control in (
        FlowControl.CALL,
        FlowControl.UNCONDITIONAL_BRANCH,
        FlowControl.CONDITIONAL_BRANCH,
    )
    text = str(instruction)
    if near and instruction.near_branch_target:
        text = f"{text.split()[0]} 0x{instruction.near_branch_target:x}"
    harmless = instruction.mnemonic == Mnemonic.NOP and instruction.len == len(code)
    jumps = instruction.flow_control == FlowControl.UNCONDITIONAL_BRANCH
    leaves = jumps or instruction.flow_control in (FlowControl.INDIRECT_BRANCH, FlowControl.RETURN)
    return Decoded(instruction.len, text, harmless, leaves, instruction.near_branch_target if jumps else None)

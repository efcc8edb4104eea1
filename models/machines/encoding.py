"""What encoders of all instruction sets need: words in memory, and distances that an instruction can reach."""

from __future__ import annotations


def word(value: int) -> bytes:
    """A 32-bit instruction as it lies in memory. Raises OverflowError where it has more bits."""
    return value.to_bytes(4, "little")


def distance(instruction: str, origin: int, target: int, reach: int, unit: int = 1) -> int:
    """How many bytes `target` lies behind `origin`, from which `instruction` counts.

    Raises OverflowError outside of -reach … reach - 1, and ValueError where it is no multiple of `unit`.
    """
    far = target - origin
    if not -reach <= far < reach:
        raise OverflowError(f"{instruction} from {origin:#x} to {target:#x}: {far:#x} bytes, and it reaches {reach:#x}")
    if far % unit:
        raise ValueError(f"{instruction} from {origin:#x} to {target:#x}: {far:#x} bytes, and it counts by {unit}")
    return far


def field(what: str, value: int, bits: int) -> int:
    """`value`, which goes into an unsigned field. Raises ValueError where it does not fit."""
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{what} is 0 to {(1 << bits) - 1:#x}, not {value:#x}")
    return value

"""What are things called in another language? Identifiers that resemble the originals, each of them once."""

from __future__ import annotations

import re
from collections.abc import Collection


class Names:
    """Hands out identifiers. Two never differ in case alone, and none is one of `reserved`."""

    def __init__(self, reserved: Collection[str]) -> None:
        self._taken = {word.lower() for word in reserved}

    def new(self, text: str) -> str:
        """An identifier that resembles `text` and was not handed out before."""
        base = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "unnamed"
        if base[0].isdigit():
            base = f"n_{base}"
        name, number = base, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name.lower())
        return name

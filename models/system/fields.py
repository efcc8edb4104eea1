"""Whether what a user's file makes is made of the right things: each field of the type that it is declared with."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from models.system.errors import ModelError, caller

_shortened = reprlib.Repr()
_shortened.maxother = 60
FITS = object()  # no misfit was found
_BLANKS = {ord(blank): " " for blank in "\n\t"}  # what a sentence may have though it does not print
_WORDS = {bool: "True or False", int: "a number", str: "a text", bytes: "bytes", NoneType: "None"}


class Checked:
    """Base of the dataclasses that files make: they are refused, with the line that makes them, if a field is wrong."""

    spoken = ""  # what a field of this type takes, in words; "": its name

    def __post_init__(self) -> None:
        """Refuse fields of other types, and texts that do not print. Raises ModelError."""
        kind: Any = type(self)
        for name, hint in _hints(kind).items():
            value = getattr(self, name)
            if (wrong := misfit(value, hint)) is FITS:
                continue
            missing = "; are its parentheses missing?" if isinstance(wrong, type) else ""
            message = f"{name} takes {said(hint)}, not {_shortened.repr(wrong)}{missing}"
            if isinstance(wrong, str) and not prints(wrong):
                message = f"{name} has characters that do not print: {_shortened.repr(wrong)}"
            raise ModelError(f"{kind.__name__}: {message}", getattr(self, "where", None) or caller())


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass that its maker gives, with their types."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.init and field.name != "where"}


def misfit(value: Any, hint: Any) -> object:
    """The innermost part of `value` that is not as the type `hint` says, or `FITS`."""
    origin, inner = get_origin(hint), get_args(hint)
    if isinstance(value, str) and not prints(value):
        return value
    if origin in (Union, UnionType):
        found = [misfit(value, one) for one in inner]
        deeper = [part for part in found if part is not value]
        return FITS if any(part is FITS for part in found) else deeper[0] if deeper else value
    if origin is Callable or origin is None:
        return FITS if (callable(value) if origin else isinstance(value, hint)) else value
    if not isinstance(value, origin) or isinstance(value, str | bytes):
        return value
    if issubclass(origin, Mapping):
        pairs = [*((key, inner[0]) for key in value), *((part, inner[1]) for part in value.values())]
    elif origin is tuple and inner[-1] is not ...:
        if len(value) != len(inner):
            return value
        pairs = list(zip(value, inner, strict=True))
    else:
        pairs = [(part, inner[0]) for part in value]
    return next((wrong for part, one in pairs if (wrong := misfit(part, one)) is not FITS), FITS)


def prints(text: str) -> bool:
    """Whether a text can stand on a terminal and in a file as it is."""
    return text.translate(_BLANKS).isprintable()


def said(hint: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(said, inner)))
    if origin is Callable:
        return "a function"
    if origin is not None and issubclass(origin, Mapping):
        return f"a dictionary from {said(inner[0])} to {said(inner[1])}"
    if origin is not None and issubclass(origin, Sequence):
        return f"a list ({said(inner[0])}, …)"
    return _WORDS.get(hint) or getattr(hint, "spoken", "") or f"{hint.__name__}(…)"

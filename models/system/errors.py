"""What can be wrong with a model, and where: the one exception that a reader of a strategy file sees."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Location:
    """A line of a source file. `line` counts from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class ModelError(Exception):
    """A model is wrong. `where` is the line of the model's file that caused it, if one is known."""

    def __init__(self, message: str, where: Location | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.where = where


class ScenarioError(ModelError):
    """What was asked for does not exist or does not go together; the model itself is not to blame."""


def described(error: BaseException) -> str:
    """An exception of somebody else's code in words: its kind, and what it says if it can say it."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


_blamed: ContextVar[Location | None] = ContextVar("_blamed", default=None)


@contextmanager
def blamed_on(where: Location) -> Iterator[None]:
    """What goes wrong in here, the line `where` of a model is to blame for; what is made in here was made there."""
    token = _blamed.set(where)
    try:
        yield
    except ScenarioError:
        raise
    except ModelError as error:
        raise (error if error.where else ModelError(error.message, where)) from error.__cause__
    except Exception as error:
        raise ModelError(described(error), where) from error
    finally:
        _blamed.reset(token)


_PACKAGE = str(Path(__file__).resolve().parents[1])
_MODELS = tuple(str(Path(_PACKAGE) / part) for part in ("strategies", "bugs", "skeletons.py"))
_internal: dict[str, bool] = {}


def is_internal(file: str) -> bool:
    """Whether a frame belongs to the library rather than to somebody's model."""
    known = _internal.get(file)
    if known is None:
        known = (file.startswith(_PACKAGE) and not file.startswith(_MODELS)) or file.startswith("<")
        _internal[file] = known
    return known


def caller() -> Location:
    """The innermost line outside this library: where a model's author wrote the thing being built.

    Where a line is blamed for what is being built (`blamed_on`), that one. Without such a line (the library builds
    something of its own accord), the line that called this function.
    """
    if (blamed := _blamed.get()) is not None:
        return blamed
    frame = sys._getframe(1)
    nearest = frame.f_back or frame
    outer = nearest
    while is_internal(outer.f_code.co_filename):
        if outer.f_back is None:
            return Location(nearest.f_code.co_filename, nearest.f_lineno)
        outer = outer.f_back
    return Location(outer.f_code.co_filename, outer.f_lineno)

"""Writing answers: the version of the JSON form, and files that are complete or not there at all."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

SCHEMA = 1


def dumped(values: dict[str, Any]) -> str:
    """Values as they are written: compact JSON on one line."""
    import json

    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n"


def write(values: dict[str, Any], target: str) -> None:
    """Write JSON to a file, whole or not at all, or to standard output for `-`. Raises OSError."""
    write_text(dumped(values), target)


def write_text(text: str, target: str) -> None:
    """Write to a file, whole or not at all, or to standard output for `-`, always in UTF-8. Raises OSError."""
    if target != "-":
        write_atomically(Path(target), text)
        return
    if isinstance(sys.stdout, Reconfigurable):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(text)


@runtime_checkable
class Reconfigurable(Protocol):
    """A stream of text whose encoding can be chosen."""

    def reconfigure(self, *, encoding: str | None = None, errors: str | None = None) -> None: ...


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` so that nobody ever sees half of it. Raises OSError.

    A link stays, and a file keeps its mode; what is no file (a pipe, a device) is written to as it is.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            _replace(Path(os.path.realpath(path)), text)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _replace(path: Path, text: str) -> None:
    """Put a file with `text` in the place of `path`, with the mode of what was there."""
    import tempfile

    umask = os.umask(0)
    os.umask(umask)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~umask
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

"""Writing answers: the version of the JSON form, and files that are complete or not there at all."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

SCHEMA = 1


def dumped(values: dict[str, Any]) -> str:
    """Values as they are written: compact JSON on one line."""
    import json

    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n"


def write(values: dict[str, Any], target: str) -> None:
    """Write JSON to a file, whole or not at all, or to standard output for `-`. Raises OSError."""
    if target == "-":
        sys.stdout.write(dumped(values))
        return
    write_atomically(Path(target), dumped(values))


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` so that nobody ever sees half of it. Raises OSError."""
    import tempfile

    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        error.filename = str(path)
        raise
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

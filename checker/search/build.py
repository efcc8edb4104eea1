"""Compile kernel.c once, keep it in the user's cache directory, and load it.

The file's name is the hash of the source, the compiler and its options, so a changed kernel is another file. The
directory has to belong to the user alone. Beside each library lies the hash of its contents, which is compared before
it is loaded: a damaged file is built again. Both are written atomically.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

KERNEL = Path(__file__).with_name("kernel.c")
NATIVE = "-march=native"  # left out for a compiler that does not know it
OPTIONS = ("-std=c11", "-O2", NATIVE, "-shared", "-fPIC", "-pthread")
VARIANTS = {
    (False, False): (),
    (True, False): ("-DWIDE",),
    (False, True): ("-DCOMPACT",),
    (True, True): ("-DWIDE", "-DCOMPACT"),
}
_loaded: dict[tuple[str, ...], ctypes.CDLL] = {}


class NoCompiler(Exception):
    """There is no native engine on this machine; the message says why."""


def compiler() -> list[str]:
    """The command of a C compiler: $CC, cc, gcc, clang, or zig from the package index. Raises NoCompiler."""
    chosen = os.environ.get("CC")
    for name in [chosen] if chosen else ["cc", "gcc", "clang"]:
        words = name.split()
        if words and shutil.which(words[0]):
            return words
    if chosen:
        raise NoCompiler(f"$CC is “{chosen}”, which is not there")
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise NoCompiler("there is no C compiler (cc, gcc, clang; or pip install 'check-strategy[native]')")


def cache_directory() -> Path:
    """Where libraries are kept, made if it is not there. Raises NoCompiler if others may write to it."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = Path(base) / "check-strategy"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError as error:
        raise NoCompiler(f"{directory}: {error.strerror}") from error
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise NoCompiler(f"{directory} is not yours alone: nothing is loaded from there")
    return directory


def library(wide: bool = False, compact: bool = False, extra: Sequence[str] = ()) -> ctypes.CDLL:
    """The kernel for states of up to 63 (wide: 127) bits, compiled if need be. Raises NoCompiler."""
    options = (*OPTIONS, *VARIANTS[wide, compact], *extra)
    if options not in _loaded:
        path = _path(options)
        if not _is_whole(path):
            _compile(options, path)
        try:
            _loaded[options] = _declare(ctypes.CDLL(str(path)))
        except OSError as error:
            raise NoCompiler(f"{path} cannot be loaded: {error}") from error
    return _loaded[options]


def is_built(wide: bool = False, compact: bool = False) -> bool:
    """Whether the library can be loaded without compiling."""
    try:
        return _is_whole(_path((*OPTIONS, *VARIANTS[wide, compact])))
    except NoCompiler:
        return False


def _path(options: Sequence[str]) -> Path:
    name = hashlib.sha256()
    for word in (KERNEL.read_text(encoding="utf-8"), *compiler(), *options, sys.platform, _processor()):
        name.update(word.encode() + b"\0")
    return cache_directory() / f"kernel-{name.hexdigest()[:32]}.so"


def _processor() -> str:
    """What this processor can do, since the library may use all of it and home directories are shared."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith(("flags", "Features", "isa"))), platform.processor())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_whole(path: Path) -> bool:
    """Whether the library is there, the user's own, and what was written."""
    try:
        found = path.stat()
        known = path.with_suffix(".sha256").read_text(encoding="utf-8")
        return found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o022 and known == _digest(path)
    except OSError:
        return False


def _compile(options: Sequence[str], path: Path) -> None:
    try:
        _compile_into(options, path)
    except OSError as error:
        raise NoCompiler(f"{error.filename or path.parent}: {error.strerror}") from error


def _compile_into(options: Sequence[str], path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        made = Path(directory) / path.name
        if _run(options, made) and (said := _run([o for o in options if o != NATIVE], made)):
            raise NoCompiler(f"{compiler()[0]} cannot compile the search kernel: {said}")
        made.chmod(0o700)
        note = made.with_suffix(".sha256")
        note.write_text(_digest(made), encoding="utf-8")
        os.replace(made, path)
        os.replace(note, path.with_suffix(".sha256"))


def _run(options: Sequence[str], made: Path) -> str:
    """Compile; returns what the compiler has against it, or ""."""
    command = [*compiler(), *options, "-o", str(made), str(KERNEL)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error.strerror)
    if done.returncode == 0:
        return ""
    return next(
        (line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200] or "no reason"
    )


class TablesStruct(ctypes.Structure):
    """`struct tables` of kernel.c."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("groups", "shared", "shared_bits", "symmetric")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "group",
                "pairs",
                "shared_steps",
                "local_steps",
                "first_move",
                "moves",
                "fired",
                "casts",
                "halted",
            )
        ),
    ]


class Statistics(ctypes.Structure):
    """`struct statistics` of kernel.c."""

    _fields_ = [
        *(
            (name, ctypes.c_uint64)
            for name in ("stored", "full_states", "transitions", "halted_states", "depth", "frontier", "bytes")
        ),
        ("omitted", ctypes.c_double),
    ]


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    u64, pointer = ctypes.c_uint64, ctypes.c_void_p
    for name, result, arguments in (
        ("search_new", pointer, [ctypes.POINTER(TablesStruct), u64, u64, u64, u64]),
        ("search_free", None, [pointer]),
        ("search_step", ctypes.c_int, [pointer, u64, ctypes.c_int]),
        ("search_forget", None, [pointer]),
        ("search_statistics", None, [pointer, ctypes.POINTER(Statistics)]),
        ("search_layers", ctypes.c_int, [pointer, ctypes.c_uint32, pointer, ctypes.c_int, pointer, u64]),
        ("search_in_layer", ctypes.c_int, [pointer, ctypes.c_uint32, u64, u64]),
        ("search_doomed", ctypes.c_int, [pointer, pointer, ctypes.POINTER(ctypes.c_uint32)]),
        ("search_select", u64, [pointer, pointer, pointer, pointer, u64]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library

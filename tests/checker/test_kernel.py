"""The kernel in C: built in every way, watched by sanitizers, kept in a cache; and mutants of it that have to be seen."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from checker.search import build
from checker.search.build import KERNEL, NoCompiler
from checker.search.pairs import Pairs
from checker.search.tables import tabulate
from models.system.system import TransitionSystem
from tests.checker import wrong
from tests.checker.engines import (
    MOST_NARROW,
    Answers,
    by_python,
    needs_compiler,
    relay,
    replaced,
    small_kernel,
    spread,
)

DRIVER = Path(__file__).with_name("kernel_driver.c")
ROOT = Path(__file__).parents[2]
VARIANTS = {"narrow": (False, False), "wide": (True, False), "compact": (False, True), "wide, compact": (True, True)}
SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
}
BUDGET = 24 << 20

# ---- the compiler has nothing to say --------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_compiler_warns_of_nothing(variant: str) -> None:
    strict = ["-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wvla", "-fsyntax-only"]
    command = [*build.compiler(), "-std=c11", "-O2", *strict, *build.VARIANTS[VARIANTS[variant]], str(KERNEL)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_compiler
def test_the_structures_are_those_that_python_describes(tmp_path: Path) -> None:
    """What Python writes field by field has the size and the places that C gives it."""
    source = tmp_path / "sizes.c"
    fields = {"struct tables": build.TablesStruct, "struct statistics": build.Statistics}
    lines = []
    for name, structure in fields.items():
        lines.append(f'printf("%zu ", sizeof({name}));')
        lines += [f'printf("%zu ", offsetof({name}, {field[0]}));' for field in structure._fields_]
    sizes = (("struct pair", 16), ("struct move", 12), ("struct group", 24))
    lines += [f"_Static_assert(sizeof({name}) == {size}, {json.dumps(name)});" for name, size in sizes]
    body = "\n".join(lines)
    source.write_text(f'#include "{KERNEL}"\n#include <stdio.h>\n#include <stddef.h>\nint main(void) {{\n{body}\n}}\n')
    subprocess.run([*build.compiler(), "-std=c11", str(source), "-pthread", "-o", str(tmp_path / "sizes")], check=True)
    said = subprocess.run([str(tmp_path / "sizes")], capture_output=True, text=True, check=True).stdout.split()
    expected = []
    for structure in fields.values():
        expected.append(ctypes.sizeof(structure))
        expected += [getattr(structure, field[0]).offset for field in structure._fields_]
    assert list(map(int, said)) == expected


# ---- sanitizers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A system written for the driver, and what Python says of it."""

    file: Path
    expected: Answers
    level: int
    goals: int


def write(system: TransitionSystem, bits: int, symmetric: bool, file: Path) -> tuple[int, int]:
    """Write the tables for the driver. Returns the level of the wanted mark's states, and the rows of the pair table."""
    pairs = Pairs(system)
    made = spread(tabulate(pairs), bits)
    expected = by_python(system)
    mark = next(mark for mark in pairs.marks if mark in expected.marks and mark.kind == "loud")
    number = pairs.marks.index(mark)
    wanted = bytearray(len(made.halted))
    for pair, row in made.row_of.items():
        if not pairs.halts(pair) and any(number in step.marks for step in pairs.successors(pair)):
            wanted[row] = 1
    groups = array("I")
    for g in made.groups:
        groups.extend([g.first_instance, g.instances, g.shift, g.bits, g.locals, g.first_pair])
    start = made.pack(*pairs.initial())
    level = len(expected.marks[mark]) - 1
    goals = bytes(pairs.is_goal(g) for g in range(made.shared))
    parts: list[Any] = [
        array("I", [len(made.groups), made.shared, made.shared_bits, symmetric]),
        *(
            groups,
            made.rows,
            made.shared_steps,
            made.local_steps,
            made.first_move,
            made.moves,
            made.fired,
            made.casts,
            made.halted,
        ),
        *(goals, bytes(wanted), array("Q", [start & (1 << 64) - 1, start >> 64, level])),
    ]
    with file.open("wb") as out:
        for part in parts:
            data = bytes(part)
            out.write(len(data).to_bytes(8, sys.byteorder) + data)
    return level, len(made.halted)


@cache
def system() -> TransitionSystem:
    return relay(2, 1)


def compiled(sanitizer: str, variant: str, directory: Path, *changes: tuple[str, str]) -> Path:
    """The driver with a sanitizer, around a kernel with small constants. Skips where there is no such runtime."""
    kernel, made = directory / "kernel.c", directory / f"{sanitizer}-{variant.replace(', ', '-')}"
    kernel.write_text(replaced(small_kernel(), *changes), encoding="utf-8")
    options = ["-std=c11", "-g", "-O1", "-pthread", *SANITIZERS[sanitizer], *build.VARIANTS[VARIANTS[variant]]]
    command = [*build.compiler(), *options, f'-DKERNEL="{kernel}"', "-o", str(made), str(DRIVER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and ("asan" in done.stderr or "tsan" in done.stderr or "ubsan" in done.stderr):
        pytest.skip(f"no runtime of the {sanitizer} sanitizer")
    assert done.returncode == 0, done.stderr
    return made


def run(program: Path, file: Path, lines: int) -> subprocess.CompletedProcess[str]:
    """Run the driver; where the thread sanitizer does not like the addresses that it is given, without random ones."""
    command = [str(program), str(file), str(BUDGET), str(lines)]
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "detect_leaks=1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=100)
    if "unexpected memory mapping" in done.stderr and shutil.which("setarch"):
        command = ["setarch", "-R", *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=100)
    if "unexpected memory mapping" in done.stderr or "LeakSanitizer has encountered a fatal error" in done.stderr:
        pytest.skip("the sanitizer does not run here")
    return done


@needs_compiler
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_sanitizers_have_nothing_to_say_and_the_counts_are_pythons(
    sanitizer: str, variant: str, tmp_path: Path
) -> None:
    wide, compact = VARIANTS[variant]
    expected = by_python(system())
    program = compiled(sanitizer, variant, tmp_path)
    for symmetric in (False, True):
        file = tmp_path / "tables"
        level, _ = write(system(), 90 if wide else MOST_NARROW, symmetric, file)
        done = run(program, file, 1 << 14 if compact else 0)
        assert done.returncode == 0, done.stderr[:4000]
        lines = [line.split() for line in done.stdout.splitlines()]
        assert len(lines) == 7
        stored = set()
        for kind, *words in lines:
            said = dict(zip(words[::2], map(int, words[1::2]), strict=True))
            if kind == "poor":
                assert said["status"] in (1, 2) and said["full"] <= expected.states
                continue
            assert said["status"] == 1
            counts = (said["full"], said["transitions"], said["depth"])
            assert counts == (expected.states, expected.transitions, expected.depth)
            stored.add(said["stored"])
            if kind == "keep":
                assert (said["reached"], said["sooner"]) == (1, 0), level
                assert expected.progress is not None
                assert (said["doomed"], said["at"]) == ((-1, 0) if compact else (1, len(expected.progress[0])))
                assert said["goals"] > 0
        assert len(stored) == 1 and (stored == {expected.states}) == (not symmetric)


WRITES_BEYOND = ("size_t room = BATCH + s->most_successors + 4;", "size_t room = s->most_successors / 2;")
READS_BEYOND = (
    "local = s->t.local_steps + v->pair[i]->first;",
    "local = s->t.local_steps + (1 << 20) + v->pair[i]->first;",
)
RACES = (
    "slot_t found = atomic_load_explicit(&line[k], memory_order_relaxed);",
    "slot_t found = ((const slot_t *)line)[k];",
)
RACES_FOR_PLACES = (
    "uint64_t at = atomic_fetch_add_explicit(&s->tail, w->fresh_count, memory_order_relaxed);",
    "uint64_t at = s->tail; s->tail = at + w->fresh_count;",
)


@needs_compiler
@pytest.mark.parametrize(
    ("sanitizer", "change", "says"),
    [
        ("address", WRITES_BEYOND, "heap-buffer-overflow"),
        ("address", READS_BEYOND, "AddressSanitizer"),
        ("thread", RACES, "data race"),
        ("thread", RACES_FOR_PLACES, "data race"),
    ],
    ids=["a write behind a buffer", "a read behind a table", "a slot read as if alone", "two threads in one place"],
)
def test_sanitizers_see_what_is_wrong_on_purpose(
    sanitizer: str, change: tuple[str, str], says: str, tmp_path: Path
) -> None:
    program = compiled(sanitizer, "narrow", tmp_path, change)
    file = tmp_path / "tables"
    write(system(), MOST_NARROW, False, file)
    done = run(program, file, 0)
    assert done.returncode != 0 and says in done.stderr, done.stdout + done.stderr[:2000]


# ---- mutants --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def said_of_mutants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the comparison of the engines says of each kernel and each table that is wrong on purpose."""
    command = [sys.executable, "-m", "tests.checker.wrong", str(tmp_path_factory.mktemp("wrong"))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=500)
    said: dict[str, str] = json.loads(done.stdout)
    return said


@needs_compiler
def test_where_nothing_is_wrong_the_engines_agree(said_of_mutants: dict[str, str]) -> None:
    assert said_of_mutants[wrong.CONTROL] == ""


@needs_compiler
@pytest.mark.parametrize("name", wrong.NAMES)
def test_a_wrong_kernel_or_table_is_seen(name: str, said_of_mutants: dict[str, str]) -> None:
    said = said_of_mutants[name]
    assert said and not said.startswith("BROKEN"), said


# ---- the cache ------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, of a process that has loaded nothing yet and compiles quickly. The directory inside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "_loaded", {})
    monkeypatch.setattr(build, "OPTIONS", (*build.OPTIONS, "-O0"))
    return tmp_path / "check-strategy"


def built(home: Path) -> Path:
    """The one library in the cache."""
    (found,) = home.glob("*.so")
    return found


@needs_compiler
def test_a_library_is_kept_with_the_hash_of_its_contents_and_not_built_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not build.is_built()
    build.library()
    assert build.is_built() and not build.is_built(wide=True)
    path = built(home)
    assert {file.name for file in home.iterdir()} == {path.name, path.with_suffix(".sha256").name}
    assert path.with_suffix(".sha256").read_text() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    build._loaded.clear()
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("built again"))
    build.library()


@needs_compiler
def test_without_xdg_cache_home_it_is_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build.cache_directory() == tmp_path / ".cache" / "check-strategy"


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o700)


def _forget(path: Path) -> None:
    path.with_suffix(".sha256").unlink()


def _remove(path: Path) -> None:
    path.unlink()


def _open_to_all(path: Path) -> None:
    path.chmod(0o777)


@needs_compiler
@pytest.mark.parametrize("damage", [_cut, _flip, _forget, _remove, _open_to_all])
def test_a_damaged_library_is_built_again(home: Path, damage: Any) -> None:
    build.library()
    whole = built(home).read_bytes()
    damage(built(home))
    build._loaded.clear()
    assert not build.is_built()
    build.library()
    assert build.is_built() and built(home).read_bytes() == whole


@needs_compiler
def test_another_kernel_another_compiler_and_other_options_are_other_files(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "kernel.c"
    source.write_text(KERNEL.read_text(encoding="utf-8") + "/* changed */\n", encoding="utf-8")
    build.library()
    build.library(compact=True)
    monkeypatch.setattr(build, "KERNEL", source)
    build._loaded.clear()
    build.library()
    monkeypatch.setenv("CC", f"{build.compiler()[0]} -g")
    build._loaded.clear()
    build.library()
    assert len(list(home.glob("*.so"))) == 4


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(home: Path, mode: int) -> None:
    home.mkdir()
    home.chmod(mode)
    with pytest.raises(NoCompiler, match="not yours alone"):
        build.library()
    assert not build.is_built() and not list(home.iterdir())


def test_a_directory_of_somebody_else_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir(mode=0o700)
    somebody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    with pytest.raises(NoCompiler, match="not yours alone"):
        build.library()


def test_a_file_where_the_directory_should_be_is_no_compiler(home: Path) -> None:
    home.write_text("in the way")
    with pytest.raises(NoCompiler, match="check-strategy: File exists"):
        build.library()
    assert not build.is_built()


@needs_compiler
def test_a_directory_that_cannot_be_written_to_is_no_compiler(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(NoCompiler, match="Read-only file system"):
        build.library()


@needs_compiler
def test_a_full_disk_is_no_compiler(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(NoCompiler, match="No space left"):
        build.library()


@needs_compiler
def test_processes_that_build_at_the_same_time_all_succeed(home: Path) -> None:
    script = "from checker.search import build; assert build.library(); assert build.is_built()"
    command = [sys.executable, "-c", script]
    with ThreadPoolExecutor(3) as pool:
        every = list(pool.map(lambda _: subprocess.run(command, cwd=ROOT, capture_output=True, text=True), range(3)))
    assert [done.stderr for done in every] == [""] * 3
    assert len(list(home.iterdir())) == 2


# ---- no compiler ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", ["no-such-compiler", "no-such-compiler -O1"])
def test_a_chosen_compiler_that_is_not_there_is_named(home: Path, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", chosen)
    with pytest.raises(NoCompiler, match=f"“{chosen}”, which is not there"):
        build.library()
    assert not build.is_built()


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A compiler that writes half of its output and then gives up."""
    script = tmp_path / "bad-cc"
    script.write_text(
        "#!/bin/sh\nwhile [ $# -gt 1 ]; do [ $1 = -o ] && echo half > $2; shift; done\n"
        "echo 'kernel.c:1: note: before' >&2\necho 'kernel.c:7: error: too hard' >&2\n"
        "echo 'kernel.c:9: error: also this' >&2\nexit 1\n"
    )
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))
    yield script


def test_a_compiler_that_fails_is_quoted_and_nothing_is_left(home: Path, failing: Path) -> None:
    with pytest.raises(NoCompiler) as caught:
        build.library()
    assert str(caught.value) == f"{failing} cannot compile the search kernel: kernel.c:7: error: too hard"
    assert list(home.iterdir()) == [] and not build._loaded and not build.is_built()


def test_a_compiler_that_cannot_be_started_is_no_compiler(home: Path, failing: Path) -> None:
    failing.write_text("#!/no/such/interpreter\n")
    with pytest.raises(NoCompiler, match="No such file or directory"):
        build.library()
    assert list(home.iterdir()) == []


def test_what_is_built_but_cannot_be_loaded_is_no_compiler(home: Path, failing: Path) -> None:
    failing.write_text("#!/bin/sh\nwhile [ $# -gt 1 ]; do [ $1 = -o ] && echo text > $2; shift; done\n")
    with pytest.raises(NoCompiler, match="cannot be loaded"):
        build.library()


def absent(monkeypatch: pytest.MonkeyPatch, *, zig: bool) -> None:
    """No compiler on this machine, but perhaps zig from the package index."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    found = importlib.util.find_spec("json") if zig else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == "ziglang" else None)


def test_without_a_compiler_zig_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, zig=True)
    assert build.compiler() == [sys.executable, "-m", "ziglang", "cc"]


def test_without_any_compiler_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, zig=False)
    with pytest.raises(NoCompiler, match=r"there is no C compiler .*pip install"):
        build.library()


def test_a_compiler_with_options_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{sys.executable} -m something")
    assert build.compiler() == [sys.executable, "-m", "something"]

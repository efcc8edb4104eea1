"""Claims: whatever the harness says or does, this process answers with what was seen or with one sentence."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from checker.cli import main
from checker.silicon import machine, run
from checker.silicon.machine import CannotAsk, cpus, host
from checker.silicon.operations import Special
from checker.silicon.run import Cell, Failed, Observation, observe, read
from models.protocol import retry
from tests.silicon.small import on_silicon, table, trapping

COUNT = {"kind": "count", "before": 0, "after": 1, "site": 0, "seen": 0, "event": 1, "count": 7}
TORN = {
    "kind": "torn",
    "before": 0,
    "after": 1,
    "site": 0,
    "signal": 11,
    "known": 1,
    "landing": 5,
    "fetched": "e811527374",
    "memory": "e851527374",
    "count": 2,
}
THREAD = {"kind": "thread", "executions": 9, "traps": 1, "retries": 0, "forgotten": 0, "torn_trials": 2}
END = {"kind": "end", "trials": 3, "seconds": 0.5, "waits": -1}


def lines(*said: dict[str, object]) -> str:
    return "".join(json.dumps(one) + "\n" for one in said)


def test_what_the_harness_says_is_added_up() -> None:
    found = read(lines(COUNT, TORN, THREAD, COUNT, THREAD, END), 0)
    assert found.cells == {Cell(0, 1, 0, 0, 1): 14}
    assert found.executions == 18 and found.traps == 2 and found.trials == 3 and found.rate == 18
    assert found.torn_trials == 4 and found.torn[0].fetched == bytes.fromhex("e811527374") and found.torn[0].count == 2


def counts(executions: int, torn: int, forgotten: int = 0, retries: int = 0) -> Observation:
    """Seven executions that ran the old, and three that are torn."""
    cells = Counter({Cell(0, 1, 0, 0, 1): 7, Cell(0, 1, 0, 0, table("careful-call-to-call").special(Special.TORN)): 3})
    rows = [run.Torn(0, 1, 0, 11, None, b"\xe8" * 5, torn)]
    return Observation(cells, rows, [executions], forgotten=forgotten, retries=retries)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (counts(11, 3), "counted 10 of 11 executions"),
        (counts(9, 3), "counted 10 of 9 executions"),
        (counts(10, 2), "counted 3 torn executions, and then 2"),
        (counts(10, 3, forgotten=1), "counted 3 torn executions, and then 4"),
        (counts(10, 3, retries=2), "went back to a site 2 times"),
    ],
)
def test_counts_that_do_not_add_up_are_no_answer(found: Observation, says: str) -> None:
    with pytest.raises(Failed, match=says):
        run.add_up(found, table("careful-call-to-call"))


def test_counts_that_do_are() -> None:
    run.add_up(counts(10, 3), table("careful-call-to-call"))
    run.add_up(counts(10, 2, forgotten=1), table("careful-call-to-call"))
    assert table(trapping(retry)).goes_back and not table("careful-call-to-call").goes_back


def test_bytes_that_are_not_known_are_not_made_up() -> None:
    assert read(lines({**TORN, "known": 0}, THREAD, END), 0).torn[0].fetched is None


@pytest.mark.parametrize(
    ("said", "status", "says"),
    [
        (lines(COUNT, THREAD), 0, "left with status 0 before it said"),
        (lines(COUNT), -11, "was ended by signal 11"),
        (lines(END), 3, "left with status 3"),
        ("nonsense\n", 0, "“nonsense”, which is not understood"),
        (lines({"kind": "error", "what": "mmap: no room"}), 3, "stopped: mmap: no room"),
    ],
)
def test_a_harness_that_does_not_end_by_itself_has_failed(said: str, status: int, says: str) -> None:
    with pytest.raises(Failed, match=says):
        read(said, status)


def replaced(monkeypatch: pytest.MonkeyPatch, path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o700)
    monkeypatch.setattr(run, "build", lambda: path)


@pytest.mark.parametrize(
    ("script", "says"), [("kill -SEGV $$", "ended by signal 11"), ("echo '{\"kind\":'", "is not understood")]
)
def test_a_harness_that_dies_takes_nobody_along(
    script: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(monkeypatch, tmp_path / "dies", script)
    with pytest.raises(Failed, match=says):
        observe(table("nop-then-back"), [0, 1], 1, 0.1)


def test_a_harness_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, tmp_path / "hangs", "exec sleep 60")
    monkeypatch.setattr(run, "_GRACE", 0.3)
    with pytest.raises(Failed, match="still running after"):
        observe(table("nop-then-back"), [0, 1], 1, 0.1, patience=0.1)


@on_silicon
@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("nonsense 1\n", "a line of the program is not understood: nonsense"),
        ("operation dance 0 0\n", "a line of the program is not understood: dance"),
        ("cpu 1\n" * 300, "too large a program"),
        ("word 1\n" * 300, "too large a program"),
        ("action 1 9 1 1 0\n", "too large a program"),
        ("means-new 64\n", "a line of the program is not understood: means-new"),
        ("parent 1\n", "nobody is there to read what it says"),
    ],
)
def test_a_program_that_cannot_be_run_is_a_sentence(program: str, says: str) -> None:
    done = subprocess.run([run.build()], input=program, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 3 and json.loads(done.stdout) == {"kind": "error", "what": says}


@on_silicon
def test_who_asked_and_was_killed_leaves_no_harness_behind() -> None:
    """The harness would run for minutes."""
    asks = (
        "from checker.silicon.machine import cpus\n"
        "from checker.silicon.run import observe\n"
        "from tests.silicon.small import table\n"
        "observe(table('nop-then-back'), cpus(), 1 << 60, 300)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", asks], cwd=Path(__file__).parents[2])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("this kernel does not say who is whose child")
    try:
        started = eventually(lambda: "silicon-" in name_of(children.read_text(encoding="utf-8").strip()))
        child = children.read_text(encoding="utf-8").strip()
    finally:
        parent.kill()
        parent.wait()
    assert started and eventually(lambda: "silicon-" not in name_of(child))


def name_of(process: str) -> str:
    """What a process runs, or ""."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true within twenty seconds."""
    return any(condition() or time.sleep(0.05) for _ in range(400))


def test_no_more_cpus_are_used_than_the_harness_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(400)), raising=False)
    monkeypatch.setattr(machine, "membarrier", lambda: 0x1FF)
    monkeypatch.setattr(machine, "compiler", list)
    assert cpus() == list(range(256))


def test_the_compiled_harness_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ctypes")
    if machine.platform.machine() != "x86_64":
        pytest.skip("the harness is for x86-64")
    try:
        run.compiler()
    except run.NoCompiler as error:
        pytest.skip(str(error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = run.build()
    made = first.stat().st_mtime_ns
    assert run.build() == first and first.stat().st_mtime_ns == made
    monkeypatch.setattr(run, "OPTIONS", (*run.OPTIONS, "-g"))
    assert run.build() != first


@pytest.mark.parametrize("option", ["-std=none", "-include/nowhere.h"])
def test_a_harness_that_does_not_compile_is_a_sentence(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        run.compiler()
    except run.NoCompiler as error:
        pytest.skip(str(error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(run, "OPTIONS", (option,))
    with pytest.raises(CannotAsk, match=r"cannot compile the harness: .*error"):
        run.build()


REASONS = {
    "another system": ("on Linux on x86-64 only", lambda m: m.setattr(platform, "machine", lambda: "aarch64")),
    "one CPU": ("only one CPU", lambda m: m.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)),
    "no membarrier": ("no membarrier that serialises", lambda m: m.setattr(machine, "membarrier", lambda: 0)),
    "no compiler": (r"\$CC is “/nowhere/cc”", lambda m: m.setenv("CC", "/nowhere/cc")),
}


@pytest.mark.parametrize("why", REASONS)
def test_where_it_cannot_be_asked_there_is_a_sentence_and_status_4(
    why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(machine, "membarrier", lambda: 0x1FF)
    says, change = REASONS[why]
    change(monkeypatch)
    with pytest.raises(CannotAsk, match=says):
        cpus()
    assert main(["silicon", "nop-then-back"]) == 4
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("check-strategy: ") and said.err.count("\n") == 1


@on_silicon
def test_the_host_says_what_it_is() -> None:
    found = host()
    assert found.cpus >= 2 and found.kernel.startswith("Linux ") and "family" in found.family

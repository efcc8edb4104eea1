"""`check --watch`: what is saved is checked again, whatever the editor does, and only what has changed is told."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from checker.cli import main
from checker.verdict import check
from checker.watch import differences

ROOT = Path(__file__).parents[2]
SMALL = ("--cpus", "1", "--sites", "1", "--proof", "off")
MINE = """\
from models.protocol import Strategy, emulate_new, skip
from models.skeletons import int3_update

strategy = Strategy("mine", "says", "a test", steps=lambda sites: int3_update(sites, POLICY))
"""
HOLDS, SKIPS = MINE.replace("POLICY", "emulate_new"), MINE.replace("POLICY", "skip")


class Watching:
    """`check --watch` on a pipe: what it prints, as it comes."""

    def __init__(self, file: Path, *options: str) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{file.parent}"}
        command = [sys.executable, "-m", "checker.cli", "check", "--watch", str(file), *SMALL, *options]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def until_it_waits(self) -> str:
        """What is printed up to and with the line that says what is watched."""
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if re.match(r"\d\d:\d\d:\d\d  watching ", line):
                return said
        raise AssertionError(f"it has ended: {said}")

    def interrupted(self) -> int:
        """The status that Ctrl-C ends it with."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(HOLDS)
    return file


@pytest.fixture
def watching(file: Path) -> Iterator[Watching]:
    started = Watching(file)
    yield started
    started.process.kill()
    started.process.communicate()


def test_all_is_told_at_first_and_then_what_has_changed(file: Path, watching: Watching) -> None:
    first = watching.until_it_waits()
    assert "mine: says" in first and "searched" in first
    file.write_text(SKIPS)
    second = watching.until_it_waits()
    assert re.search(r"livepatch +old-or-new +verified +VIOLATED \(missed\) +new: 6 steps\n", second)
    assert re.search(r"tracing +old-or-new +verified +exposed \(missed\) +new: 6 steps\n", second)
    assert "searched" not in second and "no-torn-instruction" not in second
    file.write_text(HOLDS)
    assert re.search(
        r"livepatch +old-or-new +VIOLATED \(missed\) +verified +gone \(6 steps\)\n", watching.until_it_waits()
    )
    file.write_text(HOLDS + "# a remark\n")
    assert "no verdict and no trace's length has changed" in watching.until_it_waits()
    assert watching.interrupted() == 0


def test_it_ends_with_the_status_of_the_last_check(file: Path, watching: Watching) -> None:
    watching.until_it_waits()
    file.write_text(SKIPS)
    watching.until_it_waits()
    assert watching.interrupted() == 1


def test_a_file_that_is_replaced_is_seen(file: Path, watching: Watching) -> None:
    watching.until_it_waits()
    new = file.with_suffix(".new")
    new.write_text(SKIPS)
    os.utime(new, (file.stat().st_mtime, file.stat().st_mtime))  # even with the old time
    os.replace(new, file)
    assert "VIOLATED" in watching.until_it_waits()
    file.unlink()
    time.sleep(0.7)
    file.write_text(HOLDS)
    assert "gone (6 steps)" in watching.until_it_waits()


def test_a_file_that_does_not_work_is_told_and_watched_on(file: Path, watching: Watching) -> None:
    watching.until_it_waits()
    file.write_text(SKIPS.replace("steps=", "stops="))
    broken = watching.until_it_waits()
    assert re.search(rf"check-strategy: {file}:4: .*stops", broken) and "Traceback" not in broken
    file.write_text("strategy = (\n")
    assert "not valid Python" in watching.until_it_waits()
    file.write_text(SKIPS)  # compared with the last that worked
    assert "new: 6 steps" in watching.until_it_waits()
    file.write_text("strategy = (\n")
    watching.until_it_waits()
    assert watching.interrupted() == 3


def test_what_the_file_imports_from_its_folder_is_watched(file: Path) -> None:
    neighbour = file.with_name("our_policy.py")
    neighbour.write_text("from models.protocol import emulate_new as policy\n")
    file.write_text("from our_policy import policy\n" + MINE.replace("POLICY", "policy"))
    other = file.with_name("other.py")
    other.write_text("")
    watching = Watching(file)
    try:
        assert "and 1 file beside it" in watching.until_it_waits()
        other.write_text("1")  # nobody imports it
        neighbour.write_text("from models.protocol import skip as policy\n")
        assert "new: 6 steps" in watching.until_it_waits()
        neighbour.write_text("policy = nothing\n")
        assert "does not import: NameError" in watching.until_it_waits()
        neighbour.write_text("from models.protocol import emulate_new as policy\n")
        assert "gone (6 steps)" in watching.until_it_waits()
        assert watching.interrupted() == 0
    finally:
        watching.process.kill()
        watching.process.communicate()


def test_a_neighbour_that_never_worked_is_watched(file: Path) -> None:
    neighbour = file.with_name("our_policy.py")
    neighbour.write_text("policy = nothing\n")
    file.write_text("from our_policy import policy\n" + MINE.replace("POLICY", "policy"))
    watching = Watching(file)
    try:
        assert "does not import: NameError" in watching.until_it_waits()
        neighbour.write_text("from models.protocol import emulate_new as policy\n")
        assert "old-or-new           required  verified" in watching.until_it_waits()
    finally:
        watching.process.kill()
        watching.process.communicate()


def test_a_save_of_the_same_size_and_time_is_seen(file: Path, watching: Watching) -> None:
    os.utime(file, (10**9, 10**9))
    watching.until_it_waits()
    for policy in ("emulate_old", "emulate_new", "emulate_old"):
        new = file.with_suffix(".new")
        new.write_text(HOLDS.replace("emulate_new", policy))
        os.utime(new, (10**9, 10**9))
        os.replace(new, file)
        assert re.search("never-back.* steps", watching.until_it_waits())


def test_a_save_during_a_check_is_picked_up(file: Path) -> None:
    mark = file.with_name("begun")
    slow = f"import pathlib, time\npathlib.Path({str(mark)!r}).touch()\ntime.sleep(1)\n" + HOLDS
    file.write_text(slow)
    watching = Watching(file)
    try:
        until = time.monotonic() + 20
        while not mark.exists() and time.monotonic() < until:
            time.sleep(0.01)
        file.write_text(SKIPS)  # the old text is being run
        assert "old-or-new           required  verified" in watching.until_it_waits()
        assert "new: 6 steps" in watching.until_it_waits()
    finally:
        watching.process.kill()
        watching.process.communicate()


def test_ctrl_c_on_a_terminal(file: Path) -> None:
    arguments = ["-m", "checker.cli", "check", "--watch", str(file), *SMALL]
    child = pexpect.spawn(sys.executable, arguments, cwd=ROOT, dimensions=(50, 80), encoding="utf-8", timeout=30)
    child.expect("watching .*Ctrl-C ends")
    file.write_text(SKIPS)
    child.expect(r"new: 6 steps")
    child.expect("watching .*Ctrl-C ends")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nop-then-back"], "--watch is for files: “nop-then-back” is a shipped strategy"),
        (["./nowhere.py"], "there is no file nowhere.py to watch"),
        (["FILE", "--expected"], "--watch shows verdicts as they change"),
        (["FILE", "--json", "-"], "--json is about one check; --watch makes several"),
        (["FILE", "--machine", "x87"], "x87"),
    ],
)
def test_what_cannot_be_watched_is_refused(
    arguments: list[str], says: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--watch", *(str(file) if a == "FILE" else a for a in arguments)]) == 2
    assert says in capsys.readouterr().err


def test_a_trace_of_another_length_is_a_change() -> None:
    few, many = (check("batched-stubs-early", cpus=1, sites=sites) for sites in (1, 2))
    lengths = [len(result.violations[0].trace.steps) for result in (few, many)]
    assert lengths[0] != lengths[1]
    assert f"{lengths[0]} → {lengths[1]} steps" in differences(few, many)
    assert differences(few, few) == "no verdict and no trace's length has changed"

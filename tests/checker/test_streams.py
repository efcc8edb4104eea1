"""Where answers go: devices, pipes, links, streams that are closed or not UTF-8, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from checker.cli import main
from checker.report.files import write_atomically
from checker.report.text import command_of
from models.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["nop-then-back", "--cpus", "1", "--sites", "1"]
FILE = """\
from models.protocol import Claim, Release, Strategy, skip
print("loaded")
def steps(sites):
    print("run")
    yield Claim(skip, sites)
    yield Release()
strategy = Strategy("mine", "says", "source", steps=steps)
"""


def command(arguments: list[str], before: str = "", **more: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a shell, with redirections `before` it and variables of the environment."""
    line = f'"$@" {before}'
    words = ["sh", "-c", line, "sh", sys.executable, "-m", "checker.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(words, capture_output=True, env=environment, timeout=120, cwd=ROOT)


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_atomically(pipe, "text")
    reader.join(10)
    assert read == ["text"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("old")
    link.symlink_to(file)
    write_atomically(link, "new")
    assert link.is_symlink() and file.read_text() == "new"


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o600)
    write_atomically(file, "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.read_text() == "new"


def test_a_full_device_is_named(tmp_path: Path) -> None:
    link = tmp_path / "full"
    link.symlink_to("/dev/full")  # so that the device itself is safe from whatever is wrong
    with pytest.raises(OSError) as caught:
        write_atomically(link, "text")
    assert caught.value.filename == str(link) and link.is_char_device()


@pytest.mark.parametrize(
    "options", [["--json", "a", "--html", "./a"], ["--keep-generated", "k", "--json", "k"], ["--json", "mine.py"]]
)
def test_two_names_of_one_file_are_refused(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE)
    assert main(["./mine.py", *options]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["mine.py"] and Path("mine.py").read_text() == FILE
    assert "cannot both go to" in (said := capsys.readouterr().err) or "write over mine.py" in said


def test_other_commands_do_not_write_over_their_input_either(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    assert main(["export", f"{file}:mine", "--to", "promela", "-o", str(file)]) == 2
    assert main(["diff", "nop-then-back", str(file), "--json", str(file)]) == 2
    assert file.read_text() == FILE


# ---- streams --------------------------------------------------------------------------------------------------------


def test_what_a_file_prints_is_no_part_of_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    main([str(file), "--json", "-"])
    out, err = capsys.readouterr()
    assert json.loads(out)["schema"] == 1 and "loaded" in err and "run" in err


def test_a_stream_that_is_not_utf_8_gets_the_answer() -> None:
    found = command(SMALL, PYTHONIOENCODING="ascii")
    assert found.returncode == 1 and b"Trace 1: old-or-new" in found.stdout and found.stderr == b""
    found = command([*SMALL, "--json", "-"], LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert found.returncode == 1 and "“" in found.stdout.decode("utf-8") and json.loads(found.stdout)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_does_not_change_the_status(closed: str) -> None:
    assert command(SMALL, closed).returncode == 1
    found = command(["list"], closed)
    assert found.returncode == 0 and found.stderr == b""
    assert command(["nosuch"], closed).returncode == 2


def test_a_full_disk_has_no_name() -> None:
    found = command(["list"], ">/dev/full")
    assert found.returncode == 2 and found.stderr == b"check-strategy: No space left on device\n"


def test_what_a_file_raises_cannot_clear_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text("raise ValueError('\\x1b[2J')\n")
    assert main([str(file)]) == 3 and "\x1b" not in capsys.readouterr().err


# ---- commands -------------------------------------------------------------------------------------------------------


def test_the_command_of_a_check_is_quoted_and_has_its_use_case() -> None:
    said = command_of("./a b.py", Scenario(without=frozenset({"my sync; echo x"})), "livepatch")
    assert said == "check-strategy './a b.py' --use-case livepatch --without 'my sync; echo x'"


def test_a_page_says_by_what_it_was_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    main([*SMALL, "--use-case", "livepatch", "--html", str(page)])
    assert "check-strategy nop-then-back --use-case livepatch --cpus 1 --sites 1" in page.read_text()
    assert "--use-case livepatch" in capsys.readouterr().out.partition("replay ")[2]


@pytest.mark.parametrize("arguments", [["matrix", "text-poke-batch"], ["report", "DIR"]])
def test_an_interrupt_to_the_command_alone_ends_it(arguments: list[str], tmp_path: Path) -> None:
    words = [str(tmp_path / "report") if word == "DIR" else word for word in arguments]
    process = subprocess.Popen(
        [sys.executable, "-m", "checker.cli", *words], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 4 and err == b"check-strategy: interrupted before there was an answer\n"


def test_too_many_sites_are_a_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nop-then-back", "--sites", "1000"]) == 2
    assert capsys.readouterr().err == "check-strategy: at most 200 sites are possible, not 1,000\n"


def test_a_path_that_is_no_file_is_named_as_it_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "dir.py"
    folder.mkdir()
    assert main([str(folder)]) == 2 and capsys.readouterr().err.endswith("/dir.py is a directory\n")
    assert main([str(tmp_path / "noext")]) == 2 and capsys.readouterr().err.endswith("/noext\n")


def test_two_tables_of_verdicts_have_a_line_between_them(capsys: pytest.CaptureFixture[str]) -> None:
    main(["text-poke-batch", "--machine", "x86-intel-manual", "--sites", "1", "--cpus", "1", "--proof", "off"])
    lines = capsys.readouterr().out.splitlines()
    heads = [k for k, line in enumerate(lines) if line.startswith("property ")]
    assert len(heads) == 2 and lines[heads[1] - 1] == ""

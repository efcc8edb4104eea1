"""Completion: what may stand where follows from the parser and the library, and real shells ask for it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from checker import completion
from checker.cli import _parser, main
from checker.completion import SCRIPTS, complete
from checker.options import NAMES
from models.library import bug_lines, shipped
from models.machines.fetch import PRESETS
from models.properties import PROPERTIES
from models.scenario import TRANSITIONS

ROOT = Path(__file__).parents[2]


def found(line: str) -> list[str]:
    """What completes a line that begins after the command's name."""
    return complete(_parser(), line.split(" "))


# ---- what may stand where -------------------------------------------------------------------------------------------


def test_the_first_word_is_a_command_or_a_strategy() -> None:
    assert found("") == sorted({*NAMES, *shipped()})
    assert found("care") == sorted(name for name in shipped() if name.startswith("care"))
    assert set(NAMES) == set(completion._commands(_parser()))  # every command is in NAMES, and the other way


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("check ", shipped()),
        ("explain ", shipped()),
        ("catalogue nop-then-back ", shipped()),
        ("nop-then-back --machine ", PRESETS),
        ("matrix nop-then-back --machine x86-amd --machine ", PRESETS),
        ("nop-then-back --transition ", TRANSITIONS),
        ("bug ", bug_lines()),
        ("export nop-then-back --check ", PROPERTIES),
        ("export nop-then-back --to ", ("promela", "murphi")),
        ("completion ", SCRIPTS),
    ],
)
def test_values_are_those_of_the_library(line: str, values: list[str]) -> None:
    assert found(line) == sorted(values)


def test_options_are_those_of_the_command() -> None:
    commands = completion._commands(_parser())
    for name in NAMES:
        options = {word for action in commands[name]._actions for word in action.option_strings}
        assert found(f"{name} -") == sorted(options)
    assert found("nop-then-back --no") == []
    assert "--without" in found("nop-then-back --cpus 2 --w")


def test_an_option_and_its_value_in_one_word() -> None:
    assert found("nop-then-back --machine=x86-am") == ["--machine=x86-amd"]


def test_labels_are_those_of_the_strategy_on_the_line() -> None:
    assert found("careful-call-to-call --without sync") == ["sync-1", "sync-2", "sync-3"]
    assert found("explain stop-machine --without st") == ["stop", "store"]
    assert found("./mine.py --without ") == []


@pytest.mark.parametrize("line", ["nop-then-back --cpus ", "nop-then-back --json ", "new ", "nop-then-back extra"])
def test_where_anything_may_stand_there_is_no_answer(line: str) -> None:
    assert found(line) == []


def test_every_argument_completes_or_is_free() -> None:
    """An argument that is new and takes a strategy or a machine has to be called so."""
    free = {"file", "folder", "cpus", "sites", "rounds", "threads", "words", "output", "reference", "certificate"}
    for name, parser in completion._commands(_parser()).items():
        for action in parser._actions:
            if action.nargs == 0 or action.choices or isinstance(action, argparse._HelpAction):
                continue
            known = (
                action.dest in completion.VALUES or action.dest in free or action.metavar in ("FILE", "N", "S", "MIB")
            )
            assert known, f"{name}: {action.dest}"


def test_the_command_answers_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash", "--", "nop-then-back", "--cp"]) == 0
    assert capsys.readouterr().out == "--cpus\n"
    with pytest.raises(SystemExit, match="2"):
        main(["completion", "csh"])


# ---- real shells ----------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A folder with the command and nothing else of ours in it, and the scripts."""
    command = tmp_path / "bin" / "check-strategy"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m checker.cli "$@"\n')
    command.chmod(0o755)
    (tmp_path / "mine.py").write_text("")
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    for shell in SCRIPTS:
        script = subprocess.run(
            [command, "completion", shell], env=environment, capture_output=True, text=True, check=True
        )
        (tmp_path / f"script.{shell}").write_text(script.stdout)
    return environment


def needs(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell}")
    return path


def in_bash(environment: dict[str, str], line: str, word: str) -> list[str]:
    """What the function of the script makes of a line at whose end bash sees `word`."""
    code = (
        "source script.bash; COMP_LINE=$1 COMP_POINT=${#1}; "
        '_check_strategy check-strategy "$2" ""; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = [needs("bash"), "-c", code, "bash", line, word]
    done = subprocess.run(command, cwd=environment["HOME"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "word", "replies"),
    [
        ("check-strategy nop", "nop", ["nop-then-back"]),
        ("check-strategy nop-then-back --machine x86-am", "x86-am", ["x86-amd"]),
        ("check-strategy export stop-machine --check never", "never", ["never-back"]),
        ("check-strategy bug K1", "K1", sorted(name for name in bug_lines() if name.startswith("K1"))),
        ("check-strategy x --transition call:", "", ["call", "nop"]),  # bash takes `:` for a break
        ("check-strategy x --machine=x86-am", "x86-am", ["x86-amd"]),
        ("check-strategy list ", "", ["bugs", "machines", "properties", "strategies", "use-cases"]),
        ("check-strategy x --json ", "", []),
    ],
)
def test_bash(environment: dict[str, str], line: str, word: str, replies: list[str]) -> None:
    assert in_bash(environment, line, word) == replies


def typed(shell: str, arguments: list[str], environment: dict[str, str], setup: str, line: str, wanted: str) -> None:
    """Type a line and a tab into an interactive shell, and wait for what is to appear."""
    child = pexpect.spawn(
        needs(shell),
        arguments,
        cwd=environment["HOME"],
        env={**environment, "TERM": "xterm"},
        dimensions=(24, 200),
        encoding="utf-8",
        timeout=30,
    )
    child.sendline(setup)
    child.sendline("echo rea''dy")
    child.expect("ready")
    child.send(line + "\t")
    child.expect_exact(wanted)
    child.close(force=True)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("check-strategy nop-th", "nop-then-back"),
        ("check-strategy stop-machine --transition nop:", "nop:call"),
        ("check-strategy stop-machine --machine=x86-am", "--machine=x86-amd"),
        ("check-strategy ./mi", "./mine.py"),
    ],
)
@pytest.mark.parametrize(
    ("shell", "arguments", "setup"),
    [
        ("bash", ["--norc", "-i"], "source script.bash"),
        ("zsh", ["-f", "-i"], "autoload -U compinit; compinit -u; source script.zsh"),
        ("fish", ["--no-config", "-i"], "source script.fish"),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_a_tab_completes(
    environment: dict[str, str], shell: str, arguments: list[str], setup: str, line: str, wanted: str
) -> None:
    typed(shell, arguments, environment, setup, line, wanted)

"""Runs SPIN and rumur on exported models, and reads what they print."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import pytest

needs_spin = pytest.mark.skipif(not (shutil.which("spin") and shutil.which("gcc")), reason="needs spin and gcc")
needs_rumur = pytest.mark.skipif(not (shutil.which("rumur") and shutil.which("gcc")), reason="needs rumur and gcc")


@dataclass(frozen=True)
class Answer:
    """What a peer found: its states, our transitions, the messages of its errors."""

    states: int
    transitions: int
    errors: set[str] = field(default_factory=set)


def _run(command: list[str], where: Path, *, may_fail: bool = False) -> str:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, errors="replace", check=False)
    assert may_fail or done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def spin(text: str, *macros: str, cycles: bool = False, breadth_first: bool = False) -> Answer:
    """Run SPIN; `macros` are defined for the model. With `cycles`, look for acceptance cycles."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        (where / "model.pml").write_text(text, encoding="utf-8")
        _run(["spin", *(f"-D{macro}" for macro in macros), "-a", "model.pml"], where)
        flags = ["-DNOREDUCE", *([] if cycles else ["-DSAFETY"]), *(["-DBFS"] if breadth_first else [])]
        _run(["gcc", "-O0", "-w", *flags, "-o", "pan", "pan.c"], where)
        search = ["-a"] if cycles else ["-c0"]
        out = _run(["./pan", "-E", "-w18", "-m1000000", *search], where, may_fail=True)
    assert "max search depth too small" not in out and "out of memory" not in out, out
    stored, matched = (int(_found(rf"(\d+) states, {word}", out)) for word in ("stored", "matched"))
    return Answer(stored, stored + matched - 1, set(re.findall(r"^pan:\d+: (.+?) \(at depth", out, re.MULTILINE)))


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, f"no {pattern!r} in:\n{text}"
    return match[1]


def rumur(text: str) -> Answer:
    """Run rumur, past every error."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        (where / "model.m").write_text(text, encoding="utf-8")
        options = ["--deadlock-detection", "off", "--counterexample-trace", "off", "--max-errors", "100000000"]
        options += ["--output-format", "machine-readable", "--threads", "1", "--output", "model.c", "model.m"]
        _run(["rumur", *options], where)
        _run(["gcc", "-std=c11", "-O0", "-w", "-mcx16", "-o", "model", "model.c", "-lpthread"], where)
        out = _run(["./model"], where, may_fail=True)
    root = ElementTree.fromstring(out)
    summary = root.find("summary")
    assert summary is not None, out
    errors = {message.text or "" for message in root.iter("message")}
    return Answer(int(summary.attrib["states"]), int(summary.attrib["rules_fired"]), errors)

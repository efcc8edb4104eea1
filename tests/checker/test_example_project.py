"""The example of a user's project works as it stands, and its tests fail with a useful message once the strategy is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "example-project"
STRATEGY = Path("strategies") / "old_until_written.py"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    copy = tmp_path / "project"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return copy


def outcome_of(project: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)


def test_its_tests_pass(project: Path) -> None:
    done = outcome_of(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_without_a_sync_its_tests_say_what_breaks_and_how(project: Path) -> None:
    file = project / STRATEGY
    whole = file.read_text(encoding="utf-8")
    broken = whole.replace("    yield Sync()\n", "", 1)
    assert broken != whole
    file.write_text(broken, encoding="utf-8")
    done = outcome_of(project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "old-until-written does not hold: violated: no-torn-instruction/torn (livepatch)" in done.stdout
    assert "Trace 1: no-torn-instruction (torn), 5 steps" in done.stdout
    assert "old_until_written.py:" in done.stdout and "no-torn-instruction/torn is violated" in done.stdout
    assert "  => no-torn-instruction/torn is broken" in done.stdout  # the random interleavings find it, too
    assert "checker/testing.py" not in done.stdout  # of our own functions a user's test shows nothing

"""Claims: every published bug is found as it was published, and its fix holds; a bug that is told wrongly is noticed."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from checker.bugs import examine
from checker.cli import main
from checker.report.layout import WIDTH
from models.bug import Bug
from models.library import bug_lines, bugs
from models.properties import COMPLETES
from models.protocol import Expect
from models.system.errors import ModelError

FILES = sorted(path for path in (Path(__file__).parents[2] / "models" / "bugs").glob("*.py") if path.stem != "__init__")
VOCABULARY = (
    "models.bug",
    "models.protocol",
    "models.skeletons",
    "models.strategies",
    "models.program",
    "models.assembly",
    "models.properties",
    "collections.abc",
)


@pytest.mark.parametrize("name", bugs())
def test_it_is_found_as_published_and_gone_with_the_fix(name: str) -> None:
    found = examine(bugs()[name])
    assert found.ok, found.difference
    assert found.trace is not None
    assert found.trace.property == found.bug.breaks.partition("/")[0]
    assert list(found.at) == sorted({k for k in found.at if k is not None})
    if found.after.model.system.components:  # otherwise there is no number of CPUs to speak of
        assert set(found.unproved) <= {COMPLETES}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_bug_is_one_short_file_in_the_public_vocabulary(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").startswith(VOCABULARY)
        assert not isinstance(node, ast.Import)


def test_the_first_line_of_a_file_names_its_bug() -> None:
    assert list(bug_lines()) == list(bugs())
    assert all(says.endswith(".") for says in bug_lines().values())


def test_every_file_is_in_the_list() -> None:
    assert {path.stem for path in FILES} == {name.lower() for name in bugs()}


def test_a_fix_that_fixes_nothing_is_noticed() -> None:
    bug = bugs()["K1"]
    found = examine(replace(bug, after=bug.before), proof=False)
    assert "after the fix: old-or-new/missed is violated" in found.difference


def test_a_bug_that_is_none_is_noticed() -> None:
    bug = bugs()["K1"]
    found = examine(replace(bug, before=bug.after), proof=False)
    assert "before the fix: old-or-new/missed is not violated" in found.difference
    assert found.trace is None


def test_a_story_that_the_trace_does_not_tell_is_noticed() -> None:
    bug = bugs()["K1"]
    for shows in (["nothing of the kind"], list(reversed(bug.shows))):
        assert "no step of the trace says" in examine(replace(bug, shows=shows), proof=False).difference


def test_another_kind_of_the_property_is_another_bug() -> None:
    bug = bugs()["K1"]
    found = examine(replace(bug, found=replace(bug.found, violated=["old-or-new/else"])), proof=False)
    assert found.trace is None and "old-or-new/else is not violated" in found.difference


def test_a_bug_has_to_say_what_breaks() -> None:
    bug: Bug = bugs()["K1"]
    with pytest.raises(ModelError, match="which property"):
        replace(bug, found=Expect())
    with pytest.raises(ModelError, match="what has its trace"):
        replace(bug, shows=[])


def test_the_command_shows_the_published_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bug", "k8"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n»") == len(bugs()["K8"].shows)
    assert "proved for any number of CPUs" in out
    assert max(map(len, out.splitlines())) <= WIDTH


def test_an_unknown_bug_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bug", "K999"]) == 2
    assert "K37" in capsys.readouterr().err

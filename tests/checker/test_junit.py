"""Claims: JUnit XML that Jenkins' schema accepts and whose colours are those of the exit status."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
import xmlschema

from checker.bugs import Examined, examine
from checker.catalogue import Met, run
from checker.cli import main
from checker.report.junit import render, render_catalogue
from checker.search.result import Limits
from checker.verdict import check
from models.library import bugs
from models.properties import PROPERTIES
from models.protocol import USE_CASES
from tests.checker.test_cli import SMALL, VACUOUS
from tests.support import checked

DATA = Path(__file__).parents[1] / "data"


@cache
def schema() -> Any:
    return xmlschema.XMLSchema(str(DATA / "junit-10.xsd"))


def read(text: str) -> Element:
    schema().validate(text)
    return ElementTree.fromstring(text)


def outcomes(root: Element) -> dict[tuple[str, str], str]:
    """What became of each test: failure, error, skipped, or "" where it passed."""
    return {
        (test.get("classname", ""), test.get("name", "")): next(
            (child.tag for child in test if child.tag in ("failure", "error", "skipped")), ""
        )
        for test in root.iter("testcase")
    }


def counts_are_right(root: Element) -> None:
    for suite in root.iter("testsuite"):
        found = list(outcomes(suite).values())
        told = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
        assert told == [str(n) for n in (len(found), *(found.count(o) for o in ("failure", "error", "skipped")))]


def test_there_is_a_test_for_each_use_case_and_property() -> None:
    root = read(render(checked("nop-then-back"), "nop-then-back"))
    counts_are_right(root)
    found = outcomes(root)
    assert list(found) == [(f"nop-then-back.{u}", p) for u in USE_CASES for p in PROPERTIES]
    assert [key for key, outcome in found.items() if outcome] == [("nop-then-back.livepatch", "old-or-new")]


def test_a_failure_says_why_and_shows_the_trace_and_an_exposure_shows_it_too() -> None:
    root = read(render(checked("nop-then-back"), "nop-then-back"))
    failed, exposed = (t for t in root.iter("testcase") if t.get("name") == "old-or-new")
    failure = failed.find("failure")
    assert failure is not None and failure.get("type") == "missed"
    assert "nobody was called" in failure.get("message", "")
    for test in (failed, exposed):
        assert "CPU 0's handler skips the instruction" in test.findtext("system-out", "")
    assert exposed.find("failure") is None


def test_what_is_unknown_is_an_error_where_it_is_required() -> None:
    root = read(render(check("nop-then-back", limits=Limits(states=50), use_case="livepatch"), "nop-then-back"))
    counts_are_right(root)
    found = {name: outcome for (_, name), outcome in outcomes(root).items()}
    assert found == {name: "skipped" if name == "never-back" else "error" for name in PROPERTIES}


def test_what_was_never_put_to_the_test_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "vacuous.py"
    file.write_text(VACUOUS.replace("EXPECT", "Expect()"), encoding="utf-8")
    assert main([str(file), *SMALL, "--junit", "-"]) == 5
    root = read(capsys.readouterr().out)
    assert outcomes(root)["never-traps.livepatch", "traps-claimed"] == "skipped"
    assert "failure" not in outcomes(root).values()


def test_what_no_file_can_hold_is_replaced() -> None:
    result = checked("nop-then-back")
    trace = replace(result.traces[0], why="a \x00 bell \x07 & <tag> \ud800")
    text = render(replace(result, traces=[trace]), "a\x1b<b>")
    assert "a � bell � & <tag> �" in [f.get("message") for f in read(text).iter("failure")]


# ---- the catalogue --------------------------------------------------------------------------------------------------


@cache
def expectations() -> tuple[Met, ...]:
    return tuple(run(["nop-then-back"]))


@cache
def examined() -> Examined:
    return examine(bugs()["K7"], proof=False)


def test_the_catalogue_has_a_test_for_each_expectation_and_bug() -> None:
    root = read(render_catalogue(expectations(), [examined()]))
    counts_are_right(root)
    assert len(outcomes(root)) == len(expectations()) + 1
    assert set(outcomes(root).values()) == {""}


def test_what_is_not_as_declared_fails() -> None:
    unmet, unknown, vacuous = (
        replace(expectations()[0], difference="old-or-new is not violated"),
        replace(expectations()[1], difference="old-or-new is unknown", inconclusive=True),
        replace(expectations()[2], vacuous="traps-claimed: no CPU ever traps"),
    )
    root = read(render_catalogue([unmet, unknown, vacuous], [replace(examined(), difference="it holds")]))
    counts_are_right(root)
    assert list(outcomes(root).values()) == ["failure", "error", "skipped", "failure"]
    assert [f.get("message") for f in root.iter("failure")] == ["old-or-new is not violated", "it holds"]
    assert "claims traps" in next(root.iter("system-out")).text  # type: ignore[operator]


def test_the_command_writes_it_for_the_catalogue_and_with_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.xml"
    assert main(["catalogue", "nop-then-back", "--junit", str(file)]) == 0
    assert "expectations are met" in capsys.readouterr().out
    assert list(outcomes(read(file.read_text(encoding="utf-8")))) == list(
        outcomes(read(render_catalogue(expectations(), [])))
    )
    assert main(["check", "--expected", "nop-then-back", "--junit", "-"]) == 0
    assert len(outcomes(read(capsys.readouterr().out))) == len(expectations())


@pytest.mark.slow
def test_the_whole_catalogue_has_every_bug_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "--junit", "-"]) == 0
    root = read(capsys.readouterr().out)
    assert {group for group, _ in outcomes(root) if group.startswith("bugs.")} == {f"bugs.{name}" for name in bugs()}


# ---- standard output ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [("json", "sarif"), ("itf", "junit"), ("html", "json")])
def test_two_answers_cannot_share_standard_output(others: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nop-then-back", *SMALL, f"--{others[0]}", "-", f"--{others[1]}", "-"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "standard output" in err and all(f"--{name}" in err for name in others)


def test_two_answers_cannot_share_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answer"
    assert main(["nop-then-back", *SMALL, "--json", str(file), "--sarif", str(file)]) == 2
    assert main(["catalogue", "nop-then-back", "--json", "-", "--junit", "-"]) == 2
    assert not file.exists() and capsys.readouterr().out == ""


def test_several_checks_have_no_sarif(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--expected", "nop-then-back", "--sarif", "-"]) == 2
    assert "--sarif is about one check" in capsys.readouterr().err


def test_a_damaged_answer_is_refused() -> None:
    text = render(checked("nop-then-back"), "nop-then-back")
    assert schema().is_valid(text)
    assert not schema().is_valid(text.replace('name="old-or-new"', ""))
    assert not schema().is_valid(text.replace("<failure", "<fault").replace("</failure", "</fault"))

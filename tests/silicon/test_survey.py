"""Claims: the survey asks what it says, finds the nearest preset, and its page says what its data says."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from checker.report import silicon as report
from checker.report import silicon_page as pages
from checker.silicon import survey as module
from checker.silicon.compare import compare
from checker.silicon.machine import cpus
from checker.silicon.operations import ALIGNMENTS, SYNCS
from checker.silicon.run import Cell, Observation
from checker.silicon.survey import ASKED, LITMUS, ORDER, Litmus, Row, Survey, allows, count, survey
from models.machines.fetch import X86_PRESETS, machine
from models.properties import BACK, STALE, TORN
from tests.silicon.small import on_silicon

DATA = sorted((Path(__file__).parents[2] / "docs" / "silicon").glob("*.json"))
SURVEYS = [path for path in DATA if "survey" in json.loads(path.read_text(encoding="utf-8"))]
SOME = ("x86-linux", "x86-amd", "x86-coherent")  # presets that are asked anew
BY_NAME = {litmus.name: litmus for litmus in LITMUS}


@pytest.mark.parametrize("litmus", LITMUS, ids=lambda litmus: litmus.name)
def test_every_preset_can_be_asked_every_question(litmus: Litmus) -> None:
    asked = list(litmus.questions())
    assert len(asked) == len(litmus.aligned) * len(litmus.synced) and set(litmus.asks) <= set(ASKED)
    assert set(litmus.synced) <= set(SYNCS) and set(litmus.aligned) <= set(ALIGNMENTS)
    for preset in X86_PRESETS.values():
        assert asked[0].allowed(preset).phases


@pytest.mark.parametrize(
    ("litmus", "asks", "preset", "allowed"),
    [
        ("one-store", TORN, "x86-linux", True),
        ("one-store", TORN, "x86-coherent", False),
        ("one-store", TORN, "x86-stale-instruction", False),
        ("one-store", BACK, "x86-stale-instruction", True),
        ("one-store", BACK, "x86-buffered", False),
        ("one-store", STALE, "x86-buffered", True),
        ("one-store", STALE, "x86-coherent", False),
        ("four-stores", TORN, "x86-coherent", True),
        ("first-sync", TORN, "x86-amd", False),
        ("first-sync", TORN, "x86-linux", True),
        ("two-sites", ORDER, "x86-linux", True),
        ("two-sites", ORDER, "x86-amd", False),
        ("after-trap", BACK, "x86-linux", False),
        ("after-trap", BACK, "x86-conservative", True),
        ("synced", STALE, "x86-linux", False),
        ("synced", STALE, "x86-intel-manual", True),
    ],
)
def test_what_presets_allow(litmus: str, asks: str, preset: str, allowed: bool) -> None:
    asked = next(BY_NAME[litmus].questions())
    assert allows(asks, asked.allowed(X86_PRESETS[preset])) is allowed


def test_a_line_is_a_boundary_where_a_machine_says_so() -> None:
    line = machine("x86-linux,granularity=line,store-atomicity=line")
    found = {q.setting.align: allows(TORN, q.allowed(line)) for q in BY_NAME["one-store"].questions()}
    assert found == {"within-8": False, "within-line": False, "across-line": True, "across-page": True}


def test_a_younger_store_seen_before_an_older_one_is_counted() -> None:
    """Site 0 is stored to first. Who has run the new at site 1 (mask 2) and runs the old at site 0 saw them in disorder."""
    allowed = next(BY_NAME["two-sites"].questions()).allowed()
    old, new = 1, 2
    cells = {
        (0, 1, 0, 2, old): 3,
        (0, 1, 0, 2, new): 5,
        (0, 1, 1, 2, old): 7,
        (0, 1, 0, 1, old): 11,
        (0, 1, 0, 0, old): 13,
    }
    seen = Counter({Cell(*key): n for key, n in cells.items()})
    found = compare(allowed, Observation(seen, threads=[1], trials=1, seconds=1.0))
    assert count(ORDER, found) == 3 and count(BACK, found) == 7 + 11


def row(seen: int, *allowed: str, promised: bool = True) -> Row:
    yes = {name: name in allowed for name in X86_PRESETS}
    return Row("one-store", "one store", TORN, "within-8", "membarrier", seen, 2 * seen, 10, 100, yes, promised)


def test_the_nearest_preset_allows_all_that_was_seen_and_least_else() -> None:
    made = Survey([row(1, "x86-linux", "x86-amd"), row(0, "x86-linux"), row(0, "x86-amd", promised=False)])
    made.not_allowed["x86-coherent"] = 1
    for name in X86_PRESETS:
        made.not_allowed.setdefault(name, 0)
        if name not in ("x86-linux", "x86-amd"):
            made.not_allowed[name] = 1
    assert made.nearest == ["x86-amd"] and made.too_wide("x86-linux") == 1
    made.not_allowed["x86-amd"] = 2
    assert made.nearest == ["x86-linux"]
    made.not_allowed["x86-linux"] = 1
    assert made.nearest == [] and made.sound == []


HOST = {"cpu": "C", "family": "F", "microcode": "M", "cpus": 2, "kernel": "Linux 6", "hypervisor": "KVM"}


def test_text_and_page_say_what_was_seen_and_who_contradicts_it() -> None:
    made = Survey([row(4, "x86-linux")])
    made.not_allowed["x86-coherent"] = 4
    survey = report.survey_json(made)
    page = pages.page({"host": HOST, "command": "c", "date": "d", "survey": survey})
    cells = next(line for line in page.splitlines() if line.startswith("| within-8")).strip("| ").split(" | ")
    assert (
        cells[2:4] == ["4 in 8", "10"]
        and cells[4] == "x"
        and cells[4 + list(X86_PRESETS).index("x86-coherent")] == "**no**"
    )
    assert "x86-coherent (4)" in page and "by `c`" in page
    text = report.survey_text(survey)
    assert all(len(line) <= 80 for line in text.splitlines()) and "one store: a torn instruction" in text


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_collected_pages_say_what_their_data_says(path: Path) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    assert path.with_suffix(".md").read_text(encoding="utf-8") == pages.page(values)


@pytest.mark.parametrize("path", SURVEYS, ids=lambda path: path.stem)
def test_nothing_collected_contradicts_the_default_machine(path: Path) -> None:
    survey = json.loads(path.read_text(encoding="utf-8"))["survey"]
    assert not survey["not_allowed"]["x86-linux"] and "x86-linux" in survey["not_allowed"]
    assert not [r for r in survey["rows"] if r["promised"] and r["seen"] and not r["allowed"]["x86-linux"]]


@pytest.mark.parametrize("path", SURVEYS, ids=lambda path: path.stem)
def test_collected_data_has_the_questions_and_answers_of_today(path: Path) -> None:
    """What presets allow is computed anew; a changed preset or question asks for a new survey."""
    rows = json.loads(path.read_text(encoding="utf-8"))["survey"]["rows"]
    expected = []
    for litmus in LITMUS:
        for asked in litmus.questions():
            bare = asked if asked.setting.sync in ("membarrier", "signal") else asked.without("sync-1")
            for asks in litmus.asks:
                allowed = {name: allows(asks, bare.allowed(X86_PRESETS[name])) for name in SOME}
                expected.append((litmus.name, asks, asked.setting.align, asked.setting.sync, allowed))
    found = [{name: r["allowed"][name] for name in SOME} for r in rows]
    keys = ("litmus", "asks", "align", "sync")
    assert [(*(r[k] for k in keys), some) for r, some in zip(rows, found, strict=True)] == expected


@pytest.mark.parametrize("path", sorted(set(DATA) - set(SURVEYS)), ids=lambda path: path.stem)
def test_nor_does_any_strategy_that_was_run(path: Path) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    runs = [outcome for a in values.get("strategies", []) for run in a["runs"] for outcome in run["outcomes"]]
    not_allowed = [outcome["not_allowed"] for outcome in runs] + [v["not_allowed"] for v in values.get("variants", [])]
    assert not_allowed and not any(not_allowed)


@on_silicon
def test_a_short_survey_contradicts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [replace(BY_NAME[name], aligned=("across-line",)) for name in ("four-stores", "synced")]
    monkeypatch.setattr(module, "LITMUS", some)
    said: list[str] = []
    made = survey(cpus(), 5_000, 1.0, said.append)
    assert len(said) == sum(len(l.aligned) * len(l.synced) for l in some) and len(made.rows) == len(said)
    assert not made.not_allowed["x86-linux"] and "x86-linux" in made.sound
    assert all(r.trials and r.executions for r in made.rows)
    assert {r.sync for r in made.rows if not r.promised} == {"barrier", "bare-signal", "none"}


def test_a_survey_races_as_often_as_it_can() -> None:
    """A race needs trials, and a pause that makes room for whole executions costs two of three."""
    (asked, *_) = next(litmus for litmus in LITMUS if litmus.name == "one-store").questions()
    longest = [line for line in asked.allowed().table.text([0, 1], 1, 1, 1).splitlines() if line.startswith("run ")]
    assert asked.setting.brief and longest[0].split()[6:8] == ["64", "64"]

"""Claims: SARIF that the standard's schema accepts, which points at the line that did it and survives that it moves."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from jsonschema import Draft202012Validator

from checker.cli import main
from checker.report.sarif import render
from checker.verdict import CheckResult, check
from models.library import bugs, scenario_of
from models.properties import PROPERTIES
from tests.checker.test_cli import VACUOUS
from tests.support import checked

DATA = Path(__file__).parents[1] / "data"
SMALL = ("--cpus", "1", "--sites", "1")

MINE = """\
from models.protocol import TRAP, Claim, Release, Strategy, Sync, Write, skip


def steps(sites):
    yield Claim(skip, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    for site in sites:
        yield Write(site.tail, site.new)
    yield Sync()
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Sync()
    yield Release()


strategy = Strategy("mine", "says", "a test", steps=steps)
"""
TRAPS = "        yield Write(site.first_byte, TRAP)"


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads((DATA / "sarif-schema-2.1.0.json").read_text(encoding="utf-8")))


def run_of(result: CheckResult, name: str = "x") -> Any:
    values = json.loads(render(result, name))
    validator().validate(values)
    (run,) = values["runs"]
    return run


def own(folder: Path, source: str = MINE, name: str = "my strategy.py", *options: str) -> Any:
    """The run for a file of one's own in the current folder."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(source, encoding="utf-8")
    assert main([f"./{name}", *SMALL, *options, "--sarif", str(folder / "out.sarif")]) in (0, 1, 4, 5)
    values = json.loads((folder / "out.sarif").read_text(encoding="utf-8"))
    validator().validate(values)
    return values["runs"][0]


def levels(run: Any) -> dict[tuple[str, str], str]:
    return {(r["ruleId"], use): r["level"] for r in run["results"] for use in r["properties"]["useCases"]}


def place(result: Any) -> tuple[str, int, str | None]:
    physical = result["locations"][0]["physicalLocation"]
    artifact = physical["artifactLocation"]
    return unquote(artifact["uri"]), physical["region"]["startLine"], artifact.get("uriBaseId")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- what is in it --------------------------------------------------------------------------------------------------


def test_every_property_is_a_rule_with_its_sentence() -> None:
    rules = run_of(checked("permanent", cpus=1, sites=1))["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(PROPERTIES)
    said = [rule["shortDescription"]["text"].rstrip(".").casefold() for rule in rules]
    assert said == [says.casefold() for says in PROPERTIES.values()]


def test_what_holds_has_no_result() -> None:
    run = run_of(checked("careful-call-to-call", cpus=1, sites=1))
    assert run["results"] == []
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 0}]


def test_violated_is_an_error_and_exposed_a_note() -> None:
    run = run_of(checked("nop-then-back"))
    assert levels(run) == {("old-or-new", "livepatch"): "error", ("old-or-new", "tracing"): "note"}
    assert run["invocations"][0]["exitCode"] == 1
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert "nobody was called" in result["message"]["text"]


def test_use_cases_that_agree_share_a_result() -> None:
    result = checked("careful-call-to-call", without=("claim",), cpus=1, sites=1)
    run = run_of(result)
    assert [r["ruleId"] for r in run["results"]] == [v.property for v in result.results[0].violated]
    assert all(r["properties"]["useCases"] == ["livepatch", "tracing"] for r in run["results"])


def test_a_limit_is_a_warning_for_each_property_and_a_failed_invocation(here: Path) -> None:
    run = own(here, MINE, "limited.py", "--max-states", "5")
    assert {r["ruleId"] for r in run["results"]} == set(PROPERTIES)
    assert set(levels(run).values()) == {"warning"}
    (invocation,) = run["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 4)
    assert "more than 5 states" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_what_was_never_put_to_the_test_is_a_warning(here: Path) -> None:
    run = own(here, VACUOUS.replace("EXPECT", "Expect()"), "vacuous.py")
    found = {r["ruleId"]: r for r in run["results"]}
    assert found["traps-claimed"]["level"] == "warning"
    assert found["traps-claimed"]["message"]["text"].startswith("No CPU ever traps.")
    assert run["invocations"][0]["exitCode"] == 5


# ---- where ----------------------------------------------------------------------------------------------------------


def test_a_result_is_at_the_last_own_step_of_the_trace(here: Path) -> None:
    line = MINE.splitlines().index(TRAPS) + 1
    for result in own(here)["results"]:
        assert place(result) == ("my strategy.py", line, "SRCROOT")
        region = result["locations"][0]["physicalLocation"]["region"]
        assert region["snippet"]["text"] == TRAPS.strip()


def test_the_base_is_the_current_folder(here: Path) -> None:
    base = own(here)["originalUriBaseIds"]["SRCROOT"]["uri"]
    assert base == here.resolve().as_uri() + "/"


def test_a_step_that_a_library_takes_is_shown_where_the_strategy_is_declared(here: Path) -> None:
    source = MINE.split("def steps")[0] + (
        "from models.skeletons import int3_update\n\n"
        'strategy = Strategy("mine", "says", "a test", steps=lambda sites: int3_update(sites, skip))\n'
    )
    (error, *_) = own(here, source, "short.py")["results"]
    assert place(error) == ("short.py", len(source.splitlines()), "SRCROOT")


def test_a_file_that_is_not_below_has_its_whole_address(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("elsewhere") / "mine.py"
    file.write_text(MINE, encoding="utf-8")
    for result in run_of(check(str(file), cpus=1, sites=1))["results"]:
        uri, line, base = place(result)
        assert (uri, base) == (file.as_uri(), None)
        assert line == MINE.splitlines().index(TRAPS) + 1


# ---- the trace ------------------------------------------------------------------------------------------------------


def test_the_code_flow_is_the_trace_in_its_order() -> None:
    result = checked("nop-then-back")
    (trace,) = result.traces
    for found in run_of(result)["results"]:
        (flow,) = found["codeFlows"]
        (thread,) = flow["threadFlows"]
        steps = thread["locations"]
        assert [s["executionOrder"] for s in steps] == list(range(1, len(trace.steps) + 1))
        assert [s["location"]["message"]["text"].rstrip(".") for s in steps] == [s.says for s in trace.steps]
        assert [s["location"]["logicalLocations"][0]["name"] for s in steps] == [s.actor for s in trace.steps]
        for step, told in zip(steps, trace.steps, strict=True):
            assert step["state"]["site 0"]["text"] == f"{told.bytes[0].memory} = {told.bytes[0].decoded}"
        lines = [s["location"]["physicalLocation"]["region"]["startLine"] for s in steps]
        mine = [s.where.line for s in trace.steps if s.instance is None]
        assert lines == mine + mine[-1:] * (len(steps) - len(mine)), "a CPU moves at the own step that came last"
        assert "e8/cc" in steps[-1]["state"]["site 0 for cpu 0"]["text"]


def test_a_lasso_says_where_it_begins_to_repeat() -> None:
    result = checked("waits-for-handlers-under-the-trap", sites=1)
    (trace,) = (t for t in result.traces if t.cycle)
    (found,) = (r for r in run_of(result)["results"] if r["ruleId"] == trace.property)
    steps = found["codeFlows"][0]["threadFlows"][0]["locations"]
    said = ["for ever" in s["location"]["message"]["text"] for s in steps]
    assert said.index(True) == len(trace.steps) - trace.cycle and said.count(True) == 1


def test_a_program_points_at_its_own_lines() -> None:
    bug = bugs()["K9"]
    result = check(bug.before, scenario_of(bug.before, bug.found))
    (error,) = run_of(result)["results"]
    assert place(error)[0].endswith("models/bugs/k9.py")
    last = [s.where.line for s in result.traces[0].steps if s.instance is None][-1]
    assert place(error)[1] == last


# ---- the same finding again -----------------------------------------------------------------------------------------


def prints(run: Any) -> list[str]:
    return [value for r in run["results"] for value in r["partialFingerprints"].values()]


def test_fingerprints_stay_when_lines_move_and_differ_between_findings(here: Path) -> None:
    first = own(here)
    moved = own(here, "# a remark\n\n\n" + MINE, "other.py")
    assert prints(first) == prints(moved) and len(set(prints(first))) == len(prints(first)) == 2
    assert [place(r)[1] + 3 for r in first["results"]] == [place(r)[1] for r in moved["results"]]


def test_fingerprints_change_with_the_scenario(here: Path) -> None:
    one, other = own(here), own(here, MINE, "my strategy.py", "--nmi")
    assert levels(one).items() <= levels(other).items() and not set(prints(one)) & set(prints(other))


def test_each_scenario_has_a_place_of_its_own(here: Path) -> None:
    ids = {own(here, MINE, "my strategy.py", *more)["automationDetails"]["id"] for more in ((), ("--nmi",))}
    assert len(ids) == 2


# ---- it can fail ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["message", "ruleId", "level", "locations", "codeFlows", "partialFingerprints"])
def test_a_damaged_answer_is_refused(member: str) -> None:
    values = json.loads(render(checked("nop-then-back"), "x"))
    assert validator().is_valid(values)
    values["runs"][0]["results"][0][member] = 1
    assert not validator().is_valid(values)

"""The command as a user and as a script meets it: statuses, widths, JSON, limits, interruption, files."""

from __future__ import annotations

import json
import os
import shlex
import stat
import textwrap
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from checker import catalogue as catalogue_module
from checker import commands, options, verdict
from checker.cli import main
from checker.options import SEVERITY, worst
from checker.report.files import write, write_atomically
from checker.search import engine
from models.library import shipped
from models.machines.fetch import PRESETS, X86_PRESETS
from models.properties import PROPERTIES, is_required
from models.protocol import USE_CASES

SMALL = ["--cpus", "1", "--sites", "1"]
TRACED = ["nop-then-back", *SMALL]

VACUOUS = """\
from models.protocol import TRAP, Claim, Expect, Release, ResumeMachine, StopMachine, Strategy, Write, emulate_new


def steps(sites):
    yield Claim(emulate_new, sites)
    yield StopMachine()
    yield Write(sites[0].first_byte, TRAP)
    yield Write(sites[0].whole, sites[0].new)
    yield ResumeMachine()
    yield Release()


strategy = Strategy("never-traps", "the trap byte is gone before anybody moves", "a test", steps=steps, expects=[EXPECT])
"""


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def answer(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    """Exit status and what `--json -` prints, which has to be nothing but JSON on one line."""
    status, out, err = run([*arguments, "--json", "-"], capsys)
    assert err == ""
    assert out.count("\n") == 1 and out.endswith("\n")
    return status, json.loads(out)


def user_file(tmp_path: Path, expect: str, sites: str = "sites", name: str = "mine") -> str:
    """A file with the skip policy under a name of its own, which expects `expect`."""
    file = tmp_path / f"{name}.py"
    file.write_text(
        textwrap.dedent(f"""\
        from models.protocol import Expect, Strategy, skip
        from models.skeletons import int3_update

        strategy = Strategy(
            "{name}", "says", "a test", steps=lambda sites: int3_update({sites}, skip), expects=[{expect}]
        )
        """)
    )
    return str(file)


# ---- exit status ----------------------------------------------------------------------------------------------------


def test_a_strategy_that_holds_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(["careful-call-to-call", *SMALL], capsys)
    assert (status, err) == (0, "") and "VIOLATED" not in out and "every interleaving" in out


def test_a_violated_strategy_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(TRACED, capsys)
    assert status == 1 and "VIOLATED (missed)" in out and "Trace 1: old-or-new (missed), 6 steps" in out


def test_an_exposure_alone_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run([*TRACED, "--use-case", "tracing"], capsys)
    assert status == 0 and "exposed (missed)" in out and "livepatch" not in out


def test_a_limit_exits_4_and_nothing_is_verified(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["careful-call-to-call", "--max-states", "5"], capsys)
    assert status == 4
    assert "unknown" in out and "verified" not in out and "INCOMPLETE (more than 5 states)" in out


@pytest.mark.parametrize("limit", [["--max-seconds", "1e-9"], ["--max-memory", "1"]])
def test_limits_on_time_and_memory_end_in_unknown(limit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, values = answer(["careful-call-to-call", *SMALL, *limit], capsys)
    assert status == 4 and not values["complete"] and values["stopped"]
    assert {v["verdict"] for r in values["results"] for v in r["verdicts"]} == {"unknown"}


@pytest.mark.parametrize("states", [1, 50, 500, 5_000])
def test_a_limited_search_reports_only_what_the_whole_search_finds(
    states: int, capsys: pytest.CaptureFixture[str]
) -> None:
    _, whole = answer(["nop-then-back"], capsys)
    status, part = answer(["nop-then-back", "--max-states", str(states)], capsys)
    found = {v["verdict"] for r in part["results"] for v in r["verdicts"]}
    assert found <= {"unknown", "violated", "exposed"} and not part["complete"] and part["idle"] == []
    assert status == (1 if "violated" in found else 4)
    for trace in part["traces"]:
        assert trace in whole["traces"]


def test_a_limit_that_is_not_met_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _, whole = answer(TRACED, capsys)
    _, limited = answer([*TRACED, "--max-states", str(whole["states"])], capsys)
    assert {**whole, "seconds": 0} == {**limited, "seconds": 0}


def test_a_property_that_was_never_put_to_the_test_exits_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "vacuous.py"
    file.write_text(VACUOUS.replace("EXPECT", "Expect(sites=1)"))
    status, out, _ = run([str(file), *SMALL], capsys)
    assert status == 5 and "no CPU ever traps" in out
    status, out, _ = run(["check", "--expected", str(file)], capsys)
    assert status == 5 and "vacuous" in out


def test_of_several_statuses_the_gravest_counts() -> None:
    assert SEVERITY == (70, 3, 2, 1, 4, 5, 0)
    assert worst([]) == 0
    for few in permutations(SEVERITY, 3):
        assert worst(few) == min(few, key=[70, 3, 2, 1, 4, 5, 0].index)


def test_what_nobody_foresaw_exits_70_with_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(commands, "scenario_of", fail)
    status, out, err = run(TRACED, capsys)
    assert (status, out) == (70, "") and err.count("\n") == 1 and "RuntimeError: unforeseen" in err


def test_a_bare_name_means_check(capsys: pytest.CaptureFixture[str]) -> None:
    bare, explicit = answer(TRACED, capsys), answer(["check", *TRACED], capsys)
    assert {**bare[1], "seconds": 0} == {**explicit[1], "seconds": 0}


def test_a_strategy_file_may_hold_several_and_one_is_picked_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.py"
    text = Path(user_file(tmp_path, "Expect()", name="first")).read_text()
    file.write_text(text + text.replace("first", "second").replace("strategy =", "other ="))
    assert answer([str(file), *SMALL], capsys)[1]["strategy"] == "first"
    assert answer([f"{file}:second", *SMALL], capsys)[1]["strategy"] == "second"
    status, _, err = run([f"{file}:third", *SMALL], capsys)
    assert status == 3 and "first, second" in err


def test_a_file_that_builds_on_an_imported_strategy_checks_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "built.py"
    file.write_text(
        textwrap.dedent("""\
        from dataclasses import replace

        from models.strategies.careful_call_to_call import strategy as base

        mine = replace(base, name="mine", expects=[])
        """)
    )
    assert answer([str(file), *SMALL], capsys)[1]["strategy"] == "mine"


# ---- machine-readable answers ---------------------------------------------------------------------------------------

FIELDS: dict[str, type | tuple[type, ...]] = {
    "schema": int, "strategy": str, "machine": str, "transition": str, "rounds": int, "cpus": int, "sites": int,
    "without": list, "preempt": bool, "nmi": bool, "engine": dict, "states": int, "transitions": int, "explored": int,
    "depth": int, "seconds": (int, float), "complete": bool, "results": list, "traces": list,
}  # fmt: skip


def test_check_answers_with_every_documented_field(capsys: pytest.CaptureFixture[str]) -> None:
    _, values = answer([*TRACED, "--without", "release"], capsys)
    for name, kind in FIELDS.items():
        assert isinstance(values[name], kind), name
    assert (values["schema"], values["strategy"], values["machine"]) == (1, "nop-then-back", "x86-linux")
    assert (values["transition"], values["rounds"], values["without"]) == ("call:call", 1, ["release"])
    assert set(values["engine"]) >= {"name", "threads", "symmetry", "reductions"}
    assert values["explored"] == values["states"] > 0
    assert [r["use_case"] for r in values["results"]] == list(USE_CASES)
    for result in values["results"]:
        assert [v["property"] for v in result["verdicts"]] == list(PROPERTIES)
        for v in result["verdicts"]:
            assert set(v) >= {"property", "required", "verdict", "kind", "bound", "vacuous", "trace"}
            assert v["required"] == is_required(result["use_case"], v["property"])
            assert v["verdict"] in {"proved", "verified", "bounded", "violated", "exposed", "unknown"}
            assert (v["trace"] is None) == (v["verdict"] not in {"violated", "exposed"})
            assert v["trace"] is None or 0 <= v["trace"] < len(values["traces"])


def test_a_json_trace_says_who_did_what_and_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    _, values = answer(["nop-then-back"], capsys)
    (trace,) = values["traces"]
    assert "nobody was called although old and new both call" in trace["why"]
    assert [s["actor"] for s in trace["steps"]] == ["patcher", "patcher", *["cpu 0"] * 4]
    for step in trace["steps"]:
        assert set(step) >= {"actor", "action", "says", "changes", "bytes"}
        assert step["says"] and step["changes"]
        assert all(len(pair) == 2 and pair[0] != pair[1] for pair in step["changes"].values())
        assert set(step["bytes"]) == {"site 0", "site 1"}
    assert trace["steps"][1]["bytes"]["site 0"]["memory"] == "cc 11 22 33 44"
    assert trace["steps"][1]["bytes"]["site 0"]["seen by cpu 1"] == "e8/cc 11 22 33 44"


def test_preempt_in_the_answer_is_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A trace file is replayed with what it says, so it must say what the scenario was."""
    states = {}
    for asked in ([], ["--preempt"]):
        _, values = answer(["careful-call-to-call-frees-early", *SMALL, *asked], capsys)
        states[values["preempt"]] = values["states"]
    assert len(states) == 2, "two different scenarios give the same answer to “preempt”"


@pytest.mark.parametrize("command", [["list"], ["catalogue", "permanent"], ["explain", "permanent", *SMALL]])
def test_every_command_answers_in_json(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(command, capsys)[1]["schema"] == 1


def test_list_names_everything_that_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    _, values = answer(["list"], capsys)
    assert set(values["strategies"]) == set(shipped()) and set(values["machines"]) == set(PRESETS)
    assert set(values["properties"]) == set(PROPERTIES) and set(values["use-cases"]) == set(USE_CASES)
    status, out, _ = run(["list", "properties"], capsys)
    assert status == 0 and all(name in out for name in PROPERTIES) and "nop-then-back" not in out


# ---- how it reads ---------------------------------------------------------------------------------------------------


def assert_readable(out: str) -> None:
    assert "\x1b" not in out, "colour in a pipe"
    assert "\t" not in out
    wide = [line for line in out.splitlines() if len(line) > 80]
    assert not wide, wide
    assert not [line for line in out.splitlines() if line != line.rstrip()], "spaces at the end of a line"


@pytest.mark.parametrize("name", [*shipped()])
def test_a_check_fits_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_readable(run([name, *SMALL], capsys)[1])


@pytest.mark.parametrize("machine", [m for m in X86_PRESETS if m != "x86-linux"])
def test_a_check_fits_80_columns_on_every_machine(machine: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--cpus", "2", "--sites", "1", "--machine", machine, "--without", "sync-1", "--without", "claim"]
    assert_readable(run(["text-poke-batch", *options], capsys)[1])


@pytest.mark.parametrize("name", ["careful-call-to-call", "text-poke-batch-frees", "batched-stubs", "permanent"])
def test_an_explanation_fits_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["explain", name, *SMALL], capsys)
    assert status == 0
    assert_readable(out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nop-then-back", "careful-call-to-call"],
        ["nop-then-back", "careful-call-to-call-frees-early"],
        ["careful-call-to-call-frees-early", "text-poke-batch-unsorted"],
        ["text-poke-batch-frees-early", "--machine", "x86-linux", "--machine", "x86-intel-manual"],
    ],
)
def test_a_difference_fits_80_columns(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["diff", *arguments, *SMALL], capsys)
    assert status == 0
    assert_readable(out)


def test_lists_and_the_catalogue_fit_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    for what in ([], ["strategies"], ["machines"], ["properties"], ["use-cases"]):
        assert_readable(run(["list", *what], capsys)[1])


@pytest.mark.parametrize("name", ["nop-then-back", "careful-call-to-call", "stop-machine", "text-poke-batch-unsorted"])
def test_the_catalogue_fits_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["catalogue", name], capsys)
    assert status == 0
    assert_readable(out)


# ---- interruption ---------------------------------------------------------------------------------------------------


def test_ctrl_c_during_the_search_prints_what_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: object, at: Any) -> None:
        if at.depth > 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(options.Progress, "__call__", interrupt)
    status, out, _ = run(["careful-call-to-call"], capsys)
    assert status == 4 and "INCOMPLETE (interrupted)" in out and "unknown" in out and "verified" not in out


def test_ctrl_c_after_a_violation_was_found_still_shows_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The violation is known, so the status is that of a violation."""

    def interrupt(self: object, at: Any) -> None:
        if at.depth > 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(options.Progress, "__call__", interrupt)
    status, out, _ = run(["nop-then-back"], capsys)
    assert status == 1 and "INCOMPLETE (interrupted)" in out and "VIOLATED (missed)" in out and "Trace 1" in out


def test_ctrl_c_while_progress_is_checked_prints_what_the_search_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "check_progress", interrupt)
    status, out, _ = run(TRACED, capsys)
    assert "VIOLATED (missed)" in out
    assert status in (1, 4)


def test_ctrl_c_ends_an_explanation(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One interruption ends the command; it does not go on to the next step left out."""
    presses = 0

    def interrupt(self: object, at: Any) -> None:
        nonlocal presses
        presses += 1
        if presses == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(options.Progress, "__call__", interrupt)
    status, out, _ = run(["explain", "careful-call-to-call", *SMALL], capsys)
    assert status == 4 and "traps-claimed" not in out


# ---- catalogue, explain, diff, new ----------------------------------------------------------------------------------


def test_the_catalogue_of_a_known_broken_model_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["catalogue", "nop-then-back"], capsys)
    assert status == 0
    assert "6 of 6 expectations are met" in out
    assert "ok   nop-then-back, livepatch, call:call, 2×2: old-or-new/missed violated" in out


def test_the_catalogue_takes_several_names(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["catalogue", "nop-then-back", "permanent"], capsys)
    assert status == 0 and "8 of 8" in out


@pytest.mark.parametrize(
    ("expect", "difference"),
    [
        ("Expect(sites=1)", "old-or-new/missed is violated"),
        ("Expect(sites=1, violated=['no-torn-instruction', 'old-or-new'])", "no-torn-instruction is not violated"),
        ("Expect(sites=1, exposed=['old-or-new/missed'], use_cases=['livepatch'])", "is not exposed"),
        ("Expect(sites=1, violated=['old-or-new/wrong-target'])", "old-or-new/wrong-target is not violated"),
    ],
)
@pytest.mark.parametrize("command", [["catalogue"], ["check", "--expected"]])
def test_an_unmet_expectation_exits_1_and_says_what_differs(
    command: list[str], expect: str, difference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run([*command, user_file(tmp_path, expect)], capsys)
    assert status == 1 and "FAIL mine" in out and difference in " ".join(out.split())


def test_a_met_expectation_of_a_user_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expect = "Expect(sites=1, violated=['old-or-new'], use_cases=['livepatch'])"
    status, values = answer(["catalogue", user_file(tmp_path, expect)], capsys)
    assert status == 0 and [e["difference"] for e in values["expectations"]] == [""]


def test_the_catalogue_of_a_file_runs_every_strategy_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "two.py"
    expect = "Expect(sites=1, violated=['old-or-new'], use_cases=['livepatch'])"
    text = Path(user_file(tmp_path, expect, name="first")).read_text()
    file.write_text(text + text.replace("first", "second").replace("strategy =", "other ="))
    _, values = answer(["catalogue", str(file)], capsys)
    assert [e["strategy"] for e in values["expectations"]] == ["first", "second"]


def test_an_expectation_that_meets_a_limit_is_inconclusive(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["catalogue", "careful-call-to-call", "--max-states", "3"], capsys)
    assert status == 4 and "FAIL" in out and "unknown" in out


def test_check_expected_compares_with_the_declaration(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--expected", "nop-then-back"], capsys)[0] == 0


def test_what_declares_nothing_has_nothing_to_compare_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(["check", "--expected", user_file(tmp_path, "")], capsys)
    assert status == 2 and err.count("\n") == 1 and "nothing is declared" in err


def test_differences_are_said_of_each_use_case() -> None:
    expect = shipped()["nop-then-back"].expects[0]
    result = verdict.check("nop-then-back", cpus=1, sites=1)
    assert catalogue_module.differences(expect, result.result("livepatch")) == ""
    assert "is not violated" in catalogue_module.differences(expect, result.result("tracing"))


def test_explain_says_what_each_step_of_careful_call_to_call_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    status, values = answer(["explain", "careful-call-to-call", "--cpus", "1", "--sites", "1"], capsys)
    broken = {}
    for omission in values["without"]:
        (result,) = omission["results"]
        broken[omission["label"]] = {v["property"] for v in result["verdicts"] if v["verdict"] == "violated"}
        file, _, line = omission["line"].rpartition(":")
        assert "yield " in Path(file).read_text().splitlines()[int(line) - 1]
    assert status == 0 and list(broken) == [
        "claim", "trap", "sync-1", "tail", "sync-2", "first-byte", "sync-3", "release",
    ]  # fmt: skip
    main_reason = {
        "claim": "traps-claimed", "trap": "no-torn-instruction", "sync-1": "no-torn-instruction",
        "tail": "new-after-return", "sync-2": "no-torn-instruction", "first-byte": "traps-claimed",
        "sync-3": "traps-claimed",
    }  # fmt: skip
    assert all(reason in broken[label] for label, reason in main_reason.items()), broken
    assert broken["release"] == set()


def test_a_diff_of_two_strategies_lists_the_verdicts_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    status, values = answer(["diff", "nop-then-back", "careful-call-to-call", *SMALL], capsys)
    assert status == 0
    found = {(d["use_case"], d["property"]): (d["first"], d["second"]) for d in values["differences"]}
    assert found == {
        ("livepatch", "old-or-new"): ("VIOLATED (missed)", "verified"),
        ("tracing", "old-or-new"): ("exposed (missed)", "verified"),
    }
    assert [side["strategy"] for side in values["sides"]] == ["nop-then-back", "careful-call-to-call"]


def test_a_diff_of_two_machines_lists_the_verdicts_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["diff", "text-poke-batch", "--machine", "x86-linux", "--machine", "x86-intel-manual", *SMALL]
    status, values = answer(arguments, capsys)
    assert status == 0 and [side["machine"] for side in values["sides"]] == ["x86-linux", "x86-intel-manual"]
    assert {d["property"] for d in values["differences"]} >= {"no-torn-instruction", "completes"}


def test_a_diff_without_a_difference_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["diff", "careful-call-to-call", "text-poke-batch", *SMALL], capsys)
    assert status == 0 and "no verdict differs" in out


def test_new_writes_a_template_that_checks_as_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(["new", "my_strategy.py"], capsys)
    assert status == 0 and "./my_strategy.py" in out
    assert run(["my_strategy.py"], capsys)[0] == 0
    assert run(["check", "--expected", "./my_strategy.py"], capsys)[0] == 0
    assert run(["explain", "my_strategy.py", *SMALL], capsys)[0] == 0


@pytest.mark.parametrize("name", ['qu"ote.py', "back\\new.py", "sp ace.py", "ünï.py", "9lives.py", "models.py"])
def test_new_copes_with_any_file_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["new", name], capsys)[0] == 0
    status, _, err = run([name, *SMALL], capsys)
    assert (status, err) == (0, "")


# ---- files ----------------------------------------------------------------------------------------------------------


def test_what_is_kept_of_the_generated_code_compiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "generated.py"
    assert run([*TRACED, "--keep-generated", str(target)], capsys)[0] == 1
    code = target.read_text()
    compile(code, str(target), "exec")
    assert "def moves_cpu" in code and "def globals_" in code


@pytest.mark.parametrize(
    "command", [["explain", *TRACED], ["diff", "nop-then-back", "permanent", *SMALL], ["check", "--expected", *TRACED]]
)
def test_keep_generated_is_not_silently_ignored(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it has no meaning it is refused."""
    target = tmp_path / "generated.py"
    try:
        status = main([*command, "--keep-generated", str(target)])
    except SystemExit as refused:
        status = int(str(refused.code))
    assert status == 2 and not target.exists()


def test_json_goes_to_a_file_beside_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.json"
    status, out, _ = run([*TRACED, "--json", str(target)], capsys)
    assert status == 1 and "Trace 1" in out
    text = target.read_text()
    assert text == json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")) + "\n"
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.json"
    target.write_text("before")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, "after")
    assert target.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_what_cannot_be_said_in_json_leaves_the_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("before")
    with pytest.raises(TypeError):
        write({"impossible": object()}, str(target))
    assert target.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_a_written_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "out", "text")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


def test_the_replay_command_of_a_report_works_as_it_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a file whose name has to be quoted."""
    monkeypatch.chdir(tmp_path)
    Path(user_file(tmp_path, "Expect()")).rename(tmp_path / "my own.py")
    _, out, _ = run(["my own.py", *SMALL], capsys)
    printed = " ".join(out[out.index("replay  ") + 8 :].split())
    for command, status in zip(printed.split("; "), (1, 0), strict=True):
        program, *arguments = shlex.split(command)
        assert program == "check-strategy"
        assert run(arguments, capsys)[0] == status, command

"""Claims: the command says what was seen, in text and JSON, and its status is that of the answer."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from checker.cli import main
from checker.report import silicon as report
from checker.report.silicon_page import page
from checker.silicon import broken as module
from checker.silicon import command
from checker.silicon.broken import explain, variants
from checker.silicon.compare import compare
from checker.silicon.machine import cpus, host
from checker.silicon.operations import Setting
from checker.silicon.run import Cell, Failed, Observation
from checker.silicon.survey import LITMUS
from models.library import load
from models.properties import BACK, CLAIMED, FREED, STALE, TORN
from models.scenario import Scenario
from tests.silicon.small import on_silicon, question, writing

SHORT = ["--align", "within-8", "--executions", "5000", "--max-seconds", "1"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--survey", "nop-then-back"], "takes no strategy"),
        (["--survey", "--broken"], "no --broken"),
        (["--survey", "--machine", "x86-linux,gate=trap-gate"], "is none of them"),
        (["--survey", "--sites", "3", "--align", "within-8"], "--sites, --align would do nothing"),
        (["--survey", "--transition", "nop:call", "--sync", "signal"], "--transition, --sync would do nothing"),
        (["--survey", "--stores", "bytes", "--rounds", "2"], "--rounds, --stores would do nothing"),
        (["nop-then-back", "--json", "-", "--page", "-"], "cannot both go to standard output"),
        (["nop-then-bak"], "did you mean"),
        (["nop-then-back", "--machine", "arm64-dic0"], "strategies of models.protocol are x86"),
        (["nop-then-back", "--without", "nothing"], "has no step"),
        (["nop-then-back", "--sites", "9"], "at most 8 sites"),
        (["stop-machine", "--machine", "x86-amd", "--stores", "bytes"], "wider stores than bytes"),
    ],
)
def test_bad_usage_is_a_sentence(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.machine, "cpus", lambda: [0, 1])
    assert main(["silicon", *words]) == 2
    said = capsys.readouterr()
    assert says in said.err and not said.out


def test_a_run_that_fails_is_inconclusive(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise Failed("the harness was ended by signal 9 before it said what it saw")

    monkeypatch.setattr(command.machine, "cpus", lambda: [0, 1])
    monkeypatch.setattr("checker.silicon.asking.observe", fail)
    assert main(["silicon", "nop-then-back"]) == 4
    assert "signal 9" in capsys.readouterr().err


def told(monkeypatch: pytest.MonkeyPatch, *answers: Observation | Failed) -> None:
    """The harness says this, one after the other, and the last for ever."""
    left = list(answers)

    def observe(*_: object) -> Observation:
        said = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(said, Failed):
            raise said
        return said

    monkeypatch.setattr(command.machine, "cpus", lambda: [0, 1])
    monkeypatch.setattr("checker.silicon.asking.observe", observe)


LOSSY = Observation(Counter({Cell(0, 0, 0, 0, 1): 5}), threads=[9], forgotten=4, trials=1, seconds=1.0)


@pytest.mark.parametrize("words", [["nop-then-back"], ["nop-then-back", "--broken"], ["--survey"]])
def test_what_was_forgotten_is_not_compared_and_inconclusive(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, LOSSY)
    monkeypatch.setattr("checker.silicon.survey.LITMUS", LITMUS[:1])
    file = tmp_path / "x.json"
    align = [] if "--survey" in words else ["--align", "within-8"]
    assert main(["silicon", *words, *align, "--json", str(file)]) == 4
    assert re.search(r"not compared: \d+ torn executions", capsys.readouterr().out)
    assert re.search(r'"not_compared":[1-9]', file.read_text(encoding="utf-8"))


WHOLE = replace(LOSSY, threads=[5], forgotten=0)


def test_what_was_answered_before_a_run_failed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, WHOLE, WHOLE, WHOLE, Failed("the harness was ended by signal 9"))
    file, two = tmp_path / "x.json", ["--align", "within-8", "--align", "across-line"]
    assert main(["silicon", "nop-then-back", "stop-machine", "text-poke-batch", *two, "--json", str(file)]) == 4
    said, values = capsys.readouterr(), json.loads(file.read_text(encoding="utf-8"))
    assert "nop-then-back on silicon" in said.out and "stop-machine on silicon" in said.out
    assert "text-poke-batch" not in said.out and said.err.endswith(f"{values['failed']}\n")
    assert values["failed"] == "stop-machine, across-line: the harness was ended by signal 9"
    assert [len(answer["runs"]) for answer in values["strategies"]] == [2, 1]


def test_so_it_is_with_broken_variants(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told(monkeypatch, WHOLE, WHOLE, Failed("the harness was ended by signal 9"))
    assert main(["silicon", "nop-then-back", "--broken", "--align", "within-8", "--json", "-"]) == 4
    said = capsys.readouterr()
    values = json.loads(said.out)
    assert len(values["variants"]) == 2 and values["failed"] == "nop-then-back: the harness was ended by signal 9"


def test_a_page_on_standard_output_is_alone_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, WHOLE)
    assert main(["silicon", "nop-then-back", "--align", "within-8", "--page", "-"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# Strategies") and "silicon  " not in said and "| `nop-then-back` |" in said


def test_of_all_strategies_those_with_a_sequence_of_their_own_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = {name: load(name) for name in ("always-iterator", "nop-then-back")}
    monkeypatch.setattr(command, "shipped", lambda: some)
    told(monkeypatch, WHOLE)
    assert main(["silicon", "--rounds", "2", "--align", "within-8", "--json", "-"]) == 0
    said = capsys.readouterr()
    assert [a["strategy"] for a in json.loads(said.out)["strategies"]] == ["nop-then-back"]
    assert said.err == "always-iterator states its own sequence, and is left out\n"
    assert main(["silicon", "always-iterator", "--rounds", "2"]) == 2


@on_silicon
def test_a_strategy_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["silicon", "careful-call-to-call", *SHORT]) == 0
    said = capsys.readouterr().out
    assert "ran, called B" in said and "within-8" in said and "silicon  " in said and "NOT ALLOWED" not in said
    assert all(len(line) <= 80 for line in said.splitlines())


@on_silicon
def test_a_strategy_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["silicon", "nop-then-back", *SHORT, "--sites", "1", "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    (answer,) = said["strategies"]
    (run,) = answer["runs"]
    assert said["schema"] == 1 and answer["strategy"] == "nop-then-back" and answer["machine"] == "x86-linux"
    assert (
        run["align"] == "within-8" and run["executions"] >= 5000 and not any(o["not_allowed"] for o in run["outcomes"])
    )
    assert sum(o["count"] for o in run["outcomes"]) == run["executions"]


@on_silicon
def test_a_page_is_made_of_what_the_json_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_file, page_file = tmp_path / "x.json", tmp_path / "x.md"
    words = ["nop-then-back", *SHORT, "--sites", "1", "--json", str(json_file), "--page", str(page_file)]
    assert main(["silicon", *words]) == 0 and capsys.readouterr().out
    values = json.loads(json_file.read_text(encoding="utf-8"))
    assert page_file.read_text(encoding="utf-8") == page(values)
    assert values["command"] == (
        "check-strategy silicon nop-then-back --sites 1 --align within-8 --executions 5000 --max-seconds 1"
    )
    (run,) = values["strategies"][0]["runs"]
    assert f"| `nop-then-back` | {run['executions']:,} | {run['trials']:,} |" in page(values)


@on_silicon
def test_what_is_not_allowed_is_shown_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The harness stores half a displacement where the model, of whole instructions, knows of none."""
    wrong, right = question(writing((1, 3)), sites=2), question(writing((1, 5)), sites=2, on="x86-coherent")
    observation = wrong.ask(cpus(), 2000, 1).observation
    found = compare(right.allowed(), observation)
    answer = report.Answer("wrong", [(right, found)], 1)
    assert answer.not_allowed
    said = report.answer_text(answer)
    assert "NOT ALLOWED" in said and "allowed by x86-linux" in said and "= call 0x" in said
    assert all(len(line) <= 80 for line in said.splitlines())
    assert json.dumps(report.answer_json(answer))
    monkeypatch.setattr("checker.silicon.asking.observe", lambda *_: observation)
    path = tmp_path / "half.py"
    path.write_text(
        "from models.protocol import *\n"
        "strategy = Strategy('half', 'h', 'h', lambda sites: [Write(s.tail, s.new) for s in sites])\n",
        encoding="utf-8",
    )
    assert main(["silicon", str(path), *SHORT, "--machine", "x86-coherent"]) == 1
    assert "NOT ALLOWED" in capsys.readouterr().out


@on_silicon
def test_broken_variants_are_predicted_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    whole = [Setting("within-8")]
    found = list(variants(load("text-poke-batch"), Scenario(cpus=1, sites=1), whole, cpus(), 3000, 1.0))
    by_label = {variant.without: variant for variant in found}
    assert next(iter(by_label)) == "" and not by_label[""].failures
    predicted = {label: {f.property for f in v.failures} for label, v in by_label.items()}
    assert predicted["claim"] == {CLAIMED} and TORN in predicted["sync-2"] and BACK in predicted["sync-1"]
    assert not any(variant.not_allowed for variant in found)
    assert by_label["release"].waits == "wait-handlers"
    text = report.variants_text(found)
    assert "(complete)" in text and all(len(line) <= 80 for line in text.splitlines())
    assert "predicted failures seen" in report.variants_summary(found)
    whole = {"host": host().facts, "command": "c", "date": "d", "variants": [report.variant_json(v) for v in found]}
    assert "| `text-poke-batch` | claim | traps-claimed/unclaimed |" in page(whole)


def test_a_failure_that_was_not_seen_is_explained_by_the_machines_that_lack_it() -> None:
    torn = explain([question("careful-call-to-call", without=["sync-2"])], (TORN, "torn"))
    assert torn.startswith("needs fetches that x86-coherent, x86-amd") and "x86-buffered-ascending" in torn
    freed = explain([question("stop-machine-frees-early")], (FREED, "freed"))
    assert "matter of timing" in freed
    freed = explain([question("careful-call-to-call-frees-early")], (FREED, "freed"))
    assert "a sync waits for who is in what will be freed" in freed


@on_silicon
def test_what_ends_in_free_code_hides_what_comes_after(monkeypatch: pytest.MonkeyPatch) -> None:
    once = [Setting("within-8")]
    found = list(variants(load("stop-machine-frees-early"), Scenario(cpus=1, sites=1), once, cpus(), 3000, 1.0))
    store = next(variant for variant in found if variant.without == "store")
    failures = {f.property: f for f in store.failures}
    assert failures[FREED].seen and not failures[STALE].seen and "code that is free" in failures[STALE].why

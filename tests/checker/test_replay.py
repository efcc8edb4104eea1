"""A trace file replays exactly, or is refused at the first step that differs."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checker.cli import main
from checker.replay import TraceFileError, replay
from checker.report.structured import check_to_json
from checker.verdict import check
from models.library import scenario_of, shipped

Json = Any
WAITS_FOR_ITSELF = """\
from models.protocol import ReadLock, ReadUnlock, Strategy, WaitForReaders


def steps(sites):
    yield ReadLock()
    yield WaitForReaders()
    yield ReadUnlock()


strategy = Strategy("waits-for-itself", "a grace period inside a read-side section", "a test", steps=steps)
"""
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@cache
def _recorded(name: str = "nop-then-back", **changes: Any) -> str:
    return json.dumps(check_to_json(check(name, **changes), name))


def recorded(name: str = "nop-then-back", **changes: Any) -> Json:
    """The answer of a check, fresh each time."""
    return json.loads(_recorded(name, **changes))


def save(values: Json, folder: Path) -> Path:
    file = folder / "trace.json"
    file.write_text(json.dumps(values))
    return file


def refusal(values: Json, folder: Path) -> str:
    """Why the file is refused; the message starts with its name."""
    file = save(values, folder)
    with pytest.raises(TraceFileError) as caught:
        replay(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    return message


def refused_step(values: Json, folder: Path) -> int:
    """The number of the step at which the file is refused."""
    found = re.search(r"step (\d+)", refusal(values, folder))
    assert found, "the message names no step"
    return int(found[1])


# ---- what is intact replays -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, s in shipped().items() if any(e.violated for e in s.expects)])
def test_every_expected_violation_of_what_is_shipped_replays(name: str, tmp_path: Path) -> None:
    strategy = shipped()[name]
    for expect in strategy.expects:
        if expect.violated and expect.cpus * expect.sites <= 4:
            sites = 2 if name == "text-poke-batch-unsorted" else 1
            result = check(strategy, scenario_of(strategy, expect), sites=sites)
            traces = replay(save(check_to_json(result, name), tmp_path))
            assert [t.why for t in traces] == [t.why for t in result.traces]
            assert [t.steps for t in traces] == [t.steps for t in result.traces]


def test_the_command_replays_and_prints_the_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["replay", str(save(recorded(), tmp_path))])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    assert "Trace 1: old-or-new (missed), 6 steps" in captured.out
    assert "1 trace replayed; every step is as the file says" in captured.out
    assert max(map(len, captured.out.splitlines())) <= 80


def test_a_trace_of_a_users_file_replays_from_another_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["new", "mine.py"])
    assert main(["mine.py", "--cpus", "1", "--sites", "1", "--without", "claim", "--json", "trace.json"]) == 1
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert main(["replay", "../trace.json"]) == 0


def test_a_run_that_never_ends_replays(tmp_path: Path) -> None:
    """A reader that never passes a quiescent state: the patcher waits for itself."""
    file = tmp_path / "waits.py"
    file.write_text(WAITS_FOR_ITSELF)
    result = check(str(file), cpus=1, sites=1)
    (endless,) = replay(save(check_to_json(result, str(file)), tmp_path))
    assert endless.property == "completes"
    assert endless == result.traces[0]


@pytest.mark.parametrize(
    "name", ["careful-call-to-call-frees-early", "batched-stubs-early", "stop-machine-frees-early"]
)
def test_a_trace_of_what_frees_code_replays(name: str, tmp_path: Path) -> None:
    values = recorded(name, cpus=2, sites=1)
    assert values["traces"] and replay(save(values, tmp_path))


# ---- each way of being damaged --------------------------------------------------------------------------------------


def test_a_removed_step_is_noticed_where_it_is_missed(tmp_path: Path) -> None:
    values = recorded()
    del values["traces"][0]["steps"][1]
    assert refused_step(values, tmp_path) == 2


def test_a_trace_without_its_last_step_is_refused(tmp_path: Path) -> None:
    """What the file says is wrong at its end is not wrong there."""
    values = recorded()
    del values["traces"][0]["steps"][-1]
    refusal(values, tmp_path)


def test_a_trace_without_any_step_is_refused(tmp_path: Path) -> None:
    values = recorded()
    values["traces"][0]["steps"] = []
    refusal(values, tmp_path)


def test_a_trace_whose_violation_is_gone_is_refused(tmp_path: Path) -> None:
    """Without the CPU's last execution every other step is still legal, but nobody is in what is freed."""
    values = recorded("stop-machine-frees-early", cpus=2, sites=1)
    steps = values["traces"][0]["steps"]
    (place,) = [k for k, step in enumerate(steps) if step["action"].startswith("execute")]
    del steps[place]
    refusal(values, tmp_path)


def test_swapped_steps_are_noticed(tmp_path: Path) -> None:
    values = recorded()
    steps = values["traces"][0]["steps"]
    steps[3], steps[4] = steps[4], steps[3]
    assert refused_step(values, tmp_path) == 4


def test_a_renamed_action_is_noticed(tmp_path: Path) -> None:
    values = recorded()
    values["traces"][0]["steps"][2]["action"] = "arrive somewhere"
    assert refused_step(values, tmp_path) == 3
    assert "arrive somewhere" in refusal(values, tmp_path)


@pytest.mark.parametrize("actor", ["cpu 1", "cpu 7", "cpu -1", "patcher", "cpu x", "cpu", ""])
def test_another_actor_is_noticed(actor: str, tmp_path: Path) -> None:
    values = recorded()
    values["traces"][0]["steps"][4]["actor"] = actor
    assert refused_step(values, tmp_path) == 5


@pytest.mark.parametrize("choice", [1, -1, "0", None, 0.5])
def test_another_choice_is_noticed(choice: Json, tmp_path: Path) -> None:
    values = recorded()
    values["traces"][0]["steps"][4]["choice"] = choice
    assert refused_step(values, tmp_path) == 5


def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    values = recorded()
    values["traces"][0]["steps"][3]["bytes"]["site 0"]["memory"] = "e8 11 22 33 44"
    assert refused_step(values, tmp_path) == 4


def test_changed_changes_are_noticed(tmp_path: Path) -> None:
    values = recorded()
    step = values["traces"][0]["steps"][1]
    name = sorted(step["changes"])[0]
    step["changes"][name][1] = "something else"
    assert refused_step(values, tmp_path) == 2


@pytest.mark.parametrize("key", ["says", "changes", "bytes"])
def test_what_a_step_lacks_is_noticed(key: str, tmp_path: Path) -> None:
    values = recorded()
    del values["traces"][0]["steps"][5][key]
    assert refused_step(values, tmp_path) == 6


@pytest.mark.parametrize("key", ["action", "actor", "choice"])
def test_a_step_that_cannot_be_read_is_named(key: str, tmp_path: Path) -> None:
    values = recorded()
    del values["traces"][0]["steps"][5][key]
    assert refused_step(values, tmp_path) == 6


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("property", "no-torn-instruction"),
        ("kind", "wrong-target"),
        ("why", "all is well"),
        ("conjunct", "false: nothing"),
        ("cycle", 2),
        ("rests", True),
    ],
)
def test_what_is_said_of_the_end_of_a_trace_is_checked_too(key: str, value: Json, tmp_path: Path) -> None:
    values = recorded()
    values["traces"][0][key] = value
    refusal(values, tmp_path)


def test_a_trace_of_another_strategy_is_refused_at_the_first_step_that_differs(tmp_path: Path) -> None:
    values = recorded()
    values["model"] = "careful-call-to-call"
    assert refused_step(values, tmp_path) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 2),
        ("schema", None),
        ("model", "no-such-strategy"),
        ("model", None),
        ("model", "/nowhere/mine.py"),
        ("machine", "no-such-machine"),
        ("machine", None),
        ("transition", "jmp:call"),
        ("cpus", 0),
        ("cpus", "2"),
        ("sites", None),
        ("rounds", "one"),
        ("without", None),
        ("without", ["no-such-step"]),
        ("traces", None),
        ("traces", [None]),
        ("traces", [{}]),
    ],
)
def test_a_scenario_that_does_not_exist_is_refused_with_the_name_of_the_file(
    key: str, value: Json, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = recorded()
    values[key] = value
    file = save(values, tmp_path)
    status = main(["replay", str(file)])
    captured = capsys.readouterr()
    assert (status, captured.out) == (3, ""), captured.err
    assert captured.err.count("\n") == 1 and str(file) in captured.err


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "42", '{"schema": 1}', "\x00", "[" * 100_000])
def test_what_is_no_trace_file_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "trace.json"
    file.write_text(text)
    status = main(["replay", str(file)])
    err = capsys.readouterr().err
    assert status == 3 and err.startswith(f"check-strategy: {file}: ") and err.count("\n") == 1


def test_what_is_no_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "trace.json"
    file.write_bytes(b"\xff\xfe\x00")
    assert main(["replay", str(file)]) == 3
    assert "not JSON" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_what_cannot_be_read_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(tmp_path / name)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


# ---- any damage -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damaged:
    """A recorded answer with something wrong in one step; `first` is the number of that step."""

    name: str
    kind: str
    first: int
    values: Json = field(repr=False)


@st.composite
def damaged(draw: Any) -> Damaged:
    """One step removed, doubled, swapped with the next of the same actor, or altered."""
    name = draw(st.sampled_from(["nop-then-back", "stop-machine-frees-early"]))
    values = recorded(name, cpus=2, sites=1)
    steps = values["traces"][0]["steps"]
    kind = draw(st.sampled_from(["remove", "double", "swap", "action", "actor", "says", "changes", "memory"]))
    places = [k for k in range(len(steps) - 1) if kind != "swap" or steps[k]["actor"] == steps[k + 1]["actor"]]
    place = draw(st.sampled_from(places))
    step = steps[place]
    if kind == "remove":
        del steps[place]
    elif kind == "double":
        steps.insert(place, copy.deepcopy(step))
        place += 1
    elif kind == "swap":
        steps[place], steps[place + 1] = steps[place + 1], steps[place]
    elif kind == "action":
        step["action"] = draw(st.text(max_size=5))
    elif kind == "actor":
        step["actor"] = draw(st.sampled_from([a for a in ("patcher", "cpu 0", "cpu 1", "cpu 2") if a != step["actor"]]))
    elif kind == "says":
        step["says"] += draw(st.text(min_size=1, max_size=3))
    elif kind == "changes":
        step["changes"][draw(st.sampled_from(sorted(step["changes"])))].reverse()
    else:
        site = step["bytes"]["site 0"]
        key = draw(st.sampled_from(sorted(site)))
        site[key] = site[key][1:]
    return Damaged(name, kind, place + 1, values)


@QUICK
@given(damaged())
def test_whatever_happened_to_a_step_the_first_that_differs_is_named(damage: Damaged) -> None:
    """A step that is gone is missed where another needs it, at the latest at the end; the rest differs at once."""
    with tempfile.TemporaryDirectory() as folder:
        if damage.kind == "remove":
            refusal(damage.values, Path(folder))
        elif damage.kind == "swap":  # steps that commute may both be as they were said to be
            assert refused_step(damage.values, Path(folder)) >= damage.first
        else:
            assert refused_step(damage.values, Path(folder)) == damage.first


def test_the_traces_of_a_program_replay_whatever_its_threads_are_called(tmp_path, capsys):
    program = tmp_path / "guarded.py"
    program.write_text(
        "from models.program import *\n"
        "cpu, flusher = Thread('cpu', many=True), Thread('flusher')\n"
        "gone = word('gone')\n"
        "program = Program(name='guarded', says='a flag that nobody reads', source='a test', threads={\n"
        "    cpu: [Check(~gone, 'new-after-return', says='it came too late')], flusher: [Note(gone, 1)]})\n",
        encoding="utf-8",
    )
    answer = tmp_path / "answer.json"
    assert main(["check", str(program), "--json", str(answer)]) == 1
    assert {
        step["actor"] for trace in json.loads(answer.read_text(encoding="utf-8"))["traces"] for step in trace["steps"]
    } >= {"flusher"}
    assert main(["replay", str(answer)]) == 0


def test_what_a_trace_says_is_false_is_about_the_property_that_it_breaks() -> None:
    """The old may be called while the update goes on, but not by who has run the new."""
    result = check("careful-call-to-call-old", cpus=1, sites=1)
    (back,) = (trace for trace in result.traces if trace.property == "never-back")
    assert back.conjunct == "false: what is called is not older than what this CPU has run here before"
    missed = next(t for t in check("nop-then-back", cpus=1, sites=1).traces if t.kind == "missed")
    assert missed.conjunct == "false: what is called is one of S[0..1] = A, B"

"""Claims: a trace in the Informal Trace Format is one that its own library reads, and its states are those of the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import itf_py
import pytest
from jsonschema import Draft202012Validator

from checker.cli import main
from checker.outputs import NothingToWrite
from checker.report.itf import render, to_itf
from checker.trace import Narrator
from checker.verdict import CheckResult, UseCaseResult, check
from models.library import bugs, scenario_of
from models.system.evaluate import Evaluator, State
from models.system.expressions import Bool, Enum
from tests.support import checked

# After https://apalache-mc.org/docs/adr/015adr-trace.html
NAME = "^[A-Za-z_][A-Za-z0-9_]*$"
ITF = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["#meta", "vars", "states"],
    "additionalProperties": False,
    "properties": {
        "#meta": {"type": "object"},
        "params": {"type": "array", "items": {"type": "string"}},
        "vars": {"type": "array", "items": {"type": "string", "pattern": NAME}, "uniqueItems": True},
        "states": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/state"}},
        "loop": {"type": "integer", "minimum": 0},
    },
    "$defs": {
        "state": {
            "type": "object",
            "required": ["#meta"],
            "properties": {"#meta": {"type": "object", "properties": {"index": {"type": "integer", "minimum": 0}}}},
            "patternProperties": {NAME: {"$ref": "#/$defs/value"}},
            "additionalProperties": False,
        },
        "value": {
            "anyOf": [
                {"type": ["boolean", "string", "integer"]},
                {"type": "array", "items": {"$ref": "#/$defs/value"}},
                {"$ref": "#/$defs/special"},
                {
                    "type": "object",
                    "patternProperties": {"^[^#]": {"$ref": "#/$defs/value"}},
                    "additionalProperties": False,
                },
            ]
        },
        "special": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {
                "#bigint": {"type": "string", "pattern": "^-?[0-9]+$"},
                "#tup": {"type": "array", "items": {"$ref": "#/$defs/value"}},
                "#set": {"type": "array", "items": {"$ref": "#/$defs/value"}},
                "#map": {
                    "type": "array",
                    "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"$ref": "#/$defs/value"}},
                },
                "#unserializable": {"type": "string"},
            },
        },
    },
}


def of_bug(identifier: str) -> CheckResult:
    bug = bugs()[identifier]
    return check(bug.before, scenario_of(bug.before, bug.found))


def results() -> dict[str, CheckResult]:
    return {
        "a strategy": checked("nop-then-back"),
        "a deadlock": checked("careful-call-to-call", without=("claim",), cpus=1, sites=1),
        "a lasso": checked("waits-for-handlers-under-the-trap", sites=1),
        "a program": of_bug("K9"),
        "a program with locals": of_bug("K16"),
        "a program without CPUs": of_bug("K34"),
    }


CASES = tuple(results())


def meaning(result: CheckResult, state: State) -> dict[str, Any]:
    """A state of the reference evaluator in the values that `itf_py` makes."""
    evaluator = Evaluator(result.model.system)
    found: dict[str, Any] = {}
    for variable in result.model.system.variables:

        def plain(value: int, variable: Any = variable) -> Any:
            if isinstance(variable.type, Bool):
                return bool(value)
            if isinstance(variable.type, Enum):
                return variable.type.labels[value]
            names = variable.bits
            return frozenset(n for k, n in enumerate(names) if value & (1 << k)) if names else value

        name = variable.name.replace(".", "_")
        if variable.component is None:
            found[name] = plain(evaluator.read(state, variable.name))
        else:
            own = [evaluator.read(state, variable.name, i) for i in range(len(result.model.system.instances))]
            found[name] = {i: plain(value) for i, value in enumerate(own)}
    return found


def states_of(result: CheckResult, index: int) -> list[State]:
    number = {action.name: k for k, action in enumerate(result.model.system.actions)}
    return Narrator(result.model).follow([(number[s.action], s.instance, s.choice) for s in result.traces[index].steps])


@pytest.mark.parametrize("case", CASES)
def test_every_trace_is_read_as_the_states_that_the_evaluator_goes_through(case: str) -> None:
    result = results()[case]
    assert result.traces
    for index, trace in enumerate(result.traces):
        values = json.loads(json.dumps(to_itf(result, index)))
        Draft202012Validator(ITF).validate(values)
        read = itf_py.trace_from_json(values)
        real = [meaning(result, state) for state in states_of(result, index)]
        if trace.cycle:
            assert real.pop() == real[values["loop"]], "the loop begins where the trace comes back to"
        assert [state.values for state in read.states] == real
        assert [state.meta["index"] for state in read.states] == list(range(len(real)))
        assert set(read.vars) == set(real[0]) == set(values["#meta"]["varTypes"])
        assert ("loop" in values) == bool(trace.cycle or trace.rests)


def test_the_sentences_are_beside_the_states() -> None:
    result = checked("nop-then-back")
    values = json.loads(render(result, "nop-then-back"))
    (trace,) = result.traces
    assert [state["#meta"]["says"] for state in values["states"][1:]] == [step.says for step in trace.steps]
    assert values["#meta"]["description"].endswith(trace.why)


def test_a_lasso_ends_before_it_would_begin_again() -> None:
    result = checked("waits-for-handlers-under-the-trap", sites=1)
    index = next(k for k, trace in enumerate(result.traces) if trace.cycle or trace.rests)
    trace, values = result.traces[index], to_itf(result, index)
    last = states_of(result, index)[-1 if trace.rests else -2]
    begin = states_of(result, index)[values["loop"]]
    if trace.rests:
        assert values["loop"] == len(values["states"]) - 1
    else:
        assert any(step.state == begin for step in Evaluator(result.model.system).transitions(last))
        assert values["states"][-1]["#meta"]["next"] == trace.steps[-1].says


def test_of_several_traces_the_first_that_is_violated_is_written() -> None:
    result = of_bug("K4")
    assert len(result.traces) > 1
    named = {v.property for r in result.results for v in r.violated}
    said = json.loads(render(result, "K4"))["#meta"]["description"]
    assert f"of {len(result.traces)} traces" in said and "--use-case" in said
    assert any(f": {name} (" in said for name in named)
    exposed = checked("nop-then-back", transition="nop:call")
    assert not any(r.violated for r in exposed.results)
    assert "never-back" in json.loads(render(exposed, "x"))["#meta"]["description"]


def test_an_exposed_trace_gives_way_to_a_violated_one() -> None:
    result = of_bug("K4")
    assert result.traces[-1].property == "never-back", "exposed, and told last"
    last = len(result.traces) - 1

    def turned(answers: UseCaseResult) -> UseCaseResult:
        return replace(
            answers,
            verdicts=tuple(v if v.trace is None else replace(v, trace=last - v.trace) for v in answers.verdicts),
        )

    other = replace(result, results=tuple(map(turned, result.results)), traces=result.traces[::-1])
    assert json.loads(render(other, "K4"))["states"] == json.loads(render(result, "K4"))["states"]


def test_where_nothing_is_broken_there_is_nothing_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NothingToWrite):
        render(checked("permanent", cpus=1, sites=1), "permanent")
    file = tmp_path / "trace.itf.json"
    assert main(["permanent", "--cpus", "1", "--sites", "1", "--itf", str(file)]) == 0
    assert capsys.readouterr().err == f"check-strategy: --itf {file} is not written: there is no trace to write\n"
    assert not file.exists()
    assert main(["permanent", "--cpus", "1", "--sites", "1", "--itf", "-"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values["states"][0].pop("#meta"),
        lambda values: values.pop("vars"),
        lambda values: values["states"][0].update(begun={"#bigint": 0}),
        lambda values: values["states"][0].update({"owner.was": 0}),
        lambda values: values.update(loop="0"),
    ],
)
def test_a_damaged_trace_is_refused(damage: Any) -> None:
    values = to_itf(checked("nop-then-back"), 0)
    assert Draft202012Validator(ITF).is_valid(values)
    damage(values)
    assert not Draft202012Validator(ITF).is_valid(values)

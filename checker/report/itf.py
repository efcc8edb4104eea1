"""One trace of a check in the Informal Trace Format of Apalache and Quint, which their viewers and libraries read.

A variable of which each CPU has its own is a map from the CPU's number. Numbers are `#bigint`; a number that stands for
a set, such as the values that a fetch may return, is a `#set` of their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from checker.outputs import NothingToWrite
from checker.report.layout import plural
from checker.trace import Trace
from checker.verdict import CheckResult
from models.system.expressions import Bool, Enum, Variable

FORMAT = "https://apalache-mc.org/docs/adr/015adr-trace.html"
Values = dict[str, Any]


def render(result: CheckResult, name: str) -> str:
    """The first trace of something violated, else the first. Raises NothingToWrite where there is none."""
    if not result.traces:
        raise NothingToWrite("there is no trace to write")
    return json.dumps(to_itf(result, _chosen(result)), ensure_ascii=False, separators=(",", ":")) + "\n"


def _chosen(result: CheckResult) -> int:
    violated = [v.trace for r in result.results for v in r.violated if v.trace is not None]
    return violated[0] if violated else 0


def to_itf(result: CheckResult, index: int) -> Values:
    """A trace as ITF values. Raises ValueError where two variables would get the same name."""
    trace = result.traces[index]
    variables = {_identifier(variable): variable for variable in result.model.system.variables}
    if len(variables) < len(result.model.system.variables):
        raise ValueError("two variables have names that differ only in their dots")
    states = [_state(variables, at, trace.cpus) for at in _valuations(trace)]
    values: Values = {
        "#meta": {
            "format": "ITF",
            "format-description": FORMAT,
            "description": _description(result, index),
            "varTypes": {name: _type(variable) for name, variable in variables.items()},
        },
        "vars": list(variables),
        "states": [{"#meta": _said(trace, number), **state} for number, state in enumerate(states)],
    }
    if trace.cycle:  # the state after the cycle is the one before it; ITF has each state of a loop once
        closing = values["states"].pop()["#meta"]
        values["loop"] = len(trace.steps) - trace.cycle
        values["states"][-1]["#meta"]["next"] = closing["says"]
    elif trace.rests:
        values["loop"] = len(trace.steps)
    return values


def _description(result: CheckResult, index: int) -> str:
    trace = result.traces[index]
    kind = f" ({trace.kind})" if trace.kind else ""
    said = f"{result.strategy.name} on {result.model.scenario.machine.name}: {trace.property}{kind}. {trace.why}"
    if len(result.traces) == 1:
        return said
    others = f"trace {index + 1} of {plural(len(result.traces), 'trace')}"
    return f"{said}; {others}: --use-case chooses another, --json writes all"


def _valuations(trace: Trace) -> Iterator[dict[str, str]]:
    """Every variable at the start and after each step, by the names that changes have."""
    at = dict(trace.initial)
    yield dict(at)
    for step in trace.steps:
        at |= {name: after for name, (_, after) in step.changes.items()}
        yield dict(at)


def _said(trace: Trace, number: int) -> Values:
    """What led to a state."""
    if number == 0:
        return {"index": 0}
    step = trace.steps[number - 1]
    found: Values = {"index": number, "actor": step.actor, "action": step.action, "says": step.says}
    return {**found, "source": str(step.where)} if step.instance is None else found


def _state(variables: dict[str, Variable], at: dict[str, str], cpus: int) -> Values:
    return {
        name: _value(variable, at[variable.name])
        if variable.component is None
        else {"#map": [[_number(i), _value(variable, at[f"cpu {i}.{variable.name}"])] for i in range(cpus)]}
        for name, variable in variables.items()
    }


def _value(variable: Variable, label: str) -> Any:
    """What a label stands for."""
    if isinstance(variable.type, Bool):
        return label == variable.type.show(1)
    if isinstance(variable.type, Enum):
        return label
    if variable.is_set:
        return {"#set": list(variable.members(int(label)))}
    return _number(int(label))


def _number(value: int) -> Values:
    return {"#bigint": str(value)}


def _type(variable: Variable) -> str:
    """The type in Apalache's words."""
    if isinstance(variable.type, Bool):
        plain = "Bool"
    elif isinstance(variable.type, Enum):
        plain = "Str"
    else:
        plain = "Set(Str)" if variable.is_set else "Int"
    return plain if variable.component is None else f"Int -> {plain}"


def _identifier(variable: Variable) -> str:
    """A variable's name as TLA+ can write it; locals of a thread have a dot in theirs."""
    return variable.name.replace(".", "_")

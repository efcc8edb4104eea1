"""What a page shows, as JSON values: the answer, and every trace with each state on its way.

States are told by what changes in them, so that a trace of hundreds of steps stays small; the page adds them up.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from checker.report import text
from checker.report.layout import named
from checker.trace import Narrator, SiteBytes, Trace, TraceStep, path_of
from checker.verdict import CheckResult
from models.properties import PROPERTIES
from models.system.evaluate import State
from models.system.expressions import Variable

_MOST_RUN = 8  # ways to run what a CPU may fetch that are told; of more, the number
_MOST_LINES = 600  # of a source file that are shown: all, or those around the steps
_UNSEEN = re.compile(  # control characters, those that turn the direction of text, and halves of characters
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
Values = dict[str, Any]


def visible(said: str) -> str:
    """`said` with each character that works unseen written as a number; lines and tabs stay. Of HTML it stays HTML."""
    return type(said)(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", said))


def _all_visible(values: Any) -> Any:
    """The same for all strings in JSON values, names too."""
    match values:
        case str():
            return visible(values)
        case dict():
            return {visible(name): _all_visible(value) for name, value in values.items()}
        case list() | tuple():
            return [_all_visible(value) for value in values]
        case _:
            return values


def document(result: CheckResult, command: str) -> Values:
    """The whole page. `command` is what gives the same answer."""
    traces = [trace_values(result, trace, witness=False) for trace in result.traces]
    traces += [trace_values(result, trace, witness=True) for trace in result.witnesses]
    told: Values = _all_visible(
        {
            "name": result.strategy.name,
            "says": result.strategy.says,
            "source": result.strategy.source,
            "command": command,
            "useCases": [r.use_case for r in result.results],
            "verdicts": list(_verdicts(result)),
            "facts": [list(fact) for fact in text.facts(result)],
            "traces": traces,
            "files": _files(result),
        }
    )
    return told


def _verdicts(result: CheckResult) -> Iterator[Values]:
    """A row for each property: its sentence, and the answer for each use case."""
    for k, (name, says) in enumerate(PROPERTIES.items()):
        found = [r.verdicts[k] for r in result.results]
        yield {
            "property": name,
            "says": says,
            "required": found[0].required,
            "cells": [
                {
                    "text": text.whole_answer(v),
                    "verdict": "vacuous" if v.vacuous else v.verdict,
                    "note": v.note or "; ".join(v.vacuous),
                    "trace": v.trace,
                }
                for v in found
            ],
        }


# ---- traces ---------------------------------------------------------------------------------------------------------


def trace_values(result: CheckResult, trace: Trace, witness: bool) -> Values:
    """One trace: who takes part, the first state, and of each step what it says and changes."""
    narrator = Narrator(result.model)
    states = narrator.follow(path_of(result.model, trace))
    sets = {name: variable for name, variable, _ in narrator.values(states[0]) if variable.is_set}
    actors = [*trace.singles, *(f"cpu {i}" for i in range(trace.cpus))]
    sites = [_sites(narrator, state, found) for state, found in zip(states, _all_bytes(trace), strict=True)]
    steps = []
    for k, step in enumerate(trace.steps):
        before, after = sites[k], sites[k + 1]
        steps.append(
            _step(step, sets) | {"sites": [new if new != old else None for old, new in zip(before, after, strict=True)]}
        )
    return {
        "title": named(trace.property, trace.kind),
        "says": PROPERTIES[trace.property],
        "witness": witness,
        "why": trace.why,
        "conjunct": trace.conjunct,
        "cycle": trace.cycle,
        "rests": trace.rests,
        "verb": trace.verb,
        "actors": actors,
        "initial": {name: _value(sets.get(name), label) for name, label in trace.initial.items()},
        "sites": sites[0],
        "steps": steps,
    }


def _all_bytes(trace: Trace) -> list[Sequence[SiteBytes]]:
    return [trace.start, *(step.bytes for step in trace.steps)]


def _value(variable: Variable | None, label: str) -> str:
    """A value in words; of a set, its members."""
    return label if variable is None else f"{{{', '.join(variable.members(int(label)))}}}"


def _step(step: TraceStep, sets: Mapping[str, Variable]) -> Values:
    own = step.instance is None
    return {
        "actor": step.actor,
        "says": step.says,
        "changes": {name: _value(sets.get(name), after) for name, (_, after) in step.changes.items()},
        "where": [text.short_path(step.where.file), step.where.line] if own else None,
    }


def _sites(narrator: Narrator, state: State, found: Sequence[SiteBytes]) -> list[Values]:
    """For each site, memory byte by byte, and for each CPU that may fetch something else, what, and what it would run."""
    runs = [_runs(narrator, state, instance) for instance in range(len(narrator.system.instances))]
    return [
        {
            "name": site.name,
            "memory": site.memory.split(" "),
            "decoded": site.decoded,
            "seen": [
                {"cpu": cpu, "bytes": seen.split(" "), "runs": "; ".join(runs[cpu].get(site.site, []))}
                for cpu, seen in enumerate(site.seen)
                if seen
            ],
        }
        for site in found
    ]


def _runs(narrator: Narrator, state: State, instance: int) -> dict[int, list[str]]:
    """What a CPU would run, by site; after the first place of a site the others are named."""
    found: dict[int, list[str]] = {}
    for place, said in narrator.may_run(state, instance):
        told = found.setdefault(place.granules[0].site, [])
        told.append(f"{f'at {place.name} ' if told else ''}{' or '.join(_few(said))}")
    return found


def _few(said: Sequence[str]) -> list[str]:
    rest = len(said) - _MOST_RUN
    return [*said[:_MOST_RUN], f"… and {rest} more"] if rest > 1 else list(said)


# ---- source ---------------------------------------------------------------------------------------------------------


def _files(result: CheckResult) -> dict[str, Values]:
    """The text of each file that has a step of some trace, from its first line or from near the first step."""
    lines: dict[str, set[int]] = {}
    for trace in (*result.traces, *result.witnesses):
        for step in trace.steps:
            if step.instance is None:
                lines.setdefault(step.where.file, set()).add(step.where.line)
    return {
        text.short_path(file): _excerpt(file, numbers) for file, numbers in lines.items() if FilePath(file).is_file()
    }


def _excerpt(file: str, numbers: set[int]) -> Values:
    whole = [line.rstrip("\n") for line in linecache.getlines(file)]
    first = 1 if len(whole) <= _MOST_LINES else max(1, min(numbers) - 20)
    return {"first": first, "lines": whole[first - 1 : first - 1 + _MOST_LINES]}

"""Replaying a trace file: each step is taken on the reference evaluator and compared with what the file says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from checker.report.files import SCHEMA
from checker.report.structured import step_to_json, trace_to_json
from checker.search.progress import unfinished
from checker.search.result import Path as Path_
from checker.search.result import Taken
from checker.trace import Narrator, ReplayError, Trace
from models.compose import compose
from models.library import load
from models.machines.fetch import machine
from models.properties import COMPLETES
from models.scenario import Scenario
from models.system.errors import ModelError
from models.system.evaluate import Step
from models.system.system import Invariant, Mark


class TraceFileError(Exception):
    """A trace file cannot be read, or does not replay."""


def replay(path: Path) -> list[Trace]:
    """The traces of a JSON file that `check --json` wrote, each replayed. Raises TraceFileError."""
    values = read(path)
    try:
        scenario = _scenario(values)
        narrator = Narrator(compose(load(values["model"]), scenario))
    except ModelError as error:
        raise TraceFileError(f"{path}: {error}") from error
    except RecursionError as error:
        raise TraceFileError(f"{path}: its values are nested too deeply") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise TraceFileError(f"{path}: not a trace file of this version: {type(error).__name__}: {error}") from error
    return [_one(path, narrator, trace, number) for number, trace in enumerate(values["traces"], 1)]


def read(path: Path) -> dict[str, Any]:
    """The values in a file, if it is one of ours. Raises TraceFileError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceFileError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise TraceFileError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise TraceFileError(f"{path}: not an answer of `check --json` with schema {SCHEMA}")
    if not isinstance(values.get("traces"), list) or not isinstance(values.get("model"), str):
        raise TraceFileError(f"{path}: it holds no traces")
    return values


def _scenario(values: Mapping[str, Any]) -> Scenario:
    """The scenario of an answer; that of a program has threads, and neither sites nor rounds. Raises KeyError."""
    known = Scenario(
        machine=machine(values["machine"]),
        cpus=values["cpus"],
        without=frozenset(values["without"]),
        preempt=values["preempt"],
    )
    if "threads" in values:
        return known
    own = values["transition"] == "own sequence"
    return replace(
        known,
        transition=None if own else values["transition"],
        rounds=None if own else values["rounds"],
        sites=values["sites"],
        nmi=values["nmi"],
    )


def _one(path: Path, narrator: Narrator, recorded: Any, number: int) -> Trace:
    """One trace, step by step; refused at the first step that differs."""
    taken: list[Taken] = []
    steps = recorded.get("steps") if isinstance(recorded, dict) else None
    if not isinstance(steps, list):
        raise TraceFileError(f"{path}: trace {number} holds no steps")
    for count, step in enumerate(steps, 1):
        where = f"{path}: trace {number}, step {count}"
        taken.append(_taken(where, narrator, step))
        try:
            states = narrator.follow(taken)
        except ReplayError as error:
            raise TraceFileError(f"{where}: {error.message}") from error
        found = step_to_json(narrator.step(states[-2], taken[-1], states[-1]))
        for key in ("says", "changes", "bytes"):
            if found[key] != step.get(key):
                raise TraceFileError(f"{where}: “{key}” is {step.get(key)!r} in the file, {found[key]!r} in the model")
    return _ended(f"{path}: trace {number}, step {len(taken)}", narrator, recorded, tuple(taken))


def _taken(where: str, narrator: Narrator, step: Any) -> Taken:
    """Which action of the model a recorded step names."""
    names = {action.name: k for k, action in enumerate(narrator.system.actions)}
    try:
        name, actor, choice = step["action"], step["actor"], step["choice"]
    except (KeyError, TypeError) as error:
        raise TraceFileError(f"{where}: it has no action, actor or choice") from error
    if name not in names:
        raise TraceFileError(f"{where}: there is no action “{name}” in this model")
    cpus = {f"cpu {i}": i for i in range(len(narrator.system.instances))}
    action = narrator.system.actions[names[name]]
    known = actor in cpus if action.actor else actor == action.who
    if not known or choice not in action.values:
        raise TraceFileError(f"{where}: “{actor}” cannot do “{name}” with choice {choice}")
    return names[name], cpus.get(actor), choice


def _ended(where: str, narrator: Narrator, recorded: dict[str, Any], taken: tuple[Taken, ...]) -> Trace:
    """The whole trace, if it ends in what the file says is wrong there.

    Of `completes`, a replay shows that a cycle closes; that nothing else is possible takes a search.
    """
    name, kind = recorded.get("property"), recorded.get("kind") or ""
    states = narrator.follow(taken)
    cycle, rests = recorded.get("cycle"), recorded.get("rests")
    if type(cycle) is not int or not 0 <= cycle <= len(taken) or type(rests) is not bool:
        raise TraceFileError(f"{where}: no cycle of {cycle} steps ends there")
    if name != COMPLETES and (cycle or rests):
        raise TraceFileError(f"{where}: only a trace of {COMPLETES} has a cycle or rests")
    path = Path_(taken, cycle, rests)
    reason: Mark | Invariant | str | None = None
    if name == COMPLETES:
        if narrator.system.progress and kind == ("lasso" if cycle or rests else "deadlock"):
            reason = unfinished(narrator.system, path)
    else:
        broken: list[Mark | Invariant] = [*narrator.evaluator.broken(states[-1])]
        if taken:
            k, instance, choice = taken[-1]
            last = Step(narrator.system.actions[k], instance, choice, states[-1])
            broken += narrator.evaluator.marks(last, states[-2])
        matching = [b for b in broken if (b.property, b.kind) == (name, kind)]
        reason = matching[0] if matching else None
    if reason is None:
        raise TraceFileError(f"{where}: {name} ({kind}) is not broken after it, as the file says")
    try:
        told = narrator.tell(path, reason, str(name), kind)
    except ReplayError as error:
        raise TraceFileError(f"{where}: {error.message}") from error
    found = trace_to_json(told)
    for key in ("why", "conjunct", "cycle", "rests"):
        if found[key] != recorded.get(key):
            raise TraceFileError(f"{where}: “{key}” is {recorded.get(key)!r} in the file, {found[key]!r} in the model")
    return told

"""Replaying a trace file: each step is taken on the reference evaluator and compared with what the file says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from checker.report.files import SCHEMA
from checker.report.structured import step_to_json
from checker.search.result import Taken
from checker.trace import Narrator, ReplayError, Trace, TraceStep
from models.compose import compose
from models.library import load
from models.machines.fetch import machine
from models.scenario import Scenario
from models.system.errors import ModelError


class TraceFileError(Exception):
    """A trace file cannot be read, or does not replay."""


def replay(path: Path) -> list[Trace]:
    """The traces of a JSON file that `check --json` wrote, each replayed. Raises TraceFileError, ModelError, KeyError."""
    values = read(path)
    try:
        scenario = Scenario(
            machine=machine(values["machine"]),
            transition=None if values["transition"] == "own sequence" else values["transition"],
            rounds=None if values["transition"] == "own sequence" else values["rounds"],
            cpus=values["cpus"],
            sites=values["sites"],
            without=frozenset(values["without"]),
            preempt=values["preempt"],
            nmi=values["nmi"],
        )
        strategy = load(values["model"])
        recorded = values["traces"]
        narrator = Narrator(compose(strategy, scenario))
        return [_one(path, narrator, trace, number) for number, trace in enumerate(recorded, 1)]
    except ModelError:
        raise
    except (KeyError, TypeError, AttributeError) as error:
        raise TraceFileError(f"{path}: not a trace file of this version: {type(error).__name__}: {error}") from error


def read(path: Path) -> dict[str, Any]:
    """The values in a file, if it is one of ours. Raises TraceFileError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceFileError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise TraceFileError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise TraceFileError(f"{path}: not an answer of `check --json` with schema {SCHEMA}")
    if not isinstance(values.get("traces"), list) or not isinstance(values.get("model"), str):
        raise TraceFileError(f"{path}: it holds no traces")
    return values


def _one(path: Path, narrator: Narrator, recorded: dict[str, Any], number: int) -> Trace:
    """One trace, step by step; refused at the first step that differs."""
    taken: list[Taken] = []
    names = {action.name: k for k, action in enumerate(narrator.system.actions)}
    for count, step in enumerate(recorded["steps"], 1):
        where = f"{path}: trace {number}, step {count}"
        if step["action"] not in names:
            raise TraceFileError(f"{where}: there is no action “{step['action']}” in this model")
        actor = step["actor"]
        instance = None if actor == "patcher" else int(actor.removeprefix("cpu "))
        action = narrator.system.actions[names[step["action"]]]
        known = instance is None or 0 <= instance < len(narrator.system.instances)
        if (action.actor is None) != (instance is None) or not known or step["choice"] not in action.values:
            raise TraceFileError(f"{where}: “{actor}” cannot do “{step['action']}”")
        taken.append((names[step["action"]], instance, step["choice"]))
        try:
            states = narrator.follow(taken)
        except ReplayError as error:
            raise TraceFileError(f"{where}: {error}") from error
        found = step_to_json(narrator.step(states[-2], taken[-1], states[-1]))
        for key in ("says", "changes", "bytes"):
            if found[key] != step.get(key):
                raise TraceFileError(f"{where}: the file says {key} = {step.get(key)!r}, the model {found[key]!r}")
    return _whole(narrator, recorded, taken)


def _whole(narrator: Narrator, recorded: dict[str, Any], taken: list[Taken]) -> Trace:
    states = narrator.follow(taken)
    steps: list[TraceStep] = [narrator.step(a, step, b) for a, step, b in zip(states, taken, states[1:], strict=False)]
    return Trace(
        recorded["property"],
        recorded["kind"] or "",
        tuple(steps),
        recorded["why"],
        recorded["conjunct"],
        narrator.bytes(states[0]),
        recorded["cycle"],
        recorded["rests"],
        narrator.model.cpu.view.verb,
    )

"""The answer of a check as SARIF 2.1.0, for code scanning: what is wrong, at the line of the strategy that did it.

A rule for each property; a result for each verdict that is not simply good, once for all use cases that share it.
"""

from __future__ import annotations

import hashlib
import json
import linecache
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from checker.report.layout import sentence
from checker.report.markdown import listed
from checker.report.places import below, guilty, own
from checker.report.text import options_of
from checker.trace import SiteBytes, Trace, TraceStep
from checker.verdict import EXPOSED, UNKNOWN, VIOLATED, CheckResult, PropertyVerdict
from models.model import Subject
from models.properties import PROPERTIES
from models.system.errors import Location

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "SRCROOT"
_LEVEL = {VIOLATED: "error", EXPOSED: "note"}  # of everything else: warning
_FINGERPRINT = "checkStrategy/v1"
Values = dict[str, Any]


def render(result: CheckResult, name: str) -> str:
    """One run of one tool. `name` is what the user called the strategy."""
    values = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(result, name)]}
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def _run(result: CheckResult, name: str) -> Values:
    called = " ".join(filter(None, [Path(name).name, options_of(result.model.scenario)]))
    return {
        "tool": {"driver": _driver()},
        "automationDetails": {"id": f"check-strategy/{called}/"},  # one place in code scanning for each scenario
        "originalUriBaseIds": {_ROOT: {"uri": Path.cwd().resolve().as_uri().rstrip("/") + "/"}},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(result)],
        "results": list(_results(result)),
    }


def _driver() -> Values:
    number = version("check-strategy")
    rules = [
        {
            "id": name,
            "shortDescription": {"text": sentence(says)},
            "fullDescription": {"text": sentence(says)},
            "help": {"text": "Leave out each step in turn to see what it protects: check-strategy explain STRATEGY."},
            "defaultConfiguration": {"level": "error"},
        }
        for name, says in PROPERTIES.items()
    ]
    return {"name": "check-strategy", "version": number, "semanticVersion": number, "rules": rules}


def _invocation(result: CheckResult) -> Values:
    """How the check itself went: a search that met a limit did not do what it was asked for."""
    found = result.exploration
    values: Values = {"executionSuccessful": found.complete, "exitCode": result.exit_status}
    if not found.complete:
        message = {"text": sentence(f"the search met a limit: {found.stopped}")}
        values["toolExecutionNotifications"] = [{"level": "warning", "message": message}]
    return values


def _results(result: CheckResult) -> Iterator[Values]:
    """Each verdict that somebody has to look at, in the order of the properties."""
    for k, name in enumerate(PROPERTIES):
        merged: dict[PropertyVerdict, list[str]] = {}
        for answers in result.results:
            verdict = answers.verdicts[k]
            if verdict.verdict in (VIOLATED, EXPOSED, UNKNOWN) or verdict.vacuous:
                merged.setdefault(verdict, []).append(answers.use_case)
        for verdict, use_cases in merged.items():
            yield _result(result, k, name, verdict, use_cases)


def _result(result: CheckResult, rule: int, name: str, verdict: PropertyVerdict, use_cases: list[str]) -> Values:
    subject = result.strategy
    trace = None if verdict.trace is None else result.traces[verdict.trace]
    word = "vacuous" if verdict.vacuous else verdict.verdict
    why = trace.why if trace else verdict.note or "; ".join(verdict.vacuous)
    answer = f"{word} ({verdict.kind})" if verdict.kind else word
    values: Values = {
        "ruleId": name,
        "ruleIndex": rule,
        "level": _LEVEL.get(verdict.verdict, "warning"),
        "message": {"text": f"{sentence(why)} {sentence(f'{answer} for {listed(use_cases)}')}"},
        "locations": [_location(guilty(subject, trace), subject.name)],
        "partialFingerprints": {_FINGERPRINT: _fingerprint(result, name, word, verdict.kind, use_cases)},
        "properties": {"verdict": word, "kind": verdict.kind or None, "useCases": use_cases},
    }
    if trace and trace.steps:
        values["codeFlows"] = [_flow(subject, trace)]
    return values


def _fingerprint(result: CheckResult, name: str, word: str, kind: str, use_cases: list[str]) -> str:
    """The same for the same finding about the same strategy in the same scenario, wherever its lines have moved to."""
    facts = [result.strategy.name, result.model.scenario.machine.name, result.model.facts()]
    text = json.dumps([name, word, kind, use_cases, facts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _flow(subject: Subject, trace: Trace) -> Values:
    """The trace in the order in which it happened, all actors in one flow: the interleaving is what is to be seen.

    What a CPU does stands in no file; it is shown at the own step that came last.
    """
    at, locations = subject.where, []
    for number, step in enumerate(trace.steps, 1):
        at = step.where if own(step) else at
        again = " From here on, for ever." if trace.cycle and number == len(trace.steps) - trace.cycle + 1 else ""
        locations.append(
            {
                "location": {**_location(at, step.actor), "message": {"text": sentence(step.says) + again}},
                "executionOrder": number,
                "importance": "essential" if number == len(trace.steps) else "important",
                "state": _state(step),
            }
        )
    return {"message": {"text": sentence(trace.why)}, "threadFlows": [{"locations": locations}]}


def _state(step: TraceStep) -> Values:
    """What memory holds after a step, and what each CPU may fetch where that is something else."""
    return {name: {"text": text} for site in step.bytes for name, text in _held(site)}


def _held(site: SiteBytes) -> Iterator[tuple[str, str]]:
    yield site.name, f"{site.memory} = {site.decoded}"
    for cpu, seen in enumerate(site.seen):
        if seen:
            yield f"{site.name} for cpu {cpu}", seen


def _location(place: Location, actor: str) -> Values:
    relative = below(place.file)
    artifact = (
        {"uri": quote(relative), "uriBaseId": _ROOT} if relative else {"uri": Path(place.file).resolve().as_uri()}
    )
    region: Values = {"startLine": place.line}
    if line := linecache.getline(place.file, place.line).strip():
        region["snippet"] = {"text": line}
    return {
        "physicalLocation": {"artifactLocation": artifact, "region": region},
        "logicalLocations": [{"name": actor}],
    }

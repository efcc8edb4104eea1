"""Answers for machines: the versioned JSON form (see docs/json.md)."""

from __future__ import annotations

from typing import Any

from checker.report.files import SCHEMA
from checker.trace import SiteBytes, Trace, TraceStep
from checker.verdict import CheckResult, PropertyVerdict


def check_to_json(result: CheckResult, name: str) -> dict[str, Any]:
    """A check as JSON values; `name` is what the user called the strategy (a path, or a shipped name)."""
    found = result.exploration
    return {
        "schema": SCHEMA,
        "strategy": result.strategy.name,
        "model": name,
        "machine": result.model.scenario.machine.name,
        **result.model.facts(),
        "engine": {
            "name": found.engine,
            "threads": found.threads,
            "symmetry": found.symmetry,
            "reductions": ["product"] if found.engine == "product" else [],
            "compact": found.compact,
        },
        "states": found.states,
        "transitions": found.transitions,
        "explored": found.explored,
        "depth": found.depth,
        "seconds": round(result.seconds, 3),
        "complete": found.complete,
        "stopped": found.stopped or None,
        "proof": proof_to_json(result),
        "idle": list(result.idle),
        "notes": list(result.notes),
        "results": [
            {"use_case": r.use_case, "verdicts": [verdict_to_json(v) for v in r.verdicts]} for r in result.results
        ],
        "traces": [trace_to_json(trace) for trace in result.traces],
    }


def proof_to_json(result: CheckResult) -> dict[str, Any] | None:
    """What was tried to prove for any number of CPUs; None where nothing was."""
    proving = result.proving
    if proving is None:
        return None
    proof = proving.tried.proof if proving.tried else None
    return {
        "any_number_of_cpus": proof is not None,
        "reason": proving.reason or None,
        "no_progress": (proving.tried.no_progress if proving.tried else "") or None,
        "invariant": proof.invariant.origin if proof else None,
        "instances": proof.invariant.index if proof else None,
        "lemmas": [{"name": lemma.name, "says": lemma.says} for lemma in proof.invariant.lemmas] if proof else [],
        "conditions": len(proof.obligations) if proof else 0,
    }


def verdict_to_json(verdict: PropertyVerdict) -> dict[str, Any]:
    return {
        "property": verdict.property,
        "required": verdict.required,
        "verdict": verdict.verdict,
        "kind": verdict.kind or None,
        "bound": None,
        "note": verdict.note or None,
        "vacuous": list(verdict.vacuous),
        "trace": verdict.trace,
    }


def trace_to_json(trace: Trace) -> dict[str, Any]:
    return {
        "property": trace.property,
        "kind": trace.kind or None,
        "steps": [step_to_json(step) for step in trace.steps],
        "cycle": trace.cycle,
        "rests": trace.rests,
        "why": trace.why,
        "conjunct": trace.conjunct,
    }


def step_to_json(step: TraceStep) -> dict[str, Any]:
    return {
        "actor": step.actor,
        "action": step.action,
        "choice": step.choice,
        "says": step.says,
        "changes": {name: list(pair) for name, pair in step.changes.items()},
        "bytes": {b.name: _bytes_to_json(b) for b in step.bytes},
        "source": str(step.where) if step.instance is None else None,
    }


def _bytes_to_json(found: SiteBytes) -> dict[str, str]:
    seen = {f"seen by cpu {i}": view for i, view in enumerate(found.seen) if view}
    return {"memory": found.memory, **seen}

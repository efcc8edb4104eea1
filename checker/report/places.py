"""Which line of a model an answer points at, and how to say it to those who know files only below one folder."""

from __future__ import annotations

from pathlib import Path

from checker.trace import Trace, TraceStep
from models.model import Subject
from models.system.errors import Location


def own(step: TraceStep) -> bool:
    """Whether the model's author wrote this step; what CPUs do stands in no model."""
    return step.instance is None


def below(file: str) -> str | None:
    """The path of a file from the current folder, with slashes; None where it is not below it."""
    path, here = Path(file).resolve(), Path.cwd().resolve()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else None


def guilty(subject: Subject, trace: Trace | None) -> Location:
    """The line to look at: of the last own step of the trace, or where the model is declared.

    A step may stand in a library that is not below the current folder, and so in nobody's repository; then the last one
    counts that is below it.
    """
    places = [step.where for step in reversed(trace.steps) if own(step)] if trace else []
    places.append(subject.where)
    return next((place for place in places if below(place.file)), places[0])

"""The steps of a program, thread by thread, as they nest."""

from __future__ import annotations

from collections.abc import Iterator

from models.model import Model
from models.program import Body, Check, Fail, Note, substeps
from models.system.errors import Location
from models.threads import ProgramModel

Nested = tuple[int, str, Location]  # how deep a step stands, its label, and where it was written


def bodies(model: Model) -> Iterator[tuple[str, list[Nested]]]:
    """The name of each thread and its steps, in the order of the text; claims are none. Raises TypeError for a strategy's."""
    if not isinstance(model, ProgramModel):
        raise TypeError(f"{model.subject.name} is no program")
    for thread, body in model.program.threads.items():
        yield thread.name, list(_nested(model, body, 0))


def _nested(model: ProgramModel, body: Body, depth: int) -> Iterator[Nested]:
    for step in body:
        if not isinstance(step, Check | Note | Fail):
            yield depth, model.parts.label(step), step.where
        for inner in substeps(step):
            yield from _nested(model, inner, depth + 1)

"""For tests: legal schedules of a model as a hypothesis strategy, run on the reference evaluator.

Needs hypothesis, which is not installed with the command itself (`pip install hypothesis`).
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from models.model import Model
from models.system.evaluate import Evaluator, State, Step
from models.system.system import Invariant, Mark


@dataclass(frozen=True)
class Schedule:
    """A run of a model: the states it went through (one more than steps), and what it broke on its way."""

    model: Model
    states: tuple[State, ...]
    steps: tuple[Step, ...]
    marks: tuple[Mark, ...]
    broken: tuple[Invariant, ...]

    @property
    def violated(self) -> set[tuple[str, str]]:
        """Property and kind of everything that was broken."""
        found = {(m.property, m.kind) for m in self.marks if not m.premise}
        return found | {(i.property, i.kind) for i in self.broken}

    def __repr__(self) -> str:
        said = (f"{'patcher' if s.instance is None else f'cpu {s.instance}'}: {s.action.name}" for s in self.steps)
        return f"Schedule({'; '.join(said)})"


@st.composite
def interleavings(draw: st.DrawFn, model: Model, most: int = 60) -> Schedule:
    """Legal schedules of `model` of up to `most` steps; they shrink to short ones."""
    evaluator = Evaluator(model.system)
    state = evaluator.initial()
    states, steps = [state], list[Step]()
    marks, broken = list[Mark](), list(evaluator.broken(state))
    for _ in range(draw(st.integers(0, most))):
        enabled = list(evaluator.transitions(state))
        if not enabled:
            break
        step = enabled[draw(st.integers(0, len(enabled) - 1))]
        marks += evaluator.marks(step, state)
        state = step.state
        broken += evaluator.broken(state)
        steps.append(step)
        states.append(state)
    return Schedule(model, tuple(states), tuple(steps), tuple(marks), tuple(broken))

"""Proofs as text: the lemmas of an invariant, and how an attempt failed."""

from __future__ import annotations

from checker.report.layout import PLAIN, Paint, fill
from models.system.evaluate import State
from models.system.system import TransitionSystem
from proofs.induction import Escape, Unanswered
from proofs.lemma import Lemma
from proofs.prove import Failure, Proof
from proofs.shape import Obstacle
from proofs.words import parts


def lemmas(proof: Proof, paint: Paint = PLAIN) -> str:
    """Every lemma: name, why it is needed, what it says."""
    lines = [paint("lemmas", "bold")]
    for lemma in proof.invariant.lemmas:
        lines.append(paint(f"  {lemma.name}", "bold"))
        lines += [fill(lemma.says, "    ", "    ")] if lemma.says else []
        lines += [fill(part, "      ", "        ") for part in parts(lemma.holds)]
    if proof.ranking is not None:
        lines += [
            "",
            paint("waits", "bold") + "  (each CPU comes to allow the patcher's next step, and keeps allowing it)",
        ]
        for wait in proof.ranking.waits:
            lines.append(f"  {wait.action.name}")
            for component, layers in wait.layers.items():
                for layer in layers:
                    how = "any step" if layer.alone else f"a step of kind “{layer.helper.value}”"
                    lines.append(fill(f"{component.name}, {'; '.join(parts(layer.holds))}: {how}", "    ", "      "))
    return "\n".join(lines)


def not_inductive(failure: Failure, paint: Paint = PLAIN) -> str:
    """Why there is no proof: the step that leads out, or the part of the model that stands in the way."""
    match failure:
        case Obstacle():
            return fill(f"no proof  {failure}", following="          ")
        case Unanswered(obligation=obligation, reason=reason):
            return fill(f"unknown  the solver gave up on {obligation.name}: {reason}", following="         ")
        case Escape():
            return _escape(failure, paint)


def _escape(escape: Escape, paint: Paint) -> str:
    question = escape.question
    what = f"lemma {question.name}" if isinstance(question, Lemma) else getattr(question, "property", str(question))
    lines = [paint(f"not inductive: {what}", "bold")]
    lines.append(
        fill("The state below satisfies every lemma and need not be reachable; the step breaks what is named.", "  ")
    )
    lines += _state(escape.system, escape.before)
    if escape.step is not None:
        who = "the patcher" if escape.step.instance is None else f"instance {escape.step.instance}"
        lines.append(f"  {who} takes “{escape.step.action.name}”, and then")
        lines += _state(escape.system, escape.step.state, escape.before)
    return "\n".join(lines)


def _state(system: TransitionSystem, state: State, before: State | None = None) -> list[str]:
    """The values of a state; after a step, those that changed."""
    lines = []
    groups = [("shared", system.globals, state.shared, before.shared if before else None)]
    for i, (component, number) in enumerate(system.instances):
        was = before.instances[i] if before else None
        groups.append((f"{component.name} {number}", system.locals(component), state.instances[i], was))
    for title, variables, values, old in groups:
        shown = [
            f"{v.name} = {v.type.show(value)}"
            for k, (v, value) in enumerate(zip(variables, values, strict=True))
            if old is None or old[k] != value
        ]
        if shown:
            lines.append(fill(f"{title}: {', '.join(shown)}", "    ", "      "))
    return lines

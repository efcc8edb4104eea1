"""A bug as text: the story as it was published, the trace with the published steps marked, and the fix."""

from __future__ import annotations

from checker.bugs import Examined
from checker.report.layout import PLAIN, Paint, fill, plural


def render(found: Examined, paint: Paint = PLAIN) -> str:
    """Everything that one wants to see of a bug."""
    bug = found.bug
    lines = [
        fill(f"{paint(bug.identifier, 'bold')}: {bug.title}", following="  "),
        fill(f"{bug.date}, {bug.architecture}, {bug.subsystem}. {bug.source}", "  ", "  "),
        "",
        fill(f"published  {bug.story}", following="           "),
    ]
    if bug.model:
        lines.append(fill(f"model      {bug.model}", following="           "))
    lines += ["", fill(f"before the fix  {found.before.strategy.name}: {found.before.strategy.says}", "", "  ")]
    lines += _trace(found, paint)
    lines += ["", fill(f"after the fix  {found.after.strategy.name}: {found.after.strategy.says}", "", "  ")]
    model = found.after.model
    size = f"{model.size}, {model.scenario.machine.name}"
    lines.append(fill(f"  => what it has to keep holds: {proved(found)} ({size}){_how(found)}", "", "     "))
    if found.difference:
        lines += ["", paint(fill(f"not as published  {found.difference}", following="  "), "red")]
    return "\n".join(lines)


def proved(found: Examined) -> str:
    """What of the fix is proved, and what only verified."""
    tried = found.after.proving.tried if found.after.proving else None
    if found.fix_is_proved:
        return "proved for any number of CPUs"
    if tried is None or tried.proof is None:
        return "verified"
    return f"proved for any number of CPUs, except that {', '.join(found.unproved)} is verified"


def _how(found: Examined) -> str:
    """The proof of the fix, in a few words."""
    tried = found.after.proving.tried if found.after.proving else None
    if tried is None or tried.proof is None:
        return ""
    invariant = tried.proof.invariant
    return f"; {plural(len(invariant.lemmas), 'lemma')}, {invariant.origin}"


def _trace(found: Examined, paint: Paint) -> list[str]:
    """The trace, with a mark at each step that was published."""
    if found.trace is None:
        return [paint(f"  no violation of {found.bug.breaks} was found", "red")]
    lines = []
    for number, step in enumerate(found.trace.steps, 1):
        mark = "»" if number in found.at else " "
        lines.append(fill(step.says, f"{mark}{number:3}  ", "      "))
    lines.append(paint(fill(f"=> {found.trace.property}: {found.trace.why}", "  ", "     "), "red"))
    lines.append("  » as published")
    return lines

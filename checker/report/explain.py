"""Which steps carry load, as pictures of 80 columns: the update down the page, each shortest trace in lanes; and JSON."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from checker.explain import Falls, Omission, written_lemmas
from checker.report import structured
from checker.report.files import SCHEMA
from checker.report.layout import PLAIN, WIDTH, Paint, fill, named, plural
from checker.report.steps import bodies
from checker.report.text import applies, short_path
from checker.trace import Trace
from checker.verdict import CheckResult
from models.compose import StrategyModel, of_strategy
from models.machines.views import show_memory
from models.model import Model
from models.plan import Plan, Planned
from models.properties import who
from models.text import Memory, SiteText

_NARROWEST = 15  # of a lane; where lanes would be narrower, sentences stand instead
Cells = tuple[str, str, str, str]
_HEADER: Cells = ("step", "memory afterwards", "without it", "steps")


@dataclass(frozen=True)
class Explained:
    """All that is shown: the complete strategy, what it breaks already, and what breaks without each step.

    `name`: what the user called the strategy.
    """

    name: str
    whole: CheckResult
    use_case: str
    known: frozenset[tuple[str, str]]
    omissions: Sequence[Omission]

    def of(self, label: str) -> Omission | None:
        return next((o for o in self.omissions if o.label == label), None)


def render(found: Explained, paint: Paint = PLAIN) -> str:
    """The picture of the update, the shortest trace without each step, and the steps that protect nothing."""
    model = found.whole.model
    heading = (
        f"{paint(model.subject.name, 'bold')}, {found.use_case}, {applies(found.whole)}, {model.scenario.machine.name}"
    )
    lines = [fill(heading, "", "  ")]
    if found.known:
        broken = ", ".join(named(name, kind) for name, kind in sorted(found.known))
        lines.append(fill(f"complete, it breaks already: {broken}", "", "  "))
    lines += ["", *(_picture if isinstance(model, StrategyModel) else _program)(found, paint)]
    for omission in found.omissions:
        if omission.trace is not None:
            lines += ["", *_omission(omission, omission.trace, paint)]
    if found.omissions and not written_lemmas(found.whole):
        lines += [
            "",
            fill("No lemmas are named: there is no proof of the complete strategy in lemmas that people wrote."),
        ]
    return "\n".join([*lines, *_redundant(found, paint)])


# ---- the update down the page ---------------------------------------------------------------------------------------


def _picture(found: Explained, paint: Paint) -> Iterator[str]:
    """A line for each step and each thing that memory holds after it, and beside it what breaks without the step."""
    plan = of_strategy(found.whole.model).plan
    rows: list[tuple[str, Cells]] = [(" ", _HEADER)]
    rows += [("│", ("", said, "", "")) for said in _before(plan)]
    ends: dict[int, str] = {}
    seen: set[str] = set()
    done = 0
    for number, end in enumerate(plan.returns, 1):
        for label, steps in groupby(plan.steps[done:end], lambda p: p.label):
            rows += _step(label, list(steps), plan, found, label in seen)
            seen.add(label)
        done = end
        ends[len(rows)] = f"the update returns: {who(plan.meanings[number])} is to be called"
    widths = _widths(rows)
    for number, (mark, cells) in enumerate(rows):
        if number in ends:
            yield fill(ends[number], " ▼ ", "   ")
        yield from _line(mark, cells, widths, paint, number == 0)
    yield fill(ends[len(rows)], " ▼ ", "   ")


def _widths(rows: Sequence[tuple[str, Cells]]) -> list[int]:
    """Of the four columns; the first is as wide as the others leave it."""
    widths = [max(len(cells[k]) for _, cells in rows) for k in range(4)]
    widths[0] = min(widths[0], WIDTH - 9 - sum(widths[1:]))
    return widths


def _line(mark: str, cells: Sequence[str], widths: Sequence[int], paint: Paint, header: bool) -> Iterator[str]:
    """One row; a label that is too long has a line of its own."""
    label, memory, broken, steps = cells
    if len(label) > widths[0]:
        for part in textwrap.wrap(label, WIDTH - 3):
            yield f" {mark} {part}"
            mark = "│"
        label = ""
    text = f" {mark} {label:{widths[0]}}  {memory:{widths[1]}}  {broken:{widths[2]}}  {steps:>{widths[3]}}".rstrip()
    yield paint(text, "bold") if header else text


def _step(
    label: str, steps: Sequence[Planned], plan: Plan, found: Explained, again: bool
) -> Iterator[tuple[str, Cells]]:
    """The rows of one step, or of all steps of one label that follow each other."""
    omission = found.of(label)
    memory = [said for p in steps for said in _writes(p, plan)]
    mark, broken = _breaks(found, omission)
    if again:
        broken = [("as above", "")]
    for k in range(max(len(memory), len(broken), 1)):
        said = memory[k] if k < len(memory) else ""
        what, length = broken[k] if k < len(broken) else ("", "")
        yield (mark if k == 0 else "│"), (label if k == 0 else "", said, what, length)


def _breaks(found: Explained, omission: Omission | None) -> tuple[str, list[tuple[str, str]]]:
    """The mark of a step, and each property that breaks without it, with the length of its shortest trace."""
    if omission is None:
        return "?", [("not looked at", "")]
    if omission.violations:
        return "●", [(v.verdict.property, str(len(v.trace.steps))) for v in omission.violations]
    if omission.inconclusive:
        return "?", [("unknown", "")]
    if omission.untested:
        return "?", [("nothing is tested", "")]
    return "○", [("nothing more breaks" if found.known else "nothing breaks", "")]


def _before(plan: Plan) -> Iterator[str]:
    """What memory holds at first."""
    for site in plan.sites:
        yield _memory(site, _initial(site), plan)


def _initial(site: SiteText) -> Memory:
    return frozenset({b"".join(next(iter(granule.contents[0])) for granule in site.granules)})


def _writes(p: Planned, plan: Plan) -> Iterator[str]:
    """What memory holds while and after a step stores, each in a line."""
    site = _site(p, plan)
    if site is not None:
        for memory in p.writes:
            yield _memory(site, memory, plan)


def _site(p: Planned, plan: Plan) -> SiteText | None:
    """The site to which a step stores."""
    place = getattr(p.step, "place", None)
    return plan.sites[place.site.index] if place is not None and p.writes else None


def _memory(site: SiteText, memory: Memory, plan: Plan) -> str:
    """Bytes, and what they are where that is settled; with several sites, the number of the site."""
    head = f"{site.index}: " if len(plan.sites) > 1 else ""
    text = f"{head}{show_memory(sorted(memory))}"
    if len(memory) > 1:
        return text
    named = f"{text} {site.classify(next(iter(memory)))}"
    return named if len(named) <= len(head) + 5 * len("e8/cc ") else text


# ---- the threads of a program ---------------------------------------------------------------------------------------


def _program(found: Explained, paint: Paint) -> Iterator[str]:
    """For each thread its steps, as they nest, and beside each what breaks without it."""
    model = found.whole.model
    rows: list[tuple[str, Cells]] = [(" ", ("step", "line", "without it", "steps"))]
    threads: set[int] = set()
    seen: set[str] = set()
    for thread, body in bodies(model):
        threads.add(len(rows))
        rows.append((" ", (thread, "", "", "")))
        for depth, label, where in body:
            mark, broken = _breaks(found, found.of(label))
            if label in seen:
                broken = [("as above", "")]
            seen.add(label)
            first, *others = broken
            rows.append((mark, ("  " * depth + label, str(where.line), *first)))
            rows += [("│", ("", "", *other)) for other in others]
    widths = _widths(rows)
    for number, (mark, cells) in enumerate(rows):
        yield from _line(mark, cells, widths, paint, number == 0 or number in threads)


# ---- one step less --------------------------------------------------------------------------------------------------


def _omission(omission: Omission, trace: Trace, paint: Paint) -> Iterator[str]:
    """The shortest trace without a step, in lanes, what is wrong at its end, and which lemma falls on it."""
    file, _, line = omission.line.rpartition(":")
    title = f"without {omission.label}: {named(trace.property, trace.kind)}, {plural(len(trace.steps), 'step')}"
    place = f"{short_path(file)}:{line}"
    yield paint(fill(title, "", "  "), "bold")
    yield from textwrap.wrap(place, WIDTH - 2, initial_indent="  ", subsequent_indent="  ")
    falls = omission.falls.fallen if omission.falls else ()
    first = falls[0].step if falls else None
    yield from lanes(trace, omission.result.model, first)
    yield paint(fill(f"=> {trace.property}: {trace.why}", "  ", "     "), "red")
    yield from _falls(omission.falls)


def lanes(trace: Trace, model: Model, marked: int | None = None) -> Iterator[str]:
    """A lane for each actor, time downwards; `marked`: the step after which the first lemma is false.

    Where there are too many actors to stand beside each other, a sentence for each step.
    """
    if not trace.steps:
        yield "      nothing has to happen first"
        return
    acting = {step.actor for step in trace.steps}
    actors = [a for a in (*trace.singles, *(f"cpu {i}" for i in range(trace.cpus))) if a in acting]
    width = (WIDTH - 6) // len(actors)
    choices = {action.name: action.choice for action in model.system.actions}
    if width >= _NARROWEST:
        yield _row("", [actor.replace("cpu ", "CPU ") for actor in actors], width)
    for number, step in enumerate(trace.steps, 1):
        if trace.cycle and number == len(trace.steps) - trace.cycle + 1:
            yield "      from here on, for ever:"
        head = f"{number:4}{'!' if number == marked else ' '} "
        if width < _NARROWEST:
            yield fill(step.says, head, " " * 6)
            continue
        choice = choices[step.action]
        name = f"{step.action} {choice.labels[step.choice]}" if choice else step.action
        for k, part in enumerate(textwrap.wrap(name.replace("(round ", "(round\xa0"), width - 1)):
            said = part.replace("\xa0", " ")  # a round and its number stay together
            yield _row(head if k == 0 else "", [said if actor == step.actor else "│" for actor in actors], width)
    if trace.rests:
        yield "      from here on nothing has to happen any more"


def _row(head: str, cells: Sequence[str], width: int) -> str:
    return f"{head:6}{''.join(cell.ljust(width) for cell in cells)}".rstrip()


def _falls(falls: Falls | None) -> Iterator[str]:
    """The lemma that falls first, the others after it, and what could not be asked."""
    if falls is None:
        return
    if falls.fallen:
        first, *others = falls.fallen
        since = "is false at the start" if first.step == 0 else f"stops being true at step {first.step} (!)"
        yield fill(f"lemma  {first.lemma.name} {since}: {first.lemma.says}", "  ", "         ")
        if others:
            rest = ", ".join(f"{fall.lemma.name} ({fall.step})" for fall in others)
            yield fill(f"then   {rest}", "  ", "         ")
    else:
        yield fill("lemma  none: all that could be asked stay true on this trace", "  ", "         ")
    if falls.unasked:
        names = ", ".join(lemma.name for lemma in falls.unasked)
        yield fill(f"not comparable  {names}: not all that is said has a word in the other", "  ", "         ")


def _redundant(found: Explained, paint: Paint) -> Iterator[str]:
    """The steps that protect nothing here, and how little that means; those without which nothing is tested."""
    for omission in found.omissions:
        if omission.untested and not omission.inconclusive:
            yield ""
            yield paint(fill(f"untested without {omission.label}: {', '.join(omission.untested)}", "", "  "), "bold")
            yield fill("Nothing breaks without it, since nothing that could break this happens any more.", "  ")
    names = [o.label for o in found.omissions if o.redundant]
    if not names:
        return
    machine = found.whole.model.scenario.machine.name
    yield ""
    yield paint(fill(f"redundant under {machine}: {', '.join(names)}", "", "  "), "bold")
    yield fill(
        f"Without {'it' if len(names) == 1 else 'any one of them'} nothing {'more ' if found.known else ''}breaks in this "
        "scenario. That says nothing about other machines, more rounds, or two steps left out at once: "
        f"`check-strategy matrix {shlex.quote(found.name)}` asks the other machines.",
        "  ",
    )


# ---- for machines ---------------------------------------------------------------------------------------------------


def to_json(found: Explained, name: str) -> dict[str, Any]:
    """The same as JSON values; `name` is what the user called the strategy."""
    return {
        "schema": SCHEMA,
        "strategy": found.whole.strategy.name,
        "use_case": found.use_case,
        "complete": structured.check_to_json(found.whole, name),
        "steps": list(_steps_to_json(found.whole.model)),
        "untested": {o.label: list(o.untested) for o in found.omissions if o.untested},
        "redundant": [o.label for o in found.omissions if o.redundant],
        "without": [
            {"label": o.label, "line": o.line, **_falls_to_json(o.falls), **structured.check_to_json(o.result, name)}
            for o in found.omissions
        ],
    }


def _steps_to_json(model: Model) -> Iterator[dict[str, Any]]:
    """Every step: of a strategy with the bytes of every site after it, and of its own while it stores."""
    if not isinstance(model, StrategyModel):
        yield from (
            {"label": s, "thread": t, "depth": d, "line": str(w)} for t, body in bodies(model) for d, s, w in body
        )
        return
    plan = model.plan
    held = {site.index: _initial(site) for site in plan.sites}
    for p in plan.steps:
        site = _site(p, plan)
        if site is not None:
            held[site.index] = p.writes[-1]
        yield {
            "label": p.label,
            "round": p.round,
            "line": str(p.step.where),
            "site": site.index if site else None,
            "meanwhile": [show_memory(sorted(memory)) for memory in p.writes[:-1]],
            "bytes": {f"site {i}": show_memory(sorted(memory)) for i, memory in held.items()},
        }


def _falls_to_json(falls: Falls | None) -> dict[str, Any]:
    fallen = falls.fallen if falls else ()
    said = [{"name": fall.lemma.name, "says": fall.lemma.says, "step": fall.step} for fall in fallen]
    unasked = [lemma.name for lemma in falls.unasked] if falls else []
    return {"lemma": said[0] if said else None, "then": said[1:], "not_comparable": unasked}

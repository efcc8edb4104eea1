"""Verdicts and traces as text for a terminal of 80 columns; colour only where it is asked for."""

from __future__ import annotations

import linecache
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase

from checker.report.layout import PLAIN, WIDTH, Paint, fill, named, plural, table
from checker.search.result import Exploration
from checker.trace import SiteBytes, Trace, TraceStep
from checker.verdict import EXPOSED, PROVED, UNKNOWN, VERIFIED, VIOLATED, CheckResult, PropertyVerdict, UseCaseResult
from models.compose import StrategyModel
from models.scenario import Scenario

MOST_LANES = 8  # of CPUs beside each other
_VERDICT_COLOUR = {PROVED: "green", VERIFIED: "green", VIOLATED: "red", EXPOSED: "yellow", UNKNOWN: "yellow"}


def answer(verdict: PropertyVerdict) -> str:
    """One cell: the verdict, and how the property is broken."""
    word = verdict.verdict.upper() if verdict.verdict == VIOLATED else verdict.verdict
    return f"{word} ({verdict.kind})" if verdict.kind and verdict.kind != verdict.property else word


def whole_answer(verdict: PropertyVerdict) -> str:
    """One cell where no remarks stand beside it: the answer, and whether nothing put the property to the test."""
    return f"{answer(verdict)}, vacuous" if verdict.vacuous else answer(verdict)


def verdict_table(result: CheckResult, paint: Paint) -> list[str]:
    """The table of all properties, one for each use case where they do not fit beside each other, and remarks."""
    whole = _rows(result.results)
    groups = [result.results]
    if max(map(len, table(whole[0]).splitlines())) > WIDTH:
        groups = [(one,) for one in result.results]
    lines = []
    for group in groups:
        rows, colours = _rows(group)
        lines += ["", table(rows, paint, colours)]
    return [*lines[1:], *_remarks(result)]


def _rows(results: Sequence[UseCaseResult]) -> tuple[list[list[str]], list[list[str]]]:
    """The cells of the table, header first, and the colour of each cell below it."""
    rows = [["property", "asked", *(r.use_case for r in results), "evidence"]]
    colours = []
    for k, head in enumerate(results[0].verdicts):
        verdicts = [r.verdicts[k] for r in results]
        traces = [v.trace for v in verdicts if v.trace is not None]
        evidence = (
            f"trace {traces[0] + 1}" if traces else _remark(head) or ("proof" if head.verdict == PROVED else "search")
        )
        rows.append([head.property, "required" if head.required else "exposure", *map(answer, verdicts), evidence])
        colours.append(["", "", *(_VERDICT_COLOUR[v.verdict] for v in verdicts), ""])
    return rows, colours


def _remark(verdict: PropertyVerdict) -> str:
    """What kind of remark a verdict carries."""
    if verdict.vacuous:
        return "vacuous"
    return "" if not verdict.note else "trivial" if verdict.verdict in (PROVED, VERIFIED) else "limit"


def _remarks(result: CheckResult) -> list[str]:
    """What the remarks in the table mean, one line each."""
    about: dict[tuple[str, str], dict[str, None]] = {}  # by remark and note, the properties
    for v in (v for r in result.results for v in r.verdicts if _remark(v)):
        about.setdefault((_remark(v), v.note or "; ".join(v.vacuous)), {})[v.property] = None
        if v.verdict == UNKNOWN:
            about[_remark(v), v.note].clear()
    notes = [f"{remark}: {', '.join(names)}{': ' if names else ''}{note}" for (remark, note), names in about.items()]
    return [fill(note, "  ", "    ") for note in notes]


def applies(result: CheckResult) -> str:
    """The one line on what the verdicts apply to."""
    scenario = result.model.scenario
    parts = result.model.circumstances
    if scenario.without:
        parts.append("without " + ", ".join(sorted(scenario.without)))
    return ", ".join(parts)


def evidence(result: CheckResult) -> str:
    """What was searched, and how far."""
    found = result.exploration
    scope = "every interleaving" if found.complete else f"INCOMPLETE ({found.stopped})"
    return (
        f"{scope}: {plural(found.states, 'state')}, {plural(found.transitions, 'transition')}, depth {found.depth}; "
        f"{how(found)}, {result.seconds:.2f} s"
    )


def facts(result: CheckResult) -> Iterator[tuple[str, str]]:
    """What the verdicts rest on and apply to: a word, and a sentence about it."""
    machine = result.model.scenario.machine
    yield "searched", evidence(result)
    yield from _proof(result)
    yield "applies to", applies(result)
    yield "machine", f"{machine.name}: {machine.says}"
    yield from (("note", note) for note in result.notes)
    if result.idle:
        yield "warning", f"never happened: {', '.join(_idle(result))}"


def _idle(result: CheckResult) -> Iterator[str]:
    """What never happened; of what a thread of a program does, the line, too, as its names are not the author's."""
    lines = {action.name: action.where.line for action in result.model.system.actions}
    own = set() if isinstance(result.model, StrategyModel) else {where.line for where in result.model.labels.values()}
    yield from (f"{name} (line {lines[name]})" if lines[name] in own else name for name in result.idle)


def _proof(result: CheckResult) -> Iterator[tuple[str, str]]:
    """What was proved for any number of CPUs and how, and what was not and why."""
    proving = result.proving
    if proving is None:
        return
    proof = proving.tried.proof if proving.tried else None
    if proof is not None:
        invariant = proof.invariant
        who = "one CPU" if invariant.index == 1 else f"every {invariant.index} CPUs"
        yield (
            "proved",
            f"for any number of CPUs: {plural(len(invariant.lemmas), 'lemma')} about {who}, {invariant.origin}; "
            f"{plural(len(proof.obligations), 'condition')} confirmed by Z3, {proving.seconds:.2f} s",
        )
    left = {
        v.property: proving.why_not(v.property) for r in result.results for v in r.verdicts if v.verdict == VERIFIED
    }
    for reason in dict.fromkeys(left.values()):
        names = ", ".join(name for name in left if left[name] == reason)
        yield "not proved", f"{names}: {reason}"


def how(found: Exploration) -> str:
    """The engine, and what it did to have less to do."""
    parts = [f"{found.engine} engine"]
    if found.engine == "product":
        parts.append(f"from {plural(found.explored, 'pair')} of shared values and one CPU")
    elif found.symmetry:
        parts.append(f"symmetry of CPUs: {found.explored:,} explored")
    else:
        parts.append("no reductions")
    if found.compact:
        parts.append("hash compaction")
    if found.threads > 1:
        parts.append(f"{found.threads} threads")
    return ", ".join(parts)


def render(result: CheckResult, paint: Paint = PLAIN, command: str = "") -> str:
    """The whole answer: table, evidence, traces."""
    strategy = result.strategy
    lines = [fill(f"{paint(strategy.name, 'bold')}: {strategy.says}", following="  "), ""]
    lines += [*verdict_table(result, paint), ""]
    lines += [fill(f"{word}  {says}", following=" " * (len(word) + 2)) for word, says in facts(result)]
    shown = {v.trace for r in result.results for v in r.verdicts if v.trace is not None}
    for number in sorted(shown):
        lines += ["", render_trace(result.traces[number], number + 1, paint)]
    if shown and command:
        lines += ["", fill(f"replay  {command}", following="        ")]
    return "\n".join(lines)


def render_trace(trace: Trace, number: int, paint: Paint = PLAIN) -> str:
    """One trace: a lane for each actor, numbered sentences, the bytes of the sites, and why it is wrong."""
    cpus, whose = _lanes(trace)
    letters = _letters(trace.singles)
    lanes = " ".join([*letters.values(), *map(str, cpus)])
    title = f"Trace {number}: {named(trace.property, trace.kind)}, {plural(len(trace.steps), 'step')}"
    who = ", ".join(f"{letter} is the {name}" for name, letter in letters.items())
    then = f"{', then ' if who else ''}one lane for each {whose}" if cpus else ""
    lines = [paint(title, "bold"), fill(f"({who}{then})", f"  #  {lanes}  ", " " * (len(lanes) + 7))]
    sites = _involved(trace)
    lines += _bytes(trace.start, sites, trace.verb, " " * (len(lanes) + 7))
    for k, step in enumerate(trace.steps, 1):
        if trace.cycle and k == len(trace.steps) - trace.cycle + 1:
            lines.append(paint("     from here on, for ever:", "bold"))
        lines += _step(
            step, k, letters, cpus, sites, len(lanes), k == len(trace.steps) and not trace.cycle, trace.verb, paint
        )
    if trace.rests:
        lines.append(paint("     from here on nothing has to happen any more", "bold"))
    lines += [paint(fill(f"=> {trace.why}", "  ", "     "), "red")]
    if trace.conjunct:
        lines.append(fill(trace.conjunct, "     "))
    return "\n".join([*lines, *_sources(trace)])


def _lanes(trace: Trace) -> tuple[list[int], str]:
    """The CPUs that have a lane: all, or where they are many, those that do something; and how to say that."""
    count = trace.cpus
    if count <= MOST_LANES:
        return list(range(count)), "CPU"
    return sorted({step.instance for step in trace.steps if step.instance is not None}), f"of {count} CPUs that acts"


def _letters(names: Sequence[str]) -> dict[str, str]:
    """A letter for each actor of which there is one, the first of its name that is free."""
    found: dict[str, str] = {}
    for name in names:
        free = [c for c in [*name.upper(), *ascii_uppercase] if c.isalpha() and c not in found.values()]
        found[name] = free[0]
    return found


def _involved(trace: Trace) -> list[int]:
    """The sites that some step names; all of them if none does."""
    named = {int(n) for step in trace.steps for n in re.findall(r"site (\d+)", step.action)}
    return sorted(named) or [site.site for site in trace.start]


def _step(
    step: TraceStep,
    number: int,
    letters: Mapping[str, str],
    cpus: Sequence[int],
    sites: Sequence[int],
    width: int,
    last: bool,
    verb: str,
    paint: Paint,
) -> list[str]:
    lanes = [*letters.values(), *map(str, cpus)]
    mine = [*letters].index(step.who) if step.instance is None else cpus.index(step.instance) + len(letters)
    marks = [("●" if lane == mine else "·").ljust(len(name)) for lane, name in enumerate(lanes)]
    head = f"{number:3}  {' '.join(marks)}  "
    text = fill(step.says, head, " " * len(head))
    return [paint(text, "red") if last else text, *_bytes(step.bytes, sites, verb, " " * (width + 7))]


def _bytes(found: Iterable[SiteBytes], sites: Sequence[int], verb: str, indent: str) -> list[str]:
    """For each site that matters, what memory holds; where CPUs may fetch something else, what they may fetch."""
    lines = []
    for site in found:
        if site.site not in sites:
            continue
        lines.append(f"{indent}  {site.name}: {site.memory} = {site.decoded}")
        views: dict[str, list[int]] = {}
        for cpu, seen in enumerate(site.seen):
            if seen:
                views.setdefault(seen, []).append(cpu)
        for seen, who in views.items():
            several = len(who) > 1
            cpus = f"CPU{'s' if several else ''} {_listed(who)}"
            says = verb.replace("has ", "have ") if several else verb
            lines.append(fill(f"{cpus} {says} {seen}", f"{indent}    ", f"{indent}      "))
    return lines


def _listed(numbers: Sequence[int]) -> str:
    """`0, 1 and 3`, `0 to 63 and 65`: numbers in rising order, long runs by their ends."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    *most, last = [
        text for run in runs for text in ([f"{run[0]} to {run[-1]}"] if len(run) > 3 else list(map(str, run)))
    ]
    return f"{', '.join(most)} and {last}" if most else last


def short_path(file: str) -> str:
    """A path as short as it can be said from here."""
    relative = os.path.relpath(file)
    return relative if not relative.startswith("../..") else file


def _sources(trace: Trace) -> list[str]:
    """The lines of the strategy whose steps took part."""
    places = list(dict.fromkeys(step.where for step in trace.steps if step.instance is None))
    if not places:
        return []
    lines = ["     steps of the strategy that took part:"]
    for place in places:
        source = linecache.getline(place.file, place.line).strip()
        name = f"{short_path(place.file)}:{place.line}"
        if len(name) > 30:
            name = f"{Path(place.file).name}:{place.line}"
        lines.append(f"       {name}  {source}"[:WIDTH])
    return lines


def command_of(name: str, scenario: Scenario, use_case: str = "") -> str:
    """The command that checks what the user calls `name` in a scenario, for one use case or all."""
    return " ".join(filter(None, ["check-strategy", shlex.quote(name), options_of(scenario, use_case)]))


def options_of(scenario: Scenario, use_case: str = "") -> str:
    """The command-line options that choose a scenario; those that have their default are left out."""
    usual = Scenario()
    parts = ["--use-case", use_case] if use_case else []
    for name in ("transition", "rounds", "cpus", "sites"):
        if getattr(scenario, name) != getattr(usual, name):
            parts += [f"--{name}", str(getattr(scenario, name))]
    if scenario.machine != usual.machine:
        parts += ["--machine", scenario.machine.name]
    for label in sorted(scenario.without):
        parts += ["--without", label]
    parts += [f"--{name}" for name in ("preempt", "nmi") if getattr(scenario, name)]
    return shlex.join(parts)


def use_case_of(result: CheckResult) -> str:
    """The one use case that a check was for, or "" where it was for all."""
    return result.results[0].use_case if len(result.results) == 1 else ""

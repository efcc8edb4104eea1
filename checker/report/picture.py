"""What a picture of a state graph says, whoever draws it: boxes, arrows, and which of them the counterexample takes.

DOT and SVG are drawn from this alone, so that they cannot say different things. Words come from a user's file; here
they are freed of what no picture has a sign for, and each drawing quotes them as its language wants it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from checker.graph import MOST_WHOLE, WHOLE, Cell, StateGraph, state_graph
from checker.report.layout import named, plural

if TYPE_CHECKING:
    from checker.verdict import CheckResult

_LONGEST = 42  # letters in a line of a box or of an arrow; the tip has all
_MOST_LINES = 3  # on an arrow
_WIDTH = 120  # of the heading, in letters
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Box:
    """A node. `cell`: see StateGraph. `lit`: whether the trace comes here; `end`: whether it ends here."""

    name: str
    lines: tuple[str, ...]
    tip: str
    cell: Cell | None
    start: bool
    lit: bool
    end: bool


@dataclass(frozen=True)
class Arrow:
    """All edges from one node to another. `lit`: whether the trace takes one of them."""

    tail: str
    head: str
    lines: tuple[str, ...]
    tip: str
    lit: bool

    @property
    def name(self) -> str:
        return f"{self.tail}-to-{self.head}"


@dataclass(frozen=True)
class Picture:
    """All of it."""

    heading: tuple[str, ...]
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def picture(result: CheckResult, which: str) -> Picture:
    """The graph of a result as it is to be drawn. Raises UsageError (see `state_graph`)."""
    made = state_graph(result, which)
    return Picture(tuple(heading(made, result)), tuple(_boxes(made)), tuple(_arrows(made)))


# ---- the heading ----------------------------------------------------------------------------------------------------


def heading(made: StateGraph, result: CheckResult) -> Iterator[str]:
    """Which graph it is, how the other is had, and whose trace is lit: lines that fit above it."""
    for sentence in (_subject(made, result), _size(made, result), _other(made, result), _lit(made, result)):
        yield from textwrap.wrap(seen(sentence), _WIDTH, break_on_hyphens=False)


def _subject(made: StateGraph, result: CheckResult) -> str:
    what = "whole state graph" if made.kind == WHOLE else "quotient of the state graph"
    bounds = "; ".join((*result.model.circumstances, result.model.scenario.machine.name))
    return f"{result.strategy.name}: {what} ({bounds})"


def _size(made: StateGraph, result: CheckResult) -> str:
    size = f"{plural(len(made.graph), 'node')}, {plural(made.graph.number_of_edges(), 'edge')}"
    if made.kind == WHOLE:
        return f"{size}; a node is a state, an edge a transition"
    what = "pairs of shared values and one CPU" if result.model.system.instances else "shared values"
    stopped = f"; INCOMPLETE, its search met a limit: {made.stopped}" if made.stopped else ""
    return f"{size}, from the {made.pairs:,} reachable {what}; an edge is what some state allows{stopped}"


def _other(made: StateGraph, result: CheckResult) -> str:
    found = result.exploration
    if made.kind == WHOLE:
        return "--graph quotient draws what each thread does next and where one CPU is"
    if not found.complete:
        return f"the whole has at least {plural(found.states, 'state')}: the search stopped"
    how = "draws it" if found.states <= MOST_WHOLE else f"draws up to {MOST_WHOLE}: fewer --cpus or --sites"
    return f"the whole has {plural(found.states, 'state')}; --graph whole {how}"


def _lit(made: StateGraph, result: CheckResult) -> str:
    trace = made.trace
    if trace is None:
        return "no counterexample was found"
    whose = f", as it is for CPU {made.cpu}" if made.cpu is not None else ""
    rest = "" if len(made.walk) == len(trace.steps) else f"; only the first {len(made.walk)} are in the graph"
    exposed = "" if result.violations else ", an exposure"
    steps = plural(len(trace.steps), "step")
    return f"red and numbered: the trace of {named(trace.property, trace.kind)}{exposed}, {steps}{whose}{rest}"


# ---- boxes and arrows -----------------------------------------------------------------------------------------------


def _boxes(made: StateGraph) -> Iterator[Box]:
    walk = made.walk
    lit = {node for visit in walk for node in (visit.before, visit.after)}
    end = walk[-1].after if walk and made.trace and len(walk) == len(made.trace.steps) else None
    for node, values in made.graph.nodes(data=True):
        lines = list(values["label"])
        tip = [*lines, "", *_values(values["values"])]
        staying = [visit.number for visit in walk if visit.before == visit.after == node]
        if staying:
            lines.append(f"{'step' if len(staying) == 1 else 'steps'} {_numbers(staying)} here")
        if node == 0:
            lines.insert(0, "start")
            tip.insert(0, "the initial state is here")
        if node == end and made.trace:
            lines.append(f"ends here: {made.trace.property}")
            tip.insert(0, f"the trace ends here: {made.trace.why}")
        shown = tuple(_short(line) for line in lines)
        yield Box(f"state-{node}", shown, _lines(tip), values["cell"], node == 0, node in lit, node == end)


def _values(values: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, found in values.items():
        yield f"{name} = {' or '.join(found)}"


def _arrows(made: StateGraph) -> Iterator[Arrow]:
    """Edges between the same two nodes are one arrow; those that the trace takes stand first, with their numbers."""
    taken: dict[tuple[int, int, object], list[int]] = {}
    for visit in made.walk:
        taken.setdefault((visit.before, visit.after, visit.key), []).append(visit.number)
    for before, after in dict.fromkeys(made.graph.edges()):
        found = []
        for key, data in made.graph[before][after].items():
            numbers = taken.get((before, after, key), [])
            found.append((numbers, f"{_numbers(numbers)}. {data['words']}" if numbers else data["words"]))
        found.sort(key=lambda entry: not entry[0])
        words = [line for _, line in found]
        shown = [_short(line) for line in words]
        if len(shown) > _MOST_LINES:
            shown[_MOST_LINES - 1 :] = [f"… and {len(shown) - _MOST_LINES + 1} more"]
        lit = any(numbers for numbers, _ in found)
        yield Arrow(f"state-{before}", f"state-{after}", tuple(shown), _lines(words), lit)


def _numbers(numbers: Sequence[int]) -> str:
    """`1, 4–6`: what follows on each other is said in one."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] + 1 == number:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


# ---- words ----------------------------------------------------------------------------------------------------------


def seen(text: str) -> str:
    """`text` in one line, with nothing in it that cannot be seen or that XML does not know."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text.replace("\n", "⏎"))


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(map(seen, lines))


def _short(line: str) -> str:
    line = seen(line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"

"""A state graph in DOT, the language of Graphviz."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from checker.graph import AUTO
from checker.report.picture import Arrow, Box, Picture, picture

if TYPE_CHECKING:
    from checker.verdict import CheckResult

_MANY = 300  # arrows; Graphviz takes minutes for more, unless it is told to hurry
INK, PAPER, QUIET = "#1f2328", "#ffffff", "#57606a"
LIT, LIT_FILL, END_FILL, START_FILL, FILL = "#cf222e", "#fff1e5", "#ffcecb", "#dafbe1", "#f6f8fa"


def render(result: CheckResult, name: str, graph: str | None = None) -> str:
    """The graph that was asked for. Raises UsageError for a whole that is too large."""
    return to_dot(picture(result, graph or AUTO))


def to_dot(shown: Picture) -> str:
    """Any picture in DOT."""
    return "\n".join(_digraph(shown)) + "\n"


def quoted(text: str) -> str:
    """A string in which Graphviz finds nothing but text: no escape, no entity, no end of the string."""
    plain = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + plain.replace("\n", "\\n") + '"'


def _digraph(shown: Picture) -> Iterator[str]:
    yield "digraph states {"
    title = "".join(f"{quoted(line)[1:-1]}\\l" for line in shown.heading)
    yield f'  graph [label="{title}", labelloc=t, labeljust=l, fontname="Helvetica", fontsize=14, bgcolor="{PAPER}",'
    haste = ", nslimit=1, nslimit1=1, mclimit=0.3" if len(shown.arrows) > _MANY else ""
    yield f'         fontcolor="{INK}", nodesep=0.3, ranksep=0.5{haste}];'
    yield f'  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=11, fontcolor="{INK}",'
    yield f'        color="{QUIET}", fillcolor="{FILL}", margin="0.1,0.05"];'
    yield f'  edge [fontname="Helvetica", fontsize=9, fontcolor="{QUIET}", color="{QUIET}", arrowsize=0.7];'
    yield from map(_box, shown.boxes)
    yield from map(_arrow, shown.arrows)
    yield "}"


def _box(box: Box) -> str:
    said = {"id": box.name, "label": "\n".join(box.lines), "tooltip": box.tip}
    if box.cell:
        said["group"] = str(box.cell[1])  # drawn below each other
    if box.start:
        said |= {"fillcolor": START_FILL, "peripheries": "2"}
    if box.lit:
        said |= {"color": LIT, "penwidth": "2.5"} | ({} if box.start else {"fillcolor": LIT_FILL})
    if box.end:
        said |= {"fillcolor": END_FILL, "penwidth": "4"}
    return f"  {quoted(box.name)} [{_attributes(said)}];"


def _arrow(arrow: Arrow) -> str:
    tip = arrow.tip
    said = {"id": arrow.name, "label": "\n".join(arrow.lines), "tooltip": tip, "labeltooltip": tip}
    if arrow.lit:
        said |= {"color": LIT, "fontcolor": LIT, "penwidth": "3"}
    return f"  {quoted(arrow.tail)} -> {quoted(arrow.head)} [{_attributes(said)}];"


def _attributes(said: dict[str, str]) -> str:
    return ", ".join(f"{key}={quoted(value)}" for key, value in said.items())

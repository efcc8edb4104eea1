"""A state graph as one SVG file that needs nothing else: laid out by Graphviz where it is installed, else by ourselves.

Every node and every edge has its full words in a <title>, which browsers show as a tooltip. There are no styles, scripts
or references, so that the picture can stand inside another page.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from checker.graph import AUTO, QUOTIENT
from checker.report.dot import END_FILL, FILL, INK, LIT, LIT_FILL, PAPER, QUIET, START_FILL, to_dot
from checker.report.layers import LINE, SMALL_LINE, Layout, Point, lay_out, point
from checker.report.picture import Arrow, Box, Picture, picture

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from checker.verdict import CheckResult

SECONDS = 10.0  # for Graphviz
_NAMESPACE = "http://www.w3.org/2000/svg"
_G, _A, _TITLE = (f"{{{_NAMESPACE}}}{name}" for name in ("g", "a", "title"))
_MARGIN, _HEAD_LINE = 24.0, 19.0


class GraphvizError(Exception):
    """Graphviz is there, but gives no picture; the message says why."""


def render(result: CheckResult, name: str, graph: str | None = None) -> str:
    """The graph that was asked for, as a file. Raises UsageError for a whole that is too large.

    Where Graphviz fails, standard error says why, and the picture is laid out without it.
    """
    shown = picture(result, graph or AUTO)
    drawn = ""
    if shutil.which("dot"):
        try:
            drawn = by_graphviz(shown)
        except GraphvizError as error:
            print(f"check-strategy: {error}; the picture is laid out without it", file=sys.stderr)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawn or built_in(shown)}\n'


def quotient_svg(result: CheckResult) -> str:
    """The quotient of a result as an <svg> element, to be put into a page: the built-in layout, no other program."""
    return built_in(picture(result, QUOTIENT))


# ---- Graphviz -------------------------------------------------------------------------------------------------------


def by_graphviz(shown: Picture) -> str:
    """An <svg> element as `dot -Tsvg` lays it out. Raises GraphvizError."""
    from xml.etree import ElementTree

    try:
        done = subprocess.run(
            ["dot", "-Tsvg"], input=to_dot(shown), capture_output=True, text=True, encoding="utf-8", timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise GraphvizError(f"Graphviz was stopped after {SECONDS:g} seconds") from None
    except OSError as error:
        raise GraphvizError(f"Graphviz cannot be run: {error.strerror or error}") from None
    if done.returncode:
        said = " ".join(done.stderr.split())[:200] or "no reason given"
        raise GraphvizError(f"Graphviz failed with status {done.returncode}: {said}")
    try:
        root = ElementTree.fromstring(done.stdout)
    except ElementTree.ParseError as error:
        raise GraphvizError(f"Graphviz wrote no SVG: {error}") from None
    tips = {box.name: box.tip for box in shown.boxes} | {arrow.name: arrow.tip for arrow in shown.arrows}
    for group in list(root.iter(_G)):
        _plain(group, tips.get(group.get("id", ""), shown.heading[0]))
    root.set("role", "img")
    ElementTree.register_namespace("", _NAMESPACE)
    return ElementTree.tostring(root, encoding="unicode")


def _plain(group: Element, tip: str) -> None:
    """Give a node, an edge or the whole its words as a title, in place of links without a target.

    The links have the words, too, but some versions of Graphviz take a name with a backslash in it for an escape.
    """
    title = group.find(_TITLE)
    if title is None:
        return
    title.text = tip
    for holder in group.findall(_G):
        link = holder.find(_A)
        if link is not None:
            place = list(group).index(holder)
            group.remove(holder)
            for k, inner in enumerate(link):
                group.insert(place + k, inner)


# ---- the built-in layout --------------------------------------------------------------------------------------------


def built_in(shown: Picture) -> str:
    """An <svg> element as `layers.py` lays it out."""
    return "\n".join(_Drawing(shown).lines())


class _Drawing:
    """One picture, drawn back to front: arrows, those of the trace, boxes, words on arrows."""

    def __init__(self, shown: Picture) -> None:
        self.shown = shown
        self.layout: Layout = lay_out(shown)
        areas = [*self.layout.boxes.values(), *self.layout.words.values()]
        curves = [point(curve, k / 8) for curve in self.layout.curves.values() for k in range(9)]
        self.left = min([a.x - a.width / 2 for a in areas] + [x for x, _ in curves]) - _MARGIN
        self.top = min([a.y - a.height / 2 for a in areas] + [y for _, y in curves]) - _MARGIN
        right = max([a.x + a.width / 2 for a in areas] + [x for x, _ in curves]) + _MARGIN
        bottom = max([a.y + a.height / 2 for a in areas] + [y for _, y in curves]) + _MARGIN
        head = len(shown.heading) * _HEAD_LINE + _MARGIN
        self.top -= head
        self.width = max(right - self.left, max(map(len, shown.heading)) * 8 + 2 * _MARGIN)
        self.height = bottom - self.top

    def lines(self) -> Iterator[str]:
        box = " ".join(map(_number, (self.left, self.top, self.width, self.height)))
        size = f'width="{_number(self.width)}" height="{_number(self.height)}"'
        yield f'<svg xmlns="{_NAMESPACE}" role="img" {size} viewBox="{box}" font-family="Helvetica, Arial, sans-serif">'
        yield f"<title>{_text(self.shown.heading[0])}</title>"
        yield "<defs>"
        for name, colour in (("", QUIET), ("-lit", LIT)):
            yield (
                f'<marker id="graph-arrow{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" '
                f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.5L8 4L0 7.5z" fill="{colour}"/></marker>'
            )
        yield "</defs>"
        corner = f'x="{_number(self.left)}" y="{_number(self.top)}"'
        yield f'<rect {corner} width="{_number(self.width)}" height="{_number(self.height)}" fill="{PAPER}"/>'
        yield f'<g class="heading" fill="{INK}" font-size="14">'
        for k, line in enumerate(self.shown.heading, 1):
            at = (self.left + _MARGIN, self.top + k * _HEAD_LINE + _MARGIN / 2)
            yield f'<text x="{_number(at[0])}" y="{_number(at[1])}">{_text(line)}</text>'
        yield "</g>"
        arrows = sorted(self.shown.arrows, key=lambda arrow: arrow.lit)
        yield from map(self.arrow, arrows)
        for shown in self.shown.boxes:
            yield from self.box(shown)
        for arrow in arrows:
            yield from self.words(arrow)
        yield "</svg>"

    def arrow(self, arrow: Arrow) -> str:
        a, b, c, d = map(_point, self.layout.curves[arrow.tail, arrow.head])
        colour, width, end = (LIT, "3", "-lit") if arrow.lit else (QUIET, "1", "")
        path = f'd="M{a}C{b} {c} {d}" stroke="{colour}" stroke-width="{width}" marker-end="url(#graph-arrow{end})"'
        return f'<g class="edge" id="{arrow.name}"><title>{_text(arrow.tip)}</title><path fill="none" {path}/></g>'

    def box(self, box: Box) -> Iterator[str]:
        area = self.layout.boxes[box.name]
        fill = END_FILL if box.end else START_FILL if box.start else LIT_FILL if box.lit else FILL
        colour, width = (LIT, "4" if box.end else "2.5") if box.lit else (QUIET, "1")
        yield f'<g class="node" id="{box.name}"><title>{_text(box.tip)}</title>'
        yield _rectangle(
            area.x, area.y, area.width, area.height, f'fill="{fill}" stroke="{colour}" stroke-width="{width}"'
        )
        if box.start:
            yield _rectangle(area.x, area.y, area.width - 7, area.height - 7, f'fill="none" stroke="{colour}"')
        yield from _centred(box.lines, (area.x, area.y), LINE, f'font-size="11" fill="{INK}"')
        yield "</g>"

    def words(self, arrow: Arrow) -> Iterator[str]:
        area = self.layout.words[arrow.tail, arrow.head]
        colour = LIT if arrow.lit else QUIET
        yield f'<g class="label"><title>{_text(arrow.tip)}</title>'
        paper = f'fill="{PAPER}"'
        yield _rectangle(area.x, area.y, area.width, area.height, paper)
        yield from _centred(arrow.lines, (area.x, area.y), SMALL_LINE, f'font-size="9" fill="{colour}"')
        yield "</g>"


def _rectangle(x: float, y: float, width: float, height: float, how: str) -> str:
    corner = f'x="{_number(x - width / 2)}" y="{_number(y - height / 2)}"'
    return f'<rect {corner} width="{_number(width)}" height="{_number(height)}" rx="7" {how}/>'


def _centred(lines: Sequence[str], middle: Point, line: float, how: str) -> Iterator[str]:
    for k, words in enumerate(lines):
        y = middle[1] + (k - (len(lines) - 1) / 2) * line + line * 0.3
        yield f'<text text-anchor="middle" x="{_number(middle[0])}" y="{_number(y)}" {how}>{_text(words)}</text>'


def _text(words: str) -> str:
    return escape(words, quote=True)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _point(at: Point) -> str:
    return f"{_number(at[0])} {_number(at[1])}"

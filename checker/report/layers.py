"""Where boxes, arrows and their words stand in a picture, where Graphviz does not say.

A quotient is a grid: a row for what the patcher does next, a column for where the CPU is. Anything else is drawn in
layers, by the fewest steps from the start, in an order that keeps neighbours near. Boxes never overlap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import networkx as nx

from checker.report.picture import Arrow, Picture

LETTER, LINE = 6.6, 14.0  # of the words in boxes
SMALL_LETTER, SMALL_LINE = 5.4, 11.0  # of those on arrows
_GAP = 34.0  # between boxes
_SWEEPS = 6
_ALONG = (0.5, 0.4, 0.6, 0.3, 0.7, 0.22, 0.78, 0.14, 0.86)  # where on an arrow its words may stand
_CELL = 80.0  # of the grid in which what is there already is looked up

Point = tuple[float, float]
Curve = tuple[Point, Point, Point, Point]  # a cubic one


@dataclass(frozen=True)
class Area:
    """A rectangle by its middle and its size."""

    x: float
    y: float
    width: float
    height: float

    def common(self, other: Area) -> float:
        """How much of it the other covers."""
        across = min(self.x + self.width / 2, other.x + other.width / 2) - max(
            self.x - self.width / 2, other.x - other.width / 2
        )
        down = min(self.y + self.height / 2, other.y + other.height / 2) - max(
            self.y - self.height / 2, other.y - other.height / 2
        )
        return max(across, 0) * max(down, 0)


@dataclass
class Layout:
    """A picture's areas by box, and curves and areas of words by arrow (tail and head)."""

    boxes: dict[str, Area] = field(default_factory=dict)
    curves: dict[tuple[str, str], Curve] = field(default_factory=dict)
    words: dict[tuple[str, str], Area] = field(default_factory=dict)


def lay_out(shown: Picture) -> Layout:
    """The built-in layout of a picture; needs no other program."""
    return _Layers(shown).made


class _Layers:
    """Rows of boxes from top to bottom."""

    def __init__(self, shown: Picture) -> None:
        self.shown = shown
        self.made = Layout()
        self.sizes = {box.name: _size(box.lines, LETTER, LINE, 22, 12) for box in shown.boxes}
        self.graph = nx.DiGraph([(arrow.tail, arrow.head) for arrow in shown.arrows])
        self.graph.add_nodes_from(self.sizes)
        cells = {box.name: box.cell for box in shown.boxes if box.cell}
        self.is_grid = is_grid = len(cells) == len(shown.boxes) and len({row for row, _ in cells.values()}) > 1
        columns = self.grid(cells) if is_grid else self.layered()
        self.row = {name: number for number, row in enumerate(self.rows) for name in row}
        self.air = 0.0 if is_grid else 40.0  # between rows, for arrows that go across
        self.place(columns)
        for arrow in shown.arrows:
            self.made.curves[arrow.tail, arrow.head] = self.curve(arrow)
        _Writer(shown, self.made).write()

    # ---- across -----------------------------------------------------------------------------------------------------

    def grid(self, cells: dict[str, tuple[int, int]]) -> dict[str, float]:
        """Rows and columns as the cells say; columns are as wide as what is written in them and between them."""
        rows: dict[int, list[str]] = defaultdict(list)
        for name, (row, _) in sorted(cells.items(), key=lambda entry: entry[1]):
            rows[row].append(name)
        self.rows = list(rows.values())
        used = sorted({column for _, column in cells.values()})
        order = {column: k for k, column in enumerate(used)}
        at = {name: order[column] for name, (_, column) in cells.items()}
        width = [max(self.sizes[name][0] for name, c in at.items() if c == k) for k in range(len(used))]
        gap = [_GAP] * len(used)
        for arrow in self.shown.arrows:
            a, b = sorted((at[arrow.tail], at[arrow.head]))
            room = _size(arrow.lines, SMALL_LETTER, SMALL_LINE)[0] + 16
            if b - a == 1 and cells[arrow.tail][0] == cells[arrow.head][0]:
                gap[a] = max(gap[a], room)  # words between two boxes of a row
            elif a == b and a + 1 < len(used):
                gap[a] = max(gap[a], room - (width[a] + width[a + 1]) / 2)  # words between two rows
        middle = [width[0] / 2]
        for k in range(1, len(used)):
            middle.append(middle[-1] + (width[k - 1] + width[k]) / 2 + gap[k - 1])
        return {name: middle[k] for name, k in at.items()}

    def layered(self) -> dict[str, float]:
        """Rows by distance from the start; in each, boxes near those that they are connected with."""
        self.rows = [sorted(layer) for layer in nx.bfs_layers(self.graph, [self.shown.boxes[0].name])]
        far = [box.name for box in self.shown.boxes if not any(box.name in row for row in self.rows)]
        self.rows += [far] if far else []
        room = [_size(arrow.lines, SMALL_LETTER, SMALL_LINE)[0] for arrow in self.shown.arrows]
        pitch = max(max(width for width, _ in self.sizes.values()) + _GAP, max(room, default=0) * 0.75)
        x = {name: k * pitch for row in self.rows for k, name in enumerate(row)}
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            steps = list(pairwise(self.rows if down else reversed(self.rows)))
            for fixed, row in steps:
                near = set(fixed)
                wanted = {name: self._wanted(name, near, x) for name in row}
                row.sort(key=lambda name: wanted[name])
                x.update(_apart(row, wanted, pitch))
        return x

    def _wanted(self, name: str, near: set[str], x: dict[str, float]) -> float:
        """The middle of the neighbours in the next row."""
        found = [x[other] for other in nx.all_neighbors(self.graph, name) if other in near]
        return sum(found) / len(found) if found else x[name]

    # ---- down -------------------------------------------------------------------------------------------------------

    def place(self, x: dict[str, float]) -> None:
        """Rows as far apart as the arcs above and below them need."""
        left = min(x[name] - self.sizes[name][0] / 2 for name in x)
        self.number = {name: k for row in self.rows for k, name in enumerate(sorted(row, key=x.__getitem__))}
        above = dict.fromkeys(range(len(self.rows)), 0.0)
        below = dict.fromkeys(range(len(self.rows)), 0.0)
        lines = dict.fromkeys(range(len(self.rows) + 1), 1)
        for arrow in self.shown.arrows:
            row = self.row[arrow.tail]
            if row == self.row[arrow.head]:
                side = above if x[arrow.head] > x[arrow.tail] else below
                side[row] = max(side[row], self.rise(arrow))
            else:
                last = max(row, self.row[arrow.head])
                lines[last] = max(lines[last], len(arrow.lines))
        y = 0.0
        for number, row_of in enumerate(self.rows):
            height = max(self.sizes[name][1] for name in row_of)
            if number:
                y += below[number - 1] + above[number] + 30 + SMALL_LINE * lines[number] + self.air
            for name in row_of:
                self.made.boxes[name] = Area(x[name] - left, y + height / 2, *self.sizes[name])
            y += height

    def rise(self, arrow: Arrow) -> float:
        """How high an arc stands between boxes of one row; 0 for neighbours in a grid, which a line connects."""
        span = abs(self.number[arrow.head] - self.number[arrow.tail])
        return 0.0 if self.is_grid and span == 1 else 6.0 + 7.0 * span

    def curve(self, arrow: Arrow) -> Curve:
        """The way of an arrow from border to border."""
        tail, head = self.made.boxes[arrow.tail], self.made.boxes[arrow.head]
        right = 1 if head.x > tail.x else -1
        span = self.row[arrow.head] - self.row[arrow.tail]
        if span == 0 and not self.rise(arrow):
            side = -6 * right  # to and fro on two lines
            start = (tail.x + right * tail.width / 2, tail.y + side)
            end = (head.x - right * head.width / 2, head.y + side)
            return start, _between(start, end, 1 / 3), _between(start, end, 2 / 3), end
        if span == 0:
            up = -right * (self.rise(arrow) * 4 / 3 + 4)
            start = (tail.x + right * tail.width / 4, tail.y - right * tail.height / 2)
            end = (head.x - right * head.width / 4, head.y - right * head.height / 2)
            return start, (start[0], start[1] + up), (end[0], end[1] + up), end
        if span == 1:
            start, end = (tail.x, tail.y + tail.height / 2), (head.x, head.y - head.height / 2)
            middle = (start[1] + end[1]) / 2
            return start, (start[0], middle), (end[0], middle), end
        if span == -1:
            start = (tail.x + tail.width / 3, tail.y - tail.height / 2)
            end = (head.x + head.width / 3, head.y + head.height / 2)
            middle = (start[1] + end[1]) / 2
            return start, (start[0], middle), (end[0], middle), end
        side = 1 if span > 0 else -1  # over several rows, or back: at the side of the boxes between
        start, end = (tail.x + side * tail.width / 2, tail.y), (head.x + side * head.width / 2, head.y)
        far = (max if side > 0 else min)(start[0], end[0]) + side * (30 + 12 * min(abs(span), 12))
        return start, (far, start[1]), (far, end[1]), end


def _size(lines: Sequence[str], letter: float, line: float, across: float = 0, down: float = 0) -> tuple[float, float]:
    return max(map(len, lines), default=0) * letter + across, len(lines) * line + down


def _between(a: Point, b: Point, part: float) -> Point:
    return a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part


def _apart(row: Sequence[str], wanted: dict[str, float], pitch: float) -> Iterator[tuple[str, float]]:
    """Where the boxes of a row come to stand: as near to where they want to be as their order and the pitch allow."""
    x: list[float] = []
    for name in row:
        x.append(wanted[name] if not x else max(wanted[name], x[-1] + pitch))
    shift = sum(wanted[name] - at for name, at in zip(row, x, strict=True)) / len(row)
    return ((name, at + shift) for name, at in zip(row, x, strict=True))


class _Writer:
    """Finds a place for the words on each arrow: where nothing stands yet, as near to its middle as can be."""

    def __init__(self, shown: Picture, made: Layout) -> None:
        self.shown, self.made = shown, made
        self.there: dict[tuple[int, int], list[Area]] = defaultdict(list)

    def write(self) -> None:
        for area in self.made.boxes.values():
            self.keep(area)
        for arrow in sorted(self.shown.arrows, key=lambda arrow: not arrow.lit):
            ends = (arrow.tail, arrow.head)
            width, height = _size(arrow.lines, SMALL_LETTER, SMALL_LINE)
            curve = self.made.curves[ends]
            (left, y), (right, end) = curve[0], curve[-1]
            beside = 0.0 if y != end or curve[1][1] != y else (height / 2 + 2) * (-1 if right > left else 1)
            places = (point(curve, t) for t in _ALONG)
            areas = (Area(x, y + beside, width, height) for x, y in places)
            best = min(((self.covered(area), k, area) for k, area in enumerate(areas)), key=lambda entry: entry[:2])[2]
            self.made.words[ends] = best
            self.keep(best)

    def cells(self, area: Area) -> Iterator[tuple[int, int]]:
        across = range(int((area.x - area.width / 2) // _CELL), int((area.x + area.width / 2) // _CELL) + 1)
        down = range(int((area.y - area.height / 2) // _CELL), int((area.y + area.height / 2) // _CELL) + 1)
        return product(across, down)

    def keep(self, area: Area) -> None:
        for cell in self.cells(area):
            self.there[cell].append(area)

    def covered(self, area: Area) -> float:
        known = {id(other): other for cell in self.cells(area) for other in self.there[cell]}
        return sum(area.common(other) for other in known.values())


def point(curve: Curve, t: float) -> Point:
    """The point of a cubic curve at `t`, from 0 to 1."""
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    x, y = (sum(w * at[k] for w, at in zip(weights, curve, strict=True)) for k in (0, 1))
    return x, y

"""Rows of small numbers, and what separates a row from all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Row = tuple[int, ...]
Cube = dict[int, list[int]]  # by column: the values that it allows; columns that it lacks are free


class Cubes:
    """A set of rows, with a bit-vector over the rows for each value of each column."""

    def __init__(self, rows: Iterable[Row], sizes: Sequence[int], order: Sequence[int]) -> None:
        """`sizes`: how many values each column can have. `order`: which columns a cube should rather do without, first."""
        self.rows = set(rows)
        self.sizes, self.order = sizes, order
        self.where: list[dict[int, int]] = [{} for _ in sizes]
        for number, row in enumerate(sorted(self.rows)):
            for value, where in zip(row, self.where, strict=True):
                where[value] = where.get(value, 0) | 1 << number
        self.all = (1 << len(self.rows)) - 1

    def separate(self, row: Row) -> Cube:
        """A cube around `row`, which is none of the rows, without any of them: as few columns, as many values as can be."""
        cube = {i: {value} for i, value in enumerate(row)}
        for i in self.order:
            rest = {j: values for j, values in cube.items() if j != i}
            if self.matches(rest) == 0:
                cube = rest
        for i in cube:
            others = self.matches({j: values for j, values in cube.items() if j != i})
            cube[i] |= {v for v in range(self.sizes[i]) if not self.where[i].get(v, 0) & others}
        return {i: sorted(values) for i, values in cube.items()}

    def matches(self, cube: dict[int, set[int]]) -> int:
        """The rows that a cube contains."""
        left = self.all
        for i, values in cube.items():
            there = 0
            for value in values:
                there |= self.where[i].get(value, 0)
            left &= there
            if not left:
                break
        return left

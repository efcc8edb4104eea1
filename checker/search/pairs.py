"""What single instances can do, computed once and remembered: the layer that both engines stand on.

Shared values and the locals of one instance are numbered as they turn up. What an instance can do depends on the two
alone, a *pair*; so do the properties. The patcher's moves depend on the shared values; each instance by itself allows
one or not, and a broadcast changes each by itself.
"""

from __future__ import annotations

from typing import NamedTuple

from checker.search.generate import generate
from models.system.expressions import Component
from models.system.system import Mark, TransitionSystem

Values = tuple[int, ...]
Pair = tuple[Component, int, int]  # whose, the number of the shared values, the number of the locals


class Found(NamedTuple):
    """One thing that an instance can do; `marks` are positions in `Pairs.marks`."""

    action: int
    choice: int
    shared: int
    local: int
    marks: tuple[int, ...]


class Move(NamedTuple):
    """An action of the patcher at some shared values; `asks`: whether it depends on the instances."""

    action: int
    shared: int
    asks: bool


class Pairs:
    """Numbers for shared and local values, and what pairs of them can do."""

    def __init__(self, system: TransitionSystem) -> None:
        self.system = system
        self.code = generate(system)
        self.instances = [component for component, _ in system.instances]
        self.marks: list[Mark] = [mark for _, mark in system.marks()]
        self.shared: list[Values] = []
        self.local: dict[Component, list[Values]] = {c: [] for c in system.components}
        self.known: dict[Pair, list[Found]] = {}
        self.shared_numbers: dict[Values, int] = {}
        self.local_numbers: dict[Component, dict[Values, int]] = {c: {} for c in system.components}
        self._moves: dict[int, list[Move]] = {}
        self._goals: dict[int, bool] = {}

    def number_shared(self, values: Values) -> int:
        """The number of these shared values, given when they turn up for the first time."""
        number = self.shared_numbers.get(values)
        if number is None:
            number = self.shared_numbers[values] = len(self.shared)
            self.shared.append(values)
        return number

    def number_local(self, component: Component, values: Values) -> int:
        """The number of these locals of one instance, given when they turn up for the first time."""
        numbers = self.local_numbers[component]
        number = numbers.get(values)
        if number is None:
            number = numbers[values] = len(self.local[component])
            self.local[component].append(values)
        return number

    def initial(self) -> tuple[int, list[int]]:
        """The initial state: the number of its shared values, and of each instance's locals."""
        system = self.system
        locals_ = [self.number_local(c, tuple(v.initial for v in system.locals(c))) for c in self.instances]
        return self.number_shared(tuple(v.initial for v in system.globals)), locals_

    def successors(self, pair: Pair) -> list[Found]:
        """What the instance can do, in order of action and choice, including what changes nothing."""
        found = self.known.get(pair)
        if found is None:
            component, g, l = pair
            found = self.known[pair] = [
                Found(action, choice, self.number_shared(values), self.number_local(component, locals_), marks)
                for action, choice, values, locals_, marks in self.code.moves[component](
                    self.shared[g], self.local[component][l]
                )
            ]
        return found

    def halts(self, pair: Pair) -> bool:
        """Whether an instance like this halts the system."""
        component, g, l = pair
        return not self.code.runs[component](self.shared[g], self.local[component][l])

    def broken(self, pair: Pair) -> list[int]:
        """The positions of the invariants that an instance like this breaks."""
        component, g, l = pair
        return list(self.code.broken[component](self.shared[g], self.local[component][l]))

    def moves(self, g: int) -> list[Move]:
        """What the patcher may do at these shared values, in order of action."""
        moves = self._moves.get(g)
        if moves is None:
            moves = self._moves[g] = []
            for action, values in self.code.shared_moves(self.shared[g]):
                asks = any((action, c) in self.code.asks for c in self.system.components)
                moves.append(Move(action, self.number_shared(values), asks))
        return moves

    def allows(self, action: int, pair: Pair) -> bool:
        """Whether an instance like this allows an action of the patcher."""
        component, g, l = pair
        asks = self.code.asks.get((action, component))
        return asks is None or bool(asks(self.shared[g], self.local[component][l]))

    def cast(self, action: int, pair: Pair) -> int:
        """The number of the instance's locals after an action of the patcher."""
        component, g, l = pair
        casts = self.code.casts.get((action, component))
        return l if casts is None else self.number_local(component, casts(self.shared[g], self.local[component][l]))

    def is_goal(self, g: int) -> bool:
        """Whether the patcher has taken its last step."""
        known = self._goals.get(g)
        if known is None:
            known = self._goals[g] = bool(self.code.goal(self.shared[g]))
        return known

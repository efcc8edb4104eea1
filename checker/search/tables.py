"""From what single instances can do to the tables that drive kernel.c.

Which pairs can occur in the whole system is not known before it has been searched. The tables cover a set that
contains them all and does not depend on the number of instances: one instance's own steps, the patcher's moves that it
allows, and every change of shared values by others while it stays as it is. The kernel notes which pairs it meets, and
only those count.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, field

from checker.search.generate import Unsupported
from checker.search.pairs import Pair, Pairs
from models.system.expressions import Component

NEVER = 0xFFFFFFFF
HALTS = 1 << 31
MOST_PAIRS = 1 << 25  # rows of the pair table; 16 bytes each
MOST_MOVES = 31  # of the patcher at the same shared values: bits of a pair's consent


@dataclass(frozen=True)
class Group:
    """The instances of one component in a packed state: the first one's position, how many, and where their bits are.

    `locals`: how many different locals there are; `first_pair`: where the component's rows begin in the pair table,
    row = first_pair + shared · locals + local.
    """

    component: Component
    first_instance: int
    instances: int
    shift: int
    bits: int
    locals: int
    first_pair: int


@dataclass
class Tables:
    """What the kernel reads (see the structures in kernel.c) and what it notes."""

    pairs: Pairs
    groups: list[Group]
    shared: int  # different shared values
    shared_bits: int
    bits: int
    rows: array[int] = field(default_factory=lambda: array("I"))  # 4 words a pair
    shared_steps: array[int] = field(default_factory=lambda: array("q"))  # by edge: the differences
    local_steps: array[int] = field(default_factory=lambda: array("q"))
    first_move: array[int] = field(default_factory=lambda: array("I"))
    moves: array[int] = field(default_factory=lambda: array("I"))  # 3 words each
    actions: list[int] = field(default_factory=list)  # of each move
    casts: array[int] = field(default_factory=lambda: array("I"))
    fired: array[int] = field(default_factory=lambda: array("I"))  # by move: the first level
    halted: array[int] = field(default_factory=lambda: array("I"))  # by pair: the first level with a halted state
    row_of: dict[Pair, int] = field(default_factory=dict)

    def pack(self, g: int, locals_: list[int]) -> int:
        """A state from its numbers."""
        state = g
        for group in self.groups:
            for k in range(group.instances):
                state |= locals_[group.first_instance + k] << (group.shift + k * group.bits)
        return state

    def unpack(self, state: int) -> tuple[int, list[int]]:
        """The numbers of a state."""
        locals_ = [
            (state >> (group.shift + k * group.bits)) & ((1 << group.bits) - 1)
            for group in self.groups
            for k in range(group.instances)
        ]
        return state & ((1 << self.shared_bits) - 1), locals_


def closure(pairs: Pairs) -> set[Pair]:
    """Every pair that can occur, and possibly more (see above). Raises Unsupported when there are too many."""
    counts = pairs.system.counts
    g0, locals_ = pairs.initial()
    found: set[Pair] = set()
    todo: list[Pair] = []
    there: dict[tuple[Component, int], list[int]] = defaultdict(list)  # locals found at some shared values
    changes: dict[int, list[tuple[int, Component]]] = defaultdict(
        list
    )  # shared values that an instance changes, and to

    def add(component: Component, g: int, l: int) -> None:
        pair = (component, g, l)
        if pair not in found:
            found.add(pair)
            todo.append(pair)
            there[component, g].append(l)
            if len(found) > MOST_PAIRS // 16:
                raise Unsupported(f"more than {MOST_PAIRS // 16:,} kinds of instances")

    for component, l in zip(pairs.instances, locals_, strict=True):
        add(component, g0, l)
    while todo:
        pair = component, g, l = todo.pop()
        if pairs.halts(pair):
            continue
        for action, g2, _ in pairs.moves(g):
            if pairs.allows(action, pair):
                add(component, g2, pairs.cast(action, pair))
        for g2, by in changes[g]:
            if by is not component or counts[component] > 1:
                add(component, g2, l)
        for step in pairs.successors(pair):
            add(component, step.shared, step.local)
            if step.shared != g and (step.shared, component) not in changes[g]:
                changes[g].append((step.shared, component))
                for other in pairs.system.components:
                    if other is not component or counts[component] > 1:
                        for l2 in list(there[other, g]):
                            if not pairs.halts((other, g, l2)):
                                add(other, step.shared, l2)
    return found


def tabulate(pairs: Pairs) -> Tables:
    """The tables of a system. Raises Unsupported for one that the kernel has no room for."""
    if not pairs.instances:
        raise Unsupported("a system without instances")
    if len(pairs.instances) > 18:
        raise Unsupported("more than 18 instances")  # 18! is the largest orbit that a double counts exactly
    counts = pairs.system.counts
    found = closure(pairs)
    shared_bits = max(1, (len(pairs.shared) - 1).bit_length())
    groups, shift, first_pair, first_instance = [], shared_bits, 0, 0
    for component in pairs.system.components:
        count = len(pairs.local[component])
        bits = max(1, (count - 1).bit_length())
        groups.append(Group(component, first_instance, counts[component], shift, bits, count, first_pair))
        shift += bits * counts[component]
        first_pair += count * len(pairs.shared)
        first_instance += counts[component]
    if first_pair > MOST_PAIRS:
        raise Unsupported(f"a table of {first_pair:,} pairs")
    if shift > 127 or shared_bits > 31:
        raise Unsupported(f"states of {shift} bits")
    tables = Tables(pairs, groups, len(pairs.shared), shared_bits, shift)
    live = {pair[1] for pair in found if not pairs.halts(pair)}
    _rows(tables, found, first_pair, _moves(tables, live))
    return tables


def _moves(tables: Tables, live: set[int]) -> dict[int, list[int]]:
    """Write the patcher's moves and broadcasts; returns the actions by shared values, in the order of their bits."""
    pairs, actions = tables.pairs, {}
    for g in range(tables.shared):
        tables.first_move.append(len(tables.actions))
        moves = pairs.moves(g) if g in live else []
        if len(moves) > MOST_MOVES:
            raise Unsupported(f"more than {MOST_MOVES} moves of the patcher at once")
        actions[g] = [move.action for move in moves]
        for bit, move in enumerate(moves):
            where = NEVER
            if any((move.action, c) in pairs.code.casts for c in pairs.system.components):
                where = len(tables.casts)
                tables.casts.extend([NEVER] * len(tables.groups))
            tables.moves.extend([move.shared, bit, where])
            tables.actions.append(move.action)
    tables.first_move.append(len(tables.actions))
    tables.fired.extend([NEVER] * len(tables.actions))
    return actions


def _rows(tables: Tables, found: set[Pair], count: int, actions: dict[int, list[int]]) -> None:
    """Write a row for each pair, its edges, and what broadcasts make of it."""
    pairs = tables.pairs
    tables.rows.extend([0, 0, 0, NEVER])
    tables.rows *= count
    tables.halted.append(NEVER)
    tables.halted *= count
    group_of = {group.component: (k, group) for k, group in enumerate(tables.groups)}
    for pair in found:
        component, g, l = pair
        k, group = group_of[component]
        row = group.first_pair + g * group.locals + l
        tables.row_of[pair] = row
        if pairs.halts(pair):
            tables.rows[4 * row + 2] = HALTS
            continue
        first = len(tables.local_steps)
        for step in pairs.successors(pair):
            if (step.shared, step.local) != (g, l):
                tables.shared_steps.append(step.shared - g)
                tables.local_steps.append(step.local - l)
        consent = 0
        for bit, action in enumerate(actions[g]):
            if not pairs.allows(action, pair):
                continue
            consent |= 1 << bit
            if (action, component) in pairs.code.casts:
                move = tables.first_move[g] + bit
                slot = tables.moves[3 * move + 2] + k
                if tables.casts[slot] == NEVER:
                    tables.casts[slot] = len(tables.casts)
                    tables.casts.extend([0] * group.locals)
                tables.casts[tables.casts[slot] + l] = pairs.cast(action, pair)
        tables.rows[4 * row : 4 * row + 3] = array("I", [first, len(tables.local_steps) - first, consent])
    for steps in (tables.shared_steps, tables.local_steps):
        steps.extend([0, 0, 0])  # the kernel reads four at a time

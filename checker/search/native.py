"""The native engine: drives kernel.c, and turns what it noted into an outcome.

Nothing that the kernel answers depends on the order in which threads find states: counts are sums, and of every pair
the first level is noted. A path is found afterwards: going back from its end, the states of each level that lead there
(search_layers); then forwards from the initial state, always by the first edge that stays among them. That is the
first path in frontier order, the same that the Python engine prints, and under symmetry as well, since a state of the
full system leads there if and only if its representative does.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import time
import weakref
from array import array
from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

from checker.search import build
from checker.search.pairs import Pair, Pairs
from checker.search.python import Space
from checker.search.result import INTERRUPTED, Exploration, Limits, Path, Progressing, Report, Taken, TooLarge
from checker.search.tables import NEVER, Tables, tabulate

_MORE, _COMPLETE, _NO_MEMORY = 0, 1, 2
_HALF = (1 << 64) - 1
_SLICE = 0.05  # seconds between two looks at the limits
_MOST_STATES = 1_000_000  # of which Python builds a graph, to look for fair cycles
_LEAST = 1 << 20  # bytes for states, however little the user allows
_ASIDE = 16 << 20  # for what Python needs besides: threads, traces, the report


@dataclass(frozen=True)
class How:
    """How to search: threads, one state for each orbit, and (compact) hashes instead of states in the table."""

    threads: int = 1
    symmetry: bool = True
    compact: bool = False


def run(
    pairs: Pairs,
    how: How,
    limits: Limits,
    report: Report | None = None,
    depth: int | None = None,
    levels: bool = True,
    expected: int = 0,
    total: int = 0,
) -> Run:
    """Search the whole space, or down to the level `depth`, until a limit is met.

    `levels`: keep what a path is found from; without, memory for the levels above is given back as the search goes.
    `expected`: how many states will be stored, if that is known: a table that need not grow is faster.
    `total`: how many states the full system has, if that is known: reports then say which share is done.
    Raises NoCompiler and Unsupported where this engine cannot do it.
    """
    tables = tabulate(pairs)
    library = build.library(tables.bits > 63, how.compact)
    return _Search(tables, library, how, limits, expected, total).run(report, depth, levels and not how.compact)


class _Search:
    """One search of the kernel's, from its tables to the outcome."""

    def __init__(
        self, tables: Tables, library: ctypes.CDLL, how: How, limits: Limits, expected: int = 0, total: int = 0
    ) -> None:
        self.expected, self.total = expected, total
        self.tables, self.library, self.how, self.limits = tables, library, how, limits
        self.began = time.monotonic()
        symmetric = how.symmetry and any(group.instances > 1 for group in tables.groups)
        self.outcome = Exploration("native", how.threads, symmetric, how.compact)
        self.handle: Any = None
        self.levels = False  # whether every level is still there
        self.is_full = False

    def run(self, report: Report | None, depth: int | None, levels: bool) -> Run:
        budget = budget_of(self.limits)
        try:
            self._open(budget)
            self._loop(report, depth, levels)
        except MemoryError:
            self.outcome.stopped = "out of memory"
        except KeyboardInterrupt:
            self.outcome.stopped = INTERRUPTED
        return Run(self)

    def _open(self, budget: int) -> None:
        tables = self.tables
        groups = array("I")
        for g in tables.groups:
            groups.extend([g.first_instance, g.instances, g.shift, g.bits, g.locals, g.first_pair])
        self._held = (groups, tables)  # the kernel reads these for as long as it lives
        struct = build.TablesStruct(len(tables.groups), tables.shared, tables.shared_bits)
        struct.symmetric = self.outcome.symmetry
        for name, values in (
            ("group", groups),
            ("pairs", tables.rows),
            ("shared_steps", tables.shared_steps),
            ("local_steps", tables.local_steps),
            ("first_move", tables.first_move),
            ("moves", tables.moves),
            ("fired", tables.fired),
            ("casts", tables.casts),
            ("halted", tables.halted),
        ):
            setattr(struct, name, values.buffer_info()[0])
        start = tables.pack(*tables.pairs.initial())
        lines = min(budget // 4, self.expected * (16 if tables.bits <= 63 else 24)) // 64
        if self.how.compact:
            lines = max(1024, budget // 3 * 2 // 64)  # the rest is for the frontier
        self.handle = self.library.search_new(ctypes.byref(struct), start & _HALF, start >> 64, budget, lines)
        if not self.handle:
            raise MemoryError
        self._finalizer = weakref.finalize(self, self.library.search_free, self.handle)

    def _loop(self, report: Report | None, depth: int | None, levels: bool) -> None:
        outcome, quota = self.outcome, 1 << 12
        self.levels = levels
        while True:
            before = time.monotonic()
            status = self.library.search_step(self.handle, quota, self.how.threads)
            found = self.statistics()
            now = time.monotonic()
            if now - before < _SLICE / 2 and quota < 1 << 24:
                quota *= 2
            elif now - before > _SLICE * 2 and quota > 1 << 12:
                quota //= 2
            outcome.states, outcome.explored = found.full_states, found.stored
            outcome.transitions, outcome.depth = found.transitions, found.depth
            if report:
                share = found.full_states / self.total if self.total else None
                report(Progressing(found.stored, found.depth, found.frontier, share))
            if status == _COMPLETE:
                if self.how.compact:
                    outcome.stopped = (
                        f"hash compaction: {found.omitted:.2g} states are expected to have been taken for others"
                    )
                return
            if depth is not None and found.depth > depth:
                outcome.stopped = f"deeper than {depth}"
                return
            if status == _NO_MEMORY:
                if self.levels:
                    self.levels = False
                else:
                    self.is_full = True
                    outcome.stopped = f"no room for more states in {found.bytes >> 20:,} MiB"
                    return
            if not self.levels:
                self.library.search_forget(self.handle)
            limits = Limits(self.limits.states, self.limits.seconds)  # memory is what the budget is for
            outcome.stopped = limits.exceeded(found.stored, now - self.began)
            if outcome.stopped:
                return

    def statistics(self) -> build.Statistics:
        found = build.Statistics()
        self.library.search_statistics(self.handle, ctypes.byref(found))
        return found


class Run:
    """A finished or stopped search (see `Reached` in progress.py). States are packed as `space` says."""

    def __init__(self, search: _Search) -> None:
        self.search, self.levels = search, search.levels
        self.outcome = search.outcome
        self.tables = search.tables
        self.space = Space(self.tables.pairs, roomy=True)
        self.statistics = search.statistics() if search.handle else build.Statistics()
        rows, halted = self.tables.rows, self.tables.halted
        self.expanded: set[Pair] = set()
        self._level: dict[Pair, int] = {}  # of pairs in any state, halted or not
        for pair, row in self.tables.row_of.items():
            level = rows[4 * row + 3]
            if level != NEVER:
                self.expanded.add(pair)
            if min(level, halted[row]) != NEVER:
                self._level[pair] = min(level, halted[row])
        self._outcome()
        self._level_of: dict[int, int] = {}  # of the states that somebody selected, by representative

    @property
    def live_shared(self) -> Collection[int]:
        return {g for _, g, _ in self.expanded}

    @property
    def is_full(self) -> bool:
        """Whether the search stopped for want of memory."""
        return self.search.is_full

    @property
    def halts(self) -> bool:
        return bool(self.statistics.halted_states)

    def close(self) -> None:
        """Give the memory back; paths that nobody has asked for are lost."""
        if self.search.handle:
            self.search._finalizer()
            self.search.handle = None

    # ---- what was met -----------------------------------------------------------------------------------------------

    def _outcome(self) -> None:
        """Fill in what was fired, which marks were met and which invariants were broken, each with a path."""
        outcome, tables = self.outcome, self.tables
        pairs = tables.pairs
        outcome.fired = {k for k, level in zip(tables.actions, tables.fired, strict=True) if level != NEVER}
        met: dict[int, list[Pair]] = {}
        broken: dict[int, list[Pair]] = {}
        for pair in self.expanded:
            for step in pairs.successors(pair):
                outcome.fired.add(step.action)
                for number in step.marks:
                    met.setdefault(number, []).append(pair)
        for pair in self._level:
            for number in pairs.broken(pair):
                broken.setdefault(number, []).append(pair)
        for number, where in sorted(met.items()):
            level = min(tables.rows[4 * tables.row_of[pair] + 3] for pair in where)
            path = Path.later(level + 1, lambda n=number, at=where, d=level: self._marked(n, at, d))  # type: ignore[misc]
            outcome.marks[pairs.marks[number]] = path
        for number, where in sorted(broken.items()):
            level = min(self._level[pair] for pair in where)
            path = Path.later(level, lambda at=where, d=level: self._to_pairs(at, d, False)[0])  # type: ignore[misc]
            outcome.broken[pairs.system.invariants[number]] = path

    def _marked(self, number: int, where: list[Pair], level: int) -> tuple[Taken, ...]:
        """A path to the first state with one of these pairs, and the first step there that has the mark."""
        steps, state = self._to_pairs(where, level, True)
        return (*steps, self.space.marked(state, number))

    def _to_pairs(self, where: list[Pair], level: int, live: bool) -> tuple[tuple[Taken, ...], int]:
        if not self.levels:
            again = self._again(level)
            if not any(again.first_level(pair, live) == level for pair in where):
                raise TooLarge(f"hash compaction hides the path of {level} steps")
            return again._to_pairs(where, level, live)
        wanted = bytearray(len(self.tables.halted))
        for pair in where:
            wanted[self.tables.row_of[pair]] = 1
        flags = (ctypes.c_char * len(wanted)).from_buffer(wanted)
        self._ask(self._library.search_layers(self._handle, level, flags, int(live), None, 0))
        return self._path(level)

    def first_level(self, pair: Pair, live: bool) -> int:
        """The first level with a state (live: not halted) that has this pair."""
        return self.tables.rows[4 * self.tables.row_of[pair] + 3] if live else self._level.get(pair, NEVER)

    def _again(self, level: int) -> Run:
        """The same search down to a level, with what a path is found from. Raises TooLarge."""
        search = self.search
        how = How(search.how.threads, search.how.symmetry)
        again = run(self.tables.pairs, how, Limits(None, None, search.limits.memory), depth=level)
        if again.outcome.stopped == INTERRUPTED:
            raise TooLarge(f"the search for the path of {level} steps was interrupted")
        if not again.levels or again.outcome.depth < level:
            raise TooLarge(f"there is no memory for a path of {level} steps")
        return again

    # ---- paths ------------------------------------------------------------------------------------------------------

    @property
    def _library(self) -> ctypes.CDLL:
        return self.search.library

    @property
    def _handle(self) -> Any:
        if not self.search.handle:
            raise TooLarge("the search has given its memory back")
        return self.search.handle

    def _ask(self, answer: int) -> None:
        if not answer:
            raise TooLarge("there is no memory to find a path")

    def _representative(self, state: int) -> int:
        """What the kernel stores for a state of `space`."""
        g, locals_ = self.space.unpack(state)
        if self.outcome.symmetry:
            locals_ = [
                l
                for group in self.tables.groups
                for l in sorted(locals_[group.first_instance : group.first_instance + group.instances])
            ]
        return self.tables.pack(g, locals_)

    def _path(self, level: int) -> tuple[tuple[Taken, ...], int]:
        """The first path, in frontier order, through the layers that were asked for last; and the state at its end."""
        state, steps = self.space.pack(*self.tables.pairs.initial()), []
        for k in range(1, level + 1):
            for after, taken in self.space.edges(state):
                kept = self._representative(after)
                if self._library.search_in_layer(self._handle, k, kept & _HALF, kept >> 64):
                    state = after
                    steps.append(taken)
                    break
            else:
                raise AssertionError(f"no edge of level {k - 1} leads on")
        return tuple(steps), state

    # ---- progress ---------------------------------------------------------------------------------------------------

    def doomed(self) -> tuple[Taken, ...] | None:
        """The path to the first state, not halted, from which no goal can be reached. Raises TooLarge."""
        if not self.levels:
            raise TooLarge("there is no memory for the question whether the patcher can always finish")
        pairs, level = self.tables.pairs, ctypes.c_uint32()
        goals = bytes(pairs.is_goal(g) for g in range(self.tables.shared))
        found = self._library.search_doomed(self._handle, goals, ctypes.byref(level))
        if found < 0:
            raise TooLarge("there is no memory for the question whether the patcher can always finish")
        return self._path(level.value)[0] if found else None

    def states(self, region: Container[int]) -> list[int]:
        """The states of the full system whose shared values are in `region`. Raises TooLarge."""
        if not self.levels:
            raise TooLarge("there is no memory for the search for fair cycles")
        wanted = bytes(g in region for g in range(self.tables.shared))
        count = self._library.search_select(self._handle, wanted, None, None, 0)
        if count > _MOST_STATES:
            raise TooLarge(f"{count:,} states are too many for the search for fair cycles")
        words, levels = (ctypes.c_uint64 * (2 * count))(), (ctypes.c_uint32 * count)()
        self._library.search_select(self._handle, wanted, words, levels, count)
        found: list[int] = []
        for k in range(count):
            stored = words[2 * k] | words[2 * k + 1] << 64
            self._level_of[stored] = levels[k]
            found += self._orbit(stored)
            if len(found) > _MOST_STATES:
                raise TooLarge(f"more than {_MOST_STATES:,} states are too many for the search for fair cycles")
        return found

    def _orbit(self, stored: int) -> Iterator[int]:
        """The states of the full system that a stored one stands for."""
        g, locals_ = self.tables.unpack(stored)
        if not self.outcome.symmetry:
            yield self.space.pack(g, locals_)
            return
        choices = [
            sorted(set(itertools.permutations(locals_[group.first_instance : group.first_instance + group.instances])))
            for group in self.tables.groups
        ]
        for parts in itertools.product(*choices):
            yield self.space.pack(g, [l for part in parts for l in part])

    def first(self, states: Collection[int]) -> tuple[tuple[Taken, ...], int]:
        """Of some selected states the first in frontier order, and the path to it."""
        level_of = {state: self._level_of[self._representative(state)] for state in states}
        level = min(level_of.values())
        ends = {self._representative(state) for state, at in level_of.items() if at == level}
        words = array("Q", [half for end in ends for half in (end & _HALF, end >> 64)])
        self._ask(self._library.search_layers(self._handle, level, None, 0, words.buffer_info()[0], len(ends)))
        return self._path(level)


def budget_of(limits: Limits) -> int:
    """Bytes for states: what the user allows this process beyond what it has, or three quarters of what is free."""
    if limits.memory is not None:
        return max(_LEAST, (limits.memory << 20) - _resident() - _ASIDE)
    return max(_LEAST, _available() // 4 * 3)


def _resident() -> int:
    try:
        return int(File("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        from checker.search.result import peak_memory

        return peak_memory() << 20


def _available() -> int:
    """Bytes that the machine, and the control group that this process is in, have free."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:
        lines = File("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
        most = File("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        used = File("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8").strip()
        if most != "max":
            free = min(free, int(most) - int(used))
    except (OSError, ValueError, StopIteration):
        return free
    return free

"""The line that says how far a long command has come: on standard error, only on a terminal, only after a second.

It promises nothing that is not known. A share is of a limit that the user set, or of a total that the product engine
has counted; without either, the line says whether the frontier grows or shrinks, once it has done so for a few levels.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from checker.search.result import Limits, Progressing

FIRST, EVERY, RECENT = 1.0, 0.25, 3.0  # seconds: before the first line, between lines, that the rate is measured over
_LEVELS = 4  # so many that each have a larger frontier than the last make a trend
_WIDTH = 80


class Progress:
    """Takes reports of a search; a thread of its own draws the line, so that proofs, which report nothing, have one too."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits
        self.began = time.monotonic()
        self.doing = ""
        self.at: Progressing | None = None
        self.rates: deque[tuple[float, int]] = deque()  # when, and how many states by then; of the last seconds
        self.frontiers: deque[tuple[int, int]] = deque(maxlen=_LEVELS)  # of each depth, the last that was reported
        self.shown = False
        self._thread: Any = None
        if sys.stderr.isatty():
            import threading

            self._lock, self._over = threading.Lock(), threading.Event()
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.done()

    def __call__(self, at: Progressing) -> None:
        """What a search reports."""
        if self._thread is not None:
            with self._lock:
                self.take(at, time.monotonic())

    def stage(self, doing: str) -> None:
        """From now on this is being done; what was searched before does not count."""
        if self._thread is not None:
            with self._lock:
                self._forget()
                self.doing = doing

    def counted(self, items: Iterable[Any], what: str, of: int) -> Iterator[Any]:
        """`items`, while they are made: “step 3 of 9”."""
        iterator = iter(items)
        for number in range(1, of + 1):
            self.stage(f"{what} {number} of {of}")
            try:
                yield next(iterator)
            except StopIteration:
                return
        yield from iterator

    def done(self) -> None:
        """No more lines; the last one goes away."""
        if self._thread is not None:
            self._over.set()
            self._thread.join()
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self.shown = False

    def _draw(self) -> None:
        wait = FIRST
        while not self._over.wait(wait):
            wait = EVERY
            with self._lock:
                line = self.line(time.monotonic(), _width())
            self.shown = True
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    # ---- what it says -----------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        self.at = None
        self.rates.clear()
        self.frontiers.clear()

    def take(self, at: Progressing, now: float) -> None:
        """Remember a report."""
        if self.at is not None and at.states < self.at.states:  # another engine has taken over
            self._forget()
        self.at = at
        while len(self.rates) > 1 and self.rates[1][0] < now - RECENT:
            self.rates.popleft()
        if not self.rates or now - self.rates[-1][0] > 0.1:
            self.rates.append((now, at.states))
        if self.frontiers and self.frontiers[-1][0] == at.depth:
            self.frontiers.pop()
        self.frontiers.append((at.depth, at.frontier))

    def line(self, now: float, width: int) -> str:
        """What is known, less and less of it where `width` columns do not hold it all; the last column stays free."""
        parts = list(self.parts(now))
        while len(", ".join(text for _, text in parts)) >= width and len(parts) > 1:
            parts.remove(max(parts))
        line = ", ".join(text for _, text in parts)
        return line if len(line) < width else line[: width - 2] + "…"

    def parts(self, now: float) -> Iterator[tuple[int, str]]:
        """The parts of the line, each with a number: those with the largest are left out first."""
        from checker.search.result import peak_memory

        seconds, memory, at, limits = now - self.began, peak_memory(), self.at, self.limits
        if self.doing:
            yield 0, self.doing
        if at is not None:
            yield 1, f"{at.states:,} {at.unit}"
            if at.share is not None:
                yield 2, f"{_percent(at.share)} {'done' if at.unit == 'states' else 'of the steps'}"
            if limits and limits.states:
                yield 2, f"{_percent(at.states / limits.states)} of --max-states"
            rate = self.rate(now)
            if rate:
                yield 4, f"{rate:,.0f}/s"
            yield 6, f"depth {at.depth}"
            frontier = self.frontiers[-2][1] if len(self.frontiers) > 1 else at.frontier
            if frontier:
                yield 5, f"frontier {frontier:,}{self.trend()}"
        if limits and limits.memory:
            yield 3, f"{memory:,} of {limits.memory:,} MiB"
        else:
            yield 7, f"{memory:,} MiB"
        if limits and limits.seconds:
            yield 3, f"{seconds:.0f} of {limits.seconds:g} s"
        else:
            yield 8, f"{seconds:.0f} s"

    def rate(self, now: float) -> float:
        """States a second, recently; 0 where nothing was reported."""
        if self.at is None or not self.rates or now - self.rates[-1][0] > RECENT:
            return 0
        when, states = self.rates[0]
        return (self.at.states - states) / (now - when) if now - when > 0.2 else 0

    def trend(self) -> str:
        """Whether the frontier has grown or shrunk from each of the last levels to the next; "" if neither."""
        sizes = [size for _, size in self.frontiers][:-1]  # the level that is under way may be far from done
        pairs = list(pairwise(sizes))
        if len(sizes) < _LEVELS - 1:
            return ""
        if all(a < b for a, b in pairs):
            return " growing"
        return " shrinking" if all(a > b for a, b in pairs) else ""


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def _width() -> int:
    """The columns that there are for a line, as far as this can be known."""
    try:
        return min(_WIDTH, os.get_terminal_size(sys.stderr.fileno()).columns or _WIDTH)
    except (OSError, ValueError):  # no terminal, or none that has a size
        return _WIDTH

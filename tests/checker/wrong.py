"""Kernels and tables that are wrong on purpose, and the comparison that has to see it.

As a program: `python -m tests.checker.wrong DIRECTORY` tries every one, and prints what came of each as JSON. A wrong
kernel may also crash or never end, so each is tried in a process of its own that has so many seconds.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

from checker.search import build, native, tables
from checker.search.build import NoCompiler
from checker.search.native import How
from checker.search.pairs import Pairs
from checker.search.tables import Tables
from models.system.system import TransitionSystem
from tests.checker.engines import (
    HOWS,
    MOST_NARROW,
    MOST_WIDE,
    assert_engines_agree,
    counters,
    errand,
    halting,
    kernel,
    relay,
    replaced,
    small_kernel,
    states_of,
)

SECONDS = 20

KERNELS: dict[str, tuple[tuple[str, str], ...]] = {
    "states of an orbit count once": (("s->t.symmetric ? (uint64_t)orbit_of(", "0 ? (uint64_t)orbit_of("),),
    "transitions of an orbit count once": (("found * (s->t.symmetric ? (uint64_t)orbit(s, v.locals) : 1)", "found"),),
    "an orbit takes all locals for different": (("if (i < n && own[i] == own[i - 1])", "if (i < n && 0)"),),
    "a representative without its shared values": (
        ("    return pack(s, shared, locals);", "    return pack(s, 0, locals);"),
    ),
    "a representative that is sorted in its first group only": (
        (
            "for (uint32_t c = 0; c < s->t.groups; c++)\n        sort(",
            "for (uint32_t c = 0; c < 1; c++)\n        sort(",
        ),
    ),
    "no sorting after a broadcast": (("s->t.symmetric ? after_move(s, v, m, 1) : after;", "after;"),),
    "sorting that does not move to the last place": (("k + 1 < last &&", "k + 2 < last &&"),),
    "sorting that does not move to the first place": (("for (; k > first && v->l", "for (; k > first + 1 && v->l"),),
    "sorting that forgets to shift up": (("v->locals[k + 1] - v->locals[k]) << s->shift[k];", "0) << s->shift[k];"),),
    "only the first of a group moves": (("if (i > first && v->locals[i] == v->locals[i - 1])", "if (i > first)"),),
    "an edge of another instance": (("((state_t)local[k + j] << shift)", "((state_t)local[k + j] << s->shift[0])"),),
    "an edge that leaves the shared values": (("state + (state_t)shared[k + j] + (", "state + ("),),
    "a pair's last edge is lost": (("    w->buffered += count;", "    w->buffered += count > 1 ? count - 1 : count;"),),
    "only the low half of a state is compared": (
        ("(half[0] == key) | (half[1] == key);", "((half[0] ^ key) << 32 == 0) | ((half[1] ^ key) << 32 == 0);"),
    ),
    "only the low word of a wide state is compared": (
        (
            "== wanted.low && atomic_load_explicit(&line[k].high, memory_order_relaxed) == wanted.high)",
            "== wanted.low)",
        ),
    ),
    "growing loses an entry of each run": (
        ("for (uint64_t i = 0; i < end - begin; i++)", "for (uint64_t i = 1; i < end - begin; i++)"),
    ),
    "growing loses an entry of the first run": (
        ("for (uint64_t i = 0; i < head; i++)", "for (uint64_t i = 1; i < head; i++)"),
    ),
    "growing leaves entries where they were": (
        ("for (uint64_t home = home_of(s, hash_of(state_in(entry)));; ", "for (uint64_t home = 0;; "),
    ),
    "the last instance alone is asked": (("v->consent &= v->pair[i]->consent;", "v->consent = v->pair[i]->consent;"),),
    "the last instance alone halts": (
        ("halts |= v->pair[i]->consent & HALTS;", "halts = v->pair[i]->consent & HALTS;"),
    ),
    "nobody halts": (("    v->consent |= halts;", "    v->consent |= halts & 0;"),),
    "moves that nobody fired": (("        note(&s->t.fired[k], level);\n", ""),),
    "pairs of halted states go unnoticed": (
        ("            note(&s->t.halted[v.pair[i] - s->t.pairs], level);\n", "            ;\n"),
    ),
    "pairs are noticed a level late": (
        ("note(&v.pair[i]->expanded, level);", "note(&v.pair[i]->expanded, level + 1);"),
    ),
    "a move that changes nothing is a transition": (("        if (after == state)\n            continue;\n", ""),),
    "a broadcast reads the first instance": (("s->t.casts[casts + v->locals[i]]", "s->t.casts[casts + v->locals[0]]"),),
    "a broadcast of another component": (("s->t.casts[m->casts + s->row[i]]", "s->t.casts[m->casts]"),),
    "a level begins behind its first states": (("        atomic_store(&s->cursor, s->slice_end);", "        ;"),),
    "the wrong states are said to lead on": (("layer_has(&s->layers[d + 1], after[k])", "1"),),
    "halted states count as doomed": (("if (v.consent & HALTS || answer < 0)", "if (answer < 0)"),),
    "who can finish is looked for once": (
        ("before = left + 1; left < before;) {\n        before = left;", "before = left, once = 1; once; once = 0) {"),
    ),
    "selected states are on the first level": (("levels[found] = d;", "levels[found] = 0;"),),
    "threads insert without comparing": (
        (
            "if (found == 0 && s->threads == 1)",
            "if (found == 0) for (volatile int p = 0; p < 99; p++);\nif (found == 0)",
        ),
        ("if (found == 0 && (s->threads == 1 || ", "if (found == 0 && (1 || "),
    ),
}


def _edge(made: Tables) -> None:
    made.local_steps[next(k for k, step in enumerate(made.local_steps) if step > 0)] -= 1


def _row(made: Tables) -> int:
    """The first instance's row at the beginning."""
    g, locals_ = made.pairs.initial()
    return made.groups[0].first_pair + g * made.groups[0].locals + locals_[0]


def _consent(made: Tables) -> None:
    made.rows[4 * _row(made) + 2] &= ~1


def _too_much_consent(made: Tables) -> None:
    for row in made.row_of.values():
        made.rows[4 * row + 2] |= 1


def _count(made: Tables) -> None:
    made.rows[4 * _row(made) + 1] -= 1


def _move(made: Tables) -> None:
    made.moves[0] = made.pairs.initial()[0]


def _casts(made: Tables) -> None:
    k = next(k for k in range(len(made.casts)) if 0 < made.casts[k] < made.groups[0].locals)
    made.casts[k] -= 1


def _halts(made: Tables) -> None:
    for row in made.row_of.values():
        made.rows[4 * row + 2] &= ~tables.HALTS


TABLES: dict[str, Callable[[Tables], None]] = {
    "an edge off by one": _edge,
    "a consent bit dropped": _consent,
    "a consent bit too many": _too_much_consent,
    "a pair with an edge too few": _count,
    "a move to other shared values": _move,
    "a broadcast off by one": _casts,
    "pairs that should halt": _halts,
}
CLOSURES = {
    "closed without what others changed before": ("if by is not component or counts[component] > 1:", "if False:"),
    "closed without what others change later": ("for l2 in list(there[other, g]):", "for l2 in []:"),
    "closed without others of the same component": (
        "other is not component or counts[component] > 1:",
        "other is not component:",
    ),
    "closed without the patcher's moves": ("if pairs.allows(action, pair):", "if False:"),
    "closed without broadcasts": ("add(component, g2, pairs.cast(action, pair))", "add(component, g2, l)"),
    "closed without an instance's own steps": ("add(component, step.shared, step.local)", "pass"),
}
CONTROL = "nothing"
NAMES = (*KERNELS, *TABLES, *CLOSURES)


def systems() -> list[TransitionSystem]:
    """Small ones that between them see every mutant."""
    return [
        relay(1, 1),
        halting(2),
        errand(),
        relay(1, 2, "cycle"),
        relay(2, 1),
        relay(1, 1, "goal"),
        counters(4, 3),
        counters(5, 5),
        relay(2, 2),
    ]


def compare() -> None:
    """Compare the engines on small systems, narrow and wide. Raises AssertionError where they differ."""
    small = systems()
    for bits in (MOST_NARROW, MOST_WIDE):
        for system in small:
            with states_of(bits):
                assert_engines_agree(system, HOWS)
    for _ in range(4):
        assert_engines_agree(relay(2, 2), [How(3, symmetry=False)])


def _closure(change: tuple[str, str]) -> Callable[..., object]:
    scope = dict(vars(tables))
    exec("from __future__ import annotations\n" + replaced(inspect.getsource(tables.closure), change), scope)
    return scope["closure"]  # type: ignore[no-any-return]


def attempt(name: str, directory: Path) -> str:
    """What the comparison says of a mutant; "" if it sees nothing."""
    text = small_kernel()
    closure = patch.object(tables, "closure", _closure(CLOSURES[name])) if name in CLOSURES else nullcontext()
    if name in KERNELS:
        text = replaced(text, *KERNELS[name])
        directory = directory / name.replace(" ", "-")
        directory.mkdir()
    tabulate = tables.tabulate

    def wrong(pairs: Pairs) -> Tables:
        made = tabulate(pairs)
        TABLES[name](made)
        return made

    altered = patch.object(tables, "tabulate", wrong) if name in TABLES else nullcontext()
    quick = patch.object(build, "OPTIONS", (*build.OPTIONS, "-O0"))
    with kernel(text, directory), quick, closure, altered, patch.object(native, "budget_of", lambda _: 64 << 20):
        build.library(wide=False)  # one that cannot be built is not seen
        try:
            compare()
        except NoCompiler:
            raise
        except Exception as error:  # paths are read from what the kernel noted: it may be anything
            return f"{type(error).__name__}: {str(error)[:200]}"
    return ""


def _child(name: str, directory: Path, out: int) -> None:
    """In a process of its own: write what the comparison says, and leave."""
    try:
        signal.alarm(SECONDS if name != CONTROL else 10 * SECONDS)
        with os.fdopen(out, "w", encoding="utf-8") as file:
            try:
                file.write(attempt(name, directory))
            except BaseException as error:
                file.write(f"BROKEN: {error!r}")
    finally:
        os._exit(0)


def try_all(directory: Path) -> dict[str, str]:
    """What came of every mutant, two at a time: "" where the comparison sees nothing."""

    def one(name: str) -> str:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _child(name, directory, write)
        os.close(write)
        with os.fdopen(read, encoding="utf-8", errors="replace") as file:
            said = file.read()
        _, status = os.waitpid(child, 0)
        return said or (f"ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "")

    names = (CONTROL, *NAMES)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


if __name__ == "__main__":
    print(json.dumps(try_all(Path(sys.argv[1]))))

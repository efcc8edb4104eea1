"""Systems to export, what is expected of the exports, and exports that are wrong on purpose."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pytest

from checker.export.checks import Check, check_of, checks
from checker.export.promela import macro
from checker.search.python import explore
from models.compose import compose
from models.library import bugs, load, scenario_of, shipped
from models.system.expressions import BOOL, TRUE, Bits, Expr, every, if_else, some
from models.system.system import Builder, Fairness, Mark, Progress, TransitionSystem
from models.system.visitor import each
from tests.checker.peers import Answer
from tests.support import scenario

SMALL = [(name, {"cpus": 1, "sites": 1}) for name in shipped()]
OTHERS: list[tuple[str, dict[str, object]]] = [
    ("careful-call-to-call", {"cpus": 1, "sites": 1, "without": ("claim",)}),
    ("text-poke-batch-to-probe", {"cpus": 1, "sites": 1, "without": ("wait-handlers",)}),
    ("text-poke-batch-to-probe", {"cpus": 1, "sites": 1, "without": ("release",)}),
    ("text-poke-batch", {"cpus": 1, "sites": 1, "machine": "x86-intel-manual"}),
    ("text-poke-batch", {"cpus": 1, "sites": 1, "machine": "x86-trap-gate"}),
    ("stop-machine", {"cpus": 1, "sites": 1, "nmi": True}),
    ("stop-machine", {"cpus": 2, "sites": 1}),
]
LARGER: list[tuple[str, dict[str, object]]] = [
    ("careful-call-to-call", {"cpus": 2, "sites": 1, "without": ("sync-1",)}),
    ("text-poke-batch-to-probe", {"cpus": 2, "sites": 1}),
    ("batched-stubs", {"cpus": 1, "sites": 2}),
    ("careful-call-to-call-frees", {"cpus": 1, "sites": 2, "preempt": True}),
]
SEEDS = (71, 74, 145, 186, 202, 247, 268, 290, 328, 369)  # none too small; between them, every answer on progress


@cache
def composed(name: str, options: tuple[tuple[str, object], ...]) -> TransitionSystem:
    if (name, dict(options)) in BUGS:
        return of_bug(name)
    return compose(load(name), scenario(**dict(options))).system  # type: ignore[arg-type]


BUGS: list[tuple[str, dict[str, object]]] = [
    (f"{name}-{side}", {}) for name in ("K15", "K18", "K25", "K30", "K34", "K38") for side in ("before", "after")
]


ENDING = [case for case in BUGS if not case[0].startswith("K15")]  # those with a thread that comes to an end


def of_bug(name: str) -> TransitionSystem:
    """One side of a bug whose sides are programs."""
    identifier, _, side = name.partition("-")
    bug = bugs()[identifier]
    subject, expect = (bug.before, bug.found) if side == "before" else (bug.after, bug.fixed)
    return compose(subject, scenario_of(subject, expect)).system


def cases(
    *groups: list[tuple[str, dict[str, object]]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Parametrise a test by systems, composed when it runs."""
    made = [
        pytest.param(lambda name=name, options=options: composed(name, tuple(options.items())), id=_id(name, options))
        for group in groups
        for name, options in group
    ]
    return pytest.mark.parametrize("made", made)


def _id(name: str, options: dict[str, object]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in options.items() if value != 1)])


System = Callable[[], TransitionSystem]


def ours(system: TransitionSystem) -> tuple[int, int, set[Check]]:
    """States, transitions, and what is met: breaches and premises."""
    outcome = explore(system).outcome
    assert outcome.complete
    return outcome.states, outcome.transitions, {check_of(s) for s in (*outcome.marks, *outcome.broken)}


def counts(answer: Answer) -> tuple[int, int]:
    return answer.states, answer.transitions


def everything(system: TransitionSystem) -> list[str]:
    """The names of all checks and premises."""
    return ["all", *(str(check) for check in checks(system) if check.premise)]


def met(system: TransitionSystem, answer: Answer) -> set[Check]:
    """The checks that the errors of either tool are about."""
    known = {str(check): check for check in checks(system)}
    for check in checks(system):
        word = "no_premise_of_" if check.premise else "holds_"
        known[f"assertion violated {word}{macro(system, check).partition('_')[2]}"] = check
    return {known[error] for error in answer.errors}


def awkward() -> TransitionSystem:
    """Swaps, a broadcast by an instance, choices of the patcher, steps that change nothing, what is never read."""
    b = Builder("awkward: “all at once” */")
    cpu = b.component("cpu", 2)
    left, right = b.variable("left", Bits(2), 1), b.variable("right", Bits(2), 2)
    unread = b.variable("unread", Bits(3), 5)
    n, m = b.variable("n", Bits(3), 3, cpu), b.variable("m", Bits(3), 0, cpu)
    b.action("swap", effects=[(left, right), (right, left)], says="swaps")
    b.action("note", guard=~(left == right), effects=[(unread, if_else(left < right, 7, 5, Bits(3)))], says="notes")
    b.action("shift", actor=cpu, guard=n < 6, broadcast=[(m, n), (n, each(m) + 1)], says="{cpu} shifts")
    b.action("wrap", actor=cpu, guard=(n + 7) < n, effects=[(n, n - 5)], says="wraps",
             marks=[Mark("p", "wrapped", n == 2, False, "it wrapped")])  # fmt: skip
    b.action("idle", actor=cpu, guard=n == 3, effects=[(n, n)], says="idles",
             marks=[Mark("p", "idle", TRUE, False, "it idles")])  # fmt: skip
    b.invariant("q", "", ~(left == 2) | (right == 1), "never")
    b.halted = some(cpu, each(n) == 4) & every(cpu, each(m) == 3)
    return b.build()


def shared_deeply(depth: int = 60) -> TransitionSystem:
    """Guards and values that say the same thing twice, at every one of many levels."""
    b = Builder("shared deeply")
    cpu = b.component("cpu", 2)
    g, n = b.variable("g", Bits(3), 0), b.variable("n", Bits(3), 1, cpu)

    def deep(x: Expr, y: Expr) -> Expr:
        for level in range(depth):
            x = if_else(x < y, x + y, (y + 1) - x) if level % 2 else (x + x) + y
        return x

    b.action("local", actor=cpu, guard=deep(n, g) < 6, effects=[(n, deep(n, g + 1))], says="goes")
    b.action("all", guard=every(cpu, deep(each(n), g) < 7), broadcast=[(n, deep(g, each(n)))], says="goes")
    b.action("count", guard=g < 3, effects=[(g, g + 1)], says="counts")
    return b.build()


def withholding(fairness: Fairness) -> TransitionSystem:
    """A patcher that waits for a bit that each CPU clears (`fairness`) only while it is at home; CPUs come and go."""
    b = Builder("withholding")
    cpu = b.component("cpu", 2)
    done = b.variable("done", BOOL, 0)
    owes, away = b.variable("owes", BOOL, 1, cpu), b.variable("away", BOOL, 0, cpu)
    b.action(
        "finish", guard=~done & every(cpu, ~each(owes)), effects=[(done, 1)], says="ends", fairness=Fairness.PATCHER
    )
    b.action("leave", actor=cpu, guard=~away, effects=[(away, 1)], says="leaves")
    b.action("return", actor=cpu, guard=away, effects=[(away, 0)], says="returns", fairness=Fairness.TASK)
    b.action("clear", actor=cpu, guard=owes & ~away, effects=[(owes, 0)], says="clears", fairness=fairness)
    b.progress = Progress("completes", done, "it ends")
    return b.build()


def counter() -> TransitionSystem:
    """A counter that comes round, and a step that is allowed where the sum is small."""
    b = Builder("counter")
    cpu = b.component("cpu", 1)
    n = b.variable("n", Bits(2), 0, cpu)
    up = b.variable("up", BOOL, 0)
    b.action("count", actor=cpu, effects=[(n, n + 1)], says="counts")
    b.action("rise", actor=cpu, guard=(n + 3) < 1, effects=[(up, 1)], says="rises")
    return b.build()


def forget_to_wrap(text: str) -> str:
    return re.sub(r"\((cpu\[\w+\]\.\w+ \+ 3)\) [&%] \d", r"\1", text)


def forget_a_guard(text: str) -> str:
    return re.sub(r"\(+cpu\[\w+\]\.\w+ \+ 3\) [&%] \d\)? < 1", "true", text)


def forget_what_changes_nothing(text: str) -> str:
    return re.sub(r"\(!up\)|(?<=& )!up", "true", text)


def write_another_value(text: str) -> str:
    return re.sub(r"up (:?=) true", r"up \1 false", text)


WRONG = (forget_to_wrap, forget_a_guard, forget_what_changes_nothing, write_another_value)

"""What every command shares: names, exit statuses, and the way from parsed options to what the checker takes.

Imports are inside the functions, so that a command pays only for what it uses.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from checker.progress import Progress
from models.system.errors import ScenarioError

HOLDS, VIOLATION, USAGE, MODEL, INCONCLUSIVE, VACUOUS, INTERNAL = 0, 1, 2, 3, 4, 5, 70
SEVERITY = (INTERNAL, MODEL, USAGE, VIOLATION, INCONCLUSIVE, VACUOUS, HOLDS)
NAMES = (
    "check",
    "prove",
    "docs",
    "list",
    "catalogue",
    "explain",
    "matrix",
    "bug",
    "diff",
    "export",
    "replay",
    "silicon",
    "report",
    "new",
    "completion",
)
ENGINES = ("auto", "product", "python", "native")  # as checker.search.engine has them; not imported, for speed


class UsageError(Exception):
    """The command line asks for something that does not exist."""


def worst(statuses: Sequence[int]) -> int:
    """Of several exit statuses, the one that counts."""
    return min(statuses, key=SEVERITY.index, default=HOLDS)


def complain(message: str, status: int) -> int:
    """Say what is wrong in one line on standard error. Returns `status`."""
    line = " ".join(message.split())
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)  # it may be from anybody's file
    print(f"check-strategy: {shown}", file=sys.stderr)
    return status


def load_strategy(name: str) -> Any:
    from models.library import load, shipped

    try:
        return load(name)
    except KeyError:
        from difflib import get_close_matches

        near = get_close_matches(name, [*shipped(), *NAMES], 3, 0.5)
        near = [f"./{name}.py"] if os.path.exists(f"{name}.py") else near
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `check-strategy list` shows all"
        raise UsageError(f"there is no strategy “{name}”{hint}") from None


def machine_of(name: str) -> Any:
    from models.machines.fetch import PRESETS, machine

    try:
        return machine(name)
    except ScenarioError as error:
        from difflib import get_close_matches

        near = get_close_matches(name.partition(",")[0], PRESETS, 3, 0.4)
        known = name.partition(",")[0] in PRESETS
        hint = f"; did you mean {' or '.join(near)}?" if near and not known else ""
        raise UsageError(f"{error.message}{hint}") from None


def scenario_of(options: Any, subject: Any, machine: str | None) -> Any:
    """The scenario that the options ask for; where no machine is named, on the usual one for this strategy or program."""
    from models.scenario import Scenario, usual

    return Scenario(
        machine=machine_of(machine) if machine else usual(subject.isa).machine,
        transition=options.transition,
        rounds=options.rounds,
        cpus=options.cpus,
        sites=options.sites,
        without=frozenset(options.without),
        preempt=options.preempt,
        nmi=options.nmi,
    )


def limits_of(options: Any) -> Any:
    from checker.search.result import Limits

    return Limits(options.max_states, options.max_seconds, options.max_memory)


def engine_of(options: Any) -> Any:
    from checker.search.engine import Engine

    symmetry = None if options.symmetry is None else options.symmetry == "on"
    return Engine(options.engine, options.threads, symmetry, options.hash_compaction)


def paint_of(quiet: bool = False) -> Any:
    from checker.report.layout import Paint

    return Paint(sys.stdout.isatty() and not quiet and "NO_COLOR" not in os.environ)


def checked(strategy: Any, scenario: Any, options: Any, proof: bool = False, witnesses: bool = False) -> Any:
    from checker.verdict import add_proof, check

    limits, began = limits_of(options), time.monotonic()
    with Progress(limits) as progress:
        result = check(
            strategy,
            scenario,
            use_case=options.use_case,
            engine=engine_of(options),
            limits=limits,
            report=progress,
            witnesses=witnesses,
        )
        if proof:
            progress.stage("proving it for any number of CPUs")
            add_proof(result)
            result.seconds = time.monotonic() - began
    return result


def absolute(name: str) -> str:
    from models.library import is_path

    return os.path.abspath(name) if is_path(name) else name

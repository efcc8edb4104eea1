"""The files that the answer of a check can be written to: an option, what it is for, and the module that makes it."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Output:
    """One kind of file. `module` has `render(result, name) -> str`; `name` is what the user called the strategy.

    Imported only when the option is given, so that a check pays for no other. `takes`: options of the command that
    `render` gets, too, by name; None where the user gave none.
    """

    module: str
    says: str
    takes: tuple[str, ...] = ()


GRAPHS = ("auto", "whole", "quotient")  # as checker.graph has them; not imported, for speed
OUTPUTS = {
    "html": Output("checker.report.html", "one page to step through every trace"),
    "sarif": Output("checker.report.sarif", "SARIF 2.1.0, for code scanning and editors"),
    "itf": Output("checker.report.itf", "one trace in the Informal Trace Format, for its viewers"),
    "junit": Output("checker.report.junit", "JUnit XML: a test for each use case and property"),
    "dot": Output("checker.report.dot", "the state graph for Graphviz, with the trace in red", ("graph",)),
    "svg": Output("checker.report.svg", "the same as a picture", ("graph",)),
}
_WRITTEN = ("json", *OUTPUTS, "keep-generated", "output", "page")


class NothingToWrite(Exception):
    """An answer has nothing that this kind of file could hold; the message says what is missing."""


def write_outputs(result: Any, name: str, options: Any) -> None:
    """Write each file that was asked for, whole or not at all; `-` is standard output. Raises OSError.

    Where there is nothing to write, that is said on standard error, and an older file stays as it is.
    """
    from checker.report.files import write_text

    for option, output in OUTPUTS.items():
        if target := getattr(options, option):
            try:
                more = {further: getattr(options, further) for further in output.takes}
                write_text(import_module(output.module).render(result, name, **more), target)
            except NothingToWrite as reason:
                print(f"check-strategy: --{option} {target} is not written: {reason}", file=sys.stderr)


def takes_standard_output(options: Any) -> bool:
    """Whether some answer goes to standard output, so that nothing else may be printed there."""
    return "-" in _targets(options).values()


def refuse_shared_targets(options: Any) -> None:
    """Raises UsageError where two answers would go to the same place, or one to the file that is to be checked."""
    from checker.options import UsageError

    targets = _targets(options)
    first: dict[str, str] = {_place(name): "" for name in _inputs(options)} if targets else {}
    for option, target in targets.items():
        if (other := first.setdefault(_place(target), option)) == option:
            continue
        if not other:
            raise UsageError(f"--{option} would write over {target}, the file that is to be checked")
        place = "standard output" if target == "-" else target
        raise UsageError(f"--{other} and --{option} cannot both go to {place}")


def _place(target: str) -> str:
    """What two names of one file have in common."""
    return target if target == "-" else os.path.realpath(target)


def _inputs(options: Any) -> list[str]:
    """The user's files that the command reads."""
    from models.library import is_path, path_of

    names = [getattr(options, "strategy", None), *(getattr(options, "strategies", None) or [])]
    return [str(path_of(name)) for name in names if name and is_path(name)]


def refuse_outputs(options: Any, but: Collection[str], why: str) -> None:
    """Raises UsageError, with the reason, where a file was asked for that is not one of `but`."""
    from checker.options import UsageError

    for option in _targets(options):
        if option not in but:
            raise UsageError(f"--{option} {why}")


def refuse_without_output(options: Any) -> None:
    """Raises UsageError where an option says how to write a file that was not asked for."""
    from checker.options import UsageError

    for option in {taken for output in OUTPUTS.values() for taken in output.takes if getattr(options, taken)}:
        users = [name for name, output in OUTPUTS.items() if option in output.takes]
        if not any(getattr(options, name) for name in users):
            raise UsageError(f"--{option} needs {' or '.join(f'--{name} FILE' for name in users)}")


def _targets(options: Any) -> dict[str, str]:
    """Where each answer that was asked for goes to, of those that the command has."""
    found = {option: getattr(options, option.replace("-", "_"), None) for option in _WRITTEN}
    return {option: target for option, target in found.items() if target}

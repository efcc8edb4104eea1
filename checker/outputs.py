"""The files that the answer of a check can be written to: an option, what it is for, and the module that makes it."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
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


class NothingToWrite(Exception):
    """An answer has nothing that this kind of file could hold; the message says what is missing."""


def write_outputs(result: Any, name: str, options: Any) -> None:
    """Write each file that was asked for, whole or not at all; `-` is standard output. Raises OSError.

    Where there is nothing to write, that is said on standard error, and an older file stays as it is.
    """
    for option, output in OUTPUTS.items():
        if target := getattr(options, option):
            try:
                more = {further: getattr(options, further) for further in output.takes}
                write_text(import_module(output.module).render(result, name, **more), target)
            except NothingToWrite as reason:
                print(f"check-strategy: --{option} {target} is not written: {reason}", file=sys.stderr)


def write_text(text: str, target: str) -> None:
    """Write to a file, whole or not at all, or to standard output for `-`. Raises OSError."""
    from checker.report.files import write_atomically

    if target == "-":
        sys.stdout.write(text)
    else:
        write_atomically(Path(target), text)


def takes_standard_output(options: Any) -> bool:
    """Whether some answer goes to standard output, so that nothing else may be printed there."""
    return "-" in _targets(options).values()


def refuse_shared_targets(options: Any) -> None:
    """Raises UsageError where two answers would go to the same place."""
    from checker.options import UsageError

    first: dict[str, str] = {}
    for option, target in _targets(options).items():
        if target in first:
            place = "standard output" if target == "-" else target
            raise UsageError(f"--{first[target]} and --{option} cannot both go to {place}")
        first[target] = option


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
    found = {option: getattr(options, option, None) for option in ("json", *OUTPUTS)}
    return {option: target for option, target in found.items() if target}

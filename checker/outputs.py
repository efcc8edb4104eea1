"""The files that the answer of a check can be written to: an option, what it is for, and the module that makes it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Output:
    """One kind of file. `module` has `render(result, name) -> str`; `name` is what the user called the strategy.

    Imported only when the option is given, so that a check pays for no other.
    """

    module: str
    says: str


OUTPUTS = {
    "html": Output("checker.report.html", "one page to step through every trace"),
    "sarif": Output("checker.report.sarif", "SARIF 2.1.0, for code scanning and editors"),
    "itf": Output("checker.report.itf", "one trace in the Informal Trace Format, for its viewers"),
    "junit": Output("checker.report.junit", "JUnit XML: a test for each use case and property"),
}


def write_outputs(result: Any, name: str, options: Any) -> None:
    """Write each file that was asked for, whole or not at all; `-` is standard output. Raises OSError."""
    from checker.report.files import write_atomically

    for option, output in OUTPUTS.items():
        target = getattr(options, option)
        if not target:
            continue
        text = import_module(output.module).render(result, name)
        if target == "-":
            sys.stdout.write(text)
        else:
            write_atomically(Path(target), text)


def takes_standard_output(options: Any) -> bool:
    """Whether some answer goes to standard output, so that nothing else may be printed there."""
    return "-" in (options.json, *(getattr(options, option) for option in OUTPUTS))

"""Certificates answered by other solvers: cvc5 and bitwuzla, each from its package (the extra `certificates`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from proofs.certificate import EXPECTED, MANIFEST


class NoSolver(Exception):
    """The package of a solver is not installed."""


def cvc5(script: str) -> str:
    """The answer of cvc5 to an SMT-LIB script. Raises NoSolver."""
    try:
        import cvc5 as package
    except ImportError as missing:
        raise NoSolver("cvc5 is not installed: pip install 'check-strategy[certificates]'") from missing
    solver = package.Solver(package.TermManager())
    parser = package.InputParser(solver)
    parser.setStringInput(package.InputLanguage.SMT_LIB_2_6, script, "certificate")
    symbols, said = parser.getSymbolManager(), []
    while not (command := parser.nextCommand()).isNull():
        said.append(str(command.invoke(solver, symbols)).strip())
    return said[-1] if said else ""


def bitwuzla(script: str) -> str:
    """The answer of bitwuzla to an SMT-LIB script. Raises NoSolver."""
    try:
        import bitwuzla as package
    except ImportError as missing:
        raise NoSolver("bitwuzla is not installed: pip install 'check-strategy[certificates]'") from missing
    terms = package.TermManager()
    parser = package.Parser(terms, package.Options())
    parser.parse(script, True, False)
    solver = parser.bitwuzla()
    return str(solver.check_sat()).lower().split(".")[-1]


SOLVERS: dict[str, Callable[[str], str]] = {"cvc5": cvc5, "bitwuzla": bitwuzla}


def recheck(folder: Path, solver: str) -> list[str]:
    """What is wrong with a certificate: files that are not as its manifest says, or that `solver` does not confirm.

    Raises NoSolver, and OSError or ValueError where there is no manifest that can be read.
    """
    listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.smt2")}
    wrong = [f"{name}: not in the manifest" for name in sorted(there.keys() - listed.keys())]
    for name, facts in listed.items():
        if name not in there:
            wrong.append(f"{name}: missing")
        elif hashlib.sha256(there[name].encode()).hexdigest() != facts["sha256"]:
            wrong.append(f"{name}: not the text that was written")
        elif (answer := SOLVERS[solver](there[name])) != EXPECTED:
            wrong.append(f"{name}: {answer}")
    return wrong

"""Certificates answered by other solvers: cvc5 and bitwuzla, each from its package (the extra `certificates`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from proofs.certificate import EXPECTED


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
    """The files of a certificate to which `solver` answers otherwise than expected, each with the answer."""
    wrong = []
    for path in sorted(folder.glob("*.smt2")):
        answer = SOLVERS[solver](path.read_text(encoding="utf-8"))
        if answer != EXPECTED:
            wrong.append(f"{path.name}: {answer}")
    return wrong

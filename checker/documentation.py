"""The generated pages: those about proofs, one for each strategy and an index, and the reference. Made, written, compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from checker.report import markdown, reference
from checker.report.files import write_atomically
from checker.report.layout import named
from checker.report.markdown import depending, independent
from checker.report.page import GENERATED, Page, is_found, proof_of
from checker.verdict import EXPOSED, PROVED, VIOLATED, CheckResult, check
from checker.workers import workers
from models.library import shipped
from models.properties import PROPERTIES
from models.scenario import Scenario

INDEX = "index.md"
REFERENCE = "reference"
_SOLVER = re.compile(r"Written with Z3 (\d[\d.]*\d)")


@dataclass(frozen=True)
class Pages:
    """The pages that belong in one folder; `whole`: it holds no others."""

    folder: Path
    made: Mapping[str, str]
    whole: bool
    option: str  # of the command, that chooses the folder


def all_pages(names: Sequence[str], proofs: Path, beside: Path) -> list[Pages]:
    """What is generated for the named strategies, or for REFERENCE; for everything where nothing is named.

    `proofs` and `beside` are the folders. Raises KeyError for an unknown name and ModelError for a file that does not work.
    """
    strategies = [name for name in names if name != REFERENCE]
    found = []
    if strategies or not names:
        found.append(Pages(proofs, pages(strategies), not strategies, "--output"))
    if REFERENCE in names or not names:
        found.append(Pages(beside, reference.pages(), True, "--reference"))
    return found


@dataclass(frozen=True)
class Entry:
    """What the index says of one strategy; without `page`, nothing is proved of it."""

    name: str
    says: str
    cells: tuple[str, ...]
    page: str


def pages(names: Sequence[str] = ()) -> dict[str, str]:
    """The text of every page by its file name, in order; of the named strategies only, and then without the index.

    Raises KeyError for an unknown name and ModelError for a file that does not work.
    """
    made = _made(list(names) or list(shipped()))
    found = {f"{entry.name}.md": entry.page for entry in made if entry.page}
    return found if names else {INDEX: index(made), **found}


def index(entries: Sequence[Entry]) -> str:
    """The page that leads to all others."""
    rows = [["strategy", "proved for any number of CPUs", "violated or exposed", "lemmas", "conditions"]]
    rows += [[f"[{entry.name}]({entry.name}.md)", *entry.cells] for entry in entries if entry.page]
    rest = [f"- `{entry.name}`: {entry.says}" for entry in entries if not entry.page]
    lines = [GENERATED, "", "# Proofs", ""]
    lines += [
        "What is proved of the shipped strategies, each in the scenario that `check-strategy prove` has by default:"
    ]
    lines += ["two sites in one batch, on x86-linux, and any number of CPUs. Each page shows the lemmas and what each"]
    lines += ["of them excludes, on which promises of the CPU they rest, and how to check them again.", ""]
    lines += markdown.table(rows)
    lines += ["", "Of these nothing is proved:", "", *rest] if rest else []
    lines += ["", depending(f"Written with Z3 {solver_version()}.")]
    toctree = [entry.name for entry in entries if entry.page]
    lines += ["", "```{toctree}", ":hidden:", "", *toctree, "```"]
    return "\n".join(lines) + "\n"


def write(folder: Path, made: Mapping[str, str], whole: bool) -> list[str]:
    """Write pages; where they are `whole`, remove generated ones that are no more. The names of those removed.

    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        write_atomically(folder / name, text)
    gone = [path for path in _superfluous(folder, made) if path.read_text(encoding="utf-8").startswith(GENERATED)]
    for path in gone if whole else ():
        path.unlink()
    return [path.name for path in gone] if whole else []


def stale(folder: Path, made: Mapping[str, str], whole: bool) -> list[str]:
    """What is wrong with the pages in a folder, a sentence for each that is missing, different or superfluous."""
    found = []
    for name, text in made.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path} is missing")
        elif difference := _difference(path.read_text(encoding="utf-8"), text):
            found.append(f"{path} differs, {difference}")
    if whole and folder.is_dir():
        found += [f"{path} is superfluous: nothing is generated for it" for path in _superfluous(folder, made)]
    return found


def other_solver(folder: Path, made: Mapping[str, str]) -> str:
    """That pages were written with another version of the solver, in a sentence; "" where none was."""
    here = solver_version()
    for name in made:
        written = _written_with(folder / name)
        if written not in ("", here):
            return (
                f"{folder / name} was written with Z3 {written}, and this is {here}: "
                "hashes of certificates and lemmas that were found are not compared"
            )
    return ""


def solver_version() -> str:
    """The version of Z3 that answers here."""
    import z3

    return str(z3.get_version_string())


def _written_with(path: Path) -> str:
    found = _SOLVER.search(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found[1] if found else ""


def _superfluous(folder: Path, made: Mapping[str, str]) -> list[Path]:
    return sorted(path for path in folder.glob("*.md") if path.name not in made)


def _difference(old: str, new: str) -> str:
    """Where two pages differ first; what depends on the solver counts only if both were written with the same one."""
    versions = {found[1] for text in (old, new) if (found := _SOLVER.search(text))}
    if len(versions) > 1:
        old, new = independent(old), independent(new)
    if old == new:
        return ""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    for number, (was, is_) in enumerate(zip(before, after, strict=False), 1):
        if was != is_:
            return f"first in line {number}: “{_short(was)}” should be “{_short(is_)}”"
    longer = "goes on" if len(before) > len(after) else "ends"
    return f"first in line {min(len(before), len(after)) + 1}: it {longer} there"


def _short(line: str) -> str:
    text = line.rstrip("\n")
    return text if len(text) <= 100 else f"{text[:99]}…"


# ---- how pages are made ---------------------------------------------------------------------------------------------


def _made(names: Sequence[str]) -> list[Entry]:
    """The strategies in order, on all cores.

    Each job has a process of its own: what the solver answers, and how it prints, may depend on what it was asked before.
    """
    for name in names:
        shipped()[name]
    with workers(fresh=True) as pool:
        jobs: list[tuple[Future[list[str]], Future[Entry]]] = []
        for name in names:
            jobs.append((pool.submit(_machines, name), pool.submit(_entry, name)))
        found = []
        for machines, entry in jobs:
            made = entry.result()
            page = made.page.replace(_PLACE, "\n".join(machines.result())) if made.page else ""
            found.append(Entry(made.name, made.says, made.cells, page))
        return found


_PLACE = "<!-- machines -->"


def _machines(name: str) -> list[str]:
    """The section about machines, in a process of its own."""
    from checker.report.machines import machines

    return machines(shipped()[name], Scenario())


def _entry(name: str) -> Entry:
    """The rest of a page, and what the index says of it, in a process of its own."""
    strategy = shipped()[name]
    result = check(strategy, Scenario(), proof=True)
    proof = proof_of(result.proving)
    if proof is None:
        return Entry(strategy.name, strategy.says, (), "")
    page = Page(result, proof, name, solver_version())
    found = is_found(proof)
    proved, broken = _summary(result)
    sizes = [depending(str(len(things)), found) for things in (proof.invariant.lemmas, proof.obligations)]
    return Entry(strategy.name, strategy.says, (proved, broken, *sizes), page.text([_PLACE]))


def _summary(result: CheckResult) -> tuple[str, str]:
    """What is proved, and what is violated or exposed, each in one cell."""
    verdicts = {name: [(r.use_case, r.verdict(name)) for r in result.results] for name in PROPERTIES}
    proved = [name for name, found in verdicts.items() if all(v.verdict == PROVED for _, v in found)]
    rest = [name for name in PROPERTIES if name not in proved]
    broken: dict[str, list[str]] = {}
    for name, found in verdicts.items():
        for use_case, v in found:
            if v.verdict in (VIOLATED, EXPOSED):
                broken.setdefault(f"{named(name, v.kind)} {v.verdict}", []).append(use_case)
    said = [
        what if len(use_cases) == len(result.results) else f"{what} for {markdown.listed(use_cases)}"
        for what, use_cases in broken.items()
    ]
    return "everything" if not rest else f"everything but {markdown.listed(rest)}", "; ".join(said) or "nothing"

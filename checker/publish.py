"""Every answer as pages in a folder: each strategy in each scenario that it speaks of, its proof, its matrix, every bug.

Jobs run on all cores and hand back text, so that whatever is written is whole; the index comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from checker.bugs import Examined, examine
from checker.catalogue import describe, load_file_strategies
from checker.matrix import Cell, matrix
from checker.options import absolute
from checker.report import bug as bug_report
from checker.report import html, structured, text
from checker.report.files import dumped, write_atomically
from checker.report.html import site
from checker.report.html.site import Answer, BugRow, MachineRow, ScenarioRows, StrategyRows, UseCaseRow
from checker.report.page import Page, proof_of
from checker.verdict import CheckResult, PropertyVerdict, check
from checker.workers import workers
from models.library import bugs, is_path, load, scenario_of, shipped
from models.machines.fetch import PRESETS, X86_PRESETS
from models.model import Subject
from models.protocol import Strategy
from models.scenario import Scenario, usual
from models.system.errors import ScenarioError

Row = TypeVar("Row", StrategyRows, MachineRow, BugRow)
Done = Callable[[int, int, str], None]  # how many jobs are done, of how many, and which was the last


@dataclass(frozen=True)
class Job:
    """Something to check. `kind`: strategy, matrix or bug; `name` finds it; `number`: which of its scenarios."""

    kind: str
    name: str
    number: int = 0


@dataclass
class Sheets:
    """What a job makes: pages by their path in the folder, and its part of the index."""

    job: Job
    files: dict[str, str] = field(default_factory=dict)
    row: StrategyRows | MachineRow | BugRow | None = None


def publish(folder: Path, names: Sequence[str] = (), done: Done | None = None) -> list[str]:
    """Write the report of the named strategies and files (by default: of all that is shipped, and all bugs).

    Returns the paths written, the index last. Raises KeyError for an unknown name, ScenarioError for the same name twice,
    ModelError for a file that does not work, OSError.
    """
    jobs = list(_jobs(names))
    folder.mkdir(parents=True, exist_ok=True)
    sheets: list[Sheets] = []
    written = []
    with workers() as pool:
        futures = [pool.submit(run, job) for job in jobs]
        for count, future in enumerate(as_completed(futures), 1):
            made = future.result()
            for path, content in made.files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / path, content)
                written.append(path)
            sheets.append(made)
            if done:
                done(count, len(jobs), made.job.name)
    sheets.sort(key=lambda made: jobs.index(made.job))
    write_atomically(folder / "index.html", site.index(_merged(sheets), _of(sheets, MachineRow), _of(sheets, BugRow)))
    return [*sorted(written), "index.html"]


def _jobs(names: Sequence[str]) -> Iterator[Job]:
    """What there is to do: for each strategy, its scenarios and its matrix; and where nothing is named, every bug."""
    seen: set[str] = set()
    for name in names or list(shipped()):
        for called, subject in load_file_strategies(name) if is_path(name) else [(name, load(name))]:
            if site.stem(subject.name) in seen:
                raise ScenarioError(
                    f"two of what is to be reported are called “{subject.name}”: their pages would be one"
                )
            seen.add(site.stem(subject.name))
            yield from (Job("strategy", called, k) for k in range(len(scenarios(subject))))
            if isinstance(subject, Strategy):
                yield Job("matrix", called)
    yield from (Job("bug", name) for name in bugs() if not names)


def scenarios(subject: Subject) -> dict[str, Scenario]:
    """The default scenario, and the others that it declares something of, by what is unusual about them."""
    found = {"": usual(subject.isa)}
    for expect in subject.expects:
        scenario = scenario_of(subject, expect)
        if scenario not in found.values() and not _is_default(subject, scenario):
            found[describe(expect, subject)] = scenario
    return found


def _is_default(subject: Subject, scenario: Scenario) -> bool:
    """Whether a scenario only says what is so anyway."""
    own = not isinstance(subject, Strategy) or bool(subject.rounds)
    plain = usual(subject.isa)
    return scenario == (plain if own else replace(plain, transition="call:call", rounds=1))


def run(job: Job) -> Sheets:
    """Do one job. Raises ModelError."""
    return {"strategy": _strategy, "matrix": _matrix, "bug": _bug}[job.kind](job)


# ---- strategies -----------------------------------------------------------------------------------------------------


def _strategy(job: Job) -> Sheets:
    subject = load(job.name)
    title, scenario = list(scenarios(subject).items())[job.number]
    result = check(subject, scenario, proof=True, witnesses=True)
    sheets, stem = Sheets(job), site.stem(subject.name)
    path = f"strategies/{stem}{f'-{job.number}' if job.number else ''}.html"
    sheets.files[path] = html.render(result, job.name, back="../index.html")
    sheets.files[path.replace(".html", ".json")] = dumped(structured.check_to_json(result, absolute(job.name)))
    proof = proof_of(result.proving)
    if proof and not job.number and isinstance(subject, Strategy):
        import z3

        page = Page(result, proof, job.name, z3.get_version_string()).text([])
        sheets.files[f"proofs/{stem}.html"] = site.prose(f"Proof of {subject.name}", page, "../index.html")
    shown = ScenarioRows(title, path, tuple(_rows(result, path)))
    link = f"proofs/{stem}.html" if f"proofs/{stem}.html" in sheets.files else ""
    sheets.row = StrategyRows(subject.name, subject.says, link, (shown,))
    return sheets


def _rows(result: CheckResult, path: str) -> Iterator[UseCaseRow]:
    """A row for each use case; those with the same answers have one together."""
    found: dict[tuple[Answer, ...], list[str]] = {}
    for r in result.results:
        found.setdefault(tuple(_answer(v, path) for v in r.verdicts), []).append(r.use_case)
    return (UseCaseRow(", ".join(use_cases), answers) for answers, use_cases in found.items())


def _answer(verdict: PropertyVerdict, path: str) -> Answer:
    """One cell; where there is a trace, it leads to its first step."""
    link = "" if verdict.trace is None else f"{path}#trace-{verdict.trace + 1}-step-0"
    kind = "vacuous" if verdict.vacuous else verdict.verdict
    return Answer(verdict.property, kind, text.whole_answer(verdict), link)


def _merged(sheets: Sequence[Sheets]) -> list[StrategyRows]:
    """The rows of each strategy together, its scenarios in order."""
    found: dict[str, StrategyRows] = {}
    for row in _of(sheets, StrategyRows):
        before = found.get(row.name)
        found[row.name] = replace(before, scenarios=before.scenarios + row.scenarios) if before else row
    return list(found.values())


def _of(sheets: Sequence[Sheets], kind: type[Row]) -> list[Row]:
    return [made.row for made in sheets if isinstance(made.row, kind)]


# ---- machines -------------------------------------------------------------------------------------------------------


def _matrix(job: Job) -> Sheets:
    strategy = load(job.name)
    assert isinstance(strategy, Strategy)
    cells: list[Cell] = list(matrix(strategy, Scenario(sites=1), list(X86_PRESETS.values())))
    path = f"matrix/{site.stem(strategy.name)}.html"
    complete = site.complete(cells)
    says = {name: PRESETS[name].says for name in complete}
    sheets = Sheets(job, row=MachineRow(strategy.name, path, complete))
    sheets.files[path] = site.matrix_page(strategy.name, strategy.says, cells, says)
    return sheets


# ---- bugs -----------------------------------------------------------------------------------------------------------


def _bug(job: Job) -> Sheets:
    found = examine(bugs()[job.name])
    bug = found.bug
    stem, sheets = f"bugs/{site.stem(bug.identifier)}", Sheets(job)
    links = f"{site.stem(bug.identifier)}-fixed.html", f"{site.stem(bug.identifier)}.html"
    command = f"check-strategy bug {bug.identifier}"
    told = [("published", bug.story), ("source", f"{bug.date}, {bug.architecture}, {bug.subsystem}. {bug.source}")]
    told += [("model", bug.model)] if bug.model else []
    before = [*told, ("trace", _published(found)), ("fix", f"{found.after.strategy.says}: {bug_report.proved(found)}")]
    sheets.files[f"{stem}.html"] = html.render(
        found.before, bug.identifier, back="../index.html", about=before, title=f"{bug.identifier}: {bug.title}",
        other=("after the fix", links[0]), command=command,
    )  # fmt: skip
    sheets.files[f"{stem}-fixed.html"] = html.render(
        found.after, bug.identifier, back="../index.html", about=told, title=f"{bug.identifier}, fixed: {bug.title}",
        other=("before the fix", links[1]), command=command,
    )  # fmt: skip
    number = found.before.traces.index(found.trace) + 1 if found.trace else 0
    steps = len(found.trace.steps) if found.trace else 0
    where = f"{stem}.html#trace-{number}-step-{steps}" if number else f"{stem}.html"
    row = BugRow(bug.identifier, bug.title, bug.architecture, bug.subsystem, bug.breaks, where, steps, bug_report.proved(found),
                 f"{stem}-fixed.html", found.difference)  # fmt: skip
    sheets.row = row
    return sheets


def _published(found: Examined) -> str:
    """Which steps of the trace were published."""
    if found.trace is None:
        return f"no violation of {found.bug.breaks} was found"
    steps = ", ".join(str(k) for k in found.at if k is not None)
    number = found.before.traces.index(found.trace) + 1
    return f"trace {number} breaks {found.bug.breaks}; its steps {steps} are those that were published"

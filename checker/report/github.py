"""Answers for a run of GitHub Actions: remarks at lines of the changed files, and a table in the summary of the job.

See “Workflow commands for GitHub Actions” in GitHub's documentation for the form of the lines.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from checker.bugs import Examined
from checker.catalogue import Met
from checker.report.markdown import listed, table
from checker.report.places import below, guilty
from checker.report.text import answer, applies
from checker.verdict import UNKNOWN, VIOLATED, CheckResult
from models.properties import PROPERTIES
from models.system.errors import Location


def tell(remarks: Iterable[str], summary: str, quiet: bool) -> None:
    """Print the remarks, unless standard output is taken, and add to the summary of the job. Raises OSError."""
    for remark in () if quiet else remarks:
        print(remark)
    append_summary(summary)


def of_check(result: CheckResult) -> Iterator[str]:
    """A remark for each verdict that is violated, unknown or vacuous though it is required."""
    subject = result.strategy
    merged: dict[tuple[str, str, str, Location], list[str]] = {}
    for answers in result.results:
        for v in answers.verdicts:
            trace = None if v.trace is None else result.traces[v.trace]
            about = v.note or "; ".join(v.vacuous)
            if v.verdict == VIOLATED:
                remark = ("error", f"{v.property}: {answer(v)}", trace.why if trace else about)
            elif v.required and (v.verdict == UNKNOWN or v.vacuous):
                remark = ("warning", f"{v.property}: {'vacuous' if v.vacuous else v.verdict}", about)
            else:
                continue
            merged.setdefault((*remark, guilty(subject, trace)), []).append(answers.use_case)
    for (level, title, message, where), use_cases in merged.items():
        yield line(level, where, f"{subject.name}, {title}", f"{message} ({listed(use_cases)})")


def of_catalogue(found: Sequence[Met], bugs: Sequence[Examined]) -> Iterator[str]:
    """A remark for each expectation that is not met, or only for want of a test, at the line that declares it."""
    for met in found:
        file, _, number = met.where.rpartition(":")
        title = f"{met.strategy}, {met.use_case}, {met.scenario}"
        if not met.ok:
            message = f"expected {met.expected}: {met.difference}"
            yield line("warning" if met.inconclusive else "error", Location(file, int(number)), title, message)
        elif met.vacuous:
            yield line("warning", Location(file, int(number)), title, f"vacuous: {met.vacuous}")
    for one in bugs:
        if not one.ok:
            yield line("error", one.bug.where, f"{one.bug.identifier} is not as published", one.difference)


def line(level: str, where: Location, title: str, message: str) -> str:
    """One workflow command. `level`: error, warning or notice."""
    place = {"file": below(where.file) or where.file, "line": str(where.line), "title": title}
    properties = ",".join(f"{name}={_property(value)}" for name, value in place.items())
    return f"::{level} {properties}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary_of_check(result: CheckResult) -> str:
    """The table of verdicts in Markdown."""
    rows = [["property", *(r.use_case for r in result.results)]]
    rows += [[name, *(answer(r.verdict(name)) for r in result.results)] for name in PROPERTIES]
    head = f"{result.strategy.name} on {result.model.scenario.machine.name}, {applies(result)}"
    return "\n".join([f"### {head}", "", *table(rows), "", ""])


def summary_of_catalogue(found: Sequence[Met], bugs: Sequence[Examined]) -> str:
    """What is not as declared, and how much is."""
    rows = [["strategy", "use case", "scenario", "expected", "difference"]]
    rows += [[m.strategy, m.use_case, m.scenario, m.expected, m.difference] for m in found if not m.ok]
    rows += [[one.bug.identifier, "", "", one.bug.breaks, one.difference] for one in bugs if not one.ok]
    said = [f"{sum(m.ok for m in found)} of {len(found)} expectations are met"]
    said += [f"{sum(one.ok for one in bugs)} of {len(bugs)} bugs are as published"] if bugs else []
    return "\n".join([f"### {'; '.join(said)}", "", *(table(rows) if rows[1:] else []), "", ""])


def append_summary(text: str) -> None:
    """Add to the summary of the job, where there is one. Raises OSError."""
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(text)

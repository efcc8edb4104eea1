"""The pages of a report that are not about one check: its index, the matrix of one strategy, and proofs as prose."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from checker.matrix import COMPLETE, Cell, broken, letters
from checker.report.html import asset, environment
from checker.report.matrix import follows
from models.properties import PROPERTIES


@dataclass(frozen=True)
class Answer:
    """One cell: the verdict on a property, how it is said, and where its trace is ("" where there is none)."""

    property: str
    verdict: str
    says: str
    link: str


@dataclass(frozen=True)
class UseCaseRow:
    """The answers for one use case, or several that have the same, in the order of the properties."""

    use_case: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class ScenarioRows:
    """One scenario of a strategy. `title`: what is unusual about it, "" for the default."""

    title: str
    page: str
    use_cases: tuple[UseCaseRow, ...]


@dataclass(frozen=True)
class StrategyRows:
    """A strategy in all its scenarios. `proof`: the page of its proof, or ""."""

    name: str
    says: str
    proof: str
    scenarios: tuple[ScenarioRows, ...]


@dataclass(frozen=True)
class MachineRow:
    """The complete strategy on every machine: letters of what is violated (large) and exposed (small) there."""

    name: str
    page: str
    broken: Mapping[str, str]


@dataclass(frozen=True)
class BugRow:
    """A published bug: what its trace breaks, and what is known of its fix. `difference`: what is not as published."""

    identifier: str
    title: str
    architecture: str
    subsystem: str
    breaks: str
    trace: str
    steps: int
    fix: str
    fixed: str
    difference: str


def complete(cells: Sequence[Cell]) -> dict[str, str]:
    """What is broken of the complete strategy on each machine."""
    return {cell.machine: _shown(cell) for cell in cells if cell.without == COMPLETE}


def index(strategies: Sequence[StrategyRows], machines: Sequence[MachineRow], bugs: Sequence[BugRow]) -> str:
    """The page that leads to all others."""
    return _page(
        "index.html",
        strategies=strategies,
        machines=machines,
        presets=list(dict.fromkeys(name for row in machines for name in row.broken)),
        bugs=bugs,
        properties=PROPERTIES,
        letters=letters(),
    )


def matrix_page(name: str, says: str, cells: Sequence[Cell], machines: Mapping[str, str]) -> str:
    """Machines × steps left out of one strategy; `machines` are the presets with what they assume."""
    at = {(cell.without, cell.machine): _shown(cell) for cell in cells}
    variants = list(dict.fromkeys(cell.without for cell in cells))
    return _page(
        "matrix.html",
        name=name,
        says=says,
        machines=machines,
        rows=[(f"without {v}" if v else "complete", [at[v, machine] for machine in machines]) for v in variants],
        follows=list(follows(cells)),
        letters=letters(),
        properties=PROPERTIES,
    )


def prose(title: str, markdown: str, back: str) -> str:
    """A page of Markdown, as HTML. HTML in it is shown as text; links to the documentation become its name."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    plain = re.sub(r"<!--.*?-->\n?", "", markdown)
    plain = re.sub(r"\[([^]]*)\]\(\.\./([\w-]+\.md)\)", lambda link: link[1] or f"`docs/{link[2]}`", plain)
    plain = plain[plain.index("\n# ") :] if "\n# " in plain else plain
    made = MarkdownIt("commonmark", {"html": False}).enable("table").render(plain)
    return _page("prose.html", title=title, back=back, body=Markup(made))


def _shown(cell: Cell) -> str:
    return "–" if cell.impossible else broken(cell)


def stem(name: str) -> str:
    """A file name for what a user called something."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.").lower() or "unnamed"


def _page(template: str, **values: object) -> str:
    return environment().get_template(template).render(style=asset("base.css") + asset("site.css"), **values)

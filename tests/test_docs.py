"""Claims: links in the documentation lead somewhere, what it names exists, and what it shows is what comes out."""

from __future__ import annotations

import doctest
import glob
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

import checker
import checker.testing
import checker.verdict
import models.assembly
import models.bug
import models.machines.fetch
import models.program
import models.properties
import models.protocol
import models.scenario
import models.skeletons
from checker.report.page import GENERATED

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted({ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")} - set(DOCS.glob("_build/**/*.md")))
PACKAGES = ("models", "proofs", "checker", "tests", "docs", "benchmarks")
VOCABULARY = (models.protocol, models.program, models.skeletons, models.machines.fetch, models.properties)
PUBLIC = (*VOCABULARY, models.assembly, models.bug, models.scenario, checker, checker.verdict, checker.testing)
WITH_EXAMPLES = {"models.protocol", "models.program", "models.machines.fetch", "models.properties"}  # at least
FILES_OF = {"writing-a-strategy.md": ["two_syncs.py"], "writing-a-program.md": ["key.py"]}  # their first Python blocks
NOT_SHOWN = {"./idle_round.py", "./wrong.py"}  # files that a page speaks of without showing them
INSTALLATION = "$ python3 -m venv"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """The page parsed, inline parts after the block that has them."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        found += [token, *(token.children or [])]
    return tuple(found)


def links(page: Path) -> list[str]:
    """Where the links and pictures of a page lead."""
    attributes = {"link_open": "href", "image": "src"}
    return [str(t.attrGet(attributes[t.type])) for t in tokens(page) if t.type in attributes]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as both Sphinx and the web pages of repositories make them; as deep as conf.py says."""
    found: list[str] = []
    for opening, inline in zip(tokens(page), tokens(page)[1:], strict=False):
        if opening.type == "heading_open" and int(opening.tag[1:]) <= 3:
            text = "".join(t.content for t in inline.children or [] if t.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return set(found)


def fences(page: Path) -> list[Token]:
    return [token for token in tokens(page) if token.type == "fence"]


# ---- what pages name ------------------------------------------------------------------------------------------------


def broken(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere, each with the reason."""
    for link in links(page):
        url = urlsplit(link)
        if url.scheme:
            if url.scheme not in ("http", "https", "mailto") or (url.scheme != "mailto" and "." not in url.netloc):
                yield f"{link}: no address"
            continue
        target = page.parent / unquote(url.path) if url.path else page
        if not target.exists():
            yield f"{link}: there is no {target}"
        elif page.is_relative_to(DOCS) and not target.resolve().is_relative_to(DOCS):
            yield f"{link}: it leads out of what Sphinx builds"
        elif url.fragment and url.fragment not in anchors(target):
            yield f"{link}: there is no heading like that"


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_a_link_that_leads_nowhere_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = "# Two words\n[](nowhere.md) [a](#two-words) [b](#three) [c](page.md#two-words) [d](http:/x) <https://spinroot.com>"
    page.write_text(text, encoding="utf-8")
    assert [sentence.partition(":")[0] for sentence in broken(page)] == ["nowhere.md", "#three", "http"]


def missing(page: Path) -> Iterator[str]:
    """The paths and modules in backticks that do not exist."""
    for code in (token.content for token in tokens(page) if token.type == "code_inline"):
        if re.fullmatch(rf"({'|'.join(PACKAGES)})/[\w./*-]*", code):
            if not glob.glob(str(ROOT / code)):
                yield code
        elif re.fullmatch(r"(models|proofs|checker)(\.\w+)+", code) and not code.endswith(".py"):
            try:
                pkgutil.resolve_name(code)
            except (ImportError, AttributeError):
                yield code


@each_page
def test_every_path_and_module_that_a_page_names_exists(page: Path) -> None:
    assert list(missing(page)) == []


def test_a_path_or_module_that_does_not_exist_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`models/nothing.py` `models/*.py` `models/*.c` `models.protocol.Sync` `models.protocol.Think`")
    assert list(missing(page)) == ["models/nothing.py", "models/*.c", "models.protocol.Think"]


def test_the_versions_in_the_comparison_are_those_that_were_measured() -> None:
    compared, measured = ((DOCS / name).read_text(encoding="utf-8") for name in ("comparison.md", "performance.md"))
    for said, printed in (
        (r"\bSPIN (\d[\d.]*\d)", r"Spin Version (\d[\d.]*\d)"),
        (r"\brumur (\d[\d.]*\d)", r"Rumur version v(\d[\d.]*\d)"),
    ):
        assert set(re.findall(said, compared)) == set(re.findall(printed, measured)) != set()


# ---- Python examples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_come_out_as_they_say(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.failed == 0
    assert found.attempted or module.__name__ not in WITH_EXAMPLES


@each_page
def test_the_python_sessions_of_a_page_come_out_as_they_say(page: Path) -> None:
    """All blocks of a page share their names. Generated pages repeat docstrings, which are tested themselves."""
    text = page.read_text(encoding="utf-8")
    if not text.startswith(GENERATED):
        assert run_sessions(page) == 0


def run_sessions(page: Path) -> int:
    """How many examples of a page fail."""
    parser, runner, names = doctest.DocTestParser(), doctest.DocTestRunner(), dict[str, object]()
    for block in fences(page):
        if block.info in ("python", "pycon") and ">>>" in block.content:
            test = parser.get_doctest(block.content, names, str(page), str(page), block.map[0] if block.map else 0)
            runner.run(test, clear_globs=False)
            names |= test.globs
    return runner.summarize(verbose=False).failed


def test_a_session_that_comes_out_otherwise_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n>>> a = 1\n>>> a\n1\n```\n```pycon\n>>> a + 1\n3\n```\n", encoding="utf-8")
    assert run_sessions(page) == 1
    assert "Expected:\n    3\nGot:\n    2" in capsys.readouterr().out


def test_the_python_of_the_readme_runs() -> None:
    blocks = [block.content for block in fences(ROOT / "README.md") if block.info == "python"]
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


# ---- sessions of a shell --------------------------------------------------------------------------------------------


def sessions(page: Path) -> list[str]:
    """The blocks of a page that show commands after a `$` and what they print."""
    return [block.content for block in fences(page) if block.content.startswith("$ ")]


def commands(session: str) -> list[tuple[str, str]]:
    """Each command of a session with what it is to print."""
    parts = re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def pattern(shown: str) -> re.Pattern[str]:
    """What matches an output as it is shown: `…` on a line of its own is any lines, and seconds are any seconds."""
    lines = []
    for line in shown.splitlines():
        timed = re.sub(r"\d+\\\.\d+\\ s\b", r"\\d+\\.\\d+ s", re.escape(line))
        lines.append("(?:.*\n)*" if line == "…" else f"{timed}\n")
    return re.compile("".join(lines))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH on which `check-strategy` is this project."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "check-strategy"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m checker.cli "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def told(command: str, folder: Path, path: str) -> str:
    """What a command prints in a folder."""
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    ran = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert "internal error" not in ran.stderr and ran.returncode in range(6), ran.stderr
    return ran.stdout + ran.stderr


WITH_SESSIONS = [page for page in PAGES if sessions(page)]


@pytest.mark.parametrize("page", WITH_SESSIONS, ids=name_of)
def test_what_a_page_shows_of_the_command_is_what_it_prints(page: Path, path: str, tmp_path: Path) -> None:
    folder = ROOT if page.parent == ROOT else tmp_path  # traces name files as they are called from where one is
    blocks = [block.content for block in fences(page) if block.info == "python"]
    for name, content in zip(FILES_OF.get(page.name, []), blocks, strict=False):
        (tmp_path / name).write_text(content, encoding="utf-8")
    for session in sessions(page):
        if session.startswith(INSTALLATION) or any(name in session for name in NOT_SHOWN):
            continue
        for command, shown in commands(session):
            said = told(command, folder, path)
            assert not shown or pattern(shown).fullmatch(said), f"$ {command}\n{said}"


def test_what_is_shown_otherwise_is_noticed() -> None:
    said = "a\nb 1.25 s\nc\n"
    assert all(pattern(shown).fullmatch(said) for shown in (said, "a\n…\n", "…\nb 0.10 s\nc\n", "a\n…\nc\n"))
    assert not any(pattern(shown).fullmatch(said) for shown in ("a\n", "…\nb 0.1\nc\n", "a\nb x s\nc\n", "A\n…\n"))


def test_the_pages_with_sessions_are_known() -> None:
    assert {DOCS / "start.md", ROOT / "README.md", DOCS / "writing-a-strategy.md"} <= set(WITH_SESSIONS)


@pytest.mark.slow
def test_the_installation_works_as_shown(tmp_path: Path) -> None:
    (session,) = (s for s in sessions(DOCS / "start.md") if s.startswith(INSTALLATION))
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("models", "proofs", "checker"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    lines, shown = [command for command, _ in commands(session)], commands(session)[-1][1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = "set -e\n" + "\n".join(lines)
    ran = subprocess.run(["bash", "-c", script], cwd=clone, env=environment, capture_output=True, text=True)
    if "No matching distribution" in ran.stderr or "Could not install packages due to an OSError" in ran.stderr:
        pytest.skip("there is no package index")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == shown

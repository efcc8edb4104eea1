"""The report: its pages say what the checks say, and every link in them leads somewhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from checker import check
from checker.cli import main
from checker.matrix import broken, matrix
from checker.publish import Job, publish, run, scenarios
from checker.report import text
from checker.report.html import site
from checker.report.html.site import BugRow, StrategyRows
from models.library import bugs, load, scenario_of, shipped
from models.machines.fetch import PRESETS
from models.protocol import Strategy
from models.scenario import Scenario

NAME = "nop-then-back"
MINE = """\
from models.protocol import Strategy, Sync, Write


def steps(sites):
    for site in sites:
        yield Write(site.whole, site.new)
    yield Sync()


mine = Strategy(name="mine", says="in one go", source="a test", steps=steps)
"""
HIDDEN = "a\u202eb\0c"
NOTHING = """\
from models.protocol import Strategy, Sync


def steps(sites):
    yield Sync()


nothing = Strategy(name="nothing", says="writes nothing", source="a test", steps=steps)
"""


class Links(HTMLParser):
    """The links and the identifiers of a page, and the text of its cells, row by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.rows: list[list[str]] = []
        self.cell = False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found["href"]] if tag == "a" else []
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report")
    publish(path, [NAME])
    return path


def test_every_link_leads_to_a_page_that_was_written(folder):
    pages = list(folder.rglob("*.html"))
    assert len(pages) == 1 + len(scenarios(load(NAME))) + 2  # the index, one for each scenario, the matrix, the proof
    for page in pages:
        found = Links(page.read_text(encoding="utf-8"))
        for link in found.links:
            file, _, fragment = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            assert target.is_file(), f"{page}: {link}"
            if fragment and not re.fullmatch(r"trace-\d+-step-\d+|steps", fragment):
                assert fragment in Links(target.read_text(encoding="utf-8")).ids


def test_the_index_says_what_the_checks_say(folder):
    found = Links((folder / "index.html").read_text(encoding="utf-8"))
    rows = [[cell.strip() for cell in row] for row in found.rows]
    for scenario in scenarios(load(NAME)).values():
        for result in check(NAME, scenario, proof=True).results:
            cells = [text.whole_answer(v) for v in result.verdicts]
            assert any(row[-len(cells) :] == cells and result.use_case in row[-len(cells) - 1] for row in rows), cells


def test_the_index_says_in_words_that_a_verdict_is_vacuous(tmp_path):
    (tmp_path / "mine.py").write_text(NOTHING, encoding="utf-8")
    sheets = run(Job("strategy", str(tmp_path / "mine.py")))
    result = check(load(str(tmp_path / "mine.py")), proof=True).results[0]
    vacuous = [v.property for v in result.verdicts if v.vacuous]
    assert vacuous and isinstance(sheets.row, StrategyRows)
    told = {a.property: a.says for row in sheets.row.scenarios[0].use_cases for a in row.answers}
    assert [name for name, says in told.items() if says.endswith(", vacuous")] == vacuous
    index = site.index([sheets.row], [], [])
    assert all(f">{told[name]}</td>" in index for name in vacuous) and '<dt class="vacuous">' in index


def test_a_link_to_a_trace_names_one_that_the_page_has(folder):
    found = Links((folder / "index.html").read_text(encoding="utf-8"))
    traces = [link for link in found.links if "#trace-" in link]
    assert traces
    for link in traces:
        file, number = re.fullmatch(r"(.*)#trace-(\d+)-step-0", link).groups()
        page = (folder / file).read_text(encoding="utf-8")
        assert page.count('"witness":false') >= int(number)


def test_the_scenarios_of_a_strategy_are_all_that_it_declares_each_once():
    for strategy in shipped().values():
        found = scenarios(strategy)
        assert len({repr(s) for s in found.values()}) == len(found)
        results = {describe(s) for s in found.values()}
        for expect in strategy.expects:
            assert describe(scenario_of(strategy, expect)) in results


def describe(scenario) -> tuple:
    """A scenario without what it leaves to the strategy."""
    return (scenario.machine, scenario.transition or "call:call", scenario.rounds or 1, scenario.cpus, scenario.sites,
            scenario.without, scenario.preempt, scenario.nmi)  # fmt: skip


def test_a_bug_has_a_page_before_and_after_its_fix_and_a_row():
    sheets = run(Job("bug", "K18"))
    row = sheets.row
    assert isinstance(row, BugRow) and row.title == bugs()["K18"].title and not row.difference
    assert set(sheets.files) == {"bugs/k18.html", "bugs/k18-fixed.html"}
    assert row.fix.startswith("proved") and row.steps > 0


def test_what_a_user_calls_things_is_text_in_every_page():
    name = "<script>alert(1)</script>"
    sheets = run(Job("strategy", NAME))
    assert isinstance(sheets.row, StrategyRows)
    hostile = StrategyRows(name, name, "", sheets.row.scenarios)
    assert "<script" not in site.index([hostile], [], [])
    assert "<script" not in site.prose(name, f"# {name}\n\n{name}\n\n<img src=x>", "")
    assert "<img" not in site.prose(name, f"# {name}\n\n{name}\n\n<img src=x>", "")
    assert site.stem("../../etc/<passwd>") == "etc-passwd"


def test_what_would_turn_text_round_is_shown_in_every_page():
    sheets = run(Job("strategy", NAME))
    assert isinstance(sheets.row, StrategyRows)
    hostile = StrategyRows(HIDDEN, HIDDEN, "", sheets.row.scenarios)
    pages = [site.index([hostile], [], []), site.matrix_page(HIDDEN, HIDDEN, [], {}), site.prose(HIDDEN, HIDDEN, "")]
    for page in pages:
        assert r"a\u202eb\u0000c" in page and not set(HIDDEN[1::2]) & set(page)


def test_a_users_own_file_is_reported_like_a_shipped_one(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    assert main(["report", str(tmp_path / "out"), str(tmp_path / "mine.py")]) == 0
    assert "index.html" in capsys.readouterr().out
    index = Links((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert any("mine" in cell for row in index.rows for cell in row)


def test_wrong_names_and_broken_files_are_refused_before_anything_is_written(tmp_path, capsys):
    broken = tmp_path / "broken.py"
    broken.write_text("def", encoding="utf-8")
    assert main(["report", str(tmp_path / "out"), "no-such-strategy"]) == 2
    assert main(["report", str(tmp_path / "out"), str(broken)]) == 3
    assert main(["report", str(tmp_path / "out"), NAME, NAME]) == 2
    assert "two of what is to be reported" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_it_at_once_with_one_sentence(tmp_path):
    command = [sys.executable, "-m", "checker.cli", "report", str(tmp_path / "out")]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while running.poll() is None and not list(tmp_path.rglob("*.html")):  # until the workers have begun
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=20)
    assert (running.returncode, said) == (4, "check-strategy: interrupted before there was an answer\n")
    assert not (tmp_path / "out" / "index.html").exists()


def test_the_matrix_says_what_is_broken_without_each_step(folder):
    found = Links((folder / "matrix" / f"{NAME}.html").read_text(encoding="utf-8"))
    (head, *rows) = [[cell.strip() for cell in row] for row in found.rows]
    column = head.index("x86-linux")
    strategy = load(NAME)
    assert isinstance(strategy, Strategy)
    cells = list(matrix(strategy, Scenario(sites=1), [PRESETS["x86-linux"]]))
    assert any(cell.violated for cell in cells)
    told = {row[0].removeprefix("without ").replace("complete", ""): row[column] for row in rows}
    assert told == {cell.without: broken(cell) or "✓" for cell in cells}

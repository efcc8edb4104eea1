"""The page of one check as a file: what is in it, what is not, and how large it is."""

from __future__ import annotations

import json
import re

import pytest

from checker import check
from checker.cli import main
from checker.report import html, structured, text


def values_in(page: str) -> dict:
    """The document that a page carries."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def result():
    return check("nop-then-back", witnesses=True)


def test_all_violations_and_witnesses_of_the_run_are_in_one_page(result):
    told = values_in(html.render(result, "nop-then-back"))["traces"]
    assert [t["witness"] for t in told] == [False] * len(result.traces) + [True] * len(result.witnesses)
    assert [len(t["steps"]) for t in told] == [len(t.steps) for t in (*result.traces, *result.witnesses)]
    tested = {mark.property for mark in result.exploration.marks if mark.premise}
    assert {t["title"] for t in told if t["witness"]} == tested


def test_a_witness_is_a_shortest_run_that_puts_its_property_to_the_test(result):
    for witness in result.witnesses:
        least = min(
            p.length for m, p in result.exploration.marks.items() if m.premise and m.property == witness.property
        )
        assert len(witness.steps) == least and witness.property in witness.why and not witness.conjunct


def test_without_being_asked_nobody_tells_witnesses():
    assert check("nop-then-back").witnesses == []


def test_the_native_engine_tells_the_same_witnesses(result):
    from checker.search.build import NoCompiler
    from checker.search.engine import Engine

    try:
        other = check("nop-then-back", witnesses=True, engine=Engine("native", threads=2))
    except NoCompiler:
        pytest.skip("no C compiler")
    if other.exploration.engine != "native":
        pytest.skip("no C compiler")
    assert other.witnesses == result.witnesses


def test_the_page_names_nothing_outside_itself(result):
    page = html.render(result, "nop-then-back")
    assert re.findall(r'(?:src|href)="(?!#|data:,")[^"]*"', page) == []
    assert "http" not in html.asset("page.js") and "url(" not in html.asset("page.css")


def test_the_page_is_small(result):
    assert len(html.render(result, "nop-then-back").encode()) < 300_000


def test_without_scripts_the_answer_is_there_as_text(result):
    from markupsafe import escape

    page = html.render(result, "nop-then-back")
    assert f"<pre>{escape(text.render(result))}</pre>" in page


def test_the_command_writes_it_whole_or_not_at_all(tmp_path, capsys):
    target = tmp_path / "page.html"
    assert main(["nop-then-back", "--use-case", "livepatch", "--proof", "off", "--html", str(target)]) == 1
    assert values_in(target.read_text(encoding="utf-8"))["useCases"] == ["livepatch"]
    assert main(["nop-then-back", "--proof", "off", "--html", str(tmp_path / "none" / "page.html")]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert "page.html: No such file" in capsys.readouterr().err


def test_a_program_has_a_page_too(tmp_path):
    from models.library import bugs

    result = check(bugs()["K15"].before, witnesses=True)
    told = values_in(html.render(result, "K15"))
    assert told["traces"] and set(told["traces"][0]["actors"]) >= {s.actor for s in result.traces[0].steps}


TWO = """\
from models.assembly import arm64
from models.program import Check, Execute, Note, Program, Region, Thread, Write, word

cpu, patcher = Thread("cpu", many=True), Thread("patcher")
key = Region("key", {"nops": [arm64.nop(), arm64.nop()], "calls": [arm64.branch("one"), arm64.branch("two")]})
returned = word("returned")
threads = {
    cpu: [Execute(key, {"nops": [Check(~returned, "new-after-return", says="too late")]})],
    patcher: [Write(key.whole, "calls"), Note(returned, 1)],
}
program = Program(name="two", says="two instructions", source="a test", threads=threads)
"""


def test_of_a_region_of_several_words_every_word_is_told(tmp_path):
    (tmp_path / "two.py").write_text(TWO, encoding="utf-8")
    result = check(str(tmp_path / "two.py"))
    (late,) = (t for t in result.traces if t.property == "new-after-return")
    (found,) = late.steps[-1].bytes
    assert not any(late.start[0].seen)  # nothing but what memory holds
    assert (
        found.seen[0].split()[::4] == ["1f/01", "1f/01"]
        and len(found.seen[0].split()) == len(found.memory.split()) == 8
    )
    assert structured.trace_to_json(late)["steps"][-1]["bytes"]["“key”"]["seen by cpu 0"] == found.seen[0]
    lines = text.render_trace(late, 1).splitlines()
    assert max(map(len, lines)) <= 80 and found.seen[0] in " ".join(" ".join(lines).split())
    told = values_in(html.render(result, "two"))["traces"][result.traces.index(late)]["steps"]
    (view, _) = next(step for step in told if step["actor"] == "patcher")["sites"][0]["seen"]
    assert view["bytes"] == found.seen[0].split() and view["runs"] == "nop or b one; at “key” + 4 nop or b two"

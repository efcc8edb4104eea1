"""State graphs: whole and quotient are what the reference evaluator says, and every drawing says the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import deque
from collections.abc import Hashable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from checker import graph as graphs
from checker.bugs import scenario_of
from checker.cli import main
from checker.graph import (
    MOST_WHOLE,
    OTHER,
    OWN,
    QUOTIENT,
    WHOLE,
    GraphError,
    Names,
    StateGraph,
    light,
    lit_trace,
    quotient,
    state_graph,
    whole,
)
from checker.options import UsageError
from checker.report import dot, svg
from checker.report.layers import lay_out
from checker.report.picture import Picture, picture
from checker.search.engine import Engine
from checker.search.generate import Unsupported
from checker.search.result import Limits
from checker.verdict import CheckResult, check
from models.assembly import x86
from models.library import bugs
from models.model import Model
from models.program import Check, Execute, Note, Program, Region, Thread, Write, word
from models.scenario import Scenario
from models.system.evaluate import Evaluator, State
from tests.support import checked

Edges = set[tuple[Hashable, Hashable, Hashable]]  # from, to, and who does what

HOSTILE = r'a"b\N\"\n</title><script>alert(1)</script>&lt;&#10;{x|y}]];--> }'
LINES = f"{HOSTILE}\n\t{HOSTILE}"  # what may be in sentences, but in no step's name
needs_graphviz = pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")


@cache
def of_bug(identifier: str) -> CheckResult:
    bug = bugs()[identifier]
    return check(bug.before, scenario_of(bug.before, bug.found))


@cache
def hostile() -> CheckResult:
    """A program whose names are none that a picture would like, and that is violated."""
    cpu, patcher = Thread("cpu", many=True), Thread(f"patcher {HOSTILE}")
    key, returned = Region(f"key {HOSTILE}", {"old": [x86.nop(1)], "new": [x86.push_rbp()]}), word("returned")
    old = f"old {LINES}"
    program = Program(
        f"program {HOSTILE}",
        LINES,
        "tests",
        threads={
            cpu: [Execute(key, {"old": [Check(~returned, "new-after-return", old, says=old)], "new": []})],
            patcher: [Write(key.whole, "new", label=f"write {HOSTILE}"), Note(returned, 1)],
        },
    )
    return check(program, Scenario(cpus=1))


CASES = {
    "strategy, violated": lambda: checked("nop-then-back", cpus=1, sites=1),
    "strategy, product": lambda: checked("nop-then-back", sites=1),
    "strategy that holds": lambda: checked("stop-machine", sites=1),
    "freed code": lambda: checked("stop-machine-frees-early", sites=1, cpus=1),
    "two single threads": lambda: of_bug("K12"),
    "no single thread": lambda: of_bug("K15"),
    "no CPU": lambda: of_bug("K32"),
    "one patcher": lambda: of_bug("K26"),
}
SMALL = [name for name in CASES if name not in ("strategy, product", "no single thread")]
each_case = pytest.mark.parametrize("case", CASES)


def explored(model: Model, most: int = 4000) -> Iterator[tuple[State, int, int | None, int, State]]:
    """Every transition of a model, by the reference evaluator."""
    evaluator = Evaluator(model.system)
    number = {action: k for k, action in enumerate(model.system.actions)}
    known = {evaluator.initial()}
    todo = deque(known)
    while todo:
        state = todo.popleft()
        assert len(known) < most
        for step in evaluator.transitions(state):
            yield state, number[step.action], step.instance, step.choice, step.state
            if step.state not in known:
                known.add(step.state)
                todo.append(step.state)


def projection(model: Model) -> Edges:
    """What the quotient's edges have to be: every transition as every CPU sees it, by the names of variables alone."""
    evaluator = Evaluator(model.system)
    names = {v.name for v in model.system.globals}
    singles = [who for who in dict.fromkeys(a.who for a in model.system.actions if not a.actor) if who in names]

    def seen(state: State, cpu: int | None) -> tuple[int, ...]:
        place = [] if cpu is None else [evaluator.read(state, "place", cpu)]
        return (*(evaluator.read(state, name) for name in singles), *place)

    found: Edges = set()
    for before, action, instance, choice, after in explored(model):
        for cpu in range(len(model.system.instances)) or [None]:
            here, there = seen(before, cpu), seen(after, cpu)
            who = None if instance is None else OWN if instance == cpu else OTHER
            if here != there:
                found.add((here, there, (action, who, choice)))
    return found


def edges(made: StateGraph) -> Edges:
    key = {node: key for key, node in made.nodes.items()}
    return {(key[a], key[b], what) for a, b, what in made.graph.edges(keys=True)}


# ---- the facts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SMALL)
def test_the_whole_has_every_state_and_every_transition(case: str) -> None:
    result = CASES[case]()
    made = whole(result.model)
    assert len(made.graph) == result.exploration.states
    assert made.graph.number_of_edges() == result.exploration.transitions
    transitions = {(a, b, (action, who, choice)) for a, action, who, choice, b in explored(result.model)}
    assert edges(made) == transitions and len(transitions) == result.exploration.transitions


@each_case
def test_the_quotient_is_the_projection_of_the_whole(case: str) -> None:
    model = CASES[case]().model
    made = quotient(model)
    assert edges(made) == projection(model) and not made.stopped
    assert set(made.nodes) == {node for a, b, _ in edges(made) for node in (a, b)}


@pytest.mark.parametrize("case", ["strategy, product", "strategy that holds", "one patcher"])
def test_the_product_and_the_search_give_the_same_quotient(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CASES[case]().model
    multiplied = quotient(model)

    def refuse(*_: object) -> None:
        raise Unsupported("not this time")

    searching = False

    def search(*arguments: object, **more: object) -> object:
        nonlocal searching
        searching = True
        return run(*arguments, **more)

    run = graphs.python.run
    monkeypatch.setattr(graphs.python, "run", search)
    assert quotient(model).pairs == multiplied.pairs and not searching  # the product answers
    monkeypatch.setattr(graphs.product, "run", refuse)
    searched = quotient(model)
    assert searching and edges(searched) == edges(multiplied) and searched.pairs == multiplied.pairs
    for key, node in multiplied.nodes.items():
        assert searched.graph.nodes[searched.nodes[key]]["values"] == multiplied.graph.nodes[node]["values"]


def test_a_wrong_projection_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the comparison above is worth: a quotient that mixes up places, or loses an edge or a role, differs."""
    model = CASES["strategy, product"]().model
    right = projection(model)
    key, role = Names.key, graphs.role
    with monkeypatch.context() as wrong:
        wrong.setattr(Names, "key", lambda self, shared, local: (*key(self, shared, local)[:-1], local[-1]))
        assert edges(quotient(model)) != right
    with monkeypatch.context() as wrong:
        wrong.setattr(graphs.Pairs, "allows", lambda *_: True)
        assert edges(quotient(model)) > right
    model = CASES["two single threads"]().model
    right = projection(model)
    with monkeypatch.context() as wrong:
        wrong.setattr(graphs, "role", lambda instance, _: role(instance, None))
        assert edges(quotient(model)) != right
    with monkeypatch.context() as wrong:
        wrong.setattr(graphs.python.Space, "ask", lambda *_: -1)
        assert edges(quotient(model)) < right


def test_every_value_of_a_node_is_had_there_and_no_other() -> None:
    model = CASES["strategy, product"]().model
    made, evaluator, names = quotient(model), Evaluator(model.system), Names(model)
    found: dict[int, dict[str, set[str]]] = {}
    states = {evaluator.initial()} | {after for *_, after in explored(model)}
    for state in states:
        for local in state.instances:
            here = found.setdefault(made.nodes[names.key(state.shared, local)], {})
            for variable, value in zip(model.system.globals, state.shared, strict=True):
                here.setdefault(variable.name, set()).add(variable.type.show(value))
            for variable, value in zip(model.system.locals(model.system.components[0]), local, strict=True):
                here.setdefault(f"CPU.{variable.name}", set()).add(variable.type.show(value))
    told = {n: {k: set(v) for k, v in data["values"].items()} for n, data in made.graph.nodes(data=True)}
    assert told == found


# ---- the trace ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [WHOLE, QUOTIENT])
@pytest.mark.parametrize("case", [name for name in SMALL if name != "strategy that holds"])
def test_the_lit_path_is_the_trace(case: str, which: str) -> None:
    result = CASES[case]()
    made, trace = state_graph(result, which), lit_trace(result)
    assert trace is result.violations[0].trace and made.trace is trace
    assert [visit.number for visit in made.walk] == list(range(1, len(trace.steps) + 1))
    assert made.walk[0].before == 0 and all(a.after == b.before for a, b in zip(made.walk, made.walk[1:], strict=False))
    values = dict(trace.initial)
    for visit, step in zip(made.walk, trace.steps, strict=True):
        values |= {name: after for name, (_, after) in step.changes.items()}
        mine = values if which == WHOLE else {own(name, made.cpu): value for name, value in values.items()}
        shown = made.graph.nodes[visit.after]["values"]
        assert all(mine[name] in found for name, found in shown.items())
        if visit.key is None:
            assert which == QUOTIENT and visit.before == visit.after
        else:
            assert step.action in made.graph.edges[visit.before, visit.after, visit.key]["words"]


def own(name: str, cpu: int | None) -> str:
    """What a quotient calls a variable of a trace."""
    return name.replace(f"cpu {cpu}.", "CPU.")


def test_a_trace_that_leaves_the_graph_is_an_error() -> None:
    result = CASES["strategy, violated"]()
    trace = lit_trace(result)
    assert trace is not None
    for make in (whole, quotient):
        made = make(result.model)
        light(made, result.model, trace)
        third = made.walk[2]
        made.graph.remove_edge(third.before, third.after, third.key)
        with pytest.raises(GraphError, match=r"step 3 of the trace, “.*arrive"):
            light(made, result.model, trace)
        made.stopped = "a limit"
        light(made, result.model, trace)
        assert len(made.walk) == 2  # as far as an incomplete graph goes


def test_an_exposure_is_lit_where_nothing_is_violated() -> None:
    exposed = check("nop-then-back", use_case="tracing", cpus=1, sites=1)
    shown = picture(exposed, WHOLE)
    assert "an exposure, 6 steps" in shown.heading[-1] and [box.name for box in shown.boxes if box.end]
    shown = picture(checked("stop-machine", sites=1), QUOTIENT)
    assert shown.heading[-1] == "no counterexample was found"
    assert not any(box.lit or box.end for box in shown.boxes) and not any(arrow.lit for arrow in shown.arrows)


# ---- which graph ----------------------------------------------------------------------------------------------------


def test_auto_draws_the_whole_while_it_can_be_read() -> None:
    assert state_graph(CASES["strategy, violated"]()).kind == WHOLE
    large = checked("nop-then-back", sites=1)
    assert large.exploration.states > MOST_WHOLE and state_graph(large).kind == QUOTIENT
    shown = picture(large, "auto")
    assert f"the whole has {large.exploration.states:,} states" in " ".join(shown.heading)
    assert "quotient of the state graph" in shown.heading[0]
    assert "whole state graph" in picture(CASES["strategy, violated"](), "auto").heading[0]


def test_a_whole_that_nobody_can_read_is_refused() -> None:
    large = checked("nop-then-back", sites=1)
    with pytest.raises(
        UsageError, match=f"{large.exploration.states:,} states.* {MOST_WHOLE} ?.*--graph quotient.*fewer"
    ):
        state_graph(large, WHOLE)
    stopped = check("nop-then-back", limits=Limits(states=50), engine=Engine("python"))
    with pytest.raises(UsageError, match="at least "):
        state_graph(stopped, WHOLE)
    assert "the search stopped" in " ".join(picture(stopped, "auto").heading)


def test_a_quotient_of_a_part_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CASES["two single threads"]()
    complete = quotient(result.model)
    monkeypatch.setattr(graphs, "MOST_STATES", 100)
    part = state_graph(result, QUOTIENT)
    assert part.stopped and edges(part) < edges(complete)
    assert "INCOMPLETE, its search met a limit: more than 100 states" in " ".join(picture(result, QUOTIENT).heading)


# ---- drawings -------------------------------------------------------------------------------------------------------

PICTURES = {name: (case, which) for name, case in CASES.items() for which in ["auto"]}
PICTURES["hostile names"] = (hostile, WHOLE)
PICTURES["hostile names, quotient"] = (hostile, QUOTIENT)
each_picture = pytest.mark.parametrize("name", PICTURES)


def drawn(name: str) -> Picture:
    case, which = PICTURES[name]
    return picture(case(), which)


def facts(text: str) -> tuple[dict[str, tuple[str, list[str]]], dict[str, str]]:
    """What an SVG says: of each node its tip and its lines, of each edge its tip."""
    space = "{http://www.w3.org/2000/svg}"
    nodes, arrows = {}, {}
    for group in ElementTree.fromstring(text).iter(f"{space}g"):
        title = group.findtext(f"{space}title") or ""
        if group.get("class") == "node":
            nodes[group.get("id", "")] = (title, [line.text or "" for line in group.iter(f"{space}text")])
        elif group.get("class") == "edge":
            arrows[group.get("id", "")] = title
    return nodes, arrows


def blind(lines: list[str]) -> list[str]:
    """Lines without the difference between spaces, of which Graphviz makes some that do not break."""
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def expected(shown: Picture) -> tuple[dict[str, tuple[str, list[str]]], dict[str, str]]:
    nodes = {box.name: (box.tip, list(box.lines)) for box in shown.boxes}
    return nodes, {f"{arrow.tail}-to-{arrow.head}": arrow.tip for arrow in shown.arrows}


@each_picture
def test_the_built_in_drawing_says_what_the_picture_says(name: str) -> None:
    shown = drawn(name)
    text = svg.built_in(shown)
    assert facts(text) == expected(shown)
    lines = [line.text for line in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert all(line in lines for line in shown.heading)
    assert all(line in lines for arrow in shown.arrows for line in arrow.lines)


@needs_graphviz
@each_picture
def test_graphviz_changes_nothing_but_where_things_stand(name: str) -> None:
    shown = drawn(name)
    text = svg.by_graphviz(shown)
    nodes, arrows = facts(text)
    assert ({name: (tip, blind(lines)) for name, (tip, lines) in nodes.items()}, arrows) == expected(shown)
    lines = blind([line.text or "" for line in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")])
    assert all(line in lines for line in shown.heading)
    assert all(line in lines for arrow in shown.arrows for line in arrow.lines)


@each_picture
def test_dot_can_be_read(name: str) -> None:
    shown = drawn(name)
    text = dot.to_dot(shown)
    string = r'"(?:[^"\\]|\\.)*"'
    bare = re.sub(string, "S", text, flags=re.DOTALL)
    assert len(re.findall(r"^  S \[", bare, re.MULTILINE)) == len(shown.boxes)
    assert len(re.findall(r"^  S -> S \[", bare, re.MULTILINE)) == len(shown.arrows)
    assert not set(bare) & set('"\\<>&') - {">"} and bare.count(">") == len(shown.arrows)


@needs_graphviz
@each_picture
def test_graphviz_reads_the_same_nodes_and_edges(name: str) -> None:
    shown = drawn(name)
    done = subprocess.run(["dot", "-Tplain"], input=dot.to_dot(shown), capture_output=True, text=True, timeout=60)
    words = [line.split() for line in done.stdout.splitlines()]
    assert done.returncode == 0 and not done.stderr
    assert {line[1].strip('"') for line in words if line[0] == "node"} == {box.name for box in shown.boxes}
    ends = [(line[1].strip('"'), line[2].strip('"')) for line in words if line[0] == "edge"]
    assert sorted(ends) == sorted((arrow.tail, arrow.head) for arrow in shown.arrows)


def test_names_from_a_file_are_only_ever_text() -> None:
    """The words are all there, and none of them becomes markup; the hostile case of the tests above, from both sides."""
    result = hostile()
    assert result.violations
    for text in (svg.quotient_svg(result), svg.built_in(drawn("hostile names"))):
        assert "<script" not in text and "&lt;script&gt;" in text and "&amp;lt;" in text and "\x1b" not in text
        assert {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()} <= {
            *("svg", "title", "defs", "marker", "path", "rect", "g", "text")
        }
    assert any("<script>alert(1)</script>&lt;" in box.tip for box in drawn("hostile names").boxes)


@each_picture
def test_an_svg_needs_nothing_else(name: str) -> None:
    texts = [svg.built_in(drawn(name)), *([svg.by_graphviz(drawn(name))] if shutil.which("dot") else [])]
    for text in texts:
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()}
        attributes = {key for element in ElementTree.fromstring(text).iter() for key in element.attrib}
        assert not tags & {"a", "script", "style", "image", "use", "foreignObject"}
        assert not {key for key in attributes if "href" in key or key.startswith("on") or key in ("style", "src")}
        assert "<!DOCTYPE" not in text and "<!--" not in text
        assert text.count("http") == text.count('xmlns="http://www.w3.org/2000/svg"')
        assert 'fill="#ffffff"' in text  # paper of its own, on dark pages too


@each_picture
def test_boxes_do_not_cover_each_other(name: str) -> None:
    made = lay_out(drawn(name))
    assert not any(a.common(b) for a, b in combinations(made.boxes.values(), 2))
    assert all(a.common(a) for a in made.boxes.values())  # `common` would see it


@pytest.mark.parametrize("which", ["auto", QUOTIENT])
def test_what_is_lit_is_marked(which: str) -> None:
    shown = picture(CASES["strategy, violated"](), which)
    (start,) = [box for box in shown.boxes if box.start]
    (end,) = [box for box in shown.boxes if box.end]
    assert start.lines[0] == "start" and end.lines[-1] == "ends here: old-or-new" and "nobody was called" in end.tip
    lit = [arrow for arrow in shown.arrows if arrow.lit]
    assert sorted(int(arrow.lines[0].partition(".")[0]) for arrow in lit) == [1, 2, 3, 4, 5, 6]
    text = svg.built_in(shown)
    for arrow in lit:
        assert re.search(rf'id="{arrow.tail}-to-{arrow.head}".*stroke="{dot.LIT}" stroke-width="3"', text)
    assert text.count('stroke-width="3" marker-end') == len(lit)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["nop-then-back", "--proof", "off", "--cpus", "1", "--sites", "1"]
    drawing, source = tmp_path / "a.svg", tmp_path / "a.dot"
    assert main([*words, "--svg", str(drawing), "--dot", str(source), "--graph", "quotient"]) == 1
    assert "quotient of the state graph" in drawing.read_text() and "quotient of the state graph" in source.read_text()
    assert (
        drawing.read_text().startswith('<?xml version="1.0"')
        and ElementTree.fromstring(drawing.read_bytes()) is not None
    )
    capsys.readouterr()
    assert main([*words, "--dot", "-"]) == 1
    assert capsys.readouterr().out.startswith("digraph states {")


def test_the_command_refuses_with_the_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "a.svg"
    assert main(["nop-then-back", "--proof", "off", "--svg", str(target), "--graph", "whole"]) == 2
    assert "has 24,667 states" in capsys.readouterr().err and not target.exists()


def test_which_graph_is_nothing_without_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["nop-then-back", "--graph", "quotient", "--html", str(tmp_path / "page.html")]
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.err == "check-strategy: --graph needs --dot FILE or --svg FILE\n" and not said.out
    assert not list(tmp_path.iterdir())


def fake_dot(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    program = folder / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exec sleep 60", "stopped after 0.3 seconds"),
        ("echo no fonts >&2; exit 3", "status 3: no fonts"),
        ("echo '<svg'", "wrote no SVG"),
    ],
)
def test_graphviz_that_fails_is_named_and_the_picture_comes_without_it(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = CASES["one patcher"]()
    fake_dot(tmp_path / "bin", script, monkeypatch)
    monkeypatch.setattr(svg, "SECONDS", 0.3)
    text = svg.render(result, "K26")
    told = capsys.readouterr().err
    assert why in told and told.count("\n") == 1
    assert facts(text) == expected(picture(result, "auto"))


def test_without_graphviz_there_is_a_picture_and_no_complaint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    result = CASES["one patcher"]()
    assert facts(svg.render(result, "K26")) == expected(picture(result, "auto"))
    assert not capsys.readouterr().err

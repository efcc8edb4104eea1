"""Claims: the pictures of an explanation say what was found, show who acts, and fit a terminal; JSON says the same."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

from checker.cli import main
from checker.explain import omissions, written_lemmas
from checker.report import explain
from checker.report.explain import Explained, lanes, render, to_json
from checker.report.layout import WIDTH, Paint
from checker.search.result import Limits
from checker.verdict import check
from models.library import bugs
from models.properties import STALE
from models.protocol import Strategy, Sync, emulate_new
from models.skeletons import int3_update
from tests.support import STRATEGIES, scenario

SHOWN = ["careful-call-to-call", "text-poke-batch", "batched-stubs", "stop-machine", "permanent"]


@cache
def found(name: str, **changes: object) -> Explained:
    here = scenario(**changes)  # type: ignore[arg-type]
    whole = check(STRATEGIES[name], here, use_case="livepatch", proof=True)
    known = frozenset((v.verdict.property, v.verdict.kind) for v in whole.violations)
    return Explained(name, whole, "livepatch", known, list(omissions(STRATEGIES[name], here, known=known, whole=whole)))


def picture(text: str) -> list[str]:
    """The lines of the timeline."""
    lines = text.splitlines()
    rest = lines[lines.index("") + 1 :]
    return rest[: rest.index("")] if "" in rest else rest


def section(text: str, label: str) -> list[str]:
    """The lines about one omission."""
    lines = text.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith(f"without {label}:"))
    rest = lines[start:]
    return rest[: rest.index("")] if "" in rest else rest


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("changes", [{}, {"cpus": 1, "sites": 1}, {"cpus": 4, "sites": 1}, {"machine": "x86-amd"}])
def test_nothing_is_wider_than_a_terminal(name: str, changes: dict[str, object]) -> None:
    text = render(found(name, **changes))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert not [line for line in text.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize("name", SHOWN)
def test_the_timeline_has_every_step_in_order(name: str) -> None:
    shown = found(name)
    rows = [line for line in picture(render(shown)) if line[1] in "●○?"]
    labels = [p.label for p in shown.whole.model.plan.steps]
    expected = [label for k, label in enumerate(labels) if k == 0 or labels[k - 1] != label]
    assert [row.split()[1] for row in rows] == expected


def test_a_step_stands_beside_what_breaks_without_it_and_how_soon() -> None:
    shown = found("careful-call-to-call")
    rows = {row.split()[1]: row for row in picture(render(shown)) if row[1] in "●○"}
    for omission in shown.omissions:
        if omission.violations:
            first = omission.violations[0]
            row = rows[omission.label]
            assert row.startswith(" ●") and row.endswith(f" {len(first.trace.steps)}") and first.verdict.property in row
        else:
            assert rows[omission.label].startswith(" ○") and "nothing breaks" in rows[omission.label]


def test_the_timeline_shows_what_memory_holds_while_a_store_lands_and_after_it() -> None:
    text = "\n".join(picture(render(found("careful-call-to-call", sites=1))))
    held = re.findall(r"[0-9a-f]{2}(?:/[0-9a-f]{2})?(?: [0-9a-f]{2}(?:/[0-9a-f]{2})?){4}", text)
    assert held == [
        "e8 11 22 33 44", "cc 11 22 33 44", "cc 11/51 22/52 33/73 44/74", "cc 51 52 73 74", "e8 51 52 73 74",
    ]  # fmt: skip


def test_a_lane_shows_who_acts() -> None:
    """In each row just one lane has words; the others, a line."""
    for name in SHOWN:
        shown = found(name)
        for omission in shown.omissions:
            trace = omission.trace
            if trace is None or not trace.steps:
                continue
            head, *rows = lanes(trace, omission.result.model)
            starts = {m.group(): m.start() for m in re.finditer(r"patcher|CPU \d+", head)}
            for number, step in enumerate(trace.steps, 1):
                row = next(r for r in rows if r.startswith(f"{number:4} "))
                mine = starts["patcher" if step.instance is None else f"CPU {step.instance}"]
                word = step.action.split()[0]
                assert row[mine:].startswith(word)
                assert all(row[start] == "│" for start in starts.values() if start != mine)


def test_the_last_line_of_a_trace_is_what_breaks_and_why() -> None:
    shown = found("careful-call-to-call")
    text = render(shown)
    for omission in shown.omissions:
        if omission.trace is not None:
            said = " ".join(line.strip() for line in section(text, omission.label))
            assert f"=> {omission.trace.property}: {omission.trace.why}" in said


def test_the_step_at_which_the_lemma_falls_is_marked() -> None:
    shown = found("careful-call-to-call")
    text = render(shown)
    for omission in shown.omissions:
        if omission.falls and omission.falls.fallen:
            first, lines = omission.falls.fallen[0], section(text, omission.label)
            marked = [int(line[:4]) for line in lines if re.match(r" *\d+! ", line)]
            assert marked == ([first.step] if first.step else [])
            assert f"lemma  {first.lemma.name}" in "\n".join(lines)


def test_with_many_actors_sentences_stand_instead_of_lanes() -> None:
    shown = found("careful-call-to-call", cpus=8, sites=1)
    said = " ".join(section(render(shown), "sync-2"))
    assert "CPU 7 takes the IPI and serialises" in said and "│" not in said


def test_a_cycle_and_its_beginning_are_shown() -> None:
    shown = found("text-poke-batch-to-probe", sites=1)
    omission = next(o for o in shown.omissions if o.trace and o.trace.cycle)
    assert omission.trace is not None
    rows = list(lanes(omission.trace, omission.result.model))
    begins = rows.index("      from here on, for ever:")
    assert int(rows[begins + 1][:4]) == len(omission.trace.steps) - omission.trace.cycle + 1


def test_redundant_steps_are_named_with_how_little_that_means() -> None:
    text = render(found("text-poke-batch"))
    assert "redundant under x86-linux: wait-handlers, discard" in text
    ending = " ".join(text[text.index("redundant under") :].split())
    assert "nothing about other machines" in ending and "check-strategy matrix text-poke-batch" in ending


def test_nothing_is_called_redundant_where_every_step_is_needed() -> None:
    shown = found("careful-call-to-call")
    needed = Explained(
        shown.name, shown.whole, shown.use_case, shown.known, [o for o in shown.omissions if o.violations]
    )
    assert "redundant" not in render(needed)


def test_a_step_without_which_nothing_is_tested_is_not_called_redundant() -> None:
    text = render(found("stop-machine"))
    assert "redundant" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("untested without resume:")]
    assert STALE in " ".join(text[text.index(line) :].split())
    assert any(row.startswith(" ? resume") and "nothing is tested" in row for row in picture(text))


def test_what_is_broken_already_does_not_count() -> None:
    text = render(found("careful-call-to-call-frees-early", sites=1))
    assert "it breaks already: no-freed-code (freed)" in text and "nothing more breaks" in text


def test_without_a_proof_in_written_lemmas_none_is_named_and_that_is_said() -> None:
    shown = found("retry-and-reread", machine="x86-trap-gate", sites=1)
    assert not written_lemmas(shown.whole)
    text = render(shown)
    assert "No lemmas are named" in text and "  lemma " not in text
    assert "No lemmas are named" not in render(found("careful-call-to-call"))


def test_long_labels_and_many_sites_stay_in_their_columns() -> None:
    def steps(sites):  # type: ignore[no-untyped-def]
        yield Sync(label="a-label-that-is-a-good-deal-longer-than-any-column-of-a-picture-can-ever-be-made")
        yield from int3_update(sites, emulate_new)

    strategy = Strategy("long", "has a long label", "these tests", steps)
    here = scenario(cpus=1, sites=12)
    whole = check(strategy, here, use_case="livepatch", limits=Limits(states=100))
    text = render(Explained("long", whole, "livepatch", frozenset(), []))
    assert max(map(len, text.splitlines())) <= WIDTH
    rows = picture(text)
    column = rows[0].index("memory afterwards")
    assert {row.index(": ") - len(row[: row.index(": ")].split()[-1]) for row in rows if ": e8" in row} == {column}
    assert "not looked at" in text


def test_a_report_without_the_marks_fails_the_claims_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes that are always the patcher's are noticed."""
    monkeypatch.setattr(explain, "_row", lambda head, cells, width: f"{head:6}{sorted(cells)[0]}")
    with pytest.raises((AssertionError, KeyError, StopIteration, IndexError)):
        test_a_lane_shows_who_acts()


def test_colour_changes_no_word() -> None:
    shown = found("careful-call-to-call", sites=1)
    plain = re.sub(r"\x1b\[\d+m", "", render(shown, Paint(True)))
    assert plain.split() == render(shown).split()


# ---- JSON -----------------------------------------------------------------------------------------------------------


def test_json_has_the_bytes_after_each_step_and_while_it_stores() -> None:
    values = to_json(found("careful-call-to-call"), "careful-call-to-call")
    steps = values["steps"]
    assert [s["label"] for s in steps] == [p.label for p in found("careful-call-to-call").whole.model.plan.steps]
    tail = next(s for s in steps if s["label"] == "tail")
    assert tail["site"] == 0 and tail["meanwhile"] == ["cc 11/51 22/52 33/73 44/74"]
    assert tail["bytes"] == {"site 0": "cc 51 52 73 74", "site 1": "cc 11 21 33 44"}
    assert steps[-1]["bytes"]["site 1"].startswith("e8 51") and steps[-1]["site"] is None


def test_json_bytes_are_those_of_the_traces() -> None:
    """What the plan says of memory after a step, the evaluator finds when the step is replayed."""
    shown = found("careful-call-to-call")
    values = to_json(shown, "careful-call-to-call")
    known = {s["bytes"][f"site {s['site']}"] for s in values["steps"] if s["site"] is not None}
    (last,) = [o for o in shown.omissions if o.label == "sync-3"]
    assert last.trace is not None
    stores = [s for s in last.trace.steps if s.action.startswith(("trap site", "first-byte")) and s.instance is None]
    for step in stores:
        site = int(step.action.split()[2])
        assert next(b.memory for b in step.bytes if b.site == site) in known
    assert stores


def test_json_names_the_lemma_of_each_omission(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["explain", "careful-call-to-call", "--sites", "1", "--json", "-"])
    values = json.loads(capsys.readouterr().out)
    assert status == 0 and values["redundant"] == ["release"]
    lemmas = {o["label"]: o["lemma"] for o in values["without"]}
    assert lemmas["release"] is None and lemmas["claim"]["step"] == 0
    assert lemmas["sync-1"]["name"] == "sees-only-since-its-last-sync" and lemmas["sync-1"]["says"]
    for omission in values["without"]:
        steps = [omission["lemma"]["step"], *(fall["step"] for fall in omission["then"])] if omission["lemma"] else []
        assert steps == sorted(steps) and omission["not_comparable"] == []


def test_every_member_of_the_json_form_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    page = text[text.index("\n## explain") : text.index("\n## prove")]
    values = to_json(found("careful-call-to-call"), "careful-call-to-call")
    own = set(values["without"][0]) - set(values["complete"])
    for member in {*values, *values["steps"][0], *own} - {"schema"}:
        assert f"`{member}`" in page, member


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", bugs())
def test_a_bug_is_sent_to_its_own_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for said in (name, name.lower()):
        assert main(["explain", said]) == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"check-strategy: {name} is a bug: use `check-strategy bug {name}`\n")


def test_an_unknown_name_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "K0"]) == 2
    assert "there is no strategy “K0”" in capsys.readouterr().err

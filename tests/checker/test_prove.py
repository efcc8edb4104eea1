"""Claims: what is called proved is proved and nothing else is; `prove` as a user and as a script meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from checker.cli import main
from checker.options import HOLDS, INCONCLUSIVE, MODEL, USAGE, VIOLATION
from checker.proving import prove_system
from checker.report.proof import not_inductive
from models.system.expressions import Bits, Enum, every, read
from models.system.system import Builder, TransitionSystem
from models.system.visitor import each
from proofs.induction import Escape, Unanswered
from proofs.lemma import Invariant, Lemma
from proofs.prove import prove
from proofs.recheck import SOLVERS
from proofs.shape import Obstacle

WIDTH = 80
SMALL = ["--sites", "1", "--cpus", "1"]
WITHOUT_PROOF = {"verified", "violated", "exposed", "unknown"}

SEQUENCE = """\
from models.protocol import (
    TRAP, Claim, Free, ReadLock, ReadUnlock, Release, Strategy, Sync, WaitForReaders, WaitForTasks, Write, emulate_new,
    old_callees, skip,
)


def steps(sites):
{steps}


strategy = Strategy("mine", "a sequence of these tests", "these tests", steps)
"""
PARTS = {
    "claim": "yield Claim(emulate_new, sites)",
    "claim, skipping": "yield Claim(skip, sites)",
    "trap": "yield from (Write(site.first_byte, TRAP) for site in sites)",
    "tail": "yield from (Write(site.tail, site.new) for site in sites)",
    "head": "yield from (Write(site.first_byte, site.new) for site in sites)",
    "sync": "yield Sync()",
    "release": "yield Release()",
    "wait": "yield WaitForTasks()",
    "free": "yield from (Free(function) for function in old_callees(sites))",
    "read": "yield ReadLock()",
    "unread": "yield ReadUnlock()",
    "readers": "yield WaitForReaders()",
}
GOOD = "claim; trap; sync; tail; sync; head; sync; release"
BROKEN = {  # which sequence, and what breaks
    "no first sync": ("claim; trap; tail; sync; head; sync; release", "no-torn-instruction"),
    "no second sync": ("claim; trap; sync; tail; head; sync; release", "no-torn-instruction"),
    "no third sync": ("claim; trap; sync; tail; sync; head; release", "traps-claimed"),
    "the first byte before the tail": ("claim; trap; sync; head; sync; tail; sync; release", "no-torn-instruction"),
    "released early": ("claim; trap; sync; tail; sync; head; release; sync", "traps-claimed"),
    "skipped, not emulated": ("claim, skipping; trap; sync; tail; sync; head; sync; release", "old-or-new"),
    "freed early": (f"{GOOD}; free", "no-freed-code"),
}


def sequence(folder: Path, parts: str) -> str:
    """A strategy file that does these things one after the other."""
    file = folder / "mine.py"
    file.write_text(SEQUENCE.replace("{steps}", "\n".join(f"    {PARTS[part]}" for part in parts.split("; "))))
    return str(file)


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def answer(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    """Exit status and what `--json -` prints."""
    status, out, err = run([*arguments, "--json", "-"], capsys)
    assert err == ""
    return status, json.loads(out)


def verdicts(values: Any, use_case: str = "livepatch") -> dict[str, str]:
    (found,) = (r for r in values["results"] if r["use_case"] == use_case)
    return {v["property"]: v["verdict"] for v in found["verdicts"]}


# ---- what is called proved ------------------------------------------------------------------------------------------


def test_check_says_proved_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    status, values = answer(["stop-machine", *SMALL], capsys)
    assert status == HOLDS and set(verdicts(values).values()) == {"proved"}
    assert values["proof"]["any_number_of_cpus"] and values["proof"]["reason"] is None


def test_check_says_verified_where_nothing_is_proved(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a CPU may crash, the patcher finishes in every run that goes on; that every run does is not proved."""
    status, values = answer(["careful-call-to-call-frees-early", *SMALL], capsys)
    found = verdicts(values)
    assert status == VIOLATION and found["completes"] == "verified" and found["no-freed-code"] == "violated"
    assert values["proof"]["no_progress"]
    _, out, _ = run(["careful-call-to-call-frees-early", *SMALL], capsys)
    assert "not proved  completes: " in out


def test_without_a_proof_nothing_is_called_proved(capsys: pytest.CaptureFixture[str]) -> None:
    _, whole = answer(["nop-then-back", *SMALL], capsys)
    _, values = answer(["nop-then-back", *SMALL, "--proof", "off"], capsys)
    assert values["proof"] is None
    for use_case in ("livepatch", "tracing"):
        searched, proved = verdicts(values, use_case), verdicts(whole, use_case)
        assert set(searched.values()) <= WITHOUT_PROOF
        assert "proved" in proved.values()
        assert searched == {name: "verified" if v == "proved" else v for name, v in proved.items()}
    _, out, _ = run(["nop-then-back", *SMALL, "--proof", "off"], capsys)
    assert "proved" not in out


def test_a_search_that_met_a_limit_proves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    status, values = answer(["prove", "stop-machine", *SMALL, "--max-states", "5"], capsys)
    assert status == INCONCLUSIVE and set(verdicts(values).values()) == {"unknown"}
    assert values["proof"] is None


# ---- the command ----------------------------------------------------------------------------------------------------


def test_prove_exits_0_where_all_is_proved_and_shows_the_lemmas(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(["prove", "stop-machine", *SMALL], capsys)
    assert (status, err) == (HOLDS, "")
    _, values = answer(["prove", "stop-machine", *SMALL], capsys)
    assert values["proof"]["lemmas"]
    for lemma in values["proof"]["lemmas"]:
        assert f"\n  {lemma['name']}\n" in out
        assert lemma["says"].split()[0] in out
    assert f"{values['proof']['conditions']} conditions" in out


def test_an_exposure_alone_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prove", "nop-then-back", *SMALL, "--use-case", "tracing"], capsys)[0] == HOLDS
    assert run(["prove", "nop-then-back", *SMALL, "--use-case", "livepatch"], capsys)[0] == VIOLATION


def test_what_reads_a_read_side_of_its_own_is_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wait that also asks something shared, which always holds there."""
    file = sequence(tmp_path, f"read; {GOOD}; unread; readers")
    status, values = answer(["prove", file, *SMALL], capsys)
    assert status == HOLDS and set(verdicts(values).values()) == {"proved"}


def test_prove_exits_4_where_the_search_holds_and_the_proof_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    """A sequence of rounds of its own does not come back to where it started."""
    asked = ["permanent", *SMALL]
    assert run(["prove", *asked, "--any-rounds"], capsys)[0] == INCONCLUSIVE
    assert answer(["prove", *asked], capsys)[0] == HOLDS


def test_why_progress_is_not_proved_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(["prove", "careful-call-to-call-frees-early", *SMALL], capsys)
    assert "not proved  completes: an error can be reached" in out
    assert "Escape(" not in out


@pytest.mark.parametrize(
    "arguments",
    [["prove", "stop-machine"], ["prove", "nop-then-back", *SMALL], ["prove", "text-poke-batch-frees-early", *SMALL]],
)
def test_lines_fit_on_a_terminal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(arguments, capsys)
    assert "proved" in out
    assert [line for line in out.splitlines() if len(line) > WIDTH] == []


def test_a_misspelt_strategy_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(["prove", "stop-machne"], capsys)
    assert (status, out) == (USAGE, "") and "did you mean stop-machine" in err


def test_a_wrong_file_is_the_models_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("strategy = None\n")
    assert run(["prove", str(file)], capsys)[0] == MODEL


def test_more_sites_and_rounds_are_told_and_count(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--any-sites", "--any-rounds"]
    status, values = answer(["prove", "stop-machine", *SMALL, *asked], capsys)
    assert status == HOLDS and {found["proved"] for found in values["any_number"].values()} == {True}
    status, values = answer(["prove", "permanent", *SMALL, "--any-rounds"], capsys)
    assert status == INCONCLUSIVE and "sequence of rounds" in values["any_number"]["rounds"]["reason"]
    _, out, _ = run(["prove", "permanent", *SMALL, "--any-rounds"], capsys)
    assert "rounds  not proved: " in out


# ---- certificates ---------------------------------------------------------------------------------------------------


def test_a_certificate_is_written_and_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for solver in SOLVERS:
        pytest.importorskip(solver)
    folder = tmp_path / "certificate"
    arguments = ["prove", "stop-machine", *SMALL, "--certificate", str(folder), "--recheck"]
    status, out, _ = run(arguments, capsys)
    assert status == HOLDS
    for solver in SOLVERS:
        assert f"every answer is confirmed by {solver}" in out
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    _, values = answer(["prove", "stop-machine", *SMALL], capsys)
    assert len([name for name in first if name.endswith(".smt2")]) == values["proof"]["conditions"]
    run(arguments, capsys)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_a_folder_with_other_files_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("thesis.tex", "mine.smt2"):
        (tmp_path / name).write_text("dear")
    status, _, err = run(["prove", "stop-machine", *SMALL, "--certificate", str(tmp_path)], capsys)
    assert status == USAGE and "thesis.tex" in err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"thesis.tex": "dear", "mine.smt2": "dear"}


def test_the_refusal_is_one_tidy_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    _, _, err = run(["prove", "stop-machine", *SMALL, "--certificate", str(tmp_path)], capsys)
    assert ": :" not in err


def test_to_recheck_nothing_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["prove", "stop-machine", *SMALL, "--recheck"], capsys)
    assert status == USAGE or "confirmed by cvc5" in out


def test_no_certificate_is_written_of_no_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "certificate"
    run(["prove", "stop-machine", *SMALL, "--max-states", "5", "--certificate", str(folder)], capsys)
    assert not folder.exists()


# ---- broken variants ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["as it should be", *BROKEN])
def test_what_breaks_is_not_proved_and_its_trace_replays(
    variant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, breaks = BROKEN.get(variant, (GOOD, ""))
    file, traces = sequence(tmp_path, parts), tmp_path / "traces.json"
    status, out, _ = run(["prove", file, *SMALL, "--json", str(traces)], capsys)
    values = json.loads(traces.read_text(encoding="utf-8"))
    found = verdicts(values)
    if not breaks:
        assert status == HOLDS and set(found.values()) == {"proved"} and values["traces"] == []
        return
    assert status == VIOLATION and found[breaks] == "violated" and "VIOLATED" in out
    assert breaks in {trace["property"] for trace in values["traces"]}
    assert "proved" in found.values(), "what does not break may still be proved"
    status, out, _ = run(["replay", str(traces)], capsys)
    assert status == HOLDS and "every step is as the file says" in out


# ---- what is not inductive ------------------------------------------------------------------------------------------

COLOURS = Enum("colour", ("green", "amber", "red"))


def lights() -> TransitionSystem:
    """Lights that go from amber to red; none is ever amber."""
    b = Builder("lights")
    cpu = b.component("cpu", 1)
    b.variable("power", Bits(2), 2)
    light = b.variable("light", COLOURS, "green", cpu)
    b.action("stop", actor=cpu, guard=light == "amber", effects=[(light, "red")], says="stops")
    b.invariant("never-red", "", every(cpu, ~(each(light) == "red")), "is red")
    return b.build()


def test_what_is_not_inductive_is_shown_with_its_state_and_step() -> None:
    system = lights()
    light, cpu = read(system.variables[1]), system.components[0]
    failure = prove(
        system, Invariant((Lemma("no-red", "", ~(light == "red"), (cpu,)),), "written", 1), system.invariants
    )
    assert isinstance(failure, Escape) and failure.step is not None
    text = not_inductive(failure)
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "not inductive: lemma no-red"
    assert "cpu 0: light = amber" in lines and "cpu 0: light = red" in lines
    assert lines.index("cpu 0: light = amber") < lines.index("instance 0 takes “stop”, and then")
    assert sum(line.startswith("shared: power = ") for line in lines) == 1, "what did not change is not said again"
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_a_state_that_breaks_a_property_is_shown_alone() -> None:
    system = lights()
    failure = prove(system, Invariant((), "written", 1), system.invariants)
    assert isinstance(failure, Escape) and failure.step is None
    text = not_inductive(failure)
    assert text.startswith("not inductive: never-red") and "light = red" in text and "takes" not in text


def test_other_reasons_are_one_sentence() -> None:
    system = lights()
    failure = prove(system, Invariant((), "written", 1), system.invariants, work=1)
    assert isinstance(failure, Unanswered)
    assert not_inductive(failure).startswith("unknown  the solver gave up on ")
    assert not_inductive(Obstacle("who", "does what")) == "no proof  “who” does what"


def test_a_lemma_that_is_wrong_is_replaced_by_one_that_is_found() -> None:
    system = lights()
    light, cpu = read(system.variables[1]), system.components[0]
    tried, reason = prove_system(system, None, [Lemma("no-red", "", ~(light == "red"), (cpu,))])
    assert tried is not None and tried.proof is not None and not reason
    assert len(tried.proof.invariant.lemmas) >= 1 and tried.proof.invariant.origin == "found"

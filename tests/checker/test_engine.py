"""Which engine answers, and that it makes no difference to the answer: through the library and through the command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from checker.cli import main
from checker.search import build, engine
from checker.search.build import NoCompiler
from checker.search.engine import Engine
from checker.search.result import Limits
from checker.verdict import UNKNOWN, CheckResult, check
from models.compose import compose
from models.library import shipped
from models.scenario import Scenario
from models.system.errors import ScenarioError
from models.system.expressions import BOOL, Bits
from models.system.system import Builder, TransitionSystem


def needs_native() -> None:
    try:
        build.library()
    except NoCompiler as reason:
        pytest.skip(str(reason))


def as_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    status = main([*arguments, "--json", "-"])
    return status, json.loads(capsys.readouterr().out)


def same(a: CheckResult, b: CheckResult) -> None:
    """Every verdict and every trace, word by word."""
    assert a.results == b.results
    assert [t.steps for t in a.traces] == [t.steps for t in b.traces]
    x, y = a.exploration, b.exploration
    assert (x.states, x.transitions, x.depth, x.fired) == (y.states, y.transitions, y.depth, y.fired)


@pytest.mark.parametrize("name", sorted(shipped()))
@pytest.mark.parametrize("without", [(), ("sync-1",), ("sync-2",)])
def test_every_engine_gives_the_same_verdicts_and_the_same_traces(name: str, without: tuple[str, ...]) -> None:
    from models.plan import plan

    needs_native()
    if not set(without) <= set(plan(shipped()[name], Scenario()).labels):
        pytest.skip("this strategy has no such step")
    scenario = Scenario(cpus=2, sites=1, without=frozenset(without))
    found = {
        how: check(name, scenario, engine=how)
        for how in (
            Engine("python"),
            Engine("product"),
            Engine("native", threads=1, symmetry=False),
            Engine("native", threads=2, symmetry=True),
        )
    }
    first, *others = found.values()
    for other in others:
        same(first, other)
    assert [r.exploration.engine for r in found.values()] == ["python", "product", "native", "native"]


# ---- the choice -----------------------------------------------------------------------------------------------------


def test_small_spaces_are_searched_in_python() -> None:
    assert check("careful-call-to-call", cpus=2, sites=1).exploration.engine == "python"


def test_a_large_space_that_is_a_product_is_counted_as_one() -> None:
    found = check("careful-call-to-call", cpus=3, sites=2).exploration
    assert found.engine == "product" and found.complete and found.states > 10**6 > found.explored


def test_options_of_explicit_search_lead_to_the_native_engine() -> None:
    needs_native()
    found = check("careful-call-to-call", engine=Engine(threads=2)).exploration
    assert (found.engine, found.threads) == ("native", 2)
    assert check("careful-call-to-call", engine=Engine(symmetry=True), cpus=2, sites=1).exploration.symmetry


def test_a_space_that_is_no_product_goes_to_the_native_engine() -> None:
    """Instances that count by themselves, and take a lock now and then."""
    needs_native()
    b = Builder("locked counters")
    cpu = b.component("cpu", 4)
    held = b.variable("held", BOOL, 0)
    n = b.variable("n", Bits(5), 0, cpu)
    b.action("count", actor=cpu, guard=n < 20, effects=[(n, n + 1)], says="counts")
    b.action("take", actor=cpu, guard=~held & (n == 3), effects=[(held, 1)], says="takes the lock")
    system = b.build()
    answer = engine.search(system, Engine(), Limits())
    assert answer.reached.outcome.engine == "native" and answer.reached.outcome.complete
    plain = engine.search(system, Engine("python"), Limits()).reached.outcome
    assert (plain.states, plain.transitions) == (answer.reached.outcome.states, answer.reached.outcome.transitions)


def in_turn(count: int, size: int) -> TransitionSystem:
    """A patcher that waits until nobody is away, and instances that come and go in turn."""
    from models.system.expressions import every
    from models.system.system import Fairness, Progress
    from models.system.visitor import each

    b = Builder("in turn")
    cpu = b.component("cpu", count)
    done = b.variable("done", BOOL, 0)
    n = b.variable("n", Bits(6), 0, cpu)
    b.action("end", guard=~done & every(cpu, each(n) == 0), effects=[(done, 1)], says="e", fairness=Fairness.PATCHER)
    b.action("go on", actor=cpu, guard=n < size, effects=[(n, n + 1)], says="goes on", fairness=Fairness.TASK)
    b.action("turn", actor=cpu, guard=n == size, effects=[(n, 0)], says="turns", fairness=Fairness.TASK)
    b.progress = Progress("completes", done, "it ends")
    return b.build()


def test_what_the_product_cannot_answer_is_searched() -> None:
    needs_native()
    outcome = engine.search(in_turn(3, 30), Engine(), Limits()).reached.outcome
    assert outcome.engine == "native" and outcome.progress_known
    assert outcome.progress is not None and outcome.progress[0].cycle
    plain = engine.search(in_turn(3, 30), Engine("python"), Limits()).reached.outcome
    assert plain.progress is not None and plain.progress[0].steps == outcome.progress[0].steps


def test_a_limit_below_the_hand_over_is_kept() -> None:
    found = check("careful-call-to-call", limits=Limits(states=500)).exploration
    assert found.engine == "python" and found.stopped == "more than 500 states"


def test_without_a_compiler_python_answers_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> list[str]:
        raise NoCompiler("there is no C compiler")

    monkeypatch.setattr(build, "compiler", none)
    monkeypatch.setattr(build, "_loaded", {})
    found = check("careful-call-to-call", engine=Engine("native"))
    assert found.exploration.engine == "python" and found.exploration.complete
    assert len(found.notes) == 1 and "no C compiler" in found.notes[0] and "Python" in found.notes[0]
    same(found, check("careful-call-to-call"))


@pytest.mark.parametrize("name", ["python", "product"])
def test_what_an_engine_does_not_have_is_refused(name: str) -> None:
    for options in ({"symmetry": True}, {"threads": 2}, {"compact": True}):
        with pytest.raises(ScenarioError, match=f"the {name} engine has no"):
            Engine(name, **options)  # type: ignore[arg-type]


def test_the_command_knows_the_same_engines() -> None:
    from checker.options import ENGINES

    assert ENGINES == engine.ENGINES


def test_hash_compaction_is_for_what_has_no_room_and_never_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    from checker.search import native

    needs_native()
    how = Engine(compact=True, symmetry=False)
    assert check("careful-call-to-call", engine=how).holds  # there is room
    monkeypatch.setattr(native, "budget_of", lambda _: 46_000_000)
    full = check("careful-call-to-call", engine=Engine("native", symmetry=False), cpus=3)
    assert full.exit_status == 4 and "no room for more states" in full.exploration.stopped
    whole = check("careful-call-to-call", engine=how, cpus=3)
    assert whole.exploration.compact and whole.exploration.states > full.exploration.states
    assert not whole.holds and whole.exit_status == 4
    assert {v.verdict for r in whole.results for v in r.verdicts if v.required} == {UNKNOWN}
    assert "expected" in whole.results[0].verdicts[0].note


def test_hash_compaction_finds_what_is_broken_with_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    from checker.search import native

    needs_native()
    plain = check("careful-call-to-call", without=frozenset({"sync-1"}))
    monkeypatch.setattr(native, "budget_of", lambda _: 1_200_000)
    found = check("careful-call-to-call", without=frozenset({"sync-1"}), engine=Engine(compact=True, symmetry=False))
    assert found.exploration.compact and plain.violations
    assert [v.trace.steps for v in found.violations] == [v.trace.steps for v in plain.violations]


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "name", "threads", "symmetry"),
    [
        (["--engine", "python"], "python", 1, False),
        (["--engine", "native", "--threads", "2"], "native", 2, True),
        (["--engine", "native", "--threads", "1", "--symmetry", "off"], "native", 1, False),
        (["--engine", "product"], "product", 1, False),
    ],
)
def test_every_answer_names_its_engine(
    options: list[str], name: str, threads: int, symmetry: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_native()
    status, found = as_json(["check", "careful-call-to-call", "--sites", "1", *options], capsys)
    assert status == 0
    assert (found["engine"]["name"], found["engine"]["threads"], found["engine"]["symmetry"]) == (
        name,
        threads,
        symmetry,
    )
    assert found["engine"]["reductions"] == (["product"] if name == "product" else [])
    system = compose(shipped()["careful-call-to-call"], Scenario(sites=1)).system
    whole = engine.search(system, Engine("python"), Limits()).reached.outcome
    assert (found["states"], found["transitions"]) == (whole.states, whole.transitions)
    assert (found["explored"] == found["states"]) == (name == "python" or (name == "native" and not symmetry))


def test_the_text_names_the_engine_and_what_was_explored(capsys: pytest.CaptureFixture[str]) -> None:
    needs_native()
    assert main(["careful-call-to-call", "--sites", "1", "--engine", "native"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "native engine, symmetry of CPUs" in out and "explored" in out


def test_many_cpus_still_fit_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Lanes for the CPUs that act, runs of CPUs by their ends, numbers of states that can be read."""
    assert main(["nop-then-back", "--cpus", "64", "--sites", "1", "--use-case", "livepatch"]) == 1
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "CPUs 0 to 63 may fetch" in out and "of 64 CPUs that acts" in out and "·10^" in out
    assert main(["nop-then-back", "--cpus", "513"]) == 2
    assert "at most 512 CPUs" in capsys.readouterr().err


def test_wrong_combinations_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["careful-call-to-call", "--engine", "python", "--symmetry", "on"]) == 2
    assert "the python engine has no symmetry reduction" in capsys.readouterr().err
    assert main(["careful-call-to-call", "--engine", "product", "--threads", "2"]) == 2


# ---- export ---------------------------------------------------------------------------------------------------------


def test_export_writes_a_model_of_the_scenario(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "model.pml"
    scenario = ["--cpus", "1", "--sites", "1", "--without", "sync-1"]
    assert main(["export", "careful-call-to-call", "--to", "promela", *scenario, "-o", str(target)]) == 0
    assert main(["export", "careful-call-to-call", "--to", "promela", *scenario]) == 0
    assert capsys.readouterr().out == target.read_text(encoding="utf-8")
    assert main(["export", "careful-call-to-call", "--to", "murphi", *scenario, "--check", "all"]) == 0
    assert "startstate" in capsys.readouterr().out


def test_export_refuses_what_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "careful-call-to-call", "--to", "murphi", "--check", "speed"]) == 2
    assert "speed" in capsys.readouterr().err
    assert main(["export", "careful-call-to-call", "--to", "promela", "--progress"]) == 2
    assert "macro" in capsys.readouterr().err
    with pytest.raises(SystemExit) as wanted:
        main(["export", "careful-call-to-call"])
    assert wanted.value.code == 2


def test_an_exported_model_says_what_the_command_says_of_it(tmp_path: Path) -> None:
    """As a user would: export, compile, run, and read the same number of states."""
    import re
    import shutil

    if not (shutil.which("spin") and shutil.which("gcc")):
        pytest.skip("needs spin and gcc")
    target = tmp_path / "model.pml"
    assert main(["export", "nop-then-back", "--to", "promela", "--cpus", "1", "--sites", "1", "-o", str(target)]) == 0
    for command in (["spin", "-a", "model.pml"], ["gcc", "-w", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    out = subprocess.run(["./pan", "-E"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+) states, stored", out)
    assert match and int(match[1]) == check("nop-then-back", cpus=1, sites=1).exploration.states

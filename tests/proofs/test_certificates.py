"""Claims: certificates are the same each time, other solvers read and confirm them, fingerprints tell systems apart."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest
import z3

from checker.proving import prove_model
from models.compose import compose
from models.library import load, shipped
from models.scenario import Scenario
from models.system.expressions import BOOL, Bits, Choice, every, parameter, read
from models.system.system import Builder, Fairness, Mark, Progress, TransitionSystem
from models.system.visitor import each
from proofs import recheck as rechecking
from proofs.certificate import EXPECTED, MANIFEST, _text, scripts, write
from proofs.fingerprint import lemmas_hash, system_hash
from proofs.induction import Obligation
from proofs.invariants import written
from proofs.lemma import Lemma
from proofs.progress import obligations
from proofs.prove import Proof, prove
from proofs.recheck import SOLVERS, recheck
from tests.proofs.claims import composed, holding, ranking

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
DEFAULT = Scenario(cpus=1)
needs_solvers = pytest.mark.usefixtures("solvers")


@pytest.fixture
def solvers() -> None:
    for name in SOLVERS:
        pytest.importorskip(name)


@cache
def proof_of(name: str) -> Proof:
    """A shipped strategy proved by what was written for it, progress included."""
    model = composed(name, DEFAULT)
    invariant, found = written(model), ranking(name, DEFAULT)
    assert invariant is not None and found is not None
    proof = prove(model.system, invariant, holding(model.system)[1])
    assert isinstance(proof, Proof)
    more = tuple(obligations(model.system, invariant, found))
    return replace(proof, ranking=found, obligations=(*proof.obligations, *more))


# ---- the same each time ---------------------------------------------------------------------------------------------

PRINTS = """
from checker.verdict import check
from models.scenario import Scenario
from proofs.certificate import certificate_hash
from proofs.fingerprint import lemmas_hash, system_hash
for options in ({}, {"sites": 1, "transition": "nop:call"}):
    proof = check(NAME, Scenario(**options), proof=True).proving.tried.proof
    print(system_hash(proof.system), lemmas_hash(proof.invariant.lemmas), certificate_hash(proof))
"""


def printed(name: str, seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PRINTS.replace("NAME", repr(name))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_certificate_does_not_depend_on_the_hash_seed() -> None:
    first, second = (printed("stop-machine", seed) for seed in ("1", "2"))
    assert first == second and len(first.split()) == 6


def test_a_certificate_is_the_same_twice_in_one_process() -> None:
    whole = [script.text for script in scripts(proof_of("stop-machine"))]
    proof_of.cache_clear()
    holding.cache_clear()
    assert [script.text for script in scripts(proof_of("stop-machine"))] == whole


def test_scripts_have_names_of_their_own_and_say_what_is_expected() -> None:
    proof = proof_of("stop-machine")
    made = list(scripts(proof))
    assert len({script.name for script in made}) == len(made) == len(proof.obligations)
    for script in made:
        assert f"(set-info :status {EXPECTED})" in script.text and "(check-sat)" in script.text
        assert system_hash(proof.system) in script.text


# ---- other solvers --------------------------------------------------------------------------------------------------


@needs_solvers
@pytest.mark.parametrize("solver", SOLVERS)
def test_another_solver_confirms_a_whole_proof(solver: str) -> None:
    made = list(scripts(proof_of("stop-machine")))
    assert any("progress" in script.name for script in made)
    for script in made:
        assert SOLVERS[solver](script.text) == EXPECTED, script.name


@needs_solvers
@pytest.mark.parametrize("solver", SOLVERS)
def test_another_solver_confirms_some_of_a_larger_proof(solver: str) -> None:
    made = list(scripts(proof_of("careful-call-to-call")))
    some = made[::9] + [script for script in made if "progress" in script.name][::4]
    assert {script.name.split("-")[1] for script in some} >= {"consecution", "progress"}
    for script in some:
        assert SOLVERS[solver](script.text) == EXPECTED, script.name


def said(obligation: Obligation) -> set[str]:
    """What the other solvers say to a script that does not say what to expect."""
    text = _text(obligation, "", "").replace(f"(set-info :status {EXPECTED})\n", "")
    return {solve(text) for solve in SOLVERS.values()}


@needs_solvers
def test_other_solvers_notice_when_the_goal_is_missing() -> None:
    """All premises together are possible, but where they speak of an error, which the lemmas exclude."""
    some = proof_of("stop-machine").obligations[::5]
    faults = [o for o in some if o.step is not None and o.step.action.fault]
    assert len(faults) < len(some) / 4
    for obligation in some:
        possible = said(replace(obligation, goals=(z3.BoolVal(False),)))
        assert possible == {"unsat" if obligation in faults else "sat"}, obligation.name


@needs_solvers
def test_other_solvers_notice_when_a_premise_is_missing() -> None:
    """Of those premises that Z3 needs."""
    noticed = 0
    for obligation in proof_of("stop-machine").obligations[1:40:8]:
        for k in range(len(obligation.premises)):
            less = replace(obligation, premises=obligation.premises[:k] + obligation.premises[k + 1 :])
            expected = str(less.solver().check())
            noticed += expected == "sat"
            if expected == "sat" or k == 0:
                assert said(less) == {expected}
    assert noticed >= 5


# ---- files ----------------------------------------------------------------------------------------------------------


def test_what_is_written_is_what_the_manifest_says(tmp_path: Path) -> None:
    proof = proof_of("stop-machine")
    paths = write(proof, tmp_path / "new", {"strategy": "stop-machine"})
    manifest = json.loads((tmp_path / "new" / MANIFEST).read_text(encoding="utf-8"))
    assert {path.name for path in paths} == {*manifest["files"], MANIFEST}
    for name, said in manifest["files"].items():
        assert hashlib.sha256((tmp_path / "new" / name).read_bytes()).hexdigest() == said["sha256"]
    assert manifest["system"] == system_hash(proof.system) and manifest["strategy"] == "stop-machine"
    assert list(manifest["lemmas"]) == [l.name for l in proof.invariant.lemmas]


def test_old_scripts_go_and_other_files_stay(tmp_path: Path) -> None:
    proof = proof_of("stop-machine")
    (tmp_path / "999-old.smt2").write_text("(check-sat)")
    paths = write(proof, tmp_path, {})
    assert set(paths) == set(tmp_path.iterdir())
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        write(proof, tmp_path, {})
    assert set(paths) <= set(tmp_path.iterdir()) and (tmp_path / "thesis.tex").read_text() == "dear"


@needs_solvers
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_certificate_is_confirmed(name: str) -> None:
    tried = prove_model(composed(name, DEFAULT)).tried
    assert tried is not None and tried.proof is not None
    for script in scripts(tried.proof):
        assert [solver(script.text) for solver in SOLVERS.values()] == [EXPECTED] * len(SOLVERS), script.name


def few(proof: Proof) -> Proof:
    return replace(proof, obligations=proof.obligations[1:4])


@needs_solvers
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_damaged_file_is_reported(solver: str, tmp_path: Path) -> None:
    write(few(proof_of("stop-machine")), tmp_path, {})
    assert recheck(tmp_path, solver) == []
    path = sorted(tmp_path.glob("*.smt2"))[1]
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("(assert")] + "(check-sat)\n", encoding="utf-8")
    (found,) = recheck(tmp_path, solver)
    assert found == f"{path.name}: not the text that was written"


def damaged(folder: Path, how: str) -> None:
    """A certificate that says less than it did."""
    write(few(proof_of("stop-machine")), folder, {})
    path = sorted(folder.glob("*.smt2"))[1]
    text = path.read_text(encoding="utf-8")
    match how:
        case "gone":
            path.unlink()
        case "trivial":
            path.write_text(text.replace("(check-sat)", "(assert false)\n(check-sat)"), encoding="utf-8")
        case "cut short":
            path.write_text(text[: len(text) // 2], encoding="utf-8")


@needs_solvers
@pytest.mark.parametrize("how", ["gone", "trivial"])
def test_a_file_that_is_not_what_the_manifest_says_is_reported(how: str, tmp_path: Path) -> None:
    damaged(tmp_path, how)
    for solver in SOLVERS:
        assert recheck(tmp_path, solver)


@needs_solvers
def test_a_file_that_is_cut_short_is_reported(tmp_path: Path) -> None:
    damaged(tmp_path, "cut short")
    for solver in SOLVERS:
        assert recheck(tmp_path, solver)


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(few(proof_of("stop-machine")), tmp_path, {})
    for name in SOLVERS:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(rechecking.NoSolver, match=f"{name} is not installed"):
            recheck(tmp_path, name)


# ---- fingerprints ---------------------------------------------------------------------------------------------------


def built(change: str = "") -> TransitionSystem:
    """A small system with everything in it, and one thing otherwise."""

    def other(what: str, usual: T, changed: T) -> T:
        return changed if change == what else usual

    b = Builder(other("name", "small", "little"))
    cpu = b.component("cpu", other("instances", 1, 3))
    g = b.variable("g", Bits(2), other("initial value", 0, 1), says=other("sentence", "a number", "another"))
    up = b.variable("up", BOOL, 0, cpu)
    which = Choice("which", ("a", other("choice label", "b", "c")))
    mark = Mark("p", "k", (g == 1) & up, other("mark's premise", False, True), other("sentence", "is met", "met"))
    b.action(
        "step",
        actor=cpu,
        guard=other("guard", g < 2, g < 3),
        effects=[(g, other("effect", g + 1, g + 2)), *other("another effect", [], [(up, 1)])],
        says=other("sentence", "steps", "goes"),
        fairness=other("fairness", Fairness.TASK, Fairness.HANDLER),
        choice=which,
        marks=other("no mark", [mark], []),
    )
    told = other("reads its own", each(up), ~each(up))
    b.action("tell", guard=parameter(which) == 0 if change == "never" else g == 2, broadcast=[(up, told)], says="tells")
    b.invariant("q", "k", every(cpu, other("invariant", each(up), ~each(up))), other("sentence", "up", "it is up"))
    b.halted = g == other("halted", 3, 2)
    b.progress = Progress("completes", g == other("goal", 2, 1), "it ends")
    return b.build()


MEANT = (
    "initial value",
    "choice label",
    "mark's premise",
    "guard",
    "effect",
    "another effect",
    "fairness",
    "no mark",
    "reads its own",
    "invariant",
    "halted",
    "goal",
)


def test_every_change_of_what_is_meant_has_a_fingerprint_of_its_own() -> None:
    found = [system_hash(built(change)) for change in ("", *MEANT)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("change", ["sentence", "instances", "name"])
def test_what_is_not_meant_does_not_count(change: str) -> None:
    assert system_hash(built(change)) == system_hash(built())


def test_lemmas_have_a_fingerprint_without_their_sentences() -> None:
    system = built()
    cpu, g = system.components[0], read(system.variables[0])
    one = Lemma("one", "is needed", g < 2, (cpu,))
    assert lemmas_hash([one]) == lemmas_hash([Lemma("one", "is not", g < 2, (cpu,))])
    others: tuple[list[Lemma], ...] = (
        [],
        [replace(one, holds=g < 3)],
        [replace(one, about=())],
        [replace(one, name="two")],
        [one, one],
    )
    assert len({lemmas_hash(lemmas) for lemmas in ([one], *others)}) == len(others) + 1


@pytest.mark.parametrize("name", shipped())
def test_the_number_of_cpus_is_no_part_of_a_shipped_system(name: str) -> None:
    """What is proved of the system of one CPU is proved of that of any number: they are the same but for the number."""
    for scenario in (Scenario(), Scenario(sites=1, preempt=True, nmi=True)):
        alone, three = (compose(load(name), replace(scenario, cpus=cpus)).system for cpus in (1, 3))
        assert alone.counts != three.counts or len(alone.instances) != len(three.instances)
        assert system_hash(alone) == system_hash(three)


def test_strategies_differ() -> None:
    found = [system_hash(compose(strategy, Scenario(sites=2)).system) for strategy in shipped().values()]
    assert len(set(found)) == len(found)

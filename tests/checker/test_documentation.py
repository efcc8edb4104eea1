"""The pages about proofs: complete, the same each time, and stale ones are noticed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from checker import documentation
from checker.cli import main
from checker.documentation import INDEX, Entry, index, other_solver, pages, solver_version, stale, write
from checker.report.escape import shown
from checker.report.markdown import depending, independent, table
from checker.report.page import GENERATED, proof_of
from checker.verdict import CheckResult, check
from models.library import load
from models.machines.fetch import X86_PRESETS
from models.scenario import Scenario
from models.system.errors import Location
from models.system.evaluate import Evaluator
from models.system.expressions import BOOL, Bits, Enum, Variable
from proofs.excluded import excluded
from proofs.lemma import Lemma
from proofs.prove import Proof

ROOT = Path(__file__).resolve().parents[2]
SMALL = "stop-machine"  # the quickest


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages([SMALL])


@pytest.fixture(scope="module")
def result() -> CheckResult:
    return check(SMALL, Scenario(), proof=True)


@pytest.fixture(scope="module")
def proof(result: CheckResult) -> Proof:
    found = proof_of(result.proving)
    assert found is not None
    return found


# ---- what a page says -----------------------------------------------------------------------------------------------


def test_a_page_has_every_lemma_with_its_formula(made: dict[str, str], proof: Proof) -> None:
    page = made[f"{SMALL}.md"]
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert headings == [lemma.name for lemma in proof.invariant.lemmas]
    assert page.count("```text") == len(headings)
    assert all(lemma.says in page for lemma in proof.invariant.lemmas)


def test_a_page_has_every_step_of_the_patcher_with_its_number(made: dict[str, str], result: CheckResult) -> None:
    steps = [a for a in result.model.system.actions if a.actor is None]
    for number, action in enumerate(steps):
        assert f"\n{number}. **{action.name}**: {action.says}\n" in made[f"{SMALL}.md"]


def test_a_page_has_a_row_for_every_machine(made: dict[str, str]) -> None:
    page = independent(made[f"{SMALL}.md"])
    rows = re.findall(r"^\| `(x86[^`]*)` \|", page, re.MULTILINE)
    assert rows == list(X86_PRESETS)


def test_a_page_says_what_is_not_proved() -> None:
    page = pages(["nop-then-back"])["nop-then-back.md"]
    assert "**old-or-new** is violated (missed) for livepatch and exposed (missed) for tracing" in page
    assert "(**old-or-new**)" not in page


def test_the_hash_on_a_page_is_that_of_the_certificate_that_prove_writes(made: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "checker.cli", "prove", SMALL, "--certificate", str(tmp_path / "certificate")]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = re.search(r"SHA-256\s+([0-9a-f]{64})", said)
    assert found and found[1] in made[f"{SMALL}.md"]


def test_what_a_lemma_excludes_is_allowed_by_all_others(proof: Proof) -> None:
    """The evaluator agrees, which had no part in dropping the lemma."""
    needed = 0
    for lemma in proof.invariant.lemmas:
        escape = excluded(proof, lemma)
        if escape is None:
            continue
        needed += 1
        evaluator = Evaluator(escape.system)

        def holds(known: Lemma, state: object = escape.before, of: Evaluator = evaluator) -> bool:
            return bool(of.value(known.holds, state, 0 if known.about else None))  # type: ignore[arg-type]

        assert not holds(lemma)
        assert all(holds(other) for other in proof.invariant.lemmas if other is not lemma)
    assert needed


def test_values_are_shown_by_their_names() -> None:
    where = Location("x.py", 1)
    assert shown(Variable("v", Bits(2), 0, None, "", where, ("e8", "cc")), 3) == "has “e8” and “cc”"
    assert shown(Variable("v", Bits(2), 0, None, "", where, ("e8", "cc")), 0) == "has nothing"
    assert shown(Variable("v", Enum("e", ("a", "b")), 0, None, "", where), 1) == "= “b”"
    assert shown(Variable("v", BOOL, 0, None, "", where), 1) == "= yes"


def test_a_strategy_without_a_proof_gets_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documentation, "proof_of", lambda proving: None)
    entry = documentation._entry(SMALL)
    assert entry.page == ""
    text = index([entry])
    assert f"- `{SMALL}`: " in text and f"{SMALL}.md" not in text


# ---- the same each time ---------------------------------------------------------------------------------------------


def test_pages_do_not_depend_on_the_hash_seed(made: dict[str, str], tmp_path: Path) -> None:
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "checker.cli", "docs", SMALL, "--output", str(tmp_path / seed)]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        assert (tmp_path / seed / f"{SMALL}.md").read_text(encoding="utf-8") == made[f"{SMALL}.md"]


# ---- stale pages ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(made: dict[str, str], tmp_path: Path) -> Path:
    write(tmp_path, made, True)
    return tmp_path


def test_fresh_pages_are_not_stale(folder: Path, made: dict[str, str]) -> None:
    assert stale(folder, made, True) == []


def test_a_changed_byte_is_noticed_with_its_line(folder: Path, made: dict[str, str]) -> None:
    path = folder / f"{SMALL}.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(f"# {SMALL}", f"# {SMALL.upper()}", 1), encoding="utf-8")
    assert stale(folder, made, True) == [
        f"{path} differs, first in line 3: “# STOP-MACHINE” should be “# stop-machine”"
    ]
    path.write_text(text + "more\n", encoding="utf-8")
    assert stale(folder, made, True)[0].endswith("it goes on there")


def test_a_missing_page_is_noticed(folder: Path, made: dict[str, str]) -> None:
    (folder / f"{SMALL}.md").unlink()
    assert stale(folder, made, True) == [f"{folder / SMALL}.md is missing"]


def test_a_superfluous_page_is_noticed_and_removed_only_if_it_was_generated(folder: Path, made: dict[str, str]) -> None:
    (folder / "old.md").write_text(f"{GENERATED}\n", encoding="utf-8")
    (folder / "mine.md").write_text("written by hand\n", encoding="utf-8")
    assert [sentence.split(": ")[0] for sentence in stale(folder, made, True)] == [
        f"{folder / name} is superfluous" for name in ("mine.md", "old.md")
    ]
    assert write(folder, made, True) == ["old.md"]
    assert (folder / "mine.md").exists() and not (folder / "old.md").exists()


def test_some_pages_leave_the_others_alone(folder: Path, made: dict[str, str]) -> None:
    (folder / "other.md").write_text(f"{GENERATED}\n", encoding="utf-8")
    assert stale(folder, made, False) == [] and write(folder, made, False) == []
    assert (folder / "other.md").exists()


def test_another_version_of_the_solver_is_one_sentence_and_no_alarm(folder: Path, made: dict[str, str]) -> None:
    path = folder / f"{SMALL}.md"
    text = path.read_text(encoding="utf-8").replace(f"Z3 {solver_version()}", "Z3 4.0.0")
    *_, certificate = re.findall(r"`[0-9a-f]{64}`", text)
    path.write_text(text.replace(certificate, f"`{'0' * 64}`"), encoding="utf-8")
    assert "Z3 4.0.0" in other_solver(folder, made) and stale(folder, made, True) == []
    path.write_text(path.read_text(encoding="utf-8").replace("## The steps", "## Steps"), encoding="utf-8")
    assert "“## Steps”" in stale(folder, made, True)[0]


def test_the_same_version_compares_hashes_too(folder: Path, made: dict[str, str]) -> None:
    path = folder / f"{SMALL}.md"
    text = path.read_text(encoding="utf-8")
    *_, certificate = re.findall(r"`[0-9a-f]{64}`", text)
    path.write_text(text.replace(certificate, f"`{'0' * 64}`"), encoding="utf-8")
    assert other_solver(folder, made) == "" and "differs" in stale(folder, made, True)[0]


def test_what_depends_on_the_solver_is_left_out_of_lines_and_cells() -> None:
    lines = table([["a", "b"], ["x", depending("5")], ["y", depending("6", False)]])
    assert independent("\n".join(lines)) == "| a | b |\n| --- | --- |\n| x | … |\n| y | 6 |"


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_checks_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["docs", SMALL, "--output", str(tmp_path)]
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    page = tmp_path / f"{SMALL}.md"
    page.write_text(page.read_text(encoding="utf-8").replace("the", "The", 1), encoding="utf-8")
    before = page.read_bytes()
    capsys.readouterr()
    assert main([*arguments, "--check"]) == 1
    assert f"{page} differs, first in line" in capsys.readouterr().out
    assert page.read_bytes() == before


def test_an_unknown_strategy_exits_2_with_near_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs", "stop-machin", "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "there is no strategy “stop-machin”; did you mean stop-machine" in said
    assert list(tmp_path.iterdir()) == []


# ---- as a site ------------------------------------------------------------------------------------------------------


def test_the_documentation_builds_without_a_warning(made: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("_build", "proofs"))
    strategy = load(SMALL)
    entries = [Entry(SMALL, strategy.says, ("everything", "nothing", "1", "1"), made[f"{SMALL}.md"])]
    write(docs / "proofs", {**made, INDEX: index(entries)}, True)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(docs), str(tmp_path / "html")]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    html = (tmp_path / "html" / "proofs" / f"{SMALL}.html").read_text(encoding="utf-8")
    assert f"<h1>{SMALL}" in html and "<!-- z3" not in re.sub(r"<!-- /?z3 -->", "", html)

"""Claims: the GitHub Action, its remarks and its summary, and the hook for pre-commit do what they say.

The steps of action.yml run here as GitHub runs them, in a repository of their own; only the one that installs is left out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from checker.cli import main
from checker.report import github
from models.library import bugs
from models.system.errors import Location
from tests.checker.test_cli import SMALL, VACUOUS
from tests.checker.test_junit import examined, expectations

ROOT = Path(__file__).parents[2]
GOOD = """\
from models.protocol import Expect, Strategy, emulate_new
from models.skeletons import int3_update

strategy = Strategy("good", "says", "a test", steps=lambda sites: int3_update(sites, emulate_new), expects=[Expect(sites=1)])
"""
BAD = GOOD.replace("emulate_new", "skip").replace('"good"', '"bad"')  # expects to hold, and does not
BROKEN = GOOD.replace(")", "", 1)


# ---- the action -----------------------------------------------------------------------------------------------------


def action() -> Any:
    return yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


@dataclass
class Job:
    """What a run of the action left behind."""

    status: int
    outputs: dict[str, dict[str, str]]
    log: str
    folder: Path

    def report(self, name: str) -> Path:
        return self.folder / "check-strategy-reports" / name


def expression(text: str, known: dict[str, str]) -> str:
    """A value of the file with its `${{ … }}` replaced; `a || b` is the first that is not empty."""

    def value(match: re.Match[str]) -> str:
        return next(filter(None, (known[name.strip()] for name in match[1].split("||"))), "")

    return re.sub(r"\$\{\{(.*?)\}\}", value, text)


def act(folder: Path, base: str = "", **given: str) -> Job:
    """Run the action as GitHub does: every step that has a script, until one fails."""
    spec = action()
    assert set(given) <= set(spec["inputs"])
    known = {f"inputs.{name}": given.get(name, str(i.get("default", ""))) for name, i in spec["inputs"].items()}
    known |= {"github.event.pull_request.base.sha": "", "github.event.before": base}
    job = Job(0, {}, "", folder)
    for step in spec["runs"]["steps"]:
        if "uses" in step or step["id"] == "install" or not _wanted(step, known):
            continue
        output = folder.parent / f"output-{step['id']}"
        output.write_text("")
        script = folder.parent / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        env = {name: expression(str(value), known) for name, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=folder,
            env=environment(folder.parent, GITHUB_OUTPUT=str(output), **env),
            capture_output=True,
            text=True,
            timeout=300,
        )
        job.log += done.stdout + done.stderr
        job.outputs[step["id"]] = read_outputs(output)
        known |= {f"steps.{step['id']}.outputs.{name}": v for name, v in job.outputs[step["id"]].items()}
        if done.returncode:
            job.status = done.returncode
            break
    return job


def _wanted(step: Any, known: dict[str, str]) -> bool:
    if "if" not in step:
        return True
    name, _, empty = step["if"].partition(" != ")
    assert empty == "''"
    return known[name] != ""


def read_outputs(file: Path) -> dict[str, str]:
    """GITHUB_OUTPUT: `name=value`, or `name<<END`, lines, `END`."""
    found: dict[str, str] = {}
    lines = iter(file.read_text(encoding="utf-8").splitlines())
    for line in lines:
        name, several, end = line.partition("<<")
        if several:
            found[name] = "\n".join(iter(lambda: next(lines), end))
        else:
            name, _, value = line.partition("=")
            found[name] = value
    return found


def environment(folder: Path, **more: str) -> dict[str, str]:
    """That of a job, with a `check-strategy` that is this one."""
    command = folder / "bin" / "check-strategy"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m checker.cli "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder), "GITHUB_ACTIONS": "true", **more}


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *names, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two strategies, of which one does not do what it expects, and a file that is none."""
    folder = tmp_path / "repository"
    (folder / "strategies").mkdir(parents=True)
    for name, text in (("strategies/good.py", GOOD), ("strategies/bad.py", BAD), ("tools.py", "x = 1\n")):
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "strategies" / "__init__.py").write_text("")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    return folder


def test_the_action_is_what_github_reads() -> None:
    from check_jsonschema.builtin_schemas import get_builtin_schema
    from jsonschema.validators import validator_for

    schema = get_builtin_schema("vendor.github-actions")
    check = validator_for(schema)(schema)
    assert [e.message for e in check.iter_errors(action())] == []
    assert not check.is_valid({**action(), "runs": {"using": "composite"}})
    assert all(step.get("shell") == "bash" for step in action()["runs"]["steps"] if "run" in step)


def test_no_script_of_the_action_has_an_input_written_into_it() -> None:
    """What comes from outside reaches a script as a variable, else it could be more of the script."""
    for step in action()["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_a_good_file_passes(repository: Path) -> None:
    job = act(repository, files="strategies/good.py")
    assert (job.status, job.outputs["check"]["status"]) == (0, "0"), job.log
    assert 'failures="0"' in job.report("catalogue.xml").read_text()


def test_a_file_that_does_not_do_what_it_expects_fails_at_its_line(repository: Path) -> None:
    job = act(repository, files="strategies/*d.py")
    assert (job.status, job.outputs["check"]["status"]) == (1, "1"), job.log
    assert job.outputs["files"]["files"].splitlines() == ["strategies/bad.py", "strategies/good.py"]
    assert "::error file=strategies/bad.py,line=4,title=bad%2C livepatch" in job.log
    assert 'failures="2"' in job.report("catalogue.xml").read_text()


def test_a_file_that_cannot_be_read_fails(repository: Path) -> None:
    (repository / "strategies" / "broken.py").write_text(BROKEN)
    job = act(repository, files="strategies/broken.py strategies/good.py")
    assert job.status == 3 and "broken.py" in job.log
    assert act(repository, files="strategies/none.py").status == 2


def test_each_file_is_checked_and_the_worst_counts(repository: Path) -> None:
    job = act(
        repository, files="strategies/bad.py\nstrategies/good.py", command="check", arguments="--sites 1 --cpus 1"
    )
    assert (job.status, job.outputs["check"]["status"]) == (1, "1"), job.log
    for name, results in (("bad", 2), ("good", 0)):
        sarif = json.loads(job.report(f"strategies_{name}.py.sarif").read_text(encoding="utf-8"))
        assert len(sarif["runs"][0]["results"]) == results
        assert job.report(f"strategies_{name}.py.xml").exists()
    assert act(repository, files="strategies/good.py", command="check", arguments="--max-states 9").status == 4
    both = act(repository, files="strategies/good.py strategies/none.py", command="check", arguments="--max-states 9")
    assert both.status == 2


def test_without_files_those_that_changed_are_checked(repository: Path) -> None:
    base = git(repository, "rev-parse", "HEAD")
    (repository / "tools.py").write_text("x = 2\n")
    git(repository, "commit", "-qam", "two")
    job = act(repository, base=base)
    assert job.status == 0 and "nothing to check" in job.log and "check" not in job.outputs
    (repository / "strategies" / "good.py").write_text(GOOD + "# changed\n")
    (repository / "strategies" / "my new.py").write_text(GOOD)
    git(repository, "rm", "-q", "strategies/bad.py")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "three")
    job = act(repository, base=base)
    assert job.status == 0, job.log
    assert job.outputs["files"]["files"].splitlines() == ["strategies/good.py", "strategies/my new.py"]


@pytest.mark.parametrize("base", ["", "0" * 40])
def test_without_a_known_base_all_are_checked(repository: Path, base: str) -> None:
    job = act(repository, base=base)
    assert job.status == 1
    assert job.outputs["files"]["files"].splitlines() == ["strategies/bad.py", "strategies/good.py"]


def test_an_unknown_command_is_refused(repository: Path) -> None:
    job = act(repository, files="strategies/good.py", command="list; touch evil")
    assert job.status == 2 and "::error::the command is" in job.log
    assert not (repository / "evil").exists()


# ---- the hook -------------------------------------------------------------------------------------------------------


def hook() -> Any:
    from pre_commit.clientlib import load_manifest

    (found,) = load_manifest(str(ROOT / ".pre-commit-hooks.yaml"))
    return found


def test_the_hook_is_what_pre_commit_reads_and_runs_a_command_that_is_installed() -> None:
    assert (hook()["id"], hook()["language"]) == ("check-strategy", "python")
    assert hook()["entry"].split()[0] in (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[1]


@pytest.mark.parametrize(("name", "status"), [("good", 0), ("bad", 1), ("broken", 3)])
def test_the_hook_exits_as_the_check_does(repository: Path, name: str, status: int) -> None:
    (repository / "strategies" / "broken.py").write_text(BROKEN)
    words = [*hook()["entry"].split(), f"strategies/{name}.py"]
    done = subprocess.run(words, cwd=repository, env=environment(repository.parent), capture_output=True, timeout=300)
    assert done.returncode == status


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("models/strategies/mine.py", True),
        ("strategies/x86/mine.py", True),
        ("my_strategy.py", True),
        ("a/strategy.py", True),
        ("strategies/__init__.py", False),
        ("strategies/readme.md", False),
        ("my_strategy.pyi", False),
        ("tools.py", False),
        ("substrategies/mine.py", False),
    ],
)
def test_the_usual_pattern_finds_strategies_and_is_the_same_for_both(path: str, meant: bool) -> None:
    pattern = action()["inputs"]["pattern"]["default"]
    assert hook()["files"] == pattern
    assert bool(re.search(pattern, path)) == meant
    grep = subprocess.run(["grep", "-E", "--", pattern], input=path, text=True, capture_output=True)
    assert (grep.returncode == 0) == meant


# ---- remarks and summary --------------------------------------------------------------------------------------------


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The environment of a job; returns the file of its summary."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "summary.md"


def remarks(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("::")]


def test_a_violation_is_an_error_at_its_line_and_the_table_is_in_the_summary(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (job.parent / "bad.py").write_text(BAD, encoding="utf-8")
    job.write_text("what was there before\n", encoding="utf-8")
    assert main(["./bad.py", *SMALL]) == 1
    (remark,) = remarks(capsys.readouterr().out)
    assert remark.startswith("::error file=bad.py,line=4,title=bad%2C old-or-new%3A VIOLATED (missed)::CPU 0: nobody")
    summary = job.read_text(encoding="utf-8")
    assert summary.startswith("what was there before\n### bad on x86-linux")
    assert "| old-or-new | VIOLATED (missed) | exposed (missed) |" in summary


def test_unknown_and_vacuous_are_warnings(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nop-then-back", "--max-states", "50"]) == 4
    found = remarks(capsys.readouterr().out)
    assert found and all(remark.startswith("::warning ") for remark in found)
    assert not any("never-back" in remark for remark in found), "nobody requires it"
    source = VACUOUS.replace("EXPECT", "Expect(sites=1)")
    (job.parent / "vacuous.py").write_text(source, encoding="utf-8")
    assert main(["./vacuous.py", *SMALL]) == 5
    assert any("::warning file=vacuous.py" in r and "vacuous" in r for r in remarks(capsys.readouterr().out))
    assert main(["check", "--expected", "./vacuous.py"]) == 5
    found = remarks(capsys.readouterr().out)
    line = 1 + next(k for k, text in enumerate(source.splitlines()) if "Expect(sites=1)" in text)
    assert found and all(r.startswith(f"::warning file=vacuous.py,line={line},") for r in found)


def test_what_holds_is_passed_over(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["permanent", *SMALL]) == 0
    assert main(["catalogue", "permanent"]) == 0
    assert remarks(capsys.readouterr().out) == []
    assert "expectations are met" in job.read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["json", "sarif", "itf", "junit"])
def test_nothing_is_added_to_an_answer_on_standard_output(
    option: str, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nop-then-back", *SMALL, f"--{option}", "-"]) == 1
    assert "::error" not in capsys.readouterr().out
    assert "VIOLATED" in job.read_text(encoding="utf-8")


def test_elsewhere_there_are_no_remarks(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert main(["nop-then-back", *SMALL]) == 1
    assert remarks(capsys.readouterr().out) == [] and not job.exists()


def test_what_the_form_reserves_is_escaped() -> None:
    made = github.line("error", Location("a,b:c%.py", 3), "50%: this, that", "one: 100%,\r\ntwo")
    _, properties, message = made.split("::")
    assert properties == "error file=a%2Cb%3Ac%25.py,line=3,title=50%25%3A this%2C that"
    assert message == "one: 100%25,%0D%0Atwo"


def test_a_table_cell_cannot_end_early() -> None:
    unmet = replace(expectations()[0], difference="a | b")
    assert "a \\| b" in github.summary_of_catalogue([unmet], [])


def test_a_bug_that_is_not_as_published_is_an_error() -> None:
    wrong = replace(examined(), difference="after the fix: it is violated")
    (remark,) = github.of_catalogue([], [wrong])
    assert remark.startswith("::error file=") and f"line={bugs()['K7'].where.line}," in remark
    assert "after the fix" in remark and "0 of 1 bugs" in github.summary_of_catalogue([], [wrong])
    assert list(github.of_catalogue([], [examined()])) == []

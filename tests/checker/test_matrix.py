"""Claims: the matrix says of each machine and omission what a check of it says, and draws the right conclusion."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from checker.cli import main
from checker.matrix import COMPLETE, Cell, Load, holding, letters, loads, matrix
from checker.report.layout import WIDTH
from checker.report.matrix import follows
from checker.verdict import check
from models.library import load
from models.machines.fetch import PRESETS
from models.plan import plan
from models.properties import PROPERTIES, STALE, TORN
from models.scenario import Scenario

SMALL = Scenario(cpus=1, sites=1)
SOME = ("x86-linux", "x86-amd", "x86-coherent", "x86-intel-manual")


def cells(name: str) -> list[Cell]:
    return list(matrix(load(name), SMALL, [PRESETS[machine] for machine in SOME]))


def test_every_cell_is_what_a_check_says() -> None:
    strategy, found = load("careful-call-to-call"), cells("careful-call-to-call")
    assert len(found) == len(SOME) * (1 + len(plan(strategy, SMALL).labels))
    for cell in found:
        without = frozenset({cell.without}) if cell.without else frozenset()
        machine = PRESETS[cell.machine]
        result = check(strategy, cpus=1, sites=1, machine=machine, without=without, use_case="livepatch")
        verdicts = {v.property: v.verdict for v in result.results[0].verdicts}
        assert [name for name in PROPERTIES if verdicts[name] == "violated"] == list(cell.violated)
        assert [name for name in PROPERTIES if verdicts[name] == "exposed"] == list(cell.exposed)


def test_a_step_is_needed_where_something_breaks_without_it() -> None:
    """The middle sync: needed where stale bytes are fetched in any order, not where fetches are in order."""
    found = loads(cells("text-poke-batch"))
    assert "x86-linux" in found["sync-2"].needed and "x86-amd" in found["sync-2"].idle
    assert "x86-amd" in found["sync-1"].needed and "x86-coherent" in found["sync-1"].idle
    assert found["discard"].needed == ()


def test_machines_on_which_the_whole_does_not_hold_do_not_count() -> None:
    found = cells("text-poke-batch")
    assert "x86-intel-manual" not in holding(found)
    assert all("x86-intel-manual" not in (*load.needed, *load.idle, *load.undecided) for load in loads(found).values())
    broken = Cell("somewhere", COMPLETE, ("completes",)), Cell("somewhere", "claim", ("completes", "traps-claimed"))
    assert holding(broken) == [] and loads(broken) == {"claim": Load((), (), ())}
    assert list(follows(broken)) == [
        "With all its steps it holds on none of these machines: nothing follows for any step."
    ]


@pytest.mark.parametrize("why", ["unknown", "untested", "impossible"])
def test_where_it_is_not_certain_that_nothing_breaks_nothing_is_said_to_be_needless(why: str) -> None:
    """A cell without violations is no proof that the step protects nothing."""
    open_ = Cell("here", "claim", **{why: "it is so" if why == "impossible" else ("completes",)})  # type: ignore[arg-type]
    found = [Cell("here", COMPLETE), open_]
    assert loads(found) == {"claim": Load((), (), ("here",))}
    assert next(follows(found)) == "claim: undecided on all of them"
    there = [Cell("there", COMPLETE), Cell("there", "claim")]
    assert next(follows([*found, *there])) == "claim: protects nothing; undecided on here"
    there[1] = Cell("there", "claim", ("completes",))
    assert next(follows([*found, *there])) == "claim: needed; undecided on here"


KEY = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "writing-a-program.md").read_text("utf-8"), re.DOTALL
)[0]
MENDED = (
    KEY.replace("Maintain(key), Note", "Maintain(key), Sync(), Note")
    .replace("Region, Thread", "Region, Sync, Thread")
    .replace('violated=["new-after-return"]', "")
)


def test_the_matrix_of_a_program_is_about_the_machines_of_its_architecture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the only execution nothing is tested, which is not the same as that nothing breaks."""
    file = tmp_path / "key.py"
    file.write_text(MENDED, encoding="utf-8")
    assert main(["matrix", str(file)]) == 0
    said = capsys.readouterr().out
    assert "1  arm64-dic0" in said and "2  arm64-dic1" in said and "x86" not in said
    assert "execute-key: undecided on all of them" in said and "sync-1: needed on all of them" in said
    assert "maintain-key: needed on arm64-dic0; elsewhere it protects nothing" in said
    gone = next(
        cell for cell in matrix(load(str(file)), Scenario(), [PRESETS["arm64-dic0"]]) if cell.without == "execute-key"
    )
    assert gone.untested == (TORN, STALE), (
        "nobody runs the code, and the claim about the old one went with the execution"
    )
    file.write_text(KEY, encoding="utf-8")
    assert main(["matrix", str(file)]) == 0
    assert "nothing follows for any" in capsys.readouterr().out


def test_every_property_has_a_letter_of_its_own() -> None:
    assert list(letters()) == list(PROPERTIES)
    assert len(set(letters().values())) == len(PROPERTIES)


def test_the_command_prints_and_writes_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "matrix.json"
    status = main(
        ["matrix", "careful-call-to-call", "--machine", "x86-linux", "--machine", "x86-amd", "--json", str(file)]
    )
    out = capsys.readouterr().out
    assert status == 0 and max(map(len, out.splitlines())) <= WIDTH
    assert "sync-2: needed on x86-linux; elsewhere it protects nothing" in out
    values = json.loads(file.read_text())["cells"]
    assert {cell["machine"] for cell in values} == {"x86-linux", "x86-amd"}
    assert next(c for c in values if c["machine"] == "x86-amd" and c["without"] == "sync-2")["violated"] == []


def test_the_page_on_promises_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "promises.md").read_text(encoding="utf-8")
    command, shown = page.split("$ check-strategy ", 1)[1].split("```", 1)[0].split("\n", 1)
    main(command.split())
    assert capsys.readouterr().out == shown

"""The progress line: what it says, that it says no more than is known, and that it goes away."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from checker.progress import Progress
from checker.search import native, product, python
from checker.search.build import NoCompiler
from checker.search.pairs import Pairs
from checker.search.result import Limits, Progressing
from models.compose import compose
from models.library import shipped
from models.scenario import Scenario

ROOT = Path(__file__).parents[2]
COMMAND = ["-m", "checker.cli"]


def line(reports: list[Progressing], limits: Limits | None = None, width: int = 200, doing: str = "") -> str:
    """The line a second after the last report, of reports that are a second apart."""
    progress = Progress(limits)
    progress.began, progress.doing = 0.0, doing
    for number, at in enumerate(reports, 1):
        progress.take(at, float(number))
    return progress.line(len(reports) + 1.0, width)


def levels(*frontiers: int) -> list[Progressing]:
    return [Progressing(1_000 * (k + 1), k, size) for k, size in enumerate(frontiers)]


# ---- what it says ---------------------------------------------------------------------------------------------------


def test_the_rate_is_that_of_the_last_seconds() -> None:
    slow, fast = (
        [Progressing(k * 10, k, 1) for k in range(1, 10)],
        [Progressing(90 + k * 1_000, 9 + k, 1) for k in range(1, 9)],
    )
    assert "1,000/s" not in line(slow)
    rate = re.search(r"([\d,]+)/s", line(slow + fast))
    assert rate is not None and 700 < int(rate[1].replace(",", "")) <= 1_000  # the mean would be 450


@pytest.mark.parametrize(
    ("frontiers", "says"),
    [
        ((10, 20, 40, 0), "frontier 40 growing"),
        ((40, 20, 10, 50), "frontier 10 shrinking"),
        ((10, 20, 15, 90), "frontier 15,"),
        ((10, 20, 5), "frontier 20,"),  # two levels are no trend
    ],
)
def test_a_trend_is_one_of_whole_levels(frontiers: tuple[int, ...], says: str) -> None:
    assert says in line(levels(*frontiers)) + ","


def test_nothing_is_said_of_a_share_that_is_not_known() -> None:
    assert "%" not in line(levels(10, 20, 40, 80))


@pytest.mark.parametrize(
    ("share", "says"), [(0.384, "38% done"), (1.0, "100% done"), (0.0, "under 1% done"), (0.004, "under 1% done")]
)
def test_a_known_share_is_said(share: float, says: str) -> None:
    assert says in line([Progressing(5, 1, 1, share)])


def test_limits_are_said_as_shares() -> None:
    said = line([Progressing(250, 1, 1)], Limits(states=1_000, seconds=60, memory=8_192))
    assert "25% of --max-states" in said and "2 of 60 s" in said and re.search(r"\d+ of 8,192 MiB", said)


def test_another_engine_begins_afresh() -> None:
    said = line([*levels(10, 20, 40), Progressing(5, 1, 7, 0.5, "pairs")])
    assert said.startswith("5 pairs, 50% of the steps") and "growing" not in said and "/s" not in said


def test_a_proof_has_a_line_without_states() -> None:
    said = line([], doing="proving it for any number of CPUs")
    assert re.fullmatch(r"proving it for any number of CPUs, \d+ MiB, 1 s", said)


@pytest.mark.parametrize("width", [20, 30, 50, 80])
def test_no_line_is_as_wide_as_the_terminal(width: int) -> None:
    huge = Progressing(10**12, 10**4, 10**11, 0.5)
    reports = [Progressing(10**12 - 10**9 * (9 - k), k, 10**9 * k, 0.5) for k in range(9)] + [huge]
    said = line(reports, Limits(10**13, 10**5, 10**6), width, "without step 3 of 9")
    assert len(said) < width
    assert "…" not in said and said.startswith("without step 3 of 9")  # parts are left out whole


def test_counted_items_say_which_they_are() -> None:
    progress = Progress()
    assert list(progress.counted(iter("abc"), "step", 3)) == ["a", "b", "c"]
    assert list(progress.counted(iter("ab"), "step", 1)) == ["a", "b"]  # a wrong count loses nothing
    assert list(progress.counted(iter(""), "step", 2)) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, first: float) -> Terminal:
    """Standard error as a terminal. In the test itself, not in a fixture: pytest puts its own back in between."""
    made = Terminal()
    monkeypatch.setattr("checker.progress.FIRST", first)
    monkeypatch.setattr("checker.progress.EVERY", 0.01)
    monkeypatch.setattr(sys, "stderr", made)
    return made


def test_it_is_drawn_over_itself_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 0.02)
    with Progress() as progress:
        for what in progress.counted(iter("ab"), "step", 2):
            progress(Progressing(7, 1, 3))
            assert what in "ab"
            time.sleep(0.2)
    drawn = terminal.getvalue()
    assert "step 1 of 2, 7 states" in drawn and "step 2 of 2, 7 states" in drawn
    assert "\n" not in drawn and drawn.endswith("\r\x1b[K")
    time.sleep(0.05)
    assert terminal.getvalue() == drawn  # its thread has ended


def test_a_quick_command_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 60)
    with Progress() as progress:
        progress(Progressing(7, 1, 3))
        time.sleep(0.05)
    assert terminal.getvalue() == ""


# ---- what engines report --------------------------------------------------------------------------------------------


def test_the_product_reports_its_share() -> None:
    seen: list[Progressing] = []
    pairs = Pairs(compose(shipped()["careful-call-to-call"], Scenario(sites=1)).system)
    product.run(pairs, Limits(), seen.append)
    shares = [at.share for at in seen if at.share is not None]
    assert len(shares) == len(seen) and shares == sorted(shares) and 0 < shares[0] < shares[-1] == 1
    assert {at.unit for at in seen} == {"pairs"}


def test_the_python_search_knows_no_share() -> None:
    seen: list[Progressing] = []
    python.run(Pairs(compose(shipped()["nop-then-back"], Scenario(cpus=1)).system), Limits(), seen.append)
    assert seen and all(at.share is None for at in seen)


@pytest.mark.parametrize("symmetry", [True, False])
def test_the_native_search_ends_with_all_that_the_product_counted(symmetry: bool) -> None:
    from checker.search.engine import Engine, search

    seen: list[Progressing] = []
    system = compose(shipped()["careful-call-to-call"], Scenario(sites=1)).system
    try:
        native.run(Pairs(system), native.How(), Limits()).close()
    except NoCompiler:
        pytest.skip("no compiler")
    search(system, Engine("native", symmetry=symmetry), Limits(), seen.append).reached.close()
    assert seen[-1].share == 1


# ---- on a terminal --------------------------------------------------------------------------------------------------


def test_on_a_real_terminal_it_fits_and_is_gone_at_the_end() -> None:
    arguments = [*COMMAND, "careful-call-to-call", "--cpus", "3", "--engine", "python", "--max-seconds", "3"]
    child = pexpect.spawn(sys.executable, arguments, cwd=ROOT, dimensions=(24, 80), encoding="utf-8", timeout=60)
    said = child.read()
    child.close()
    assert child.exitstatus == 4
    drawn = [part.split("\r")[0] for part in said.split("\x1b[K")[1:]]
    lines = [part for part in drawn if "MiB" in part]
    assert lines and all(len(part) < 80 for part in lines)
    after = said[said.rindex("\x1b[K") :]
    assert "MiB" not in after and "the same steps; the handler" in after


def test_without_a_terminal_there_is_none() -> None:
    arguments = [
        sys.executable,
        *COMMAND,
        "careful-call-to-call",
        "--cpus",
        "3",
        "--engine",
        "python",
        "--max-seconds",
        "2",
    ]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (4, "")

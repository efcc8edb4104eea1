"""Exported models in rumur: it counts the same states and transitions, and finds the same errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from checker.export.checks import check_of
from checker.export.murphi import murphi
from models.system.system import Builder
from tests.checker.drawn import drawn
from tests.checker.exported import (
    LARGER,
    OTHERS,
    SEEDS,
    SMALL,
    WRONG,
    System,
    awkward,
    cases,
    counter,
    counts,
    everything,
    met,
    ours,
    shared_deeply,
)
from tests.checker.peers import needs_rumur, rumur
from tests.checker.reference import cannot_finish, survey


@needs_rumur
@pytest.mark.parametrize("seed", SEEDS)
def test_rumur_agrees_on_any_system(seed: int) -> None:
    system = drawn(seed)
    found = survey(system)
    assert counts(rumur(murphi(system))) == (len(found.edges), found.transitions)
    checked = rumur(murphi(system, everything(system)))
    assert checked.states == len(found.edges)
    assert met(system, checked) == {check_of(s) for s in (*found.marks, *found.broken)}
    assert bool(rumur(murphi(system, progress=True)).errors) == bool(cannot_finish(found))


@needs_rumur
def test_rumur_reads_before_it_writes() -> None:
    system = awkward()
    found = survey(system)
    assert counts(rumur(murphi(system))) == (len(found.edges), found.transitions)
    assert met(system, rumur(murphi(system, ["all"]))) == {check_of(s) for s in (*found.marks, *found.broken)}


@needs_rumur
def test_rumur_agrees_where_much_is_shared() -> None:
    found = survey(shared_deeply(9))
    assert counts(rumur(murphi(found.system))) == (len(found.edges), found.transitions)
    assert "part" in murphi(found.system)


@needs_rumur
@pytest.mark.parametrize("change", WRONG)
def test_a_wrong_murphi_model_is_seen_to_differ(change: Callable[[str], str]) -> None:
    system, text = counter(), murphi(counter())
    assert change(text) != text
    assert counts(rumur(change(text))) != ours(system)[:2]


@needs_rumur
@cases(SMALL, LARGER)
def test_rumur_counts_the_same_states_and_transitions_and_finds_the_same_errors(made: System) -> None:
    system = made()
    states, transitions, found = ours(system)
    assert counts(rumur(murphi(system))) == (states, transitions)
    checked = rumur(murphi(system, ["all"]))
    assert (checked.states, met(system, checked)) == (states, {check for check in found if not check.premise})


@needs_rumur
@cases(OTHERS)
def test_rumur_finds_the_same_errors_and_premises(made: System) -> None:
    system = made()
    states, transitions, found = ours(system)
    assert counts(rumur(murphi(system))) == (states, transitions)
    checked = rumur(murphi(system, everything(system)))
    assert (checked.states, met(system, checked)) == (states, found)


@needs_rumur
@cases(SMALL[::4], OTHERS)
def test_rumur_says_whether_the_goal_stays_reachable(made: System) -> None:
    system = made()
    assert bool(rumur(murphi(system, progress=True)).errors) == bool(cannot_finish(survey(system)))


@needs_rumur
def test_rumur_takes_a_system_without_variables() -> None:
    assert counts(rumur(murphi(Builder("empty").build()))) == (1, 0)

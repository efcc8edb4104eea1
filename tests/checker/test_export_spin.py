"""Exported models in SPIN: it counts the same states and transitions, and finds the same errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from checker.export.checks import check_of
from checker.export.printer import Printer, Text
from checker.export.promela import promela
from models.system.expressions import Bits, Constant
from models.system.system import Builder, Fairness
from tests.checker.drawn import drawn
from tests.checker.exported import (
    BUGS,
    ENDING,
    LARGER,
    OTHERS,
    SEEDS,
    SMALL,
    WRONG,
    System,
    awkward,
    cases,
    composed,
    counter,
    counts,
    met,
    ours,
    shared_deeply,
    withholding,
)
from tests.checker.peers import needs_spin, spin
from tests.checker.reference import fair_part, survey


@needs_spin
@pytest.mark.parametrize("seed", SEEDS)
def test_spin_agrees_on_any_system(seed: int) -> None:
    system = drawn(seed)
    found, text = survey(system), promela(system)
    assert counts(spin(text)) == (len(found.edges), found.transitions)
    checked = spin(text, "CHECK", "PREMISES")
    assert checked.states == len(found.edges)
    assert met(system, checked) == {check_of(s) for s in (*found.marks, *found.broken)}
    assert bool(spin(text, "PROGRESS", cycles=True).errors) == (fair_part(found) is not None)


@needs_spin
def test_spin_reads_before_it_writes_and_stores_what_is_never_read() -> None:
    system = awkward()
    found, text = survey(system), promela(system)
    assert counts(spin(text)) == (len(found.edges), found.transitions)
    assert met(system, spin(text, "CHECK")) == {check_of(s) for s in (*found.marks, *found.broken)}


@needs_spin
def test_spin_agrees_where_much_is_shared() -> None:
    found = survey(shared_deeply(9))
    assert counts(spin(promela(found.system))) == (len(found.edges), found.transitions)
    assert "c_expr" in promela(found.system)


@needs_spin
def test_spin_knows_strong_fairness() -> None:
    assert not spin(promela(withholding(Fairness.ACKNOWLEDGE)), "PROGRESS", cycles=True).errors
    assert spin(promela(withholding(Fairness.NONE)), "PROGRESS", cycles=True).errors


@needs_spin
@pytest.mark.parametrize("change", WRONG)
def test_a_wrong_promela_model_is_seen_to_differ(change: Callable[[str], str]) -> None:
    system, text = counter(), promela(counter())
    assert change(text) != text
    assert counts(spin(change(text))) != ours(system)[:2]


@needs_spin
def test_constants_that_are_off_by_one_are_seen_to_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Printer.on_constant

    def wrong(self: Printer, node: Constant) -> Text:
        text, level = right(self, node)
        return (str(int(text) + 1) if isinstance(node.type, Bits) else text), level

    system = awkward()
    found = survey(system)
    monkeypatch.setattr(Printer, "on_constant", wrong)
    assert counts(spin(promela(system))) != (len(found.edges), found.transitions)


@needs_spin
@cases(SMALL, OTHERS, LARGER, BUGS)
def test_spin_counts_the_same_states_and_transitions_and_finds_the_same_errors(made: System) -> None:
    system = made()
    states, transitions, found = ours(system)
    text = promela(system)
    assert counts(spin(text)) == (states, transitions)
    checked = spin(text, "CHECK", "PREMISES")
    assert (checked.states, met(system, checked)) == (states, found)


@needs_spin
@cases(SMALL, OTHERS, ENDING)
def test_spin_says_whether_every_fair_run_gets_there(made: System) -> None:
    system = made()
    assert bool(spin(promela(system), "PROGRESS", cycles=True).errors) == (fair_part(survey(system)) is not None)


@needs_spin
def test_spin_counts_the_same_breadth_first() -> None:
    system = composed("careful-call-to-call", (("cpus", 1), ("sites", 1)))
    assert counts(spin(promela(system), breadth_first=True)) == ours(system)[:2]


@needs_spin
def test_spin_takes_a_system_without_variables() -> None:
    assert counts(spin(promela(Builder("empty").build()))) == (1, 0)

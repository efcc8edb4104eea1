"""Claims: Spacer, asked the same question, says what the search says, or that it gave up; its invariants are confirmed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st

from models.scenario import Scenario
from models.system.system import TransitionSystem
from proofs import spacer as module
from proofs.shape import shape
from proofs.spacer import Found, spacer
from tests.checker.drawn import drawn
from tests.proofs.claims import composed, holding
from tests.proofs.crowds import crowd
from tests.proofs.instances import holding as holding_with
from tests.proofs.instances import questions

ONE = Scenario(cpus=1, sites=1)


@pytest.mark.parametrize("scenario", [ONE, replace(ONE, sites=2)], ids=["1 site", "2 sites"])
def test_stop_machine_has_an_invariant(scenario: Scenario) -> None:
    system = composed("stop-machine", scenario).system
    assert spacer(system, holding(system)[1]) == Found(True)


def test_what_is_freed_too_early_is_reached() -> None:
    system = composed("stop-machine-frees-early", ONE).system
    kept = holding(system)[1]
    broken = [claim for claim in questions(system) if claim not in kept]
    assert broken
    assert spacer(system, kept) == Found(True)
    assert spacer(system, broken) == Found(False)


def alone(seed: int) -> TransitionSystem | None:
    """A drawn system about which Spacer can be asked."""
    for draw in (drawn, crowd):
        system = draw(seed)
        found = shape(system)
        if len(system.components) == 1 and not found.obstacles and not found.interferes and found.least == 1:
            return system
    return None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 10**9))
def test_it_agrees_with_the_search_of_one_instance(seed: int) -> None:
    system = alone(seed)
    if system is not None:
        kept = holding_with(system, 1)
        assert spacer(system, kept) == Found(True)
        for claim in questions(system):
            if claim not in kept:
                assert spacer(system, [claim]) == Found(False)
                break


def test_many_drawn_systems_can_be_asked_about() -> None:
    assert sum(alone(seed) is not None for seed in range(120)) >= 10


def test_it_gives_up_rather_than_guess() -> None:
    system = composed("careful-call-to-call", ONE).system
    found = spacer(system, holding(system)[1], work=1000)
    assert isinstance(found, Found)
    assert found.holds is None
    assert found.reason


def test_an_invariant_that_is_none_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    system = composed("stop-machine", ONE).system
    monkeypatch.setattr(module.z3, "substitute_vars", lambda *_: z3.BoolVal(True))
    found = spacer(system, holding(system)[1])
    assert isinstance(found, Found)
    assert found.holds is None
    assert "not confirmed" in found.reason

"""Claims: on strategies drawn from the whole vocabulary, engines, reference, proof and simulator say the same.

`CHECK_STRATEGY_FUZZ=1000 pytest tests/fuzz` draws so many, and others each time.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from models.library import shipped
from models.machines.handler import Handler
from tests.fuzz import agree
from tests.fuzz.drawn import Drawn
from tests.fuzz.strategies import drawn

MORE = int(os.environ.get("CHECK_STRATEGY_FUZZ", "0"))


def drawing(few: int) -> settings:
    """Settings for so many examples, always the same ones unless more are asked for."""
    return settings(
        max_examples=MORE or few,
        derandomize=not MORE,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


SEEN = agree.Seen()


@drawing(60)
@given(drawn())
def test_engines_and_simulator_agree_and_every_trace_replays(one: Drawn) -> None:
    model = agree.composed(one, SEEN)
    found = agree.searched(model, SEEN) if model else None
    if found is None:
        return
    model, run = found
    agree.engines_agree(model, run, SEEN)
    agree.replayed(model, run.outcome, SEEN)
    agree.simulator_agrees(one, model, run, SEEN)


@drawing(40)
@given(drawn(small=True))
def test_the_reference_agrees_and_what_is_proved_is_not_broken(one: Drawn) -> None:
    seen: Counter[str] = agree.Seen()
    model = agree.composed(one, seen)
    found = agree.searched(model, seen) if model else None
    if found is None:
        return
    model, run = found
    agree.reference_agrees(model, run, seen)
    agree.proofs_agree(model, seen)


def test_enough_was_compared() -> None:
    if not SEEN:
        pytest.skip("the drawn strategies were compared in another process")
    assert SEEN["engines"] * 2 > SEEN["composed"], SEEN
    assert SEEN["simulated"] * 5 > SEEN["engines"], SEEN
    assert SEEN["broken"] and SEEN["engines"] > len(shipped()), SEEN


@pytest.mark.parametrize("fault", ["_unclaimed"])
def test_a_handler_that_forgets_something_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, fault, lambda *args, **rest: None)

    @drawing(60)
    @given(drawn())
    def compared(one: Drawn) -> None:
        seen: Counter[str] = agree.Seen()
        model = agree.composed(one, seen)
        found = agree.searched(model, seen) if model else None
        if found is not None:
            agree.simulator_agrees(one, *found, seen)

    with pytest.raises(AssertionError):
        compared()

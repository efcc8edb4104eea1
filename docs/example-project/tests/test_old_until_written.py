"""What we promise of our protocol, and what we rely on."""

from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

from checker.testing import (
    NotEnabled,
    Schedule,
    assert_expected,
    assert_holds,
    assert_violates,
    interleavings,
    model_of,
    run,
)

FILE = Path(__file__).parent.parent / "strategies" / "old_until_written.py"
SMALL = {"cpus": 1, "sites": 1}
MODEL = model_of(FILE, sites=1)


def test_it_is_as_the_file_says() -> None:
    assert_expected(FILE)


@pytest.mark.parametrize("use_case", ["livepatch", "tracing"])
def test_it_holds_for_three_cpus(use_case: str) -> None:
    assert_holds(FILE, use_case=use_case, cpus=3, sites=1)


@pytest.mark.parametrize("step", ["sync-1", "sync-2"])
def test_no_sync_before_the_first_byte_can_go(step: str) -> None:
    trace = assert_violates(FILE, "no-torn-instruction", without=step, **SMALL)
    assert trace.steps[-1].says.startswith("CPU 0 executes a torn instruction")


def test_a_cpu_that_traps_early_calls_the_old_function() -> None:
    """The interleaving that the review asked about."""
    schedule = run(
        MODEL,
        [
            "claim-old",
            "trap site 0",
            "cpu 0: arrive",
            "cpu 0: trap at site 0",
            "cpu 0: find site 0",
            "cpu 0: handler emulates “call A” at site 0",
        ],
    )
    assert not schedule.violated


def test_the_tail_is_not_written_before_every_cpu_has_serialised() -> None:
    with pytest.raises(NotEnabled, match="step 4: “tail site 0 begins” is not enabled"):
        run(MODEL, ["claim-old", "trap site 0", "sync-1 request", "tail site 0 begins"])


@settings(deadline=None, max_examples=300, phases=set(Phase) - {Phase.explain})  # the schedule itself explains
@given(interleavings(MODEL))
def test_random_interleavings_break_nothing(schedule: Schedule) -> None:
    assert not schedule.violated

"""Claims: every property is broken by some mutant, and the same strategy without its mistake holds."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from checker.verdict import VIOLATED
from models.properties import (
    BACK,
    BALANCED,
    CLAIMED,
    COMPLETES,
    EARLY,
    FREED,
    MISSED,
    OLD_OR_NEW,
    PROPERTIES,
    STALE,
    TORN,
    WRONG_TARGET,
)
from models.protocol import USE_CASES
from tests.support import checked, exposed, holds, violated


@dataclass(frozen=True)
class Broken:
    """A mutant, how it breaks which property, and the strategy that is right (with the same scenario)."""

    mutant: str
    property: str
    kind: str
    unbroken: str
    without: str = ""  # left out of the mutant only
    cpus: int = 2
    sites: int = 1
    nmi: bool = False
    machine: str = "x86-linux"
    use_cases: tuple[str, ...] = USE_CASES

    @property
    def name(self) -> str:
        return f"{self.mutant}{f' without {self.without}' if self.without else ''}: {self.property}/{self.kind}"


CAREFUL = "careful-call-to-call"
MUTANTS = (
    # torn
    Broken(CAREFUL, TORN, "torn", CAREFUL, without="sync-1"),
    Broken("no-trap-whole-store", TORN, "torn", "stop-machine"),
    Broken("resumes-before-the-store", TORN, "torn", "stop-machine"),
    Broken(CAREFUL, TORN, "undefined", "stop-machine", machine="x86-intel-manual"),
    # claimed
    Broken("claims-after-the-trap", CLAIMED, "unclaimed", "emulating"),
    Broken("text-poke-batch-unsorted", CLAIMED, "unclaimed", "text-poke-batch", cpus=1, sites=2),
    Broken("releases-too-early", CLAIMED, "unclaimed", "emulating"),
    # freed
    Broken("sleeper-freed-after-tasks", FREED, "freed", "callee-freed-after-tasks"),
    Broken("preemptible-freed-after-readers", FREED, "freed", "section-freed-after-readers"),
    Broken("careful-call-to-call-frees-early", FREED, "freed", "careful-call-to-call-frees"),
    Broken("batched-stubs-early", FREED, "freed", "batched-stubs-tasks"),
    Broken("batched-stubs", FREED, "freed", "batched-stubs-tasks", nmi=True),
    # in time
    Broken("no-trap-whole-store", STALE, "stale", "stop-machine", without="sync-1"),
    Broken(CAREFUL, STALE, "stale", CAREFUL, without="tail"),
    Broken("new-from-the-start", EARLY, "early", "emulating"),
    # who is called
    Broken("undeclared-third", OLD_OR_NEW, WRONG_TARGET, "declared-third"),
    Broken("skipping", OLD_OR_NEW, MISSED, "emulating", use_cases=("livepatch",)),
    Broken("jump-without-push", BALANCED, "no-return", "emulating"),
    # the end
    Broken("waits-for-itself", COMPLETES, "deadlock", "waits-outside"),
    Broken("waits-for-tasks-under-retry", COMPLETES, "deadlock", "waits-for-tasks-under-emulation"),
    Broken("waits-for-tasks-under-retry", COMPLETES, "deadlock", "retrying"),
    Broken("waits-for-handlers-under-the-trap", COMPLETES, "lasso", "emulating"),
    Broken("syncs-while-stopped", COMPLETES, "deadlock", "stop-machine"),
)


@pytest.mark.parametrize("entry", MUTANTS, ids=lambda entry: entry.name)
def test_the_mutant_is_caught(entry: Broken) -> None:
    without = (entry.without,) if entry.without else ()
    result = checked(
        entry.mutant, without=without, cpus=entry.cpus, sites=entry.sites, nmi=entry.nmi, machine=entry.machine
    )
    for use_case in entry.use_cases:
        verdict = result.result(use_case).verdict(entry.property)
        assert (verdict.verdict, verdict.kind) == (VIOLATED, entry.kind)
        assert verdict.trace is not None
        assert result.traces[verdict.trace].property in (entry.property, "")
    assert result.exit_status == 1


@pytest.mark.parametrize("entry", MUTANTS, ids=lambda entry: f"{entry.name}, {entry.unbroken}")
def test_without_the_mistake_it_holds(entry: Broken) -> None:
    result = checked(entry.unbroken, cpus=entry.cpus, sites=entry.sites, nmi=entry.nmi, machine=entry.machine)
    assert all(holds(result, use_case) for use_case in USE_CASES)
    assert result.exit_status == 0


def test_every_required_property_has_a_mutant() -> None:
    assert {entry.property for entry in MUTANTS} == set(PROPERTIES) - {BACK}


def test_emulating_the_old_call_goes_back_which_both_use_cases_accept() -> None:
    result = checked("emulating-old", cpus=2, sites=1)
    assert all(exposed(result, use_case) == {BACK} and holds(result, use_case) for use_case in USE_CASES)
    assert not exposed(checked("emulating", cpus=2, sites=1))


def test_missing_an_event_is_an_exposure_of_tracing_only() -> None:
    result = checked("skipping", cpus=2, sites=1)
    assert violated(result, "livepatch") == {OLD_OR_NEW}
    assert violated(result, "tracing") == set()
    assert exposed(result, "tracing") == {f"{OLD_OR_NEW}/{MISSED}"}


def test_a_wrong_target_is_fatal_to_tracing_too() -> None:
    assert violated(checked("undeclared-third", cpus=2, sites=1), "tracing") == {OLD_OR_NEW}


def test_one_cpu_cannot_keep_the_handler_occupied() -> None:
    """Strong fairness: with one CPU the handler is empty again and again, with two it need never be."""
    assert holds(checked("waits-for-handlers-under-the-trap", cpus=1, sites=1))
    result = checked("waits-for-handlers-under-the-trap", cpus=2, sites=1)
    trace = result.traces[result.result("livepatch").verdict(COMPLETES).trace or 0]
    cycle = trace.steps[-trace.cycle :]
    assert trace.cycle > 0
    assert {step.instance for step in cycle} == {0, 1}


def test_a_task_sent_back_for_ever_never_switches() -> None:
    """The deadlock is one of the system, not of the CPU: it goes on trapping, and nothing else can happen."""
    result = checked("waits-for-tasks-under-retry", cpus=1, sites=1)
    verdict = result.result("livepatch").verdict(COMPLETES)
    assert result.traces[verdict.trace or 0].conjunct.startswith("the patcher's next step is")
    assert violated(result) == {COMPLETES}


@pytest.mark.parametrize("cpus", [1, 2])
def test_stubs_without_interrupts_survive_until_an_nmi_ends_the_sti_shadow(cpus: int) -> None:
    assert holds(checked("batched-stubs", cpus=cpus, sites=1))
    assert violated(checked("batched-stubs", cpus=cpus, sites=1, nmi=True)) == {FREED}

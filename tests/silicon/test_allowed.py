"""Claims: what is allowed at each step is what the model does there: no more and no less than the checker finds."""

from __future__ import annotations

import random

import pytest

from checker.silicon.allowed import _FATAL, Allowed, atom_of
from checker.verdict import EXPOSED, VIOLATED, check
from models.compose import compose
from models.library import load, shipped
from models.machines.fetch import X86_PRESETS
from models.properties import COMPLETES
from models.protocol import Strategy
from models.scenario import Scenario
from models.system.errors import ScenarioError
from models.system.evaluate import Evaluator
from models.text import OutcomeKind
from tests.silicon.small import question, writing


@pytest.mark.parametrize("name", shipped())
def test_broken_is_what_a_check_finds_broken(name: str) -> None:
    result = check(load(name), Scenario(cpus=2, sites=1))
    verdicts = [v for r in result.results for v in r.verdicts if v.verdict in (VIOLATED, EXPOSED)]
    found = question(name, align=None).allowed()
    assert {name for name, _ in found.breaks} == {v.property for v in verdicts} - {COMPLETES}


@pytest.mark.parametrize("without", ["claim", "trap", "sync-1", "tail", "sync-2", "first-byte", "sync-3", "release"])
@pytest.mark.parametrize("machine", ["x86-linux", "x86-amd", "x86-coherent"])
def test_broken_without_a_step_is_what_a_check_finds(machine: str, without: str) -> None:
    scenario = Scenario(machine=X86_PRESETS[machine], cpus=2, sites=1, without=frozenset({without}))
    verdicts = [v for r in check(load("text-poke-batch"), scenario).results for v in r.verdicts]
    found = question("text-poke-batch", on=machine, without=[without], align=None).allowed()
    broken = {v.property for v in verdicts if v.verdict in (VIOLATED, EXPOSED)}
    assert {name for name, _ in found.breaks} == broken - {COMPLETES}


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("machine", ["x86-linux", "x86-buffered"])
def test_every_step_of_a_run_is_allowed_where_it_happens(name: str, machine: str) -> None:
    """Random runs of the reference evaluator, with two CPUs: what they do at a step of the patcher is allowed there."""
    allowed = question(name, on=machine, align=None).allowed()
    model = compose(load(name), Scenario(machine=X86_PRESETS[machine], cpus=2, sites=1))
    evaluator, dice, met = Evaluator(model.system), random.Random(1), 0
    for _ in range(4):
        state = evaluator.initial()
        for _ in range(120):
            steps = list(evaluator.transitions(state))
            if not steps:
                break
            step = dice.choice([s for s in steps if s.instance is None] * dice.randint(0, 3) or steps)
            if step.instance is not None:
                place = str(model.cpu.place.type.show(evaluator.read(step.state, "place", step.instance)))
                atom = atom_of(model, step.action, place)
                if atom:
                    seen = evaluator.read(state, "latest_0", step.instance)
                    had = (seen,) if allowed.table.masks and not evaluator.read(state, "returned") else None
                    at = evaluator.read(state, "patcher")
                    assert allowed.allows([[atom]], range(at, at + 1), had), (step.action.name, at)
                    met += 1
            state = step.state
    assert met > 5


@pytest.mark.parametrize("name", shipped())
def test_what_a_handler_does_has_a_name(name: str) -> None:
    model = compose(load(name), Scenario(cpus=1, sites=2))
    handler = [a for a in model.system.actions if a.name.startswith("handler ")]
    assert all(atom_of(model, action, "") for action in handler)
    assert handler or not model.plan.claims


def test_atoms_of_different_fates_differ() -> None:
    assert len(set(_FATAL.values())) == len(_FATAL)


def one_store(machine: str, align: str) -> Allowed:
    return question(writing((1, 5)), on=machine, align=align).allowed()


OLD, NEW = bytes.fromhex("e811223344"), bytes.fromhex("e851527374")
MIXED = bytes.fromhex("e811527374")


@pytest.mark.parametrize(
    ("machine", "align", "torn"),
    [
        ("x86-linux", "within-8", True),
        ("x86-coherent", "across-line", False),
        ("x86-stale-instruction", "across-line", False),
        ("x86-amd", "across-line", True),
        ("x86-linux,granularity=line,store-atomicity=line", "within-line", False),
        ("x86-linux,granularity=line,store-atomicity=line", "across-line", True),
    ],
)
def test_exact_bytes_are_allowed_where_the_machine_can_fetch_them(machine: str, align: str, torn: bool) -> None:
    allowed = one_store(machine, align)
    (site,) = allowed.model.plan.sites
    during = range(allowed.starts[-1] + 1)
    assert allowed.fetches(site, OLD, during, None) and allowed.fetches(site, NEW, during, None)
    assert allowed.fetches(site, MIXED, during, None) is torn
    assert not allowed.fetches(site, bytes.fromhex("e899227374"), during, None)


@pytest.mark.parametrize(
    "strategy", [writing((1, 5)), "stop-machine", "nop-then-back"], ids=["one-store", "stop-machine", "nop-then-back"]
)
@pytest.mark.parametrize("machine", [name for name in X86_PRESETS if not X86_PRESETS[name].havoc])
def test_bytes_that_are_fetched_and_outcomes_agree(machine: str, strategy: Strategy | str) -> None:
    """A torn outcome is allowed where some torn bytes are, and conversely: nobody fetches who is stopped."""
    allowed = question(strategy, on=machine, align="across-line").allowed()
    (site,) = allowed.model.plan.sites
    mixtures = {m.bytes for m in allowed.model.view.mixtures[site] if m.outcome.kind is OutcomeKind.TORN}
    for k in allowed.phases:
        at = range(k, k + 1)
        some = any(allowed.fetches(site, code, at, None) for code in mixtures)
        assert some is allowed.allows([[("torn", "0")]], at, None)


@pytest.mark.parametrize(
    ("machine", "code", "torn"),
    [
        ("x86-amd", "e811527374", True),  # ascending: first old bytes, then new ones
        ("x86-amd", "e811223374", True),
        ("x86-amd", "e851523344", False),
        ("x86-buffered", "e851523344", True),
        ("x86-buffered", "e811523374", True),
        ("x86-buffered", "e811523399", False),
        ("x86-buffered-ascending", "e811527374", True),
        ("x86-buffered-ascending", "e851223344", False),
        ("x86-coherent", "e811527374", False),
    ],
)
def test_bytes_that_are_read_one_by_one_come_in_the_order_of_the_machine(machine: str, code: str, torn: bool) -> None:
    allowed = one_store(machine, "within-8")
    (site,) = allowed.model.plan.sites
    assert allowed.fetches(site, bytes.fromhex(code), range(allowed.starts[-1] + 1), None) is torn


def test_what_would_take_minutes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checker.silicon.allowed._MOST_STATES", 500)
    assert question("careful-call-to-call").allowed().states <= 500
    with pytest.raises(
        ScenarioError, match="careful-call-to-call with 3 sites has too many states to be compared with x86-l"
    ):
        question("careful-call-to-call", sites=3).allowed()


def test_before_the_first_store_only_the_old_is_allowed() -> None:
    allowed = one_store("x86-linux", "within-8")
    assert allowed.allows([[("run", "0", "call A")]], range(1), None)
    assert not allowed.allows([[("run", "0", "call B")]], range(1), None)


def test_going_back_is_told_from_not_having_gone() -> None:
    """Whole instructions from memory: nobody who ran the new runs the old; with stale fetches that is possible."""
    for machine, possible in (("x86-coherent", False), ("x86-stale-instruction", True)):
        allowed = one_store(machine, "within-8")
        during = range(allowed.starts[-1])
        assert allowed.allows([[("run", "0", "call A")]], during, (0,))
        assert allowed.allows([[("run", "0", "call A")]], during, (1,)) is possible


def test_what_is_undefined_allows_everything_from_then_on() -> None:
    allowed = question("nop-then-back", on="x86-intel-manual").allowed()
    first = next(k for k, phase in sorted(allowed.phases.items()) if phase.anything)
    assert allowed.undefined and first > 0
    assert allowed.allows([[("lost",)]], range(first, first + 1), None)
    assert not allowed.allows([[("lost",)]], range(first), None)


def test_windows_reach_from_what_was_published_to_what_may_have_been_done() -> None:
    allowed = question("careful-call-to-call").allowed()
    sync = next(k for k, o in enumerate(allowed.table.operations) if o.code == "sync")
    assert allowed.window(sync, sync) == range(allowed.starts[sync], allowed.starts[sync + 1] + 1)
    end = len(allowed.table.operations)
    assert allowed.window(end, end) == range(allowed.starts[end], allowed.starts[end] + 1)

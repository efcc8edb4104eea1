"""Programs: the composed model and the simulator of bytes break the same properties, in the same ways.

CHECK_STRATEGY_FUZZ=N draws N programs instead of the usual few.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from checker.proving import claims_of, prove_model
from checker.search import native, python
from checker.search.native import How
from checker.search.pairs import Pairs
from checker.search.result import Exploration, Limits
from models.code import RegionText
from models.flow import Flow
from models.library import bugs, scenario_of
from models.machines.views import StaleView
from models.program import Program
from models.scenario import Scenario
from models.stepping import Stepper
from models.system.errors import ModelError
from models.system.expressions import FALSE, TRUE
from models.threads import ProgramModel, Threads
from tests.checker.engines import needs_compiler
from tests.drawn_programs import Drawn, drawn
from tests.program_simulator import Large, Violation, explore

FUZZ = int(os.environ.get("CHECK_STRATEGY_FUZZ", "0"))
DRAWN = {
    "derandomize": not FUZZ,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}
FEW = 3_000  # states of the simulator, for a program that was drawn
SOME = 12_000  # and for a bug
MOST = 20_000  # states of the model
Seen = Counter[str]


def kinds(outcome: Exploration) -> set[Violation]:
    """What a search finds broken."""
    claims: list[Any] = [*(mark for mark in outcome.marks if not mark.premise), *outcome.broken]
    return {(claim.property, claim.kind) for claim in claims}


def composed(made: Drawn, seen: Seen) -> ProgramModel | None:
    try:
        return ProgramModel.of(made.program(), made.scenario())
    except ModelError as error:
        assert error.message
        seen["refused"] += 1
        return None


def compare(made: Drawn, seen: Seen) -> None:
    """The model and the simulator say the same of a program that was drawn, if both are small."""
    model = composed(made, seen)
    if model is None:
        return
    outcome = python.run(Pairs(model.system), Limits(states=MOST)).outcome
    try:
        found = explore(made.program(), made.scenario(), FEW)
    except Large:
        seen["large"] += 1
        return
    if outcome.complete:
        wanted = kinds(outcome)
        assert found == wanted, f"only simulated: {sorted(found - wanted)}, only modelled: {sorted(wanted - found)}"
        seen["compared"] += 1
        seen["broken"] += bool(wanted)


# ---- published bugs -------------------------------------------------------------------------------------------------

SIDES = [
    pytest.param(side, scenario_of(side, expect), id=f"{name}-{side.name}")
    for name, bug in bugs().items()
    for side, expect in ((bug.before, bug.found), (bug.after, bug.fixed))
    if isinstance(side, Program)
]


@pytest.mark.parametrize(("program", "scenario"), SIDES)
def test_both_sides_of_a_bug_break_what_the_simulator_breaks(program: Program, scenario: Scenario) -> None:
    for cpus in (scenario.cpus, 1):
        smaller = replace(scenario, cpus=cpus)
        try:
            found = explore(program, smaller, SOME)
        except NotImplementedError as reason:
            pytest.skip(f"not simulated: {reason}")
        except Large:
            continue
        outcome = python.run(Pairs(ProgramModel.of(program, smaller).system), Limits()).outcome
        assert found == kinds(outcome)
        return
    pytest.skip("too large for the simulator")


# ---- drawn programs -------------------------------------------------------------------------------------------------


def test_drawn_programs_break_what_the_simulator_breaks() -> None:
    seen: Seen = Counter()

    @settings(max_examples=FUZZ or 150, **DRAWN)  # type: ignore[arg-type]
    @given(drawn())
    def each(made: Drawn) -> None:
        compare(made, seen)

    each()
    assert seen["compared"] > sum(seen[why] for why in ("refused", "large"))
    assert seen["broken"] > seen["compared"] // 10


@needs_compiler
def test_engines_agree_on_drawn_programs() -> None:
    seen: Seen = Counter()

    @settings(max_examples=FUZZ or 40, **DRAWN)  # type: ignore[arg-type]
    @given(drawn())
    def each(made: Drawn) -> None:
        model = composed(made, seen)
        if model is None:
            return
        wanted = python.run(Pairs(model.system), Limits(states=MOST)).outcome
        if not wanted.complete:
            return
        for how in (How(1, False), How(2, False), How(1, True), How(2, True)):
            run = native.run(Pairs(model.system), how, Limits(states=4 * MOST))
            found = run.outcome
            assert (found.states, found.transitions, found.fired) == (wanted.states, wanted.transitions, wanted.fired)
            assert set(found.marks) == set(wanted.marks) and set(found.broken) == set(wanted.broken)
            run.close()
        seen["searched"] += 1

    each()
    assert seen["searched"] > seen["refused"]


def test_what_is_proved_of_a_drawn_program_is_not_violated() -> None:
    seen: Seen = Counter()

    @settings(max_examples=FUZZ or 12, **DRAWN)  # type: ignore[arg-type]
    @given(drawn())
    def each(made: Drawn) -> None:
        model = composed(replace(made, cpus=1), seen)
        if model is None or len(model.system.variables) > 20:
            return
        tried = prove_model(model).tried
        proof = tried.proof if tried else None
        if proof is None:
            return
        proved = set(map(id, proof.claims))
        for cpus in (1, 2, 3):
            system = model.system.resized(dict.fromkeys(model.system.components, cpus))
            outcome = python.run(Pairs(system), Limits(states=MOST)).outcome
            broken = {id(claim) for claim in (*outcome.marks, *outcome.broken)}
            wrong = [c for c in claims_of(model.system) if id(c) in proved & broken]
            assert not wrong, f"proved, but broken with {cpus}: {wrong[0].property}/{wrong[0].kind}"
        seen["proofs"] += 1

    each()
    assert seen["proofs"]


# ---- what was found ---------------------------------------------------------------------------------------------------

STORE_TWICE = (("store", "x", 1), ("store", "x", 0))
NOOP = ("store", "n", 1)
RUN = ("execute", (), (), 0, None)
FOUND = {
    "who begins in code is in it": Drawn(
        cpu=(("inside", (("store", "x", 0),)), ("store", "x", 0)), singles=((("free", "stub"),),)
    ),
    "a note reads what its step has set": Drawn(
        cpu=(NOOP, ("check", "~g", 0)), singles=((("store", "x", 1), ("note", "x")),)
    ),
    "a check sees the notes before it": Drawn(cpu=(("store", "r", 1), ("note", 1), ("check", "~g", 0))),
    "a check does not see the notes behind it": Drawn(cpu=(("store", "r", 1), ("check", "~g", 0), ("note", 1))),
    "the last of two notes counts": Drawn(cpu=(("store", "r", 1), ("note", 1), ("note", 0), ("check", "~g", 0))),
    "a step may stand in two places": Drawn(cpu=(("choose", (RUN,), (RUN, ("fail", 1))),), shared=True),
    "two interrupts have two handlers": Drawn(
        cpu=(NOOP, ("check", "~g", 0)),
        singles=((("interrupt", (("answer",),), False), ("interrupt", (("answer",), ("note", 1)), False)),),
    ),
}


@pytest.mark.parametrize("made", FOUND.values(), ids=list(FOUND))
def test_what_was_found(made: Drawn) -> None:
    seen: Seen = Counter()
    compare(made, seen)
    assert seen["compared"]


@pytest.mark.xfail(strict=True, reason="the model lets the store that is done last win whole, in every unit")
def test_two_threads_that_store_to_the_same_bytes_may_leave_a_mixture() -> None:
    both = (("write", 0, 3, "new"), ("store", "x", 1)), (("write", 0, 3, "old"), ("store", "n", 1))
    compare(Drawn(cpu=(("await", "x&n=1"), ("serialise",), RUN), singles=both), Counter())


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (Drawn(cpu=(NOOP,), singles=((("inside", STORE_TWICE),),)), "Inside: only for"),
        (Drawn(cpu=(NOOP,), singles=((*STORE_TWICE, ("note", 1), ("check", "~g", 0)),)), "Check: only for"),
        (
            Drawn(cpu=(NOOP,), singles=((("interrupt", (("inside", STORE_TWICE), ("answer",)), False),),)),
            "Inside: only for",
        ),
        (
            Drawn(cpu=(NOOP,), singles=((("interrupt", (("sync",), ("answer",)), False),),)),
            "cannot store to code or sync",
        ),
    ],
)
def test_what_nothing_would_come_of_is_refused(made: Drawn, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        ProgramModel.of(made.program(), made.scenario())


# ---- a comparison has to be able to fail ------------------------------------------------------------------------------

ARM = {"layout": "arm word", "machine": "arm64-dic0,havoc=off"}
GONE = (("write", 0, 4, "new"), ("maintain",), ("sync",), ("note", 1))


def reversed_order(flow: Flow, left: Any, after: Any, context: Any, known: Any) -> Any:
    return flow.sequence(left, after, context)


FAULTS: dict[str, tuple[type, str, Any, Drawn]] = {
    "caches forget stores": (
        StaleView,
        "cached",
        lambda view, changed: [],
        Drawn(
            cpu=(("execute", (), (("check", "~g", 0),), 0, None),),
            singles=((("write", 0, 4, "new"), ("sync",), ("note", 1)),),
            **ARM,  # type: ignore[arg-type]
        ),
    ),
    "maintenance does nothing": (
        StaleView,
        "maintained",
        lambda view, granules: [],
        Drawn(cpu=(("execute", (("check", "~g", 0),), (), 0, None),), singles=(GONE,), **ARM),  # type: ignore[arg-type]
    ),
    "serialising does nothing": (
        StaleView,
        "serialised",
        lambda view: [],
        Drawn(cpu=(("execute", (("check", "~g", 0),), (), 0, None),), singles=(GONE,), **ARM),  # type: ignore[arg-type]
    ),
    "who is preempted goes on": (
        Threads,
        "free",
        property(lambda threads: TRUE),
        Drawn(
            cpu=(NOOP, NOOP, ("section", (("store", "r", "x"), NOOP, ("check", "~g|r", 0)))),
            singles=((("store", "x", 1), ("readers",), ("note", 1)),),
            preempt=True,
        ),
    ),
    "any order is one order": (
        Flow,
        "any_order",
        reversed_order,
        Drawn(
            cpu=(("if", "x", (("if", "n=1", (), (("fail", 1),)),), ()),),
            singles=((("any", ("store", "n", 1), ("store", "x", 1)),),),
        ),
    ),
    "every run is whole": (
        RegionText,
        "consistent",
        lambda text, piece, live: live,
        Drawn(cpu=(RUN,), singles=((("write", 0, 8, "new"),),), layout="risc pair", machine="riscv-ziccif"),
    ),
    "notes are lost": (
        Threads,
        "_noted",
        lambda threads, target, effects: effects,
        Drawn(cpu=(NOOP, ("store", "x", 1), ("check", "~g", 0)), singles=((("store", "n", 1), ("note", 1)),)),
    ),
    "a run begins with one version": (
        RegionText,
        "at",
        lambda text, start: frozenset([next(iter(text.versions))]),
        Drawn(
            cpu=(("execute", (), (), 1, None),),
            singles=((("write", 1, 3, "new"), ("sync",)),),
            layout="x86 tail",
            machine="x86-linux",
        ),
    ),
    "every store is defined": (
        Stepper,
        "undefined",
        lambda stepper, text, step: FALSE,
        Drawn(cpu=(RUN,), singles=((("write", 0, 4, "new"),),), layout="arm mov", machine="arm64-dic0"),
    ),
    "a stopper starts anywhere": (
        Threads,
        "_interruptible",
        lambda threads, lane: TRUE,
        Drawn(
            cpu=(("store", "r", 1), ("store", "r", 0), ("check", "~g", 0)),
            singles=((("interrupt", (("if", "r", (("note", 1),), ()), ("answer",)), True),),),
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, wrong, made = FAULTS[fault]
    seen: Seen = Counter()
    compare(made, seen)
    assert seen["compared"]
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError, match=r"only simulated|only modelled"):
        compare(made, seen)

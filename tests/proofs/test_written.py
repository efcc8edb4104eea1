"""Claims: the invariants written for people are inductive, imply what holds, and contain nothing that is not needed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from models.compose import StrategyModel, compose
from models.library import load, scenario_of, shipped
from models.machines.fetch import PRESETS
from models.protocol import Expect
from models.scenario import Scenario
from models.system.evaluate import Evaluator, State
from proofs.induction import Escape
from proofs.invariants import written
from proofs.lemma import Invariant
from proofs.progress import obligations
from proofs.prove import Failure, Proof, discharge, prove
from proofs.vocabulary import Words
from tests.proofs.claims import composed, holding, ranking

STRATEGIES = sorted(shipped())
DEFAULT = Scenario(cpus=1)
SOME = ("careful-call-to-call", "text-poke-batch-frees")
KEPT = [(name, e) for name, strategy in shipped().items() for e in strategy.expects if not e.violated]

ELSEWHERE = {
    "1 site": Scenario(sites=1),
    "3 sites": Scenario(sites=3),
    "nop:call": Scenario(transition="nop:call"),
    "call:nop": Scenario(transition="call:nop"),
    "2 rounds": Scenario(rounds=2, sites=2),
    "2 rounds from nop": Scenario(rounds=2, sites=1, transition="nop:call"),
    "preempt": Scenario(preempt=True),
    "nmi": Scenario(nmi=True),
    "conservative": Scenario(machine=PRESETS["x86-conservative"], sites=1),
    "buffered": Scenario(machine=PRESETS["x86-buffered"], sites=1),
    "amd": Scenario(machine=PRESETS["x86-amd"], sites=1),
    "coherent": Scenario(machine=PRESETS["x86-coherent"], sites=1),
}


def invariant_of(model: StrategyModel) -> Invariant:
    """The written invariant, which must be there."""
    found = written(model)
    assert found is not None
    return found


def proved(model: StrategyModel) -> Proof | Failure:
    """What comes of proving what holds of `model` by what was written for it."""
    _, claims = holding(model.system)
    return prove(model.system, invariant_of(model), claims)


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_written_proves_what_holds(name: str) -> None:
    model = composed(name, DEFAULT)
    _, claims = holding(model.system)
    assert claims
    assert isinstance(proved(model), Proof)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_lemma_is_needed(name: str) -> None:
    """For a property, or to show that the patcher finishes."""
    model = composed(name, DEFAULT)
    _, claims = holding(model.system)
    invariant, found = invariant_of(model), ranking(name, DEFAULT)
    for lemma in invariant.lemmas:
        rest = invariant.without(lemma)
        failure: Failure | Proof | None = prove(model.system, rest, claims)
        if isinstance(failure, Proof) and found is not None:
            failure = discharge(model.system, list(obligations(model.system, rest, found)))
        assert isinstance(failure, Escape), lemma.name


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_written_shows_that_the_patcher_finishes(name: str) -> None:
    model, found = composed(name, DEFAULT), ranking(name, DEFAULT)
    if found is None:
        pytest.skip("it does not")
    assert discharge(model.system, list(obligations(model.system, invariant_of(model), found))) is None


@pytest.mark.parametrize("name", STRATEGIES)
def test_lemmas_have_names_and_one_sentence(name: str) -> None:
    invariant = invariant_of(composed(name, DEFAULT))
    names = [lemma.name for lemma in invariant.lemmas]
    assert len(set(names)) == len(names)
    for lemma in invariant.lemmas:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", lemma.name)
        assert re.fullmatch(r"[A-Z][^.]*\.", lemma.says), lemma.says


@pytest.mark.parametrize("name", SOME)
def test_the_evaluator_finds_every_lemma_in_every_reachable_row(name: str) -> None:
    model = composed(name, DEFAULT)
    evaluator, width = Evaluator(model.system), len(model.system.globals)
    (rows,) = holding(model.system)[0].values()
    lemmas = invariant_of(model).lemmas
    for row in rows:
        state = State(row[:width], (row[width:],))
        for lemma in lemmas:
            assert evaluator.value(lemma.holds, state, 0), (lemma.name, state)


@pytest.mark.parametrize("circumstances", ELSEWHERE)
@pytest.mark.parametrize("name", SOME)
def test_the_argument_is_the_same_elsewhere(name: str, circumstances: str) -> None:
    assert isinstance(proved(composed(name, replace(ELSEWHERE[circumstances], cpus=1))), Proof)


@pytest.mark.parametrize(("name", "expect"), KEPT, ids=[f"{name}-{i}" for i, (name, _) in enumerate(KEPT)])
def test_every_expectation_without_violations_is_proved(name: str, expect: Expect) -> None:
    assert isinstance(proved(composed(name, replace(scenario_of(load(name), expect), cpus=1))), Proof)


@pytest.mark.parametrize("name", ["careful-call-to-call", "text-poke-batch-to-probe", "batched-stubs", "stop-machine"])
def test_nothing_is_proved_of_a_strategy_that_a_missing_step_breaks(name: str) -> None:
    _, kept = holding(composed(name, DEFAULT).system)
    broken = 0
    for label in composed(name, DEFAULT).plan.labels:
        system = (model := composed(name, replace(DEFAULT, without=frozenset({label})))).system
        every = [mark for _, mark in system.marks() if not mark.premise] + list(system.invariants)
        if len(holding(system)[1]) < len(every):
            broken += 1
            assert not isinstance(prove(system, invariant_of(model), every), Proof), label
    assert broken and kept


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_vocabulary_dates_steps_as_the_patcher_takes_them(name: str) -> None:
    words = Words(composed(name, DEFAULT))
    taken = [words.moves[move].where for span in words.spans for move in range(span.first, span.last + 1)]
    steps = [span.planned.step.where for span in words.spans for _ in range(span.first, span.last + 1)]
    assert taken == steps
    assert len(taken) + words.plan.rounds == len(words.moves)


def test_nothing_is_written_for_other_strategies() -> None:
    strategy = replace(load("careful-call-to-call"), name="mine")
    assert written(compose(strategy, DEFAULT)) is None

"""Claims: a ranking that is damaged is refused, each condition refuses a lie, and what only `rank` sees to is known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from random import Random

import pytest

from models.system.expressions import BOOL, both, either, every, read
from models.system.system import Builder, Fairness, Progress, TransitionSystem
from models.system.visitor import each
from proofs import progress
from proofs.induction import Escape, Obligation, Unanswered
from proofs.lemma import Invariant, Lemma
from proofs.progress import obligations
from proofs.prove import Proof, discharge, prove
from proofs.ranking import Layer, Ranking, Wait
from tests.checker.reference import survey
from tests.proofs.test_progress import LIES, RIGHT, going_back, halting, shut, stray, violated
from tests.proofs.waits import (
    ACKNOWLEDGE,
    HANDLER,
    NONE,
    PATCHER,
    TASK,
    Waiting,
    finishes,
    is_proved,
    one,
    tried,
    waiting,
)

# ---- damaged rankings -----------------------------------------------------------------------------------------------


@cache
def everything(system: TransitionSystem) -> Invariant:
    """The strongest invariant: an instance is in one of its reachable rows."""
    lemmas = []
    for (component,), rows in one(system).rows.items():
        variables = (*system.globals, *system.locals(component))
        known = [both(*(read(v) == value for v, value in zip(variables, row, strict=True))) for row in sorted(rows)]
        lemmas.append(Lemma(f"rows of {component.name}", "", either(*known), (component,)))
    invariant = Invariant(tuple(lemmas), "written", 1)
    assert isinstance(prove(system, invariant, []), Proof)
    return invariant


def refusal(system: TransitionSystem, ranking: Ranking) -> Escape | Unanswered | None:
    """Which condition of a ranking fails, the invariant being as strong as can be."""
    return discharge(system, list(obligations(system, everything(system), ranking)))


def asked(failure: Escape | Unanswered | None) -> str:
    assert isinstance(failure, Escape)
    return str(failure.question)


def ranking_of(system: TransitionSystem) -> Ranking:
    proof = tried(system).proof
    assert proof is not None and proof.ranking is not None
    assert refusal(system, proof.ranking) is None
    return proof.ranking


def with_layers(ranking: Ranking, *layers: Layer) -> Ranking:
    """The same ranking, with other layers for the only component that is waited for."""
    (wait,) = ranking.waits
    (component,) = wait.layers
    return replace(ranking, waits=(replace(wait, layers={component: layers}),))


def layers_of(ranking: Ranking) -> tuple[Layer, ...]:
    (wait,) = ranking.waits
    (layers,) = wait.layers.values()
    return layers


@pytest.mark.parametrize("name", RIGHT)
def test_a_ranking_without_one_of_its_layers_is_refused(name: str) -> None:
    ranking = ranking_of(RIGHT[name])
    for gone in layers_of(ranking):
        rest = tuple(layer for layer in layers_of(ranking) if layer is not gone)
        assert refusal(RIGHT[name], with_layers(ranking, *rest)) is not None


@pytest.mark.parametrize("name", RIGHT)
def test_a_ranking_with_another_helper_is_refused(name: str) -> None:
    ranking = ranking_of(RIGHT[name])
    for changed in layers_of(ranking):
        for helper in {TASK, ACKNOWLEDGE, HANDLER} - {changed.helper}:
            worse = (replace(layer, helper=helper) if layer is changed else layer for layer in layers_of(ranking))
            failure = refusal(RIGHT[name], with_layers(ranking, *worse))
            assert "some fair step helps" in asked(failure) or "leads nearer" in asked(failure)


def test_a_layer_that_is_also_left_away_from_consent_is_not_left_by_every_step() -> None:
    system = RIGHT["enabled again and again"]
    ranking = ranking_of(system)
    first, *rest = layers_of(ranking)
    assert not first.alone
    failure = refusal(system, with_layers(ranking, replace(first, alone=True), *rest))
    assert "every step leads nearer" in asked(failure)


def test_a_stage_does_not_reach_further_than_it_does() -> None:
    """Nor does it end earlier, where steps lead further."""
    system = RIGHT["a stage"]
    ranking = ranking_of(system)
    layers = layers_of(ranking)
    ends = {layer.until for layer in layers}
    assert len(ends) == 2 and None in ends
    longer = with_layers(ranking, *(replace(layer, until=None) for layer in layers))
    assert "leads nearer" in asked(refusal(system, longer))
    shorter = with_layers(ranking, *(replace(layer, until=layer.number) for layer in layers))
    assert "leads further" in asked(refusal(system, shorter))


@pytest.mark.parametrize("name", RIGHT)
def test_a_wait_that_is_forgotten_is_refused(name: str) -> None:
    failure = refusal(RIGHT[name], replace(ranking_of(RIGHT[name]), waits=()))
    assert "no cpu holds up" in asked(failure)


@pytest.mark.parametrize("name", RIGHT)
def test_a_goal_that_is_none_is_refused(name: str) -> None:
    ranking = ranking_of(RIGHT[name])
    for position in ranking.onward:
        onward = {p: action for p, action in ranking.onward.items() if p != position}
        fewer = replace(ranking, goals=(*ranking.goals, position), onward=onward)
        assert "a next step, or is done" in asked(refusal(RIGHT[name], fewer))


@pytest.mark.parametrize("name", [name for name, system in RIGHT.items() if len(system.actions) > 4])
def test_the_order_of_layers_matters(name: str) -> None:
    ranking = ranking_of(RIGHT[name])
    layers = layers_of(ranking)
    last = max(layer.number for layer in layers)
    assert last > 0
    turned = (replace(layer, number=last - layer.number, until=None) for layer in layers)
    assert refusal(RIGHT[name], with_layers(ranking, *turned)) is not None


# ---- no ranking at all proves a lie ---------------------------------------------------------------------------------

BEYOND = ("CPUs open and shut",)  # where instances write shared values, no ranking is to be made


def made_up(system: TransitionSystem, r: Random) -> Ranking:
    """A ranking of a hand-made system that claims anything: which fair step, which layers, which stages."""
    at, place = system.variables[0], system.variables[1]
    steps = [a for a in system.actions if a.actor is None]
    positions = range(len(getattr(at.type, "labels", ())) - 1)
    onward = {p: r.choice(steps) if r.random() < 0.1 else steps[min(p, len(steps) - 1)] for p in positions}
    component, *others = system.components
    waits = []
    for position in positions:
        rank = {p: r.randrange(3) for p in (1, 2, 3)}
        ends = r.choice([{}, {}, {0: 0}, {1: 1}, {0: 1, 1: 1}, {1: 2, 2: 2}])
        layers = tuple(
            Layer(n, ends.get(n), r.choice((TASK, ACKNOWLEDGE)), r.random() < 0.3, read(place) == p)
            for p, n in rank.items()
        )
        if position or r.random() < 0.5:
            waits.append(Wait(position, onward[position], {component: layers, **dict.fromkeys(others, ())}))
    return Ranking(at, (len(positions),), onward, tuple(waits))


@pytest.mark.parametrize("name", [name for name in LIES if name not in BEYOND])
def test_no_made_up_ranking_proves_a_lie(name: str) -> None:
    assert not any(refusal(LIES[name], made_up(LIES[name], Random(seed))) is None for seed in range(6))


def claimed(system: TransitionSystem, *layers: tuple[int, int | None, Fairness, str]) -> Ranking:
    """What somebody might claim who looks at the patcher's list of steps: layers by place, at its wait."""
    at, place = system.variables[0], system.variables[1]
    patcher = {a.name: a for a in system.actions if a.actor is None}
    onward = dict(enumerate(patcher[name] for name in ("ask", "wait", "back") if name in patcher))
    found = tuple(Layer(n, until, helper, False, read(place) == where) for n, until, helper, where in layers)
    wait = Wait(1, patcher["wait"], {system.components[0]: found})
    return Ranking(at, (), onward, (wait,))


def away_and_back() -> TransitionSystem:
    """A kind leads from the first stage to where a kind leads back."""
    return waiting("out of the stage, the wrong way", (ACKNOWLEDGE, "busy", ("lost",)), (TASK, "lost", ("busy",)))


SIMPLE = (0, None, TASK, "busy")
DAMAGES = {  # what is asked, and a lie with the ranking that only this question refuses
    "a next step, or is done": (stray, (SIMPLE,)),
    "goes forward": (going_back, (SIMPLE,)),
    "no cpu holds up": (lambda: LIES["only what need not happen helps"], ()),
    "keeps allowing it": (lambda: LIES["consent is taken back"], (SIMPLE,)),
    "some fair step helps": (lambda: LIES["only what need not happen helps"], (SIMPLE,)),
    "leads nearer": (
        lambda: LIES["a helpful kind may also lead away"],
        (SIMPLE, (1, None, TASK, "away")),
    ),
    "leads further": (away_and_back, ((0, 0, ACKNOWLEDGE, "busy"), (1, None, TASK, "lost"))),
}


def without(monkeypatch: pytest.MonkeyPatch, question: str) -> None:
    """From now on, one kind of question is not asked."""
    every_one = progress._Checks.all

    def fewer(self: progress._Checks) -> Iterator[Obligation]:
        return (o for o in every_one(self) if not any(re.search(question, str(q)) for q in o.questions))

    monkeypatch.setattr(progress._Checks, "all", fewer)


@pytest.mark.parametrize("question", DAMAGES)
def test_each_kind_of_condition_refuses_a_lie_that_no_other_does(
    question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, layers = DAMAGES[question]
    system = make()
    assert violated(system)
    ranking = claimed(system, *layers)
    assert question in asked(refusal(system, ranking))
    without(monkeypatch, question)
    assert refusal(system, ranking) is None


def test_what_is_shared_is_asked_of_every_instance_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the question about shared conditions alone matters only where there is no instance at all."""
    system = shut(False)
    assert "nothing shared holds up" in asked(refusal(system, claimed(system, SIMPLE)))
    without(monkeypatch, "nothing shared holds up")
    assert "some fair step helps" in asked(refusal(system, claimed(system, SIMPLE)))
    assert not any(refusal(system, made_up(system, Random(seed))) is None for seed in range(6))


def test_that_nothing_halts_is_needed_for_more_than_the_search_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that halts reaches no goal; the search leaves such runs to the property that is broken there."""
    system = halting()
    found = survey(system)
    ends = [state for state in found.edges if found.evaluator.halted(state)]
    assert ends and not any(found.is_goal(state) for state in ends) and finishes(system, 1)
    ranking = claimed(system, SIMPLE)
    assert "nothing halts" in asked(refusal(system, ranking))
    without(monkeypatch, "nothing halts")
    assert refusal(system, ranking) is None


# ---- known holes: what only `rank` sees to, and no condition asks ---------------------------------------------------


def believed(system: TransitionSystem, ranking: Ranking) -> bool:
    """Whether a wrong ranking passes all conditions."""
    if not violated(system):
        raise ValueError(f"{system.name} is no lie")
    return refusal(system, ranking) is None


def test_a_helper_that_is_not_fair_is_refused() -> None:
    system = LIES["only what need not happen helps"]
    assert not believed(system, claimed(system, (0, None, NONE, "busy")))


def test_a_step_onward_that_is_not_fair_is_refused() -> None:
    system = LIES["the patcher need not go on"]
    assert not believed(system, claimed(system, SIMPLE))


def test_stages_that_overlap_are_refused() -> None:
    """Each layer keeps the rules of its own stage, and a fair run goes round through all three."""
    system = waiting(
        "overlapping",
        (NONE, "busy", ("away",)),
        (TASK, "busy", ("ready",)),
        (ACKNOWLEDGE, "away", ("busy",)),
        (NONE, "away", ("lost",)),
        (TASK, "lost", ("busy",)),
    )
    layers = ((0, 1, TASK, "busy"), (1, 2, ACKNOWLEDGE, "away"), (2, None, TASK, "lost"))
    assert not believed(system, claimed(system, *layers))


def test_a_ranking_of_instances_that_hinder_each_other_is_refused() -> None:
    """Each turns a switch to its own side, and so away from the others'."""
    w = Waiting("a switch with two sides", [])
    switch, side = w.b.variable("switch", BOOL, 0), w.b.variable("side", BOOL, 0, w.cpu)
    w.b.action("choose", actor=w.cpu, guard=w.at == "ask", effects=[(side, ~side)], says="", fairness=NONE)
    w.b.action("turn", actor=w.cpu, guard=~(side == switch), effects=[(switch, side)], says="", fairness=TASK)
    w.patcher("wait", "wait", "done", every(w.cpu, each(side) == switch))
    system = w.system(waits=False)
    ranking = with_layers(claimed(system), Layer(0, None, TASK, False, ~(side == switch)))
    assert not believed(system, ranking)


def test_a_shared_condition_that_always_holds_holds_nothing_up() -> None:
    assert is_proved(shut(True))


def test_the_patcher_may_have_two_positions_only() -> None:
    b = Builder("two positions")
    cpu = b.component("cpu", 1)
    done, up = b.variable("done", BOOL, 0), b.variable("up", BOOL, 0, cpu)
    b.action("rise", actor=cpu, guard=~up, effects=[(up, 1)], says="", fairness=TASK)
    b.action("end", guard=~done & every(cpu, each(up)), effects=[(done, 1)], says="", fairness=PATCHER)
    b.progress = Progress("completes", done, "it does not finish")
    assert is_proved(b.build())

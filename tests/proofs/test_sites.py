"""Claims: what is proved of a few sites holds with more, and strategies that do not treat sites alike are objected to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import pytest
import z3

from checker.proving import One, claims_of, prove_sites
from checker.search.pairs import Pairs
from checker.verdict import CheckResult, check
from models.compose import StrategyModel, compose
from models.library import load
from models.protocol import (
    TRAP,
    Claim,
    Release,
    ResumeMachine,
    Site,
    Step,
    StopMachine,
    Strategy,
    Sync,
    Write,
    emulate_new,
)
from models.scenario import Scenario
from models.skeletons import int3_update
from models.system.evaluate import Evaluator, State
from proofs import sites as module
from proofs.cubes import Cube, Row
from proofs.induction import Conditions, Escape
from proofs.infer import learn
from proofs.lemma import Invariant, Lemma
from proofs.prove import Failure, Proof, prove
from proofs.sites import MOST, SiteOracle, enough, objection, search_conditions, search_is_right

SMALL = ("stop-machine", "nop-then-back", "careful-call-to-call")
SMALLEST = Scenario(cpus=1, sites=1)
Said = dict[int, list[str]]  # a cube by the names of the classes, which are the same whatever the number of sites

# ---- strategies that do not treat sites alike -----------------------------------------------------------------------


def alike(sites: Sequence[Site]) -> Iterator[Step]:
    yield from int3_update(sites, emulate_new)


def skips_the_last_sites_sync(sites: Sequence[Site]) -> Iterator[Step]:
    yield Claim(emulate_new, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP)
        if site is not sites[-1]:
            yield Sync()
    yield Release()


def writes_only_the_first(sites: Sequence[Site]) -> Iterator[Step]:
    yield Claim(emulate_new, sites)
    yield Write(sites[0].first_byte, TRAP)
    yield Sync()
    yield Release()


def claims_only_the_first(sites: Sequence[Site]) -> Iterator[Step]:
    yield from (Claim(emulate_new, sites[:1]) if isinstance(s, Claim) else s for s in alike(sites))


def turns_the_table_of_three(sites: Sequence[Site]) -> Iterator[Step]:
    order = sites[::-1] if len(sites) == 3 else sites
    yield from (Claim(emulate_new, order) if isinstance(s, Claim) else s for s in alike(sites))


def turns_every_table(sites: Sequence[Site]) -> Iterator[Step]:
    yield from (Claim(emulate_new, sites[::-1]) if isinstance(s, Claim) else s for s in alike(sites))


def labels_one_otherwise(sites: Sequence[Site]) -> Iterator[Step]:
    yield Claim(emulate_new, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP, label="other" if site.index == 2 else "trap")
    yield Sync()
    yield Release()


def syncs_once_more_for_four(sites: Sequence[Site]) -> Iterator[Step]:
    yield from alike(sites)
    if len(sites) == 4:
        yield Sync()


def does_not_stop_for_many(sites: Sequence[Site]) -> Iterator[Step]:
    """More sites than are compared."""
    stops = len(sites) <= MOST
    yield from [StopMachine()] if stops else []
    for site in sites:
        yield Write(site.whole, site.new)
    yield from [ResumeMachine()] if stops else []


UNLIKE = (
    skips_the_last_sites_sync,
    writes_only_the_first,
    claims_only_the_first,
    turns_the_table_of_three,
    turns_every_table,
    labels_one_otherwise,
    syncs_once_more_for_four,
)


def strategy(steps: Callable[[Sequence[Site]], Iterator[Step]]) -> Strategy:
    return Strategy(steps.__name__.replace("_", "-"), "of these tests", "these tests", steps)


@pytest.mark.parametrize("steps", UNLIKE)
def test_a_strategy_that_does_not_treat_sites_alike_is_objected_to(
    steps: Callable[[Sequence[Site]], Iterator[Step]],
) -> None:
    mine = strategy(steps)
    against = objection(mine, Scenario())
    assert against
    result = check(mine, SMALLEST)
    found = prove_sites(result.model, result.exploration)
    assert found.proof is None and found.reason == against


@pytest.mark.parametrize("name", SMALL)
def test_nothing_speaks_against_strategies_that_do(name: str) -> None:
    assert not objection(load(name), Scenario())
    assert not objection(strategy(alike), Scenario(rounds=2))


def test_what_is_done_with_more_sites_than_are_compared_is_assumed() -> None:
    """And said: such a strategy is proved for any number, though with so many it does something else."""
    mine = strategy(does_not_stop_for_many)
    assert not objection(mine, Scenario())
    one = check(mine, SMALLEST)
    found = prove_sites(one.model, one.exploration)
    assert found.proof is not None
    assert f"assumed: more than {MOST} sites are treated as up to {MOST} are" in found.says
    many = One(Pairs(compose(mine, Scenario(cpus=1, sites=MOST + 1)).system))
    assert "no-torn-instruction" in {
        claim.property for claim in claims_of(many.pairs.system) if id(claim) in many.broken
    }


# ---- the handler's search -------------------------------------------------------------------------------------------

LOW, HIGH, THERE = z3.Ints("low high there")
MIDDLE = (LOW + HIGH) / 2
TABLE = z3.Function("table", z3.IntSort(), z3.IntSort())
RISING = z3.And(*(z3.Implies(a < b, TABLE(a) < TABLE(b)) for a in (MIDDLE, THERE) for b in (MIDDLE, THERE)))


def refuted(old: z3.ExprRef, new: z3.ExprRef) -> set[str]:
    """The conditions of the search that are wrong when one part of them is another; the part has to be there."""
    found, changed = set(), False
    for says, condition in search_conditions():
        other = z3.substitute(condition, (old, new))
        changed = changed or not other.eq(condition)
        solver = z3.Solver()
        solver.add(z3.Not(other))
        if solver.check() == z3.sat:
            found.add(says)
    assert changed
    return found


def test_the_search_is_right() -> None:
    assert search_is_right()
    assert not refuted(MIDDLE, MIDDLE + 0)


def test_a_table_that_does_not_rise_loses_the_key() -> None:
    assert refuted(RISING, z3.BoolVal(True)) == {"going up keeps the key", "going down keeps the key"}


def test_to_look_at_the_end_is_to_look_outside_and_not_to_come_nearer() -> None:
    assert refuted(MIDDLE, HIGH) == {"it looks inside", "the rest gets shorter"}


def test_a_key_that_is_not_between_is_not_kept() -> None:
    assert "the search goes on while the key may be there" in refuted(LOW <= THERE, z3.BoolVal(True))
    assert "the search goes on while the key may be there" in refuted(THERE < HIGH, z3.BoolVal(True))


def test_a_wrong_condition_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for k, (says, condition) in enumerate(search_conditions()):
        wrong = [*search_conditions()]
        wrong[k] = (says, z3.Not(condition))
        monkeypatch.setattr(module, "search_conditions", lambda wrong=wrong: wrong)
        assert not search_is_right()
        monkeypatch.undo()


# ---- more sites -----------------------------------------------------------------------------------------------------


class Recorder(SiteOracle):
    """Remembers what it teaches in words that mean something with any number of sites."""

    def __init__(self, model: StrategyModel, rows: set[Row]) -> None:
        super().__init__(model, rows)
        self.said: dict[str, Said] = {}

    def lemma(self, cube: Cube, number: int) -> Lemma:
        made = super().lemma(cube, number)
        words = self.words.words
        self.said[made.name] = {i: [words[i].classes[k] for k in classes] for i, classes in cube.items()}
        return made


@cache
def instance(name: str, sites: int) -> tuple[StrategyModel, One]:
    model = compose(load(name), Scenario(cpus=1, sites=sites))
    return model, One(Pairs(model.system))


def rows_of(one: One) -> set[Row]:
    return {row for rows in one.rows.values() for row in rows}


def learn_of(name: str, sites: int) -> tuple[Said, ...]:
    """The lemmas about one site by which an instance with so many is proved."""
    model, one = instance(name, sites)
    claims = [claim for claim in claims_of(model.system) if id(claim) not in one.broken]
    oracle = Recorder(model, rows_of(one))
    invariant = learn(Conditions(model.system, Invariant((), "found", 1), claims), oracle)
    assert isinstance(prove(model.system, invariant, claims), Proof)
    return tuple(oracle.said[lemma.name] for lemma in invariant.lemmas)


learned = cache(learn_of)


class Larger:
    """The same lemmas, read for more sites."""

    def __init__(self, name: str, known: Sequence[Said], sites: int) -> None:
        self.model, self.one = instance(name, sites)
        self.oracle = SiteOracle(self.model, rows_of(self.one))
        words = self.oracle.words.words
        self.cubes = [
            {i: [words[i].classes.index(k) for k in classes if k in words[i].classes] for i, classes in said.items()}
            for said in known
        ]
        self.lemmas = [self.oracle.lemma(cube, number) for number, cube in enumerate(self.cubes)]

    def wrong(self) -> list[Lemma]:
        """The lemmas that some site sees broken in some reachable row."""
        seen = self.oracle.cubes.rows
        pairs = zip(self.lemmas, self.cubes, strict=True)
        return [l for l, cube in pairs if any(all(row[i] in found for i, found in cube.items()) for row in seen)]

    def proved(self) -> Proof | Failure:
        claims = [claim for claim in claims_of(self.model.system) if id(claim) not in self.one.broken]
        return prove(self.model.system, Invariant(tuple(self.lemmas), "found", 1), claims)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_what_is_proved_with_enough_sites_holds_and_is_inductive_with_one_more(name: str) -> None:
    model, _ = instance(name, 1)
    sites = enough(model)
    larger = Larger(name, learned(name, sites), sites + 1)
    assert not larger.wrong()
    assert isinstance(larger.proved(), Proof)


def test_the_evaluator_finds_the_lemmas_in_every_row_of_a_larger_instance() -> None:
    name = "stop-machine"
    sites = enough(instance(name, 1)[0])
    larger = Larger(name, learned(name, sites), sites + 1)
    evaluator, width = Evaluator(larger.model.system), len(larger.model.system.globals)
    for row in rows_of(larger.one):
        state = State(row[:width], (row[width:],))
        assert all(evaluator.value(lemma.holds, state, 0) for lemma in larger.lemmas)


def test_two_sites_are_not_enough() -> None:
    """What comes before a site is then the first of all, which nothing comes before: of three that is not even true."""
    name, early = "stop-machine", "store before begins"
    first_of_all = Larger(name, learned(name, 2), 2)
    words = first_of_all.oracle.words.words
    numbers = {word.variables[0].name: i for i, word in enumerate(words)}
    more: Said = {numbers["begun"]: ["1"], numbers["patcher"]: ["stop request", "stop wait", early]}
    assert isinstance(Larger(name, (*learned(name, 2), more), 2).proved(), Proof)
    larger = Larger(name, (*learned(name, 2), more), 3)
    assert larger.lemmas[-1] in larger.wrong()
    assert isinstance(larger.proved(), Escape)


def test_a_lemma_that_tells_other_sites_apart_says_nothing_of_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """“At site 0” is not “before here”: what is learned in such words does not speak of a site more."""

    def numbered(label: str, site: int) -> str:
        return re.sub(r"^\d+ ", "", label).replace(f"site {site}", "here")

    monkeypatch.setattr(module, "_class", numbered)
    larger = Larger("stop-machine", learn_of("stop-machine", 2), 3)
    assert larger.wrong() or isinstance(larger.proved(), Escape)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_small_strategies_are_proved_for_any_number_of_sites(name: str) -> None:
    result = check(name, SMALLEST)
    found = prove_sites(result.model, result.exploration)
    assert found.proof is not None and not found.reason
    assert len(found.proof.invariant.lemmas) > 1


@pytest.mark.slow
def test_what_a_missing_sync_breaks_is_proved_of_no_number_of_sites() -> None:
    """The rest may be proved; what breaks is not among it."""
    name, label = "careful-call-to-call", "sync-2"
    whole, result = (check(name, replace(SMALLEST, without=frozenset(w))) for w in ((), (label,)))
    broken = violations(result) - violations(whole)
    assert broken
    found = prove_sites(result.model, result.exploration)
    assert found.proof is not None
    assert not broken & {claim.property for claim in found.proof.claims}


def violations(result: CheckResult) -> set[str]:
    return {verdict.property for found in result.results for verdict in (*found.violated, *found.exposed)}

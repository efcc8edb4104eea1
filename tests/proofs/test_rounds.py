"""Claims: a protocol that comes back to where it started does so again and again, and one that does not is told apart."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import pytest

from checker.proving import One, prove_rounds
from checker.search.pairs import Pairs
from checker.verdict import check
from models.compose import StrategyModel, compose
from models.library import load
from models.protocol import Call, Site, Step, Strategy, Sync, emulate_new, skip
from models.scenario import TRANSITIONS, Scenario
from models.skeletons import int3_update
from proofs.cubes import Row
from proofs.rounds import NoPeriod, _Names, comes_back, instance, period

INT3 = ("careful-call-to-call", "nop-then-back", "text-poke-batch")
SMALL = Scenario(cpus=1, sites=1)
Steps = Callable[[Sequence[Site]], Iterator[Step]]


def reachable(model: StrategyModel) -> list[Row]:
    return [row for rows in One(Pairs(model.system)).rows.values() for row in rows]


@cache
def states_of(
    name: str, transition: str, rounds: int, without: frozenset[str] = frozenset()
) -> dict[int, set[Hashable]]:
    """What one CPU can be in in each round, said relative to the round."""
    model = compose(load(name), replace(SMALL, transition=transition, rounds=rounds, without=without))
    names = _Names(model)
    found: dict[int, set[Hashable]] = {number: set() for number in range(1, rounds + 2)}
    for row in reachable(model):
        found[names.round_of(row)].add(names.of(row, names.round_of(row)))
    return found


def answer(strategy: Strategy, scenario: Scenario, transition: str = "call:call") -> int:
    model = compose(strategy, instance(scenario, transition))
    return comes_back(model, reachable(model))


@pytest.mark.parametrize("transition", TRANSITIONS)
@pytest.mark.parametrize("name", INT3)
def test_a_protocol_that_comes_back_does_so_again(name: str, transition: str) -> None:
    """One round more is the same again, and a period more is, too."""
    back = answer(load(name), replace(SMALL, transition=transition), transition)
    step = period(transition)
    fewer, more = (states_of(name, transition, 2 + step + k) for k in (0, 1))
    assert back == len(fewer[2 + step]) == len(fewer[2])
    assert more[3 + step] == more[3]
    assert more[2 + step] == fewer[2 + step]


def test_without_its_last_sync_the_first_round_is_not_like_the_others() -> None:
    """Later ones begin with what was stale in the round before: that is why the second is compared."""
    whole = states_of("careful-call-to-call", "call:call", 3)
    assert whole[1] == whole[2] == whole[3]
    found = states_of("careful-call-to-call", "call:call", 3, frozenset({"sync-3"}))
    assert found[1] < found[2] == found[3]


def test_states_are_told_apart_by_more_than_their_number() -> None:
    found = states_of("careful-call-to-call", "call:call", 3)
    other = states_of("nop-then-back", "call:call", 3)
    assert found[3] != other[3]


# ---- protocols that do not come back --------------------------------------------------------------------------------


def test_without_any_sync_bytes_of_ever_more_rounds_remain() -> None:
    without = frozenset({"sync-1", "sync-2", "sync-3"})
    with pytest.raises(NoPeriod, match="rounds 2 and 3 differ"):
        answer(load("careful-call-to-call"), replace(SMALL, without=without))


def target(site: Site) -> str:
    assert isinstance(site.new, Call)
    return site.new.function.name


def other_policy(sites: Sequence[Site]) -> Iterator[Step]:
    """Skips in the third round, which calls D instead of C: the same steps, if one looks at their labels only."""
    policy = skip if target(sites[0]) == "D" else emulate_new
    yield from int3_update(sites, policy)


def fewer_syncs(sites: Sequence[Site]) -> Iterator[Step]:
    yield from (s for s in int3_update(sites, emulate_new) if target(sites[0]) != "D" or not isinstance(s, Sync))


def stateful() -> Steps:
    """A generator with a memory: what it does depends on how often it was asked."""
    asked = iter(range(10**6))

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        policy = skip if next(asked) % 3 == 2 else emulate_new
        yield from int3_update(sites, policy)

    return steps


def mine(steps: Steps) -> Strategy:
    return Strategy("mine", "of these tests", "these tests", steps)


@pytest.mark.parametrize("steps", [other_policy, fewer_syncs, stateful()], ids=["policy", "syncs", "stateful"])
def test_a_strategy_whose_last_round_differs_does_not_come_back(steps: Steps) -> None:
    with pytest.raises(NoPeriod, match="round"):
        answer(mine(steps), SMALL)


def test_of_such_a_strategy_nothing_is_proved_for_any_number_of_rounds() -> None:
    result = check(mine(other_policy), SMALL)
    found = prove_rounds(result.model, result.exploration)
    assert found.proof is None and "round" in found.reason


def late(sites: Sequence[Site]) -> Iterator[Step]:
    """Wrong in the fourth round only."""
    policy = skip if target(sites[0]) == "E" else emulate_new
    yield from int3_update(sites, policy)


def test_what_is_done_in_later_rounds_is_assumed() -> None:
    """A strategy that counts rounds beyond the instance is believed: the module says that this is not checked."""
    assert answer(mine(late), SMALL)
    model = compose(mine(late), replace(SMALL, rounds=4))
    with pytest.raises(NoPeriod):
        comes_back(model, reachable(model))


# ---- where the argument is not made ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("careful-call-to-call-frees", "freed"),
        ("stop-machine-frees", "freed"),
        ("always-iterator", "sequence of rounds of its own"),
        ("permanent", "sequence of rounds of its own"),
        ("text-poke-batch-to-probe", "sequence of rounds of its own"),
    ],
)
def test_the_argument_is_not_made_for_what_belongs_to_one_round(name: str, why: str) -> None:
    result = check(name, SMALL)
    found = prove_rounds(result.model, result.exploration)
    assert found.proof is None and why in found.reason


def test_two_rounds_are_too_few_to_compare() -> None:
    model = compose(load("careful-call-to-call"), replace(SMALL, rounds=2))
    with pytest.raises(NoPeriod, match="too few"):
        comes_back(model, reachable(model))


def test_states_that_are_missing_are_noticed() -> None:
    """Those of the last round are to be all of those before, and no others."""
    model = compose(load("careful-call-to-call"), instance(SMALL, "call:call"))
    names, rows = _Names(model), reachable(model)
    for number in (2, 3):
        gone = next(row for row in rows if names.round_of(row) == number)
        with pytest.raises(NoPeriod, match="differ in 1 states"):
            comes_back(model, [row for row in rows if row is not gone])


@pytest.mark.slow
@pytest.mark.parametrize("name", INT3)
def test_int3_strategies_are_proved_for_any_number_of_rounds(name: str) -> None:
    result = check(name, SMALL)
    found = prove_rounds(result.model, result.exploration)
    assert found.proof is not None and not found.reason


def test_a_property_that_breaks_in_a_later_round_is_not_proved_for_any() -> None:
    """Without the last sync of a round stale bytes of the round before meet its claim too late."""
    result = check("careful-call-to-call", replace(SMALL, without=frozenset({"sync-3"})))
    found = prove_rounds(result.model, result.exploration)
    assert found.proof is None and "a property breaks that does not with 1" in found.reason


def test_what_breaks_with_more_rounds_is_not_among_what_is_proved() -> None:
    without = frozenset({"sync-1"})
    result = check("careful-call-to-call", replace(SMALL, without=without))
    found = prove_rounds(result.model, result.exploration)
    assert found.proof is not None
    more = check("careful-call-to-call", replace(SMALL, without=without, rounds=4))
    broken = {v.property for r in more.results for v in (*r.violated, *r.exposed)}
    assert broken and not broken & {claim.property for claim in found.proof.claims}

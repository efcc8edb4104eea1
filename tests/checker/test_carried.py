"""Claims: a carried state says what the state said, CPUs go on from it in the same way, and a wrong carrier is noticed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from checker.carried import Carried, Carrier
from checker.search.result import Taken
from checker.trace import Narrator, Trace, path_of
from models.compose import StrategyModel, compose
from models.protocol import TRAP, Claim, Release, Site, Step, Strategy, Write, emulate_new, emulate_old
from models.scenario import Scenario
from models.system.evaluate import Evaluator, State
from models.system.expressions import Enum, Variable
from tests.support import checked

CORPUS = [
    ("careful-call-to-call", ["claim", "trap", "sync-1", "tail", "sync-2", "first-byte", "sync-3"], {}),
    ("careful-call-to-call", ["trap", "tail", "first-byte"], {"transition": "nop:call", "machine": "x86-amd"}),
    ("text-poke-batch", ["claim", "trap", "release"], {"rounds": 2}),
    ("text-poke-batch-to-probe", ["claim", "trap", "sync-1", "wait-handlers"], {}),
    ("stop-machine", ["stop", "store"], {}),
    ("batched-stubs", ["allocate", "first-byte"], {}),
]
CASES = [(name, label, changes) for name, labels, changes in CORPUS for label in labels]
BY_THEIR_OWN_NUMBERS = (
    "patcher",
    "claim",
    "memory",
    "view",
    "fetched",
)  # judged by what is seen and by what comes next


def models(name: str, label: str, changes: dict[str, object]) -> tuple[StrategyModel, StrategyModel, list[Trace]]:
    """The complete strategy, the one without a step, and its traces."""
    complete = checked(name, sites=1, **changes)
    without = checked(name, sites=1, without=(label,), **changes)
    assert without.traces, "nothing to carry"
    return complete.model, without.model, without.traces


def wrong(kind: type[Carrier], complete: StrategyModel, changed: StrategyModel, trace: Trace) -> Iterator[str]:
    """Everything that is wrong with how the states of a trace are carried."""
    path = path_of(changed, trace)
    states = Narrator(changed).follow(path)
    carry = kind(complete, changed)
    carried = [carry(state) for state in states]
    for number, (state, there) in enumerate(zip(states, carried, strict=True)):
        yield from (f"{number}: {what}" for what in _says_the_same(complete, changed, state, there))
        if number < len(path):
            yield from (f"{number}: {what}" for what in _goes_on(complete, changed, path[number], there))
            yield from (f"{number}: {what}" for what in _leads_to(complete, changed, path[number], carried, number))


def _says_the_same(complete: StrategyModel, changed: StrategyModel, state: State, there: Carried) -> Iterator[str]:
    """Bytes, as they are printed, and every value that has a name of its own."""
    missing = {v.name for v in there.missing}
    if not any(name.startswith(("memory", "view", "fetched")) for name in missing):
        before, after = Narrator(changed).bytes(state), Narrator(complete).bytes(there.state)
        if [(b.site, b.memory, b.seen) for b in before] != [(b.site, b.memory, b.seen) for b in after]:
            yield f"the bytes are {after}, not {before}"
    own, other = Evaluator(changed.system), Evaluator(complete.system)
    known = {v.name: v for v in changed.system.variables}
    for v in complete.system.variables:
        if v.name.startswith(BY_THEIR_OWN_NUMBERS) or v.name in missing or v.name not in known:
            continue
        for i in [None] if v.component is None else range(len(complete.system.instances)):
            said = v.type.show(other.read(there.state, v.name, i))
            if said != known[v.name].type.show(own.read(state, v.name, i)):
                yield f"{v.name} of {i} is {said}"


def _goes_on(complete: StrategyModel, changed: StrategyModel, taken: Taken, there: Carried) -> Iterator[str]:
    """The patcher's next move is the one that it makes."""
    action = changed.system.actions[taken[0]]
    if action.actor is None:
        label = Narrator(complete).show("patcher", there.state)
        if label.partition(" ")[2] != action.name:
            yield f"the patcher is at {label}, but goes on with {action.name}"


def _leads_to(
    complete: StrategyModel, changed: StrategyModel, taken: Taken, carried: list[Carried], number: int
) -> Iterator[str]:
    """A step of a CPU is a step of the complete system, too, and leads to the same."""
    action = changed.system.actions[taken[0]]
    before, after = carried[number : number + 2]
    if action.actor is None or before.missing or after.missing:
        return
    evaluator = Evaluator(complete.system)
    same = next(a for a in complete.system.actions if a.name == action.name)
    if not evaluator.value(same.guard, before.state, taken[1], taken[2]):
        yield f"{same.name} is not possible"
    elif evaluator.apply(same, before.state, taken[1], taken[2]) != after.state:
        yield f"{same.name} leads to something else"


HANDLED = ("claim", "allocate")  # without them handlers find something else, which is the point


@pytest.mark.parametrize(("name", "label", "changes"), CASES)
def test_a_carried_state_says_the_same_and_goes_on_in_the_same_way(
    name: str, label: str, changes: dict[str, object]
) -> None:
    complete, changed, traces = models(name, label, changes)
    for trace in traces:
        said = list(wrong(Carrier, complete, changed, trace))
        if label in HANDLED:
            said = [text for text in said if not text.endswith(("is not possible", "leads to something else"))]
        assert said == []


@pytest.mark.parametrize("name", ["careful-call-to-call", "text-poke-batch", "stop-machine"])
def test_nothing_is_changed_where_nothing_is_left_out(name: str) -> None:
    model = checked(name, sites=1).model
    evaluator = Evaluator(model.system)
    carry, state = Carrier(model, model), evaluator.initial()
    for _ in range(12):
        assert carry(state) == Carried(state, frozenset())
        state = next(evaluator.transitions(state)).state


def test_what_the_complete_strategy_has_no_word_for_is_missing() -> None:
    """Fetched in halves of the whole site without the trap byte, and of the tail with it."""
    complete, changed, (trace, *_) = models("text-poke-batch-to-probe", "trap", {"machine": "x86-amd"})
    carry = Carrier(complete, changed)
    missing = {v.name for state in Narrator(changed).follow(path_of(changed, trace)) for v in carry(state).missing}
    assert missing and all(name.startswith("fetched") for name in missing)


# ---- wrong carriers -------------------------------------------------------------------------------------------------


class OneTooFar(Carrier):
    """The patcher is one move ahead."""

    def __call__(self, state: State) -> Carried:
        found = super().__call__(state)
        k = next(k for k, v in enumerate(self.complete.system.globals) if v.name == "patcher")
        shared = list(found.state.shared)
        last = len(self.complete.system.globals[k].type.labels) - 1  # type: ignore[union-attr]
        shared[k] = min(shared[k] + 1, last)
        return Carried(State(tuple(shared), found.state.instances), found.missing)


class ByNumber(Carrier):
    """Labels are not looked at."""

    def _source(self, variable: Variable):  # type: ignore[no-untyped-def]
        known = {v.name for v in self.changed.system.variables}
        if variable.name not in known or not isinstance(variable.type, Enum):
            return super()._source(variable)
        return lambda state, i: self.evaluator.read(state, variable.name, i)


class TextByNumber(Carrier):
    """Contents of granules are not looked at."""

    def _text(self):  # type: ignore[no-untyped-def]
        names = [v.name for v in self.complete.system.variables if v.name.startswith(("memory", "view", "fetched"))]
        there = {v.name for v in self.changed.system.variables}
        for name in names:
            if name in there:
                yield name, lambda state, i, name=name: self.evaluator.read(state, name, i)


class ForgetsClaims(Carrier):
    """All claims are one."""

    def _label(self, name: str, label: str, complete: bool) -> object:
        return "claim" if name == "claim" and label != "none" else super()._label(name, label, complete)


@pytest.mark.parametrize("kind", [OneTooFar, ByNumber, TextByNumber])
def test_a_wrong_carrier_is_noticed(kind: type[Carrier]) -> None:
    found = []
    for name, label, changes in CASES:
        complete, changed, traces = models(name, label, changes)
        found += [what for trace in traces for what in wrong(kind, complete, changed, trace)]
    assert found


def two_claims(sites: Sequence[Site]) -> Iterator[Step]:
    """Claims twice over."""
    yield Claim(emulate_old, sites, label="early")
    yield Claim(emulate_new, sites, label="late")
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Release()


def claim_is_kept(kind: type[Carrier], left_out: str) -> bool:
    """Whether the claim that is not left out is carried to itself."""
    strategy = Strategy("two-claims", "claims twice", "these tests", two_claims)
    complete = compose(strategy, Scenario(sites=1))
    changed = compose(strategy, Scenario(sites=1, without=frozenset({left_out})))
    state = Evaluator(changed.system).initial()
    shared = tuple(1 if v.name == "claim" else x for v, x in zip(changed.system.globals, state.shared, strict=True))
    carried = kind(complete, changed)(State(shared, state.instances))
    found = Evaluator(complete.system).read(carried.state, "claim")
    return found > 0 and complete.plan.claims[found - 1].step == changed.plan.claims[0].step


@pytest.mark.parametrize("left_out", ["early", "late"])
def test_a_claim_is_carried_by_its_step(left_out: str) -> None:
    assert claim_is_kept(Carrier, left_out)


@pytest.mark.parametrize("kind", [ByNumber, ForgetsClaims])
def test_a_claim_that_is_carried_otherwise_is_noticed(kind: type[Carrier]) -> None:
    assert not (claim_is_kept(kind, "early") and claim_is_kept(kind, "late"))

"""A proof beside a search: what is handed to `proofs`, and what its answer means for the properties of a strategy.

The candidate for one instance is the set of pairs that the tables of the search are made from (`closure`): closed under
an instance's own steps, the patcher's, and what others change. Where a property is not clear of it although the search
found no violation, as may be where instances write shared values, three instances are searched and looked at in twos.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from checker.search import python
from checker.search.generate import Unsupported
from checker.search.pairs import Pair, Pairs
from checker.search.result import Exploration, Limits
from checker.search.tables import closure
from models.compose import compose, of_strategy
from models.model import Model
from models.properties import COMPLETES
from models.system.expressions import Component
from models.system.system import Action, Invariant, Mark, TransitionSystem
from proofs.attempt import Attempt, Rows, attempt
from proofs.cubes import Row
from proofs.lemma import Lemma
from proofs.prove import Proof, prove
from proofs.shape import shape

_FEW = Limits(states=200_000)  # of three instances, to look at in twos


@dataclass(frozen=True)
class Proving:
    """What was proved of a model, for any number of instances.

    `tried`: the claims that the attempt was about; `reason`: why there is no proof of any, or "".
    """

    system: TransitionSystem
    tried: Attempt | None
    reason: str
    seconds: float

    def covers(self, name: str) -> bool:
        """Whether the property called `name` is proved."""
        proof = self.tried.proof if self.tried else None
        if proof is None:
            return False
        if name == COMPLETES:
            return proof.ranking is not None
        proved = set(map(id, proof.claims))
        return all(id(claim) in proved for claim in claims_of(self.system) if claim.property == name)

    def why_not(self, name: str) -> str:
        """Why the property is not proved; "" where it is."""
        if self.covers(name):
            return ""
        if name == COMPLETES and self.tried is not None and self.tried.proof is not None:
            return self.tried.no_progress
        return self.reason or "the search found a violation, or what breaks it for more CPUs was not ruled out"


def claims_of(system: TransitionSystem) -> list[Mark | Invariant]:
    """Everything that is claimed not to happen."""
    return [*(mark for _, mark in system.marks() if not mark.premise), *system.invariants]


def prove_model(model: Model, found: Exploration | None = None) -> Proving:
    """Try to prove what `found`, a search of the same model, did not see broken; without it, what one CPU cannot break."""
    from proofs.invariants import written

    began = time.monotonic()
    lemmas = written(model)
    tried, reason = prove_system(model.system, found, lemmas.lemmas if lemmas else ())
    return Proving(model.system, tried, reason, time.monotonic() - began)


def prove_system(
    system: TransitionSystem, found: Exploration | None, written: Sequence[Lemma] = ()
) -> tuple[Attempt | None, str]:
    """The same for any system: the attempt, and why nothing was proved."""
    form = shape(system)
    if form.obstacles:
        return None, f"the argument for any number does not apply: {form.obstacles[0]}"
    several = system.resized({c: max(2, count) for c, count in system.counts.items()})  # others change things, too
    try:
        one = One(Pairs(several))
    except Unsupported as reason:
        return None, f"one instance cannot be looked at alone: {reason}"
    broken = set(map(id, (*found.marks, *found.broken))) if found else set()
    wanted = [claim for claim in claims_of(system) if id(claim) not in broken]
    clear = [claim for claim in wanted if id(claim) not in one.broken]
    steps = None if found and found.progress else one.steps
    if form.least == 1 and (len(clear) == len(wanted) or not form.interferes):
        tried = attempt(system, one.rows, clear, steps=steps, written=written)
        return tried, tried.reason
    rows = _two(system, wanted)
    in_twos = attempt(system, rows, wanted) if rows else None
    if in_twos and (in_twos.proof or form.least > 1):
        return in_twos, in_twos.reason
    if form.least > 1:
        return None, "three instances are too many to search, or break what two do not"
    tried = attempt(system, one.rows, clear, steps=one.steps)
    return tried, tried.reason


class One:
    """One instance: its rows, what it can do, and what it can break (claims, by identity)."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.rows: Rows = {}
        self.broken: set[int] = set()
        rows: dict[tuple[Component, ...], set[Row]] = {}
        for pair in closure(pairs):
            rows.setdefault((pair[0],), set()).add(self.row(pair))
            self.broken |= {id(pairs.system.invariants[number]) for number in pairs.broken(pair)}
            if not pairs.halts(pair):
                for step in pairs.successors(pair):
                    self.broken |= {id(pairs.marks[number]) for number in step.marks}
        self.rows = rows

    def row(self, pair: Pair) -> Row:
        component, g, l = pair
        return self.pairs.shared[g] + self.pairs.local[component][l]

    def steps(self, component: Component, row: Row) -> list[tuple[Action, Row]]:
        """What an instance of a row can do."""
        pairs, width = self.pairs, len(self.pairs.system.globals)
        g, l = pairs.shared_numbers[row[:width]], pairs.local_numbers[component][row[width:]]
        found = pairs.successors((component, g, l))
        return [(pairs.system.actions[step.action], self.row((component, step.shared, step.local))) for step in found]


def _two(system: TransitionSystem, wanted: Sequence[Mark | Invariant]) -> Rows:
    """The reachable values of every two of three instances; none where one or three break what is wanted.

    What two instances do, the conditions of a proof about two cover; what one does alone, they do not.
    """
    for count in (1, 3):
        searched = python.run(Pairs(system.resized(dict.fromkeys(system.components, count))), _FEW)
        outcome = searched.outcome
        broken = set(map(id, (*outcome.marks, *outcome.broken)))
        if not outcome.complete or any(id(claim) in broken for claim in wanted):
            return {}
    space, pairs = searched.space, searched.space.pairs
    rows: dict[tuple[Component, ...], set[Row]] = {}
    owners = space.instances
    for state in searched.states(range(len(pairs.shared))):
        g, locals_ = space.unpack(state)
        for i, j in permutations(range(len(owners)), 2):
            row = pairs.shared[g] + pairs.local[owners[i]][locals_[i]] + pairs.local[owners[j]][locals_[j]]
            rows.setdefault((owners[i], owners[j]), set()).add(row)
    return rows


# ---- more sites, more rounds ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class More:
    """What was proved beyond the sites or rounds of a scenario. `proof`: of the instance that stands for all larger
    ones; `says`: in one sentence, what it rests on; `reason`: why there is none, or "".
    """

    proof: Proof | None
    says: str
    reason: str


def prove_sites(model: Model, found: Exploration) -> More:
    """Try to prove what `found` did not see broken for any number of sites, too (see proofs/sites.py)."""
    from proofs.induction import Conditions
    from proofs.infer import NotFound, learn
    from proofs.lemma import Invariant as Lemmas
    from proofs.sites import MOST, NoSites, SiteOracle, enough, objection, search_is_right

    strategy, scenario = of_strategy(model).subject, model.scenario
    against = objection(strategy, scenario)
    if against or not search_is_right():
        return More(None, "", against or "Z3 does not confirm the handler's search")
    sites = enough(of_strategy(model))
    wanted = _properties(model, found)
    for fewer in range(1, sites):
        why = _fails(compose(strategy, replace(scenario, sites=fewer, cpus=1)), wanted)
        if why:
            return More(None, "", f"with {fewer} site{'s' if fewer > 1 else ''}: {why}")
    large = compose(strategy, replace(scenario, sites=sites, cpus=1))
    try:
        one = One(Pairs(large.system))
        claims = [c for c in claims_of(large.system) if c.property in wanted]
        if any(id(claim) in one.broken for claim in claims):
            return More(None, "", f"with {sites} sites a property breaks")
        rows = {row for rows in one.rows.values() for row in rows}
        invariant = learn(Conditions(large.system, Lemmas((), "found", 1), claims), SiteOracle(large, rows))
        proof = prove(large.system, invariant, claims)
    except (Unsupported, NoSites, NotFound) as reason:
        return More(None, "", str(reason))
    if not isinstance(proof, Proof):
        return More(None, "", "the lemmas about one site are not inductive")
    says = (
        f"{len(invariant.lemmas)} lemmas about one CPU and one site, inductive with {sites} sites; fewer sites one by one; "
        f"assumed: more than {MOST} sites are treated as up to {MOST} are"
    )
    return More(proof, says, "")


def prove_rounds(model: Model, found: Exploration) -> More:
    """Try to prove what `found` did not see broken for any number of rounds, too (see proofs/rounds.py)."""
    from proofs.rounds import NoPeriod, comes_back, instance

    made = of_strategy(model).plan
    strategy, scenario = made.strategy, made.scenario
    if strategy.rounds:
        return More(None, "", "the strategy has a sequence of rounds of its own")
    several = compose(strategy, replace(instance(scenario, made.transition), cpus=1))
    try:
        one = One(Pairs(several.system))
        states = comes_back(several, [row for rows in one.rows.values() for row in rows])
    except (Unsupported, NoPeriod) as reason:
        return More(None, "", str(reason))
    wanted = _properties(model, found)
    claims = [claim for claim in claims_of(several.system) if claim.property in wanted]
    if any(id(claim) in one.broken for claim in claims):
        return More(None, "", f"with {several.plan.rounds} rounds a property breaks that does not with {made.rounds}")
    tried = attempt(several.system, one.rows, claims)
    says = f"proved with {several.plan.rounds} rounds, the last of which has just the {states:,} states of a CPU of one before"
    return More(tried.proof, says, tried.reason)


def _properties(model: Model, found: Exploration) -> set[str]:
    """The properties that the search did not see broken."""
    broken = {id(claim) for claim in (*found.marks, *found.broken)}
    claims = claims_of(model.system)
    return {claim.property for claim in claims} - {claim.property for claim in claims if id(claim) in broken}


def _fails(model: Model, wanted: set[str]) -> str:
    """Why some wanted properties are not proved of a model; "" where they are."""
    proving = prove_model(model)
    return next((proving.why_not(name) for name in sorted(wanted) if not proving.covers(name)), "")

"""What has to agree on a drawn model: engines, reference, proof and simulator. Raises AssertionError where it does not.

Every function says what it saw in a `Counter`, so that a test can see to it that enough was compared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from checker.proving import claims_of, prove_model
from checker.search import native, product, python
from checker.search.generate import Unsupported
from checker.search.native import How
from checker.search.pairs import Pairs
from checker.search.progress import check_progress
from checker.search.result import Exploration, Limits
from checker.trace import Narrator
from models.compose import StrategyModel, compose
from models.properties import COMPLETES
from models.system.errors import ModelError, ScenarioError
from models.system.system import Invariant, Mark, TransitionSystem
from tests.checker.engines import answers, assert_same
from tests.checker.reference import survey
from tests.fuzz.drawn import Drawn
from tests.simulator import Large, Simulator, explore_all

MOST = 30_000  # states of a search
FEW = 400  # states that the reference looks at one by one
Seen = Counter[str]


def composed(drawn: Drawn, seen: Seen) -> StrategyModel | None:
    """The model; None where the plan refuses it, which it has to do with a line of the strategy."""
    try:
        model = compose(drawn.strategy(), drawn.scenario())
    except ScenarioError:
        seen["refused"] += 1
        return None
    except ModelError as error:
        assert error.where is not None and error.message, f"no line: {error}"
        seen["refused"] += 1
        return None
    seen["composed"] += 1
    return model


def searched(model: StrategyModel, seen: Seen) -> tuple[StrategyModel, python.Run] | None:
    """A complete search by the Python engine, if need be with one CPU; None where even that is too large."""
    for cpus in range(len(model.system.instances), 0, -1):
        smaller = resized(model, cpus)
        run = python.run(Pairs(smaller.system), Limits(states=MOST))
        if run.outcome.complete:
            check_progress(run)
            seen["searched"] += 1
            seen[f"{cpus} CPU"] += 1
            return smaller, run
    seen["too large"] += 1
    return None


def resized(model: StrategyModel, cpus: int) -> StrategyModel:
    """The same model with other CPUs; its marks and invariants are the same objects."""
    return replace(model, system=model.system.resized(dict.fromkeys(model.system.components, cpus)))


# ---- engines --------------------------------------------------------------------------------------------------------


def engines_agree(model: StrategyModel, run: python.Run, seen: Seen) -> None:
    """The native search, with and without symmetry, and the product say what the Python engine says; all is replayed."""
    outcome, system = run.outcome, model.system
    wanted = answers(outcome)
    for symmetry in (False, True):
        other = native.run(Pairs(system), How(1, symmetry), Limits(states=4 * MOST))
        assert counts(other.outcome) == counts(outcome), f"native, symmetry {symmetry}"
        check_progress(other)
        assert_same(answers(other.outcome), wanted)
        other.close()
    try:
        multiplied = product.run(Pairs(system), Limits())
    except Unsupported:
        seen["no product"] += 1
    else:
        assert counts(multiplied.outcome) == counts(outcome), "product"
        check_progress(multiplied)
        found = answers(multiplied.outcome)
        if not found.progress_known:
            seen["product leaves progress open"] += 1
            found = replace(found, progress_known=wanted.progress_known, progress=wanted.progress)
        assert_same(found, wanted)
    replayed(model, outcome, seen)
    seen["engines"] += 1


def counts(outcome: Exploration) -> tuple[int, int, int, set[int], bool]:
    """What is compared before anything else: a wrong engine may be unable to tell more."""
    return outcome.states, outcome.transitions, outcome.depth, outcome.fired, outcome.complete


def replayed(model: StrategyModel, outcome: Exploration, seen: Seen) -> None:
    """The reference evaluator takes every path and finds at its end what the path is for."""
    narrator = Narrator(model)
    for reason, path in (*outcome.marks.items(), *outcome.broken.items()):
        narrator.tell(path, reason)
        seen["traces"] += 1
        if not (isinstance(reason, Mark) and reason.premise):
            seen["broken"] += 1
    if outcome.progress is not None:
        path, says = outcome.progress
        narrator.tell(path, says, COMPLETES)
        seen["does not complete"] += 1


def reference_agrees(model: StrategyModel, run: python.Run, seen: Seen) -> None:
    """Small spaces, state by state."""
    if run.outcome.states > FEW:
        return
    reference = survey(model.system)
    found = answers(run.outcome)
    assert (found.states, found.transitions, found.depth) == (
        len(reference.edges),
        reference.transitions,
        reference.depth,
    )
    assert found.fired == frozenset(reference.fired)
    assert found.marks == reference.marks
    assert found.broken == reference.broken
    seen["reference"] += 1


# ---- proofs ---------------------------------------------------------------------------------------------------------


def broken(system: TransitionSystem) -> tuple[set[int], bool, Exploration] | None:
    """The claims that a search finds broken, by identity, and whether the patcher may not finish; None: too large."""
    try:
        run: product.Run | native.Run = product.run(Pairs(system), Limits(states=MOST))
    except Unsupported:
        run = native.run(Pairs(system), How(1), Limits(states=10 * MOST))
    if not run.outcome.complete:
        return None
    check_progress(run)
    outcome = run.outcome
    met = {id(claim) for claim in (*outcome.marks, *outcome.broken)}
    run.close()
    return met, outcome.progress is not None, outcome


def proofs_agree(model: StrategyModel, seen: Seen, informed: bool = False) -> None:
    """What is proved is not broken with one, two or three CPUs; what one CPU does not break is proved.

    `informed`: the attempt is told what a search of one CPU found.
    """
    one = resized(model, 1)
    alone = broken(one.system)
    if alone is None or alone[2].explored > MOST // 10:
        seen["too large to prove"] += 1
        return
    proving = prove_model(one, alone[2] if informed else None)
    attempt = proving.tried
    assert attempt is not None, proving.reason
    proved = set(map(id, attempt.proof.claims)) if attempt.proof else set()
    finishes = attempt.proof is not None and attempt.proof.ranking is not None
    for cpus in (1, 2, 3):
        found = alone if cpus == 1 else broken(resized(model, cpus).system)
        if found is None:
            seen[f"{cpus} CPUs are too large"] += 1
            continue
        wrong = [c for c in claims_of(model.system) if id(c) in proved & found[0]]
        assert not wrong, f"proved, but broken with {cpus}: {wrong[0].property}/{wrong[0].kind}"
        assert not (finishes and found[1]), f"proved to finish, but does not with {cpus}"
        assert one_tells_all(model.system, alone[0], found[0]), f"{cpus} CPUs break other properties than one"
    unproved = [c for c in claims_of(model.system) if id(c) not in proved | alone[0]]
    seen["proofs"] += 1
    seen["claims proved"] += len(proved)
    seen["proved to finish"] += finishes
    seen["claims not broken and not proved"] += len(unproved)
    if not finishes and not alone[1] and alone[2].progress_known:
        seen[f"finishes, not proved: {attempt.no_progress or attempt.reason}"] += 1


def one_tells_all(system: TransitionSystem, one: set[int], several: set[int]) -> bool:
    """Whether several CPUs break the claims that one breaks: cutoff 1, as a CPU writes its own variables only."""
    claims = {id(claim) for claim in claims_of(system)}
    return one & claims == several & claims


# ---- the simulator --------------------------------------------------------------------------------------------------


def simulated(drawn: Drawn, most: int = MOST) -> set[tuple[str, str]] | None:
    """What the byte-level simulator finds broken; None where it does not know the vocabulary, or the space is large."""
    try:
        return explore_all(Simulator.of(drawn.strategy(), drawn.scenario()), most)[0]
    except (NotImplementedError, Large):
        return None


def simulator_agrees(drawn: Drawn, model: StrategyModel, run: python.Run, seen: Seen) -> None:
    """The simulator breaks the same properties in the same ways."""
    found = simulated(drawn)
    if found is None:
        seen["not simulated"] += 1
        return
    wanted = kinds(run.outcome)
    assert found == wanted, f"only simulated: {sorted(found - wanted)}, only modelled: {sorted(wanted - found)}"
    seen["simulated"] += 1


def kinds(outcome: Exploration) -> set[tuple[str, str]]:
    """What a search finds broken, as properties and kinds."""
    claims: list[Mark | Invariant] = [*(m for m in outcome.marks if not m.premise), *outcome.broken]
    return {(claim.property, claim.kind) for claim in claims}

"""Which promises of the CPU a proof rests on: the same strategy on every machine preset, a row for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from checker.report import markdown
from checker.report.layout import named, plural
from checker.report.markdown import depending, listed
from checker.report.page import is_found, proof_of
from checker.verdict import EXPOSED, VIOLATED, CheckResult, add_proof, check
from models.machines.fetch import X86_PRESETS
from models.properties import PROPERTIES
from models.protocol import Strategy
from models.scenario import Scenario
from proofs.invariants import written
from proofs.words import parts

_FEW = 1  # sites: enough to show what a machine is worth, unless two break something else; and much quicker


@dataclass(frozen=True)
class _Row:
    """What came out on one machine. `lemmas`: formulas by name; `broken`: (use case, property) to verdict and kind.

    `proved`: whether there is a proof of what is not broken; nobody looks for one where more is violated than usual.
    """

    broken: dict[tuple[str, str], tuple[str, str]]
    proved: bool
    lemmas: dict[str, list[str]]
    others: int  # lemmas that were found
    found: bool
    reasons: dict[str, str]  # why what holds is not proved


def machines(strategy: Strategy, scenario: Scenario) -> list[str]:
    """The section about machines."""
    here, few = check(strategy, scenario), check(strategy, replace(scenario, sites=_FEW))
    sites, usual = (_FEW, few) if _broken(here) == _broken(few) else (scenario.sites, here)
    found = {}
    for name, machine in X86_PRESETS.items():
        result = check(strategy, replace(scenario, machine=machine, sites=sites))
        if not _violated(result) - _violated(usual):  # otherwise that is the answer
            add_proof(result)
        found[name] = _row(result)
    fewer = f" With {plural(sites, 'site')} only, to be quick." if sites < scenario.sites else ""
    return list(_lines(found, scenario.machine.name, fewer))


def _lines(found: dict[str, _Row], usual: str, fewer: str) -> Iterator[str]:
    yield "## Which promises of the CPU it rests on"
    yield ""
    yield (
        f"The same strategy on other machines ([](../machines.md)), compared with {usual}.{fewer} "
        "Lemmas are the same if they have the same name; what they say may be about other variables. "
        f"What is violated or exposed on {usual} already is not named again."
    )
    yield ""
    rows = [["machine", "what comes out"]]
    for name, row in found.items():
        rows.append(
            [f"`{name}`", depending(_outcome(row, found[usual]), row.proved and (row.found or found[usual].found))]
        )
    yield from markdown.table(rows)


def _row(result: CheckResult) -> _Row:
    proving, proof = result.proving, proof_of(result.proving)
    names = {lemma.name for lemma in getattr(written(result.model), "lemmas", ())}
    lemmas = proof.invariant.lemmas if proof else ()
    unbroken = [name for name in PROPERTIES if name not in {of for _, of in _broken(result)}] if proving else []
    return _Row(
        _broken(result),
        proof is not None,
        {lemma.name: parts(lemma.holds) for lemma in lemmas if lemma.name in names},
        sum(lemma.name not in names for lemma in lemmas),
        proof is not None and is_found(proof),
        {name: why for name in unbroken if proving and (why := proving.why_not(name))},
    )


def _violated(result: CheckResult) -> set[tuple[str, str, str]]:
    """What is violated: use case, property, kind."""
    return {(*key, kind) for key, (verdict, kind) in _broken(result).items() if verdict == VIOLATED}


def _broken(result: CheckResult) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (r.use_case, v.property): (v.verdict, v.kind)
        for r in result.results
        for v in r.verdicts
        if v.verdict in (VIOLATED, EXPOSED)
    }


def _outcome(row: _Row, usual: _Row) -> str:
    said = []
    new = {key: how for key, how in row.broken.items() if usual.broken.get(key) != how}
    for verdict in (VIOLATED, EXPOSED):
        names = dict.fromkeys(named(name, kind) for (_, name), (found, kind) in new.items() if found == verdict)
        said += [f"**{verdict}**: {', '.join(names)}"] if names else []
    for reason in dict.fromkeys(row.reasons.values()):
        names_ = [name for name, why in row.reasons.items() if why == reason]
        said.append(f"**not proved**: {listed(names_)}, because {reason}")
    if row.proved:
        said.append(f"{'the rest is ' if said else ''}proved {_by(row, usual)}")
    return "; ".join(said)


def _by(row: _Row, usual: _Row) -> str:
    """By which lemmas, compared with the usual ones."""
    without = [name for name in usual.lemmas if name not in row.lemmas]
    also = [name for name in row.lemmas if name not in usual.lemmas]
    known = [name for name in row.lemmas if name in usual.lemmas]
    if not known:
        return f"by {plural(row.others, 'lemma')} that the tool found"
    said = "by the same lemmas" if not without else f"by the same lemmas without {listed(without)}"
    said += f", with {listed(also)}" if also else ""
    said += f", plus {plural(row.others, 'lemma')} that the tool found" if row.others else ""
    return f"{said}, word for word" if row.lemmas == usual.lemmas and not row.others else said

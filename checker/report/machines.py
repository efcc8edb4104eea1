"""Which promises of the CPU a proof rests on: the same strategy on every machine preset, a row for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from checker.report import markdown
from checker.report.layout import plural
from checker.report.markdown import depending, listed
from checker.report.page import is_found, proof_of
from checker.verdict import EXPOSED, VIOLATED, CheckResult, check
from models.machines.fetch import PRESETS
from models.properties import PROPERTIES
from models.protocol import Strategy
from models.scenario import Scenario
from proofs.invariants import written
from proofs.words import parts

_FEW = 1  # sites: the tables are about the machine, and one site shows what it is worth unless verdicts say otherwise


@dataclass(frozen=True)
class _Row:
    """What came out on one machine. `lemmas`: formulas by name; `broken`: (use case, property) to verdict and kind."""

    broken: dict[tuple[str, str], tuple[str, str]]
    proved: frozenset[str]
    lemmas: dict[str, list[str]]
    others: int  # lemmas that were found
    found: bool
    reasons: dict[str, str]  # why what holds is not proved


def machines(strategy: Strategy, scenario: Scenario) -> list[str]:
    """The section about machines."""
    here, few = check(strategy, scenario), check(strategy, replace(scenario, sites=_FEW))
    sites = _FEW if _broken(here) == _broken(few) else scenario.sites
    found = {
        name: _row(check(strategy, replace(scenario, machine=machine, sites=sites), proof=True))
        for name, machine in PRESETS.items()
    }
    return list(_lines(found, scenario.machine.name, sites, scenario.sites))


def _lines(found: dict[str, _Row], usual: str, sites: int, all_: int) -> Iterator[str]:
    fewer = "" if sites == all_ else f" All of this is about {plural(sites, 'site')}, to be quick."
    yield "## Which promises of the CPU it rests on"
    yield ""
    yield (
        f"The same strategy on other machines ([](../machines.md)), compared with {usual}.{fewer} "
        "“The same lemmas” are those with the same names; what they say may be about other variables. "
        f"What is violated or exposed on {usual} already is not named again."
    )
    yield ""
    rows = [["machine", "what comes out"]]
    for name, row in found.items():
        rows.append([f"`{name}`", depending(_outcome(row, found[usual]), row.found or found[usual].found)])
    yield from markdown.table(rows)


def _row(result: CheckResult) -> _Row:
    proving, proof = result.proving, proof_of(result.proving)
    assert proving is not None
    names = {lemma.name for lemma in getattr(written(result.model), "lemmas", ())}
    lemmas = proof.invariant.lemmas if proof else ()
    broken = _broken(result)
    proved = frozenset(name for name in PROPERTIES if proving.covers(name))
    unbroken = [name for name in PROPERTIES if name not in {of for _, of in broken}]
    return _Row(
        broken,
        proved,
        {lemma.name: parts(lemma.holds) for lemma in lemmas if lemma.name in names},
        sum(lemma.name not in names for lemma in lemmas),
        proof is not None and is_found(proof),
        {name: proving.why_not(name) for name in unbroken if name not in proved},
    )


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
        names = dict.fromkeys(
            f"{name} ({kind})" if kind and kind != name else name
            for (_, name), (found, kind) in new.items()
            if found == verdict
        )
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
    if row.lemmas == usual.lemmas and not row.others and not usual.others:
        return "by the same lemmas, word for word"
    if not without and not also and not row.others and not usual.others:
        return "by the same lemmas"
    differs = [f"without {listed(without)}"] if without else []
    differs += [f"with {listed(also)}"] if also else []
    differs += [f"with {plural(row.others, 'lemma')} that the tool found"] if row.others else []
    return f"by other lemmas: {', '.join(differs) or 'none that the tool would have to find'}"

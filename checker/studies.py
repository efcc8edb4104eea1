"""Commands that study a strategy beyond one check: explain, matrix, prove, docs."""

from __future__ import annotations

from typing import Any

from checker.options import (
    HOLDS,
    INCONCLUSIVE,
    VIOLATION,
    UsageError,
    absolute,
    checked,
    engine_of,
    limits_of,
    load_strategy,
    machine_of,
    paint_of,
    scenario_of,
    worst,
)
from checker.progress import Progress


def run_explain(options: Any) -> int:
    from checker.explain import omissions
    from checker.report import files
    from checker.report.explain import Explained, render, to_json

    strategy = _strategy_of(options.strategy)
    scenario = scenario_of(options, strategy, options.machine)
    use_case = options.use_case or "livepatch"
    whole = checked(strategy, scenario, options, proof=True)
    known = frozenset((v.verdict.property, v.verdict.kind) for v in whole.violations if v.use_case == use_case)
    steps = []
    if whole.exploration.complete:
        with Progress(limits_of(options)) as progress:
            made = omissions(
                strategy, scenario, use_case, limits_of(options), known, engine_of(options), whole, progress
            )
            steps = list(progress.counted(made, "without step", len(whole.model.labels)))
    found = Explained(options.strategy, whole, use_case, known, steps)
    if options.json != "-":
        print(render(found, paint_of()))
    if options.json:
        files.write(to_json(found, absolute(options.strategy)), options.json)
    statuses = [INCONCLUSIVE for omission in found.omissions if omission.inconclusive]
    return worst([whole.exit_status, *statuses])


def _strategy_of(name: str) -> Any:
    """The strategy called `name`; a bug has none of its own. Raises UsageError."""
    from models.library import bugs

    try:
        return load_strategy(name)
    except UsageError:
        known = next((k for k in bugs() if k.lower() == name.lower()), None)
        if known is None:
            raise
        raise UsageError(f"{known} is a bug: use `check-strategy bug {known}`") from None


def run_matrix(options: Any) -> int:
    from dataclasses import asdict

    from checker.matrix import complete_model, matrix
    from checker.report import files
    from checker.report.matrix import render
    from models.machines.fetch import presets_of

    strategy = load_strategy(options.strategy)
    scenario = scenario_of(options, strategy, None)
    machines = [machine_of(name) for name in options.machine or presets_of(strategy.isa)]
    use_case, model = options.use_case or "livepatch", complete_model(strategy, scenario)
    with Progress(limits_of(options)) as progress:
        made = matrix(strategy, scenario, machines, use_case, limits_of(options), engine_of(options), progress)
        count = len(machines) * (1 + len(model.labels))
        cells = list(progress.counted(made, "cell", count))
    if options.json:
        values = {"schema": files.SCHEMA, "strategy": strategy.name, "use_case": use_case, "sites": scenario.sites}
        files.write({**values, "cells": [asdict(cell) for cell in cells]}, options.json)
    if options.json != "-":
        print(render(strategy.name, model.size, use_case, cells, paint_of()))
    return INCONCLUSIVE if any(cell.unknown for cell in cells) else HOLDS


def run_bug(options: Any) -> int:
    from checker.bugs import examine
    from checker.report import files
    from checker.report.bug import render
    from models.library import bugs

    known = bugs()
    name = next((k for k in known if k.lower() == options.identifier.lower()), None)
    if name is None:
        raise UsageError(f"there is no bug “{options.identifier}”; there are {', '.join(known)}")
    found = examine(known[name])
    if options.json:
        bug = known[name]
        facts = ("identifier", "title", "date", "architecture", "subsystem", "source", "story", "model")
        values = {"schema": files.SCHEMA, **{fact: getattr(bug, fact) for fact in facts}}
        steps = [step.says for step in found.trace.steps] if found.trace else []
        values |= {"breaks": bug.breaks, "trace": steps, "published_steps": list(found.at)}
        values |= {"fix_is_proved": found.fix_is_proved, "difference": found.difference or None}
        files.write(values, options.json)
    if options.json != "-":
        print(render(found, paint_of()))
    return HOLDS if found.ok else VIOLATION


def run_prove(options: Any) -> int:
    from checker.report import files, structured, text
    from checker.report.proof import lemmas, not_inductive

    if options.recheck and not options.certificate:
        raise UsageError("--recheck is about a certificate: say with --certificate where to write it")
    strategy = load_strategy(options.strategy)
    scenario = scenario_of(options, strategy, options.machine)
    result = checked(strategy, scenario, options, proof=True)
    tried = result.proving.tried if result.proving else None
    proof = tried.proof if tried else None
    certificate = _certificate(result, proof, options) if proof else None
    more = _more(result, options) if proof else {}
    if options.json != "-":
        paint = paint_of()
        print(text.render(result, paint))
        if proof:
            print("\n" + lemmas(proof, paint))
        if tried and tried.failure:
            print("\n" + not_inductive(tried.failure, paint))
        if more:
            from checker.report.layout import fill

            print(
                "\n" + "\n".join(fill(f"{what}  {_said(found)}", following="        ") for what, found in more.items())
            )
        if certificate:
            print("\n" + certificate)
    if options.json:
        values = structured.check_to_json(result, absolute(options.strategy))
        values["any_number"] = {
            what: {"proved": not found.reason, "says": found.says, "reason": found.reason or None}
            for what, found in more.items()
        }
        files.write(values, options.json)
    if result.exit_status != HOLDS:
        return int(result.exit_status)
    if any(found.reason for found in more.values()):
        return INCONCLUSIVE
    required = [v for r in result.results for v in r.verdicts if v.required]
    return HOLDS if all(v.verdict in ("proved", "exposed") for v in required) else INCONCLUSIVE


def _more(result: Any, options: Any) -> dict[str, Any]:
    """What is proved beyond the scenario's sites and rounds, as far as it was asked for."""
    from checker.proving import prove_rounds, prove_sites

    found = {}
    with Progress() as progress:
        if options.any_sites:
            progress.stage("proving it for any number of sites")
            found["sites"] = prove_sites(result.model, result.exploration)
        if options.any_rounds:
            progress.stage("proving it for any number of rounds")
            found["rounds"] = prove_rounds(result.model, result.exploration)
    return found


def _said(found: Any) -> str:
    return f"not proved: {found.reason}" if found.reason else f"any number: {found.says}"


def _certificate(result: Any, proof: Any, options: Any) -> str:
    """Write the certificate, have it answered by other solvers, and say what was done."""
    if not options.certificate:
        return ""
    from pathlib import Path

    from checker.report.layout import fill
    from proofs.certificate import certificate_hash, write
    from proofs.recheck import SOLVERS, NoSolver, recheck

    folder = Path(options.certificate)
    written = write(
        proof, folder, {"strategy": result.strategy.name, "machine": result.model.plan.scenario.machine.name}
    )
    said = [f"certificate  {folder}: {len(written) - 1} scripts, SHA-256 {certificate_hash(proof)}"]
    for solver in SOLVERS if options.recheck else ():
        try:
            wrong = recheck(folder, solver)
        except NoSolver as missing:
            raise UsageError(str(missing)) from missing
        if wrong:
            raise UsageError(f"{solver} does not confirm the certificate: {'; '.join(wrong)}")
        said.append(f"             every answer is confirmed by {solver}")
    return "\n".join([fill(said[0], following="             "), *said[1:]])


def run_docs(options: Any) -> int:
    from pathlib import Path

    from checker.documentation import REFERENCE, all_pages

    for name in options.strategies:
        if name != REFERENCE:
            load_strategy(name)
    found = all_pages(options.strategies, Path(options.output), Path(options.reference))
    return worst([_compare(pages) if options.check else _write(pages) for pages in found])


def _write(pages: Any) -> int:
    """Write the pages of one folder."""
    from checker.documentation import write
    from checker.report.layout import plural

    for name in write(pages.folder, pages.made, pages.whole):
        print(f"removed {pages.folder / name}: nothing is generated for it")
    print(f"wrote {plural(len(pages.made), 'page')} to {pages.folder}")
    return HOLDS


def _compare(pages: Any) -> int:
    """Say which pages of one folder are not as they would be written."""
    from checker.documentation import other_solver, stale
    from checker.report.layout import plural

    if note := other_solver(pages.folder, pages.made):
        print(f"note  {note}")
    found = stale(pages.folder, pages.made, pages.whole)
    for sentence in found:
        print(sentence)
    if found:
        print(f"{plural(len(found), 'page')} to mend: check-strategy docs {pages.option} {pages.folder}")
        return VIOLATION
    print(f"{plural(len(pages.made), 'page')} in {pages.folder}: all as they should be")
    return HOLDS


def run_report(options: Any) -> int:
    import sys
    from pathlib import Path

    from checker.publish import publish
    from checker.report.layout import plural

    for name in options.strategies:
        load_strategy(name)
    shown = sys.stderr.isatty()

    def done(count: int, of: int, name: str) -> None:
        if shown:
            print(f"\r\x1b[K{count} of {of}: {name}"[:79], end="", file=sys.stderr, flush=True)

    folder = Path(options.folder)
    try:
        written = publish(folder, options.strategies, done)
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print(f"wrote {plural(len(written), 'file')}; open {folder / 'index.html'}")
    return HOLDS

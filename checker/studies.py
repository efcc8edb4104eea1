"""Commands that study a strategy beyond one check: explain, matrix, prove, docs."""

from __future__ import annotations

import os
from typing import Any

from checker.options import (
    HOLDS,
    INCONCLUSIVE,
    VIOLATION,
    Progress,
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


def run_explain(options: Any) -> int:
    from checker.explain import omissions
    from checker.report import files, layout, structured, text

    strategy = load_strategy(options.strategy)
    scenario = scenario_of(options, options.machine)
    paint = paint_of()
    use_case = options.use_case or "livepatch"
    whole = checked(strategy, scenario, options)
    rows, found = [["step", "without it", "steps", "line"]], []
    known = {(v.verdict.property, v.verdict.kind) for v in whole.violations if v.use_case == use_case}
    steps = omissions(strategy, scenario, use_case, limits_of(options), known, engine_of(options))
    for omission in steps if whole.exploration.complete else ():
        found.append(omission)
        broken = ", ".join(f"{name} ({kind})" for name, kind in omission.broken)
        unknown = "unknown" if omission.inconclusive else "nothing more breaks" if known else "protects nothing here"
        length = str(len(omission.trace.steps)) if omission.trace else ""
        rows.append([omission.label, broken or unknown, length, os.path.basename(omission.line)])
    if options.json != "-":
        heading = f"{paint(strategy.name, 'bold')}, {use_case}, {text.applies(whole)}, {scenario.machine.name}"
        print(layout.fill(heading, "", "  "))
        if known:
            broken = ", ".join(f"{name} ({kind})" for name, kind in sorted(known))
            print(layout.fill(f"complete, it breaks already: {broken}", "", "  "))
        print("\n" + _narrow(rows, paint))
        for omission in found:
            if omission.trace is not None:
                print(f"\n{paint(f'without {omission.label}', 'bold')}: {omission.trace.property}")
                for k, step in enumerate(omission.trace.steps, 1):
                    print(layout.fill(f"{k:3}  {step.says}", "", "     "))
                print(layout.fill(f"=> {omission.trace.why}", "  ", "     "))
    if options.json:
        name = absolute(options.strategy)
        values = {
            "schema": files.SCHEMA,
            "strategy": strategy.name,
            "use_case": use_case,
            "complete": structured.check_to_json(whole, name),
            "without": [{"label": o.label, "line": o.line, **structured.check_to_json(o.result, name)} for o in found],
        }
        files.write(values, options.json)
    statuses = [INCONCLUSIVE for o in found if o.inconclusive]
    return worst([whole.exit_status, *statuses])


def _narrow(rows: list[list[str]], paint: Any) -> str:
    """A table whose wide middle column is broken at commas, one property to a line."""
    from checker.report.layout import WIDTH, table

    lines = [rows[0]]
    for row in rows[1:]:
        first, *others = row[1].split(", ")
        lines.append([row[0], first, *row[2:]])
        lines += [["", other, "", ""] for other in others]
    if max(map(len, table(lines).splitlines())) > WIDTH:
        lines = [[*line[:-1], line[-1].rpartition(":")[2]] for line in lines]  # only the number of the line
    return str(table(lines, paint))


def run_matrix(options: Any) -> int:
    from dataclasses import asdict

    from checker.matrix import matrix
    from checker.report import files
    from checker.report.matrix import render
    from models.machines.fetch import PRESETS

    strategy = load_strategy(options.strategy)
    scenario = scenario_of(options, "x86-linux")
    machines = [machine_of(name) for name in options.machine or PRESETS]
    use_case = options.use_case or "livepatch"
    progress = Progress()
    cells = []
    try:
        for cell in matrix(strategy, scenario, machines, use_case, limits_of(options), engine_of(options)):
            cells.append(cell)
    finally:
        progress.done()
    if options.json:
        values = {"schema": files.SCHEMA, "strategy": strategy.name, "use_case": use_case, "sites": scenario.sites}
        files.write({**values, "cells": [asdict(cell) for cell in cells]}, options.json)
    if options.json != "-":
        print(render(strategy, scenario, use_case, cells, paint_of()))
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
    scenario = scenario_of(options, options.machine)
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
    if options.any_sites:
        found["sites"] = prove_sites(result.model, result.exploration)
    if options.any_rounds:
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

    from checker.documentation import other_solver, pages, stale, write
    from checker.report.layout import plural

    for name in options.strategies:
        load_strategy(name)
    folder, whole = Path(options.output), not options.strategies
    made = pages(options.strategies)
    if not options.check:
        gone = write(folder, made, whole)
        for name in gone:
            print(f"removed {folder / name}: nothing is generated for it")
        print(f"wrote {plural(len(made), 'page')} to {folder}")
        return HOLDS
    if note := other_solver(folder, made):
        print(f"note  {note}")
    found = stale(folder, made, whole)
    for sentence in found:
        print(sentence)
    if found:
        print(f"{plural(len(found), 'page')} to mend: check-strategy docs --output {folder}")
        return VIOLATION
    print(f"{plural(len(made), 'page')} in {folder}: all as they should be")
    return HOLDS

"""What each command of `check-strategy` does: from parsed options to output and an exit status.

Imports are inside the functions, so that a command pays only for what it uses.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from models.system.errors import ScenarioError

HOLDS, VIOLATION, USAGE, MODEL, INCONCLUSIVE, VACUOUS, INTERNAL = 0, 1, 2, 3, 4, 5, 70
SEVERITY = (INTERNAL, MODEL, USAGE, VIOLATION, INCONCLUSIVE, VACUOUS, HOLDS)
NAMES = ("check", "prove", "docs", "list", "catalogue", "explain", "matrix", "diff", "export", "replay", "new")
ENGINES = ("auto", "product", "python", "native")  # as checker.search.engine has them; not imported, for speed


class UsageError(Exception):
    """The command line asks for something that does not exist."""


def worst(statuses: Sequence[int]) -> int:
    """Of several exit statuses, the one that counts."""
    return min(statuses, key=SEVERITY.index, default=HOLDS)


def complain(message: str, status: int) -> int:
    """Say what is wrong in one line on standard error. Returns `status`."""
    print(f"check-strategy: {' '.join(message.split())}", file=sys.stderr)
    return status


# ---- what commands share ----------------------------------------------------------------------------------------------


def _load(name: str) -> Any:
    from models.library import load, shipped

    try:
        return load(name)
    except KeyError:
        from difflib import get_close_matches

        near = get_close_matches(name, [*shipped(), *NAMES], 3, 0.5)
        near = [f"./{name}.py"] if os.path.exists(f"{name}.py") else near
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `check-strategy list` shows all"
        raise UsageError(f"there is no strategy “{name}”{hint}") from None


def _machine(name: str) -> Any:
    from models.machines.fetch import PRESETS, machine

    try:
        return machine(name)
    except ScenarioError as error:
        from difflib import get_close_matches

        near = get_close_matches(name.partition(",")[0], PRESETS, 3, 0.4)
        known = name.partition(",")[0] in PRESETS
        hint = f"; did you mean {' or '.join(near)}?" if near and not known else ""
        raise UsageError(f"{error.message}{hint}") from None


def _scenario(options: Any, machine: str) -> Any:
    from models.scenario import Scenario

    return Scenario(
        machine=_machine(machine),
        transition=options.transition,
        rounds=options.rounds,
        cpus=options.cpus,
        sites=options.sites,
        without=frozenset(options.without),
        preempt=options.preempt,
        nmi=options.nmi,
    )


def _limits(options: Any) -> Any:
    from checker.search.result import Limits

    return Limits(options.max_states, options.max_seconds, options.max_memory)


def _engine(options: Any) -> Any:
    from checker.search.engine import Engine

    symmetry = None if options.symmetry is None else options.symmetry == "on"
    return Engine(options.engine, options.threads, symmetry, options.hash_compaction)


def _paint(quiet: bool = False) -> Any:
    from checker.report.layout import Paint

    return Paint(sys.stdout.isatty() and not quiet and "NO_COLOR" not in os.environ)


class _Progress:
    """The progress line: on standard error, only on a terminal, only after a second."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()
        self.shown = False
        self.active = sys.stderr.isatty()

    def __call__(self, at: Any) -> None:
        now = time.monotonic()
        if not self.active or now - self.began < 1 or now - self.last < 0.2:
            return
        import resource

        self.last, self.shown = now, True
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        rate = at.states / (now - self.began)
        line = f"{at.states:,} states, {rate:,.0f}/s, depth {at.depth}, frontier {at.frontier:,}, {memory:,} MiB"
        print(f"\r\x1b[K{line[:79]}", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _checked(strategy: Any, scenario: Any, options: Any, proof: bool = False) -> Any:
    from checker.verdict import check

    progress = _Progress()
    try:
        return check(
            strategy,
            scenario,
            use_case=options.use_case,
            engine=_engine(options),
            limits=_limits(options),
            report=progress,
            proof=proof,
        )
    finally:
        progress.done()


# ---- the commands -----------------------------------------------------------------------------------------------------


def run_check(options: Any) -> int:
    strategy = _load(options.strategy)
    scenario = _scenario(options, options.machine)
    if options.expected:
        from models.scenario import Scenario

        if scenario != Scenario() or options.use_case or options.keep_generated:
            raise UsageError("--expected takes the scenarios from the file: no other option chooses one")
        return _expected([options.strategy], options)
    result = _checked(strategy, scenario, options, options.proof == "on")
    from checker.report import files, structured, text

    name = options.strategy
    if options.json != "-":
        import shlex

        words = " ".join(filter(None, [shlex.quote(name), text.options_of(scenario)]))
        replay = f"check-strategy {words} --json trace.json; check-strategy replay trace.json"
        print(text.render(result, _paint(), replay))
        _say_which(name, strategy)
    if options.json:
        files.write(structured.check_to_json(result, _absolute(name)), options.json)
    _keep_generated(result, options)
    return int(result.exit_status)


def _say_which(name: str, strategy: Any) -> None:
    """Of a file with several strategies, which one was checked."""
    from models.library import is_path, load_file

    if is_path(name) and ".py:" not in name:
        from pathlib import Path

        others = [s.name for s in load_file(Path(name)) if s.name != strategy.name]
        if others:
            print(f"note  the file has more strategies; check one by {name}:NAME — {', '.join(others)}")


def _absolute(name: str) -> str:
    from models.library import is_path

    return os.path.abspath(name) if is_path(name) else name


def _keep_generated(result: Any, options: Any) -> None:
    if options.keep_generated:
        from pathlib import Path

        from checker.report.files import write_atomically
        from checker.search.generate import generate

        write_atomically(Path(options.keep_generated), generate(result.model.system).source)


def run_prove(options: Any) -> int:
    from checker.report import files, structured, text
    from checker.report.proof import lemmas, not_inductive

    if options.recheck and not options.certificate:
        raise UsageError("--recheck is about a certificate: say with --certificate where to write it")
    strategy = _load(options.strategy)
    scenario = _scenario(options, options.machine)
    result = _checked(strategy, scenario, options, proof=True)
    tried = result.proving.tried if result.proving else None
    proof = tried.proof if tried else None
    certificate = _certificate(result, proof, options) if proof else None
    more = _more(result, options) if proof else {}
    if options.json != "-":
        paint = _paint()
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
        values = structured.check_to_json(result, _absolute(options.strategy))
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
        _load(name)
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


def run_list(options: Any) -> int:
    from checker.report import files, layout
    from models.library import shipped
    from models.machines.fetch import PRESETS
    from models.properties import PROPERTIES

    groups: dict[str, dict[str, str]] = {
        "strategies": {s.name: s.says for s in shipped().values()},
        "machines": {m.name: m.says for m in PRESETS.values()},
        "properties": dict(PROPERTIES),
        "use-cases": {
            use_case: "exposures only: " + ", ".join(_exposures(use_case)) for use_case in ("livepatch", "tracing")
        },
    }
    chosen = {name: group for name, group in groups.items() if options.what in (None, name)}
    if options.json:
        files.write({"schema": files.SCHEMA, **chosen}, options.json)
    if options.json != "-":
        for name, group in chosen.items():
            width = max(map(len, group))
            print(f"{name}:")
            for key, says in group.items():
                if options.what is None and width + len(says) + 4 > layout.WIDTH:
                    says = says[: layout.WIDTH - width - 5] + "…"
                print(
                    f"  {key.ljust(width)}  {says}"
                    if options.what is None
                    else layout.fill(f"{key}: {says}", "  ", "    ")
                )
    return HOLDS


def _exposures(use_case: str) -> list[str]:
    from models.properties import ACCEPTED

    return sorted(f"{name} ({kind})" if kind else name for name, kind in ACCEPTED[use_case])


def run_catalogue(options: Any) -> int:
    for name in options.strategies:
        _load(name)
    return _expected(options.strategies, options)


def _expected(names: Sequence[str], options: Any) -> int:
    from dataclasses import asdict

    from checker.catalogue import run
    from checker.report import files, layout

    began = time.monotonic()
    paint = _paint()
    found = []
    quiet = options.json == "-"
    for met in run(names, _limits(options)):
        found.append(met)
        if not quiet:
            word = paint("ok  ", "green") if met.ok else paint("FAIL", "red")
            line = f"{met.strategy}, {met.use_case}, {met.scenario}: {met.expected}"
            print(f"{word} {layout.fill(line, '     ', '       ')[5:]}", flush=True)
            if not met.ok:
                print(layout.fill(met.difference, "       "))
            if met.vacuous:
                print(layout.fill(f"vacuous: {met.vacuous}", "       "))
    failed = [met for met in found if not met.ok]
    if options.json:
        files.write({"schema": files.SCHEMA, "expectations": [asdict(met) for met in found]}, options.json)
    if not quiet:
        seconds = time.monotonic() - began
        print(f"{len(found) - len(failed)} of {len(found)} expectations are met, {seconds:.1f} s")
        idle = sorted(
            {f"{met.strategy}: {name}" for met in found for name in met.idle if not met.expected.count("violated")}
        )
        if idle:
            print(layout.fill(f"warning: never happened: {'; '.join(idle)}", "", "  "))
    if not found:
        raise UsageError("nothing is declared there: no expectation to compare with")
    statuses = [INCONCLUSIVE if met.inconclusive else VIOLATION for met in failed]
    return worst([*statuses, *(VACUOUS for met in found if met.vacuous)])


def run_explain(options: Any) -> int:
    from checker.explain import omissions
    from checker.report import files, layout, structured, text

    strategy = _load(options.strategy)
    scenario = _scenario(options, options.machine)
    paint = _paint()
    use_case = options.use_case or "livepatch"
    whole = _checked(strategy, scenario, options)
    rows, found = [["step", "without it", "steps", "line"]], []
    known = {(v.verdict.property, v.verdict.kind) for v in whole.violations if v.use_case == use_case}
    steps = omissions(strategy, scenario, use_case, _limits(options), known, _engine(options))
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
        name = _absolute(options.strategy)
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

    strategy = _load(options.strategy)
    scenario = _scenario(options, "x86-linux")
    machines = [_machine(name) for name in options.machine or PRESETS]
    use_case = options.use_case or "livepatch"
    progress = _Progress()
    cells = []
    try:
        for cell in matrix(strategy, scenario, machines, use_case, _limits(options), _engine(options)):
            cells.append(cell)
    finally:
        progress.done()
    if options.json:
        values = {"schema": files.SCHEMA, "strategy": strategy.name, "use_case": use_case, "sites": scenario.sites}
        files.write({**values, "cells": [asdict(cell) for cell in cells]}, options.json)
    if options.json != "-":
        print(render(strategy, scenario, use_case, cells, _paint()))
    return INCONCLUSIVE if any(cell.unknown for cell in cells) else HOLDS


def run_diff(options: Any) -> int:
    from checker.report import files, layout, structured, text

    machines = options.machine or ["x86-linux"]
    names = options.strategies
    if len(names) > 2 or len(machines) > 2 or len(names) * len(machines) < 2:
        raise UsageError("diff compares two: two strategies, or one strategy and two --machine")
    sides = [(names[0], machines[0]), (names[-1], machines[-1])]
    results = [_checked(_load(name), _scenario(options, machine), options) for name, machine in sides]
    titles = [f"{name} on {machine}" if len(machines) == 2 else name for name, machine in sides]
    rows = [["use case", "property", *titles]]
    for a, b in zip(results[0].results, results[1].results, strict=True):
        for x, y in zip(a.verdicts, b.verdicts, strict=True):
            if (x.verdict, x.kind) != (y.verdict, y.kind):
                rows.append([a.use_case, x.property, text.answer(x), text.answer(y)])
    if options.json:
        values = {
            "schema": files.SCHEMA,
            "sides": [structured.check_to_json(r, _absolute(n)) for r, (n, _) in zip(results, sides, strict=True)],
            "differences": [
                dict(zip(("use_case", "property", "first", "second"), row, strict=True)) for row in rows[1:]
            ],
        }
        files.write(values, options.json)
    if options.json != "-":
        if len(rows) == 1:
            print(f"no verdict differs between {titles[0]} and {titles[1]}")
        else:
            wide = layout.table(rows)
            if max(map(len, wide.splitlines())) > layout.WIDTH:
                rows[0][2:] = ["first", "second"]
                print(f"first   {titles[0]}\nsecond  {titles[1]}\n")
            print(layout.table(rows, _paint()))
    unknown = [r for r in results if not r.exploration.complete]
    return INCONCLUSIVE if unknown else HOLDS


def run_export(options: Any) -> int:
    from pathlib import Path

    from checker.export.printer import Inexpressible
    from checker.report.files import write_atomically
    from models.compose import compose

    system = compose(_load(options.strategy), _scenario(options, options.machine)).system
    try:
        if options.to == "promela":
            from checker.export.promela import promela

            if options.check or options.progress:
                raise UsageError("a Promela file has every check in it: its header says by which macro each is woken")
            text = promela(system)
        else:
            from checker.export.murphi import murphi

            text = murphi(system, options.check, options.progress)
    except Inexpressible as reason:
        raise UsageError(f"{options.strategy}: {reason}") from reason
    if options.output == "-":
        print(text, end="")
    else:
        write_atomically(Path(options.output), text)
    return HOLDS


def run_replay(options: Any) -> int:
    from pathlib import Path

    from checker.replay import TraceFileError, replay
    from checker.report.text import render_trace

    try:
        traces = replay(Path(options.file))
    except TraceFileError as error:
        return complain(str(error), MODEL)
    for number, trace in enumerate(traces, 1):
        print(render_trace(trace, number, _paint()), end="\n\n")
    print(f"{len(traces)} trace{'' if len(traces) == 1 else 's'} replayed; every step is as the file says")
    return HOLDS


def run_new(options: Any) -> int:
    from pathlib import Path

    from checker.report.files import write_atomically
    from checker.template import fill

    path = Path(options.file)
    if path.suffix != ".py":
        raise UsageError(f"{path}: a strategy file ends in .py")
    if path.exists():
        raise UsageError(f"{path} is there already; it was left as it is")
    write_atomically(path, fill(options.file, path.stem.replace("_", "-")))
    print(f"wrote {path}; now: check-strategy {options.file if '/' in options.file else './' + options.file}")
    return HOLDS

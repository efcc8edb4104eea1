"""What each everyday command of `check-strategy` does: from parsed options to output and an exit status.

Imports are inside the functions, so that a command pays only for what it uses.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from checker.options import (
    HOLDS,
    INCONCLUSIVE,
    MODEL,
    VACUOUS,
    VIOLATION,
    UsageError,
    absolute,
    checked,
    complain,
    limits_of,
    load_strategy,
    paint_of,
    scenario_of,
    worst,
)


def run_check(options: Any) -> int:
    from checker.outputs import (
        refuse_outputs,
        refuse_without_output,
        takes_standard_output,
        write_outputs,
    )

    refuse_without_output(options)
    if options.watch:
        from checker.watch import watch

        return watch(options)
    strategy = load_strategy(options.strategy)
    scenario = scenario_of(options, strategy, options.machine)
    if options.expected:
        from models.scenario import usual

        if scenario != usual(strategy.isa) or options.use_case or options.keep_generated:
            raise UsageError("--expected takes the scenarios from the file: no other option chooses one")
        refuse_outputs(options, ("json", "junit"), "is about one check; --expected makes several")
        return _compared([options.strategy], options, with_bugs=False)
    result = checked(strategy, scenario, options, options.proof == "on", witnesses=bool(options.html))
    from checker.report import files, structured, text

    name = options.strategy
    if not takes_standard_output(options):
        replay = f"{text.command_of(name, scenario, options.use_case or '')} --json trace.json; check-strategy replay trace.json"
        print(text.render(result, paint_of(), replay))
        _say_which(name, strategy)
    if options.json:
        files.write(structured.check_to_json(result, absolute(name)), options.json)
    write_outputs(result, name, options)
    if _on_github():
        from checker.report import github

        github.tell(github.of_check(result), github.summary_of_check(result), takes_standard_output(options))
    _keep_generated(result, options)
    return int(result.exit_status)


def _on_github() -> bool:
    """Whether this is a step of a job of GitHub Actions."""
    import os

    return os.environ.get("GITHUB_ACTIONS") == "true"


def _say_which(name: str, strategy: Any) -> None:
    """Of a file with several strategies, which one was checked."""
    from models.library import is_path, load_file

    if is_path(name) and ".py:" not in name:
        from pathlib import Path

        others = [s.name for s in load_file(Path(name)) if s.name != strategy.name]
        if others:
            print(f"note  the file has more strategies; check one by {name}:NAME — {', '.join(others)}")


def _keep_generated(result: Any, options: Any) -> None:
    if options.keep_generated:
        from checker.report.files import write_text
        from checker.search.generate import generate

        write_text(generate(result.model.system).source, options.keep_generated)


def run_list(options: Any) -> int:
    from checker.report import files, layout
    from models.library import bug_lines, shipped
    from models.machines.fetch import PRESETS
    from models.properties import PROPERTIES

    groups: dict[str, dict[str, str]] = {
        "strategies": {s.name: s.says for s in shipped().values()},
        "machines": {m.name: m.says for m in PRESETS.values()},
        "properties": dict(PROPERTIES),
        "use-cases": {
            use_case: "exposures only: " + ", ".join(_exposures(use_case)) for use_case in ("livepatch", "tracing")
        },
        "bugs": bug_lines(),
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
        load_strategy(name)
    return _compared(options.strategies, options, with_bugs=not options.strategies)


def _compared(names: Sequence[str], options: Any, with_bugs: bool) -> int:
    """Compare with what is declared, expectations first and then bugs, and write what was asked for."""
    from checker.outputs import takes_standard_output
    from checker.report.files import write_text

    quiet = takes_standard_output(options)
    status, found = _expected(names, options, quiet)
    bugs: list[Any] = []
    if with_bugs and (options.junit or options.json != "-"):
        wrong, bugs = _bugs(quiet)
        status = worst([status, wrong])
    if options.junit:
        from checker.report import junit

        write_text(junit.render_catalogue(found, bugs), options.junit)
    if _on_github():
        from checker.report import github

        github.tell(github.of_catalogue(found, bugs), github.summary_of_catalogue(found, bugs), quiet)
    return status


def _bugs(quiet: bool) -> tuple[int, list[Any]]:
    """Every published bug: found before its fix, gone after it."""
    from checker.bugs import examine
    from checker.report import layout
    from models.library import bugs

    paint, examined = paint_of(), []
    for bug in bugs().values():
        found = examine(bug, proof=False)
        examined.append(found)
        if quiet:
            continue
        word = paint("ok  ", "green") if found.ok else paint("FAIL", "red")
        length = len(found.trace.steps) if found.trace else 0
        line = f"{bug.identifier}: {bug.breaks} before the fix, in {layout.plural(length, 'step')}; not after it"
        print(f"{word} {layout.fill(line, '     ', '       ')[5:]}", flush=True)
        if not found.ok:
            print(layout.fill(found.difference, "       "))
    right = sum(found.ok for found in examined)
    if not quiet:
        print(f"{right} of {layout.plural(len(examined), 'bug')} are as published")
    return HOLDS if right == len(examined) else VIOLATION, examined


def _expected(names: Sequence[str], options: Any, quiet: bool) -> tuple[int, list[Any]]:
    """Every expectation, told as it comes out."""
    from dataclasses import asdict

    from checker.catalogue import run
    from checker.report import files, layout

    began = time.monotonic()
    paint = paint_of()
    found = []
    for met in run(names, limits_of(options)):
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
    return worst([*statuses, *(VACUOUS for met in found if met.vacuous)]), found


def run_diff(options: Any) -> int:
    from checker.report import files, layout, structured, text

    machines = options.machine or [""]
    names = options.strategies
    if len(names) > 2 or len(machines) > 2 or len(names) * len(machines) < 2:
        raise UsageError("diff compares two: two strategies, or one strategy and two --machine")
    sides = [(names[0], machines[0]), (names[-1], machines[-1])]
    subjects = [load_strategy(name) for name, _ in sides]
    scenarios = [scenario_of(options, s, machine) for s, (_, machine) in zip(subjects, sides, strict=True)]
    results = [checked(s, scenario, options) for s, scenario in zip(subjects, scenarios, strict=True)]
    titles = [f"{name} on {machine}" if len(machines) == 2 else name for name, machine in sides]
    rows = [["use case", "property", *titles]]
    for a, b in zip(results[0].results, results[1].results, strict=True):
        for x, y in zip(a.verdicts, b.verdicts, strict=True):
            if (x.verdict, x.kind) != (y.verdict, y.kind):
                rows.append([a.use_case, x.property, text.answer(x), text.answer(y)])
    if options.json:
        values = {
            "schema": files.SCHEMA,
            "sides": [structured.check_to_json(r, absolute(n)) for r, (n, _) in zip(results, sides, strict=True)],
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
            print(layout.table(rows, paint_of()))
    unknown = [r for r in results if not r.exploration.complete]
    return INCONCLUSIVE if unknown else HOLDS


def run_export(options: Any) -> int:
    from checker.export.printer import Inexpressible
    from checker.report.files import write_text
    from models.compose import compose

    strategy = load_strategy(options.strategy)
    system = compose(strategy, scenario_of(options, strategy, options.machine)).system
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
    write_text(text, options.output)
    return HOLDS


def run_replay(options: Any) -> int:
    from pathlib import Path

    from checker.replay import TraceFileError, replay
    from checker.report.text import render_trace

    path = Path(options.file)
    if not path.exists() or path.is_dir():
        raise UsageError(f"{path} is a directory" if path.is_dir() else f"there is no file {path}")
    try:
        traces = replay(path)
    except TraceFileError as error:
        return complain(str(error), MODEL)
    for number, trace in enumerate(traces, 1):
        print(render_trace(trace, number, paint_of()), end="\n\n")
    print(f"{len(traces)} trace{'' if len(traces) == 1 else 's'} replayed; every step is as the file says")
    return HOLDS


def run_silicon(options: Any) -> int:
    from checker.silicon.command import run_silicon

    return run_silicon(options)


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


def run_completion(options: Any) -> int:
    from checker.completion import answer

    return answer(options)

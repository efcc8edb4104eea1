"""The `check-strategy` command: arguments in, exit status out.

0 everything required holds · 1 a required property is violated · 2 wrong usage · 3 the model is wrong ·
4 inconclusive · 5 a required verdict is vacuous · 70 internal error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from models.system.errors import ModelError, ScenarioError

HOLDS, VIOLATION, USAGE, MODEL, INCONCLUSIVE, VACUOUS, INTERNAL = 0, 1, 2, 3, 4, 5, 70
SEVERITY = (INTERNAL, MODEL, USAGE, VIOLATION, INCONCLUSIVE, VACUOUS, HOLDS)
COMMANDS = ("check", "list", "catalogue", "explain", "diff", "replay", "new")


class UsageError(Exception):
    """The command line asks for something that does not exist."""


def worst(statuses: Sequence[int]) -> int:
    """Of several exit statuses, the one that counts."""
    return min(statuses, key=SEVERITY.index, default=HOLDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status; never raises but for SystemExit of a wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] not in COMMANDS and not words[0].startswith("-"):
        words.insert(0, "check")  # a bare strategy means check
    options = _parser().parse_args(words)
    output = _Unbreakable(sys.stdout)
    with contextlib.redirect_stdout(output):
        status = _run(options)
        output.flush()
    return status


def _run(options: Any) -> int:
    """Run one command; every failure becomes one line on standard error and an exit status."""
    try:
        return int(options.run(options))
    except UsageError as error:
        return _complain(str(error), USAGE)
    except ScenarioError as error:
        return _complain(str(error), USAGE)
    except ModelError as error:
        if options.debug:
            _print_traceback()
        return _complain(str(error), MODEL)
    except KeyboardInterrupt:
        return _complain("interrupted before there was an answer", INCONCLUSIVE)
    except OSError as error:
        return _complain(f"{error.filename or ''}: {error.strerror or error}", USAGE)
    except Exception as error:
        if options.debug:
            _print_traceback()
        return _complain(f"internal error: {type(error).__name__}: {error} (--debug shows where)", INTERNAL)


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _complain(message: str, status: int) -> int:
    print(f"check-strategy: {' '.join(message.split())}", file=sys.stderr)
    return status


class _Version(argparse.Action):
    """Prints the version; looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"check-strategy {version('check-strategy')}")
        parser.exit()


class _Unbreakable:
    """Standard output that goes quiet when its reader has gone, so that the exit status is that of the check."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._quietly():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._quietly():
            self._stream.flush()

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
            with contextlib.suppress(OSError, ValueError):
                os.dup2(self._stream.fileno(), sys.__stdout__.fileno())  # type: ignore[union-attr]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check-strategy",
        description="Can any CPU, in any interleaving, run a torn instruction or a stale target while code is rewritten?",
        epilog="Exit status: 0 holds, 1 violated, 2 usage, 3 the model is wrong, 4 inconclusive, 5 vacuous, 70 internal.",
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument("--debug", action="store_true", help="show a traceback with every error")
        return made

    check = command("check", run_check, "check one strategy (the default: a bare name or file means this)")
    check.add_argument("strategy", help="a shipped name, or a file (file.py, or file.py:name)")
    _scenario_options(check)
    check.add_argument("--expected", action="store_true", help="compare with what the file declares of itself instead")
    _common_options(check)
    check.add_argument("--keep-generated", metavar="FILE", help="keep the generated successor functions")

    listing = command("list", run_list, "strategies, machines, properties and use cases, one line each")
    listing.add_argument("what", nargs="?", choices=("strategies", "machines", "properties", "use-cases"))
    listing.add_argument("--json", metavar="FILE", help="write JSON; - is standard output")

    catalogue = command("catalogue", run_catalogue, "every shipped model against what it declares of itself")
    catalogue.add_argument("strategies", nargs="*", help="only these")
    _limit_options(catalogue)
    catalogue.add_argument("--json", metavar="FILE", help="write JSON; - is standard output")

    explain = command("explain", run_explain, "leave out each step in turn: what breaks, with the shortest trace")
    explain.add_argument("strategy")
    _scenario_options(explain)
    _common_options(explain)

    diff = command("diff", run_diff, "which verdicts differ between two strategies, files or machines")
    diff.add_argument("strategies", nargs="+", metavar="STRATEGY")
    _scenario_options(diff, machines=True)
    _common_options(diff)

    replay = command("replay", run_replay, "replay the traces of a JSON file on the reference evaluator")
    replay.add_argument("file")

    new = command("new", run_new, "write a commented strategy file that checks as it stands")
    new.add_argument("file")
    return parser


def _positive(text: str) -> int:
    with contextlib.suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"“{text}” is not a positive number")


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"“{text}” is not a positive number of seconds")


def _scenario_options(parser: argparse.ArgumentParser, machines: bool = False) -> None:
    group = parser.add_argument_group("scenario")
    if machines:
        group.add_argument("--machine", action="append", help="once, or twice for two machines (default x86-linux)")
    else:
        group.add_argument("--machine", default="x86-linux", help="preset, or preset,toggle=value (default x86-linux)")
    group.add_argument("--use-case", choices=("livepatch", "tracing"), help="only this one (default: all)")
    group.add_argument("--transition", metavar="OLD:NEW", help="call:call (default), nop:call, call:nop")
    group.add_argument("--rounds", type=_positive, help="updates, one after the other (default 1)")
    group.add_argument("--cpus", type=_positive, default=2, help="CPUs that run the code (default 2)")
    group.add_argument("--sites", type=_positive, default=2, help="sites in one batch (default 2)")
    group.add_argument("--without", action="append", default=[], metavar="LABEL", help="leave a step out (repeatable)")
    group.add_argument("--preempt", action="store_true", help="tasks can be preempted (always when code is freed)")
    group.add_argument("--nmi", action="store_true", help="NMIs arrive")


def _limit_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits (a search that meets one ends in “unknown”)")
    group.add_argument("--max-states", type=_positive, metavar="N")
    group.add_argument("--max-seconds", type=_seconds, metavar="S")
    group.add_argument("--max-memory", type=_positive, metavar="MIB")


def _common_options(parser: argparse.ArgumentParser) -> None:
    _limit_options(parser)
    parser.add_argument("--engine", choices=("auto", "python"), default="auto", help="which search (default auto)")
    parser.add_argument("--json", metavar="FILE", help="write JSON; - is standard output, with nothing else on it")


# ---- what commands share ----------------------------------------------------------------------------------------------


def _load(name: str) -> Any:
    from models.library import load, shipped

    try:
        return load(name)
    except KeyError:
        from difflib import get_close_matches

        near = get_close_matches(name, [*shipped(), *COMMANDS], 3, 0.5)
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


def _checked(strategy: Any, scenario: Any, options: Any) -> Any:
    from checker.verdict import check

    progress = _Progress()
    try:
        return check(strategy, scenario, use_case=options.use_case, limits=_limits(options), report=progress)
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
    result = _checked(strategy, scenario, options)
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
    steps = omissions(strategy, scenario, use_case, _limits(options), known) if whole.exploration.complete else ()
    for omission in steps:
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


def run_replay(options: Any) -> int:
    from pathlib import Path

    from checker.replay import TraceFileError, replay
    from checker.report.text import render_trace

    try:
        traces = replay(Path(options.file))
    except TraceFileError as error:
        return _complain(str(error), MODEL)
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


if __name__ == "__main__":
    sys.exit(main())

"""The `check-strategy` command: arguments in, exit status out.

0 everything required holds · 1 a required property is violated · 2 wrong usage · 3 the model is wrong ·
4 inconclusive · 5 a required verdict is vacuous · 70 internal error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from checker import commands, studies
from checker.options import ENGINES, INCONCLUSIVE, INTERNAL, MODEL, NAMES, USAGE, UsageError, complain
from checker.outputs import GRAPHS, OUTPUTS, refuse_shared_targets
from checker.report.files import Reconfigurable
from models.system.errors import ModelError, ScenarioError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status; never raises but for SystemExit of a wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] not in (*NAMES, "-h", "--help", "--version"):
        words.insert(0, "check")  # a bare strategy means check
    _open_streams()
    options = _parser().parse_args(words)
    output = _Unbreakable(sys.stdout)
    with contextlib.redirect_stdout(output):
        status = _run(options)
        output.flush()
    return status


def _open_streams() -> None:
    """Standard streams that take every text: nothing is lost but what a terminal cannot show, or nobody reads."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, Reconfigurable):
        sys.stdout.reconfigure(errors="replace")


def _run(options: Any) -> int:
    """Run one command; every failure becomes one line on standard error and an exit status."""
    try:
        refuse_shared_targets(options)
        return int(options.run(options))
    except UsageError as error:
        return complain(str(error), USAGE)
    except ScenarioError as error:
        return complain(str(error), USAGE)
    except ModelError as error:
        if options.debug:
            _print_traceback()
        return complain(str(error), MODEL)
    except KeyboardInterrupt:
        return complain("interrupted before there was an answer", INCONCLUSIVE)
    except OSError as error:
        return complain(": ".join(filter(None, [error.filename, error.strerror or str(error)])), USAGE)
    except Exception as error:
        if options.debug:
            _print_traceback()
        return complain(f"internal error: {type(error).__name__}: {error} (--debug shows where)", INTERNAL)


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


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

    def reconfigure(self, **how: Any) -> None:
        if isinstance(self._stream, Reconfigurable):
            self._stream.reconfigure(**how)

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
    known = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        made = known.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument("--debug", action="store_true", help="show a traceback with every error")
        return made

    check = command("check", commands.run_check, "check one strategy (the default: a bare name or file means this)")
    check.add_argument("strategy", help="a shipped name, or a file (file.py, or file.py:name)")
    _scenario_options(check)
    check.add_argument("--expected", action="store_true", help="compare with what the file declares of itself instead")
    check.add_argument("--watch", action="store_true", help="check the file again each time it is saved, until Ctrl-C")
    _common_options(check)
    _output_options(check)
    check.add_argument("--keep-generated", metavar="FILE", help="keep the generated successor functions")
    check.add_argument(
        "--proof", choices=("on", "off"), default="on", help="also try to prove it for any number of CPUs"
    )

    prove = command("prove", studies.run_prove, "prove a strategy for any number of CPUs, and show the invariant")
    prove.add_argument("strategy", help="a shipped name, or a file (file.py, or file.py:name)")
    _scenario_options(prove)
    prove.add_argument(
        "--any-sites", action="store_true", help="for any number of sites in a batch, too (not progress)"
    )
    prove.add_argument("--any-rounds", action="store_true", help="for any number of rounds, too (not progress)")
    prove.add_argument("--certificate", metavar="DIR", help="write every condition as an SMT-LIB 2 script")
    prove.add_argument("--recheck", action="store_true", help="have cvc5 and bitwuzla answer the certificate, too")
    _common_options(prove)

    docs = command(
        "docs", studies.run_docs, "write the generated pages: what is proved of each strategy, and the reference"
    )
    docs.add_argument(
        "strategies", nargs="*", metavar="STRATEGY", help="only these, or `reference` (default: all, and the indexes)"
    )
    docs.add_argument("--check", action="store_true", help="write nothing; say which pages are stale (exit status 1)")
    docs.add_argument(
        "--output", metavar="DIR", default="docs/proofs", help="where the pages on proofs are (default docs/proofs)"
    )
    docs.add_argument(
        "--reference", metavar="DIR", default="docs/reference", help="where the reference is (default docs/reference)"
    )

    listing = command("list", commands.run_list, "strategies, machines, properties and use cases, one line each")
    listing.add_argument("what", nargs="?", choices=("strategies", "machines", "properties", "use-cases", "bugs"))
    listing.add_argument("--json", metavar="FILE", help="write JSON; - is standard output")

    catalogue = command("catalogue", commands.run_catalogue, "every shipped model against what it declares of itself")
    catalogue.add_argument("strategies", nargs="*", help="only these")
    _limit_options(catalogue)
    catalogue.add_argument("--json", metavar="FILE", help="write JSON; - is standard output")
    catalogue.add_argument("--junit", metavar="FILE", help="write JUnit XML; - is standard output")

    explain = command(
        "explain", studies.run_explain, "leave out each step in turn: what breaks, with the shortest trace"
    )
    explain.add_argument("strategy")
    _scenario_options(explain)
    _common_options(explain)

    table = command("matrix", studies.run_matrix, "machines × each step left out: which promise each step rests on")
    table.add_argument("strategy")
    _scenario_options(table, machines=True)
    table.set_defaults(sites=1)
    _common_options(table)

    bug = command("bug", studies.run_bug, "a published bug: found before its fix, gone after it")
    bug.add_argument("identifier", help="as in `list bugs`")
    bug.add_argument("--json", metavar="FILE", help="write JSON; - is standard output")

    report = command(
        "report", studies.run_report, "write every answer as pages: strategies, traces, proofs, machines, bugs"
    )
    report.add_argument("folder", metavar="DIR", help="where to; files of the same names are replaced")
    report.add_argument("strategies", nargs="*", metavar="STRATEGY", help="only these, and no bugs (default: all)")

    diff = command("diff", commands.run_diff, "which verdicts differ between two strategies, files or machines")
    diff.add_argument("strategies", nargs="+", metavar="STRATEGY")
    _scenario_options(diff, machines=True)
    _common_options(diff)

    export = command("export", commands.run_export, "write the composed system as a model of SPIN or rumur")
    export.add_argument("strategy")
    export.add_argument("--to", required=True, choices=("promela", "murphi"), help="the language")
    export.add_argument("--output", metavar="FILE", default="-", help="where to (default: standard output)")
    export.add_argument("-o", metavar="FILE", dest="output", help="short for --output", default="-")
    _scenario_options(export)
    group = export.add_argument_group("what is asserted (murphi; a Promela file has it all, asleep until a macro)")
    group.add_argument(
        "--check", action="append", default=[], metavar="PROPERTY", help="PROPERTY, PROPERTY/KIND or all"
    )
    group.add_argument("--progress", action="store_true", help="that the patcher can always finish")

    replay = command("replay", commands.run_replay, "replay the traces of a JSON file on the reference evaluator")
    replay.add_argument("file")

    _silicon_options(
        command("silicon", commands.run_silicon, "perform strategies on this CPU, beside what a machine allows")
    )

    new = command("new", commands.run_new, "write a commented strategy file that checks as it stands")
    new.add_argument("file")

    complete = command("completion", commands.run_completion, "print what makes names complete in a shell")
    complete.add_argument("shell", choices=("bash", "zsh", "fish"))
    complete.add_argument("words", nargs="*", help="for that script: what the last of these words may become")
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
        group.add_argument("--machine", action="append", help="once, or twice for two machines")
    else:
        group.add_argument(
            "--machine", help="preset, or preset,toggle=value (default: x86-linux, of other architectures the first)"
        )
    group.add_argument("--use-case", choices=("livepatch", "tracing"), help="only this one (default: all)")
    group.add_argument("--transition", metavar="OLD:NEW", help="call:call (default), nop:call, call:nop")
    group.add_argument("--rounds", type=_positive, help="updates, one after the other (default 1)")
    group.add_argument("--cpus", type=_positive, default=2, help="CPUs that run the code (default 2)")
    group.add_argument("--sites", type=_positive, default=2, help="sites in one batch (default 2)")
    group.add_argument("--without", action="append", default=[], metavar="LABEL", help="leave a step out (repeatable)")
    group.add_argument("--preempt", action="store_true", help="tasks can be preempted (always when code is freed)")
    group.add_argument("--nmi", action="store_true", help="NMIs arrive")


def _silicon_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "strategies", nargs="*", metavar="STRATEGY", help="shipped names or files (default: all shipped)"
    )
    parser.add_argument(
        "--survey", action="store_true", help="small programs instead: what this CPU does, what presets allow"
    )
    parser.add_argument(
        "--broken", action="store_true", help="whole, and without each step: which failures are seen here"
    )
    group = parser.add_argument_group("scenario")
    group.add_argument("--machine", default="x86-linux", help="what has to be allowed (default x86-linux)")
    group.add_argument("--transition", metavar="OLD:NEW", help="call:call (default), nop:call, call:nop")
    group.add_argument("--rounds", type=_positive, help="updates, one after the other (default 1)")
    group.add_argument("--sites", type=_positive, default=2, help="sites in one batch (default 2)")
    group.add_argument("--without", action="append", default=[], metavar="LABEL", help="leave a step out (repeatable)")
    group = parser.add_argument_group("how the steps are performed")
    alignments = ("within-8", "within-line", "across-line", "across-page")
    group.add_argument(
        "--align",
        action="append",
        choices=alignments,
        metavar="PLACE",
        help=f"where the site lies: {', '.join(alignments)} (default: each in turn)",
    )
    group.add_argument(
        "--stores", choices=("whole", "bytes"), default="whole", help="one store each, or one for each byte"
    )
    group.add_argument(
        "--sync", choices=("membarrier", "signal"), default="membarrier", help="how CPUs are made to serialise"
    )
    group.add_argument(
        "--executions", type=_positive, metavar="N", help="of each executing CPU and run (default 1,000,000)"
    )
    group.add_argument("--max-seconds", type=_seconds, metavar="S", help="for each run (default 10; of many runs 2)")
    parser.add_argument("--json", metavar="FILE", help="write JSON; - is standard output, with nothing else on it")
    parser.add_argument(
        "--page", metavar="FILE", help="write what was seen as a page in Markdown; - is standard output"
    )


def _limit_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits (a search that meets one ends in “unknown”)")
    group.add_argument("--max-states", type=_positive, metavar="N")
    group.add_argument("--max-seconds", type=_seconds, metavar="S")
    group.add_argument("--max-memory", type=_positive, metavar="MIB")


def _output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files (whole or not at all; - is standard output, with nothing else on it)")
    for option, output in OUTPUTS.items():
        group.add_argument(f"--{option}", metavar="FILE", help=output.says)
    group.add_argument("--graph", choices=GRAPHS, help="what --dot and --svg draw (default auto: by size)")


def _common_options(parser: argparse.ArgumentParser) -> None:
    _limit_options(parser)
    group = parser.add_argument_group("engine")
    group.add_argument("--engine", choices=ENGINES, default="auto", help="which search (default auto)")
    group.add_argument("--threads", type=_positive, metavar="N", help="of the native search (default: every core)")
    group.add_argument("--symmetry", choices=("on", "off"), help="one state for all orders of the CPUs (native search)")
    group.add_argument(
        "--hash-compaction", action="store_true", help="where states do not fit, 32 bits of each; never “verified”"
    )
    parser.add_argument("--json", metavar="FILE", help="write JSON; - is standard output, with nothing else on it")


if __name__ == "__main__":
    sys.exit(main())

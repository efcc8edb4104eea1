"""What `check-strategy silicon` does: strategies, their broken variants, or the survey, on the CPU in front of us."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any

from checker.options import (
    HOLDS,
    INCONCLUSIVE,
    VIOLATION,
    UsageError,
    complain,
    load_strategy,
    machine_of,
    paint_of,
    worst,
)
from checker.report import files
from checker.report import silicon as report
from checker.report.silicon_page import page
from checker.silicon import machine
from checker.silicon.asking import Question
from checker.silicon.broken import Variant, variants
from checker.silicon.operations import ALIGNMENTS, Setting
from checker.silicon.run import Failed
from checker.silicon.survey import survey
from models.library import shipped
from models.machines.fetch import X86_PRESETS
from models.protocol import Strategy
from models.scenario import Scenario

_UNLIMITED = 1 << 60


def run_silicon(options: Any) -> int:
    if options.survey and (options.strategies or options.broken or options.without):
        raise UsageError("--survey brings its own programs: it takes no strategy, no --broken and no --without")
    if options.survey and (given := _ignored(options)):
        raise UsageError(f"--survey brings its own programs: {', '.join(given)} would do nothing")
    if options.survey and options.machine not in X86_PRESETS:
        raise UsageError(f"--survey asks the presets of x86, and “{options.machine}” is none of them")
    for name in options.strategies:
        _strategy(name)
    scenario, settings = _scenario(options), _settings(options)
    try:
        cpus = machine.cpus()
        if options.survey:
            return _survey(cpus, options)
        run = _broken if options.broken else _strategies
        return run(cpus, scenario, settings, options)
    except (machine.CannotAsk, Failed) as error:
        return complain(str(error), INCONCLUSIVE)


def _ignored(options: Any) -> list[str]:
    """What a survey does not ask for, and was given."""
    plain = {"transition": None, "rounds": None, "sites": 2, "align": None, "stores": "whole", "sync": "membarrier"}
    return [f"--{name}" for name, value in plain.items() if getattr(options, name) != value]


def _quiet(options: Any) -> bool:
    """Whether standard output is for a file."""
    return "-" in (options.json, options.page)


def _named(options: Any) -> list[Strategy]:
    """The strategies to be run. Of the shipped ones those are passed over that state a sequence of their own."""
    if options.strategies:
        return [_strategy(name) for name in options.strategies]
    found = list(shipped().values())
    if options.transition is None and options.rounds is None:
        return found
    for strategy in (s for s in found if s.rounds):
        print(f"{strategy.name} states its own sequence, and is left out", file=sys.stderr)
    return [strategy for strategy in found if not strategy.rounds]


def _strategy(name: str) -> Strategy:
    found = load_strategy(name)
    if not isinstance(found, Strategy):
        raise UsageError(f"{name} is a program: silicon performs the steps of strategies")
    return found


def _scenario(options: Any) -> Scenario:
    return Scenario(
        machine=machine_of(options.machine),
        transition=options.transition,
        rounds=options.rounds,
        cpus=1,
        sites=options.sites,
        without=frozenset(options.without),
    )


def _settings(options: Any) -> list[Setting]:
    return [Setting(align, options.stores, options.sync) for align in options.align or ALIGNMENTS]


def _note(text: str) -> None:
    """What is being run just now: on standard error, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:79]}", end="", file=sys.stderr, flush=True)


def _strategies(cpus: list[int], scenario: Scenario, settings: list[Setting], options: Any) -> int:
    made, status, failed = [], HOLDS, ""
    for strategy in _named(options):
        asked = []
        try:
            for setting in settings:
                _note(f"{strategy.name}, {setting.align}")
                question = Question(strategy, scenario, setting)
                asked.append((question, question.ask(cpus, options.executions or 1_000_000, options.max_seconds or 10)))
        except Failed as error:
            failed = f"{strategy.name}, {setting.align}: {error}"
        _note("")
        if asked:
            answer = report.Answer(strategy.name, asked, len(cpus) - 1)
            made.append(answer)
            status = worst([status, _status(answer.not_allowed, answer.not_compared)])
            if not _quiet(options):
                print(report.answer_text(answer, paint_of()), end="\n\n", flush=True)
        if failed:
            break
    return _finish(options, {"strategies": [report.answer_json(answer) for answer in made]}, status, failed)


def _status(not_allowed: int, not_compared: int) -> int:
    """What was seen and is not allowed counts more than what could not be compared."""
    return VIOLATION if not_allowed else INCONCLUSIVE if not_compared else HOLDS


def _broken(cpus: list[int], scenario: Scenario, settings: list[Setting], options: Any) -> int:
    made: list[Variant] = []
    failed = ""
    for strategy in _named(options):
        found: list[Variant] = []
        try:
            limits = (options.executions or 1_000_000, options.max_seconds or 2)
            found.extend(variants(strategy, scenario, settings, cpus, *limits, _note))
        except Failed as error:
            failed = f"{strategy.name}: {error}"
        _note("")
        made += found
        if found and not _quiet(options):
            print(report.variants_text(found), end="\n\n", flush=True)
        if failed:
            break
    if made and not _quiet(options):
        print(report.variants_summary(made), end="\n\n")
    status = worst([_status(variant.not_allowed, variant.not_compared) for variant in made])
    return _finish(options, {"variants": [report.variant_json(variant) for variant in made]}, status, failed)


def _survey(cpus: list[int], options: Any) -> int:
    made = survey(cpus, options.executions or _UNLIMITED, options.max_seconds or 2, _note)
    _note("")
    values = report.survey_json(made)
    if not _quiet(options):
        print(report.survey_text(values))
    return _finish(options, {"survey": values}, _status(made.not_allowed[options.machine], made.not_compared))


def _command(options: Any) -> str:
    """The command that gives such an answer."""
    words = ["check-strategy", "silicon", *options.strategies]
    words += [f"--{name}" for name in ("survey", "broken") if getattr(options, name)]
    for name, plain in (("machine", "x86-linux"), ("transition", None), ("rounds", None), ("sites", 2)):
        value = getattr(options, name)
        words += [f"--{name}", str(value)] if value != plain else []
    for name in ("without", "align"):
        words += [word for value in getattr(options, name) or () for word in (f"--{name}", value)]
    for name, plain in (("stores", "whole"), ("sync", "membarrier"), ("executions", None), ("max_seconds", None)):
        value = getattr(options, name)
        said = f"{value:g}" if isinstance(value, float) else str(value)
        words += [f"--{name.replace('_', '-')}", said] if value != plain else []
    return shlex.join(words)


def _finish(options: Any, values: dict[str, Any], status: int, failed: str = "") -> int:
    """Say on which machine, write the files, and say which run failed, if one did: what came before it is the answer."""
    if failed and not any(values.values()):
        return complain(failed, INCONCLUSIVE)
    host = machine.host()
    if not _quiet(options):
        print(report.host_text(host.facts), flush=True)
    made = {"command": _command(options), "date": time.strftime("%Y-%m-%d")}
    whole = {"schema": files.SCHEMA, "host": host.facts, **made, **values}
    if failed:
        whole["failed"] = failed
    if options.json:
        files.write(whole, options.json)
    if options.page == "-":
        sys.stdout.write(page(whole))
    elif options.page:
        files.write_atomically(Path(options.page), page(whole))
    return worst([status, complain(failed, INCONCLUSIVE)]) if failed else status

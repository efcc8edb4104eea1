"""Every search engine beside SPIN and rumur, in one run on one machine: `python benchmarks/peers.py`.

Each measurement is a process of its own; the rows of an instance take turns, so that what else the machine does hits
all alike. All must find the same states and transitions: where one does not, the benchmark ends with a message and
status 1. Tools that are not there are left out. Ctrl-C keeps what is known so far. docs/performance.md says what the
columns mean.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import plot

Value = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
FULL = (
    ("careful-call-to-call", 2, 2, None),
    ("careful-call-to-call", 3, 1, None),
    ("text-poke-batch", 3, 1, None),
    ("nop-then-back", 2, 2, 2),
    ("careful-call-to-call", 4, 1, None),
    ("nop-then-back", 3, 2, None),
    ("careful-call-to-call", 3, 2, None),
)
QUICK = FULL[:2]
PYTHON_STATES = 1_500_000  # the Python engine takes part in instances up to this size
ALLOWANCE = 10.0  # seconds: a row that has taken as long is not run again
LONGEST = 600.0  # seconds, of one process
BOUND_SECONDS = 0.1  # of each of the four distances that bound.c tries
COMMANDS = (
    ("careful-call-to-call", ("cold", "warm")),
    ("careful-call-to-call --cpus 4 --sites 2", ("cold", "warm")),
    ("careful-call-to-call --cpus 4 --sites 2 --without sync-1", ("cold", "warm")),
    ("careful-call-to-call --cpus 4 --sites 2 --engine native", ("warm",)),
    ("careful-call-to-call --cpus 3 --sites 2 --engine native", ("cold", "warm")),
    ("careful-call-to-call --cpus 3 --sites 2 --engine native --symmetry off", ("warm",)),
)
QUICK_COMMANDS = COMMANDS[:3]
COMMAND_SECONDS = 60.0


class Failed(Exception):
    """Something went wrong that makes the numbers worthless; the message says what."""


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- processes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    """A process that has ended: what it printed, wall-clock seconds, and the most memory it had (bytes)."""

    out: str
    status: int
    seconds: float
    peak: int


def run(command: Sequence[str], where: Path = ROOT, environment: dict[str, str] | None = None,
        longest: float = LONGEST) -> Finished:  # fmt: skip
    """Run to the end, in a process group of its own. After `longest` seconds it is killed, with status -9."""
    with tempfile.TemporaryFile("w+", errors="replace") as out:
        began = time.perf_counter()
        child = subprocess.Popen(
            command, cwd=where, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        previous = signal.signal(signal.SIGALRM, lambda *_: os.killpg(child.pid, signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, longest)
        try:
            _, status, used = os.wait4(child.pid, 0)
        except KeyboardInterrupt:
            os.killpg(child.pid, signal.SIGKILL)
            os.wait4(child.pid, 0)
            child.returncode = -9
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Finished(out.read(), child.returncode, seconds, peak)


def must(command: Sequence[str], where: Path = ROOT, environment: dict[str, str] | None = None) -> Finished:
    """Run what has to succeed. Raises Failed."""
    done = run(command, where, environment)
    if done.status != 0:
        raise Failed(f"{' '.join(map(str, command))}: status {done.status}\n{done.out[-2000:]}")
    return done


# ---- what runs in a child -------------------------------------------------------------------------------------------


def measure(what: Value) -> Value:
    """In a process of its own: one search by one of our engines. Seconds of the search, and of what comes before."""
    from checker.search import build, engine, native, product
    from checker.search import python as interpreted
    from checker.search.pairs import Pairs
    from checker.search.result import Limits
    from checker.search.tables import tabulate
    from models.compose import compose
    from models.library import load

    clock = [time.perf_counter()]

    def lap() -> float:
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    system = compose(load(what["strategy"]), _scenario(what)).system
    times = {"compose": lap()}
    pairs = Pairs(system)
    found: Value = {}
    name = what["engine"]
    if name == "native":
        tables = tabulate(pairs)
        expected = engine.expected_states(pairs, what["symmetry"])
        times["prepare"] = lap()
        library = build.library(tables.bits > 63, what["compact"])
        times["load"] = lap()
        how = native.How(what["threads"], what["symmetry"], what["compact"])
        levels = what["levels"] and not what["compact"]
        limits = _room_for(what["room_for"]) if what["compact"] else Limits()
        searched = native._Search(tables, library, how, limits, expected).run(None, None, levels)
        times["search"] = lap()
        outcome = searched.outcome
        word = 8 if tables.bits <= 63 else 16
        found["engine_bytes"] = searched.statistics.bytes
        if levels:
            found["table_bytes"] = searched.statistics.bytes - outcome.explored * word
    elif name == "product":
        times["prepare"] = lap()
        outcome = product.run(pairs, Limits()).outcome
        times["search"] = lap()
    else:
        times["prepare"] = lap()
        outcome = interpreted.run(pairs, Limits()).outcome
        times["search"] = lap()
    if outcome.stopped and not what["compact"]:
        raise Failed(f"{what}: {outcome.stopped}")
    found.update(states=outcome.states, transitions=outcome.transitions, explored=outcome.explored)
    return {**found, "seconds": times.pop("search"), "before": times}


def _room_for(states: int) -> Any:
    """A memory limit under which hash compaction takes a table of two to four slots a state, not all memory."""
    from checker.search.native import _resident
    from checker.search.result import Limits

    return Limits(memory=(_resident() + (8 << (2 * states - 1).bit_length()) >> 20) + 1)


def export(what: Value) -> Value:
    """In a process of its own: write the models for the peers."""
    from checker.export.murphi import murphi
    from checker.export.promela import promela
    from models.compose import compose
    from models.library import load

    where = Path(what["folder"])
    system = compose(load(what["strategy"]), _scenario(what)).system
    (where / "model.pml").write_text(promela(system), encoding="utf-8")
    (where / "model.m").write_text(murphi(system), encoding="utf-8")
    return {}


def prepare(what: Value) -> Value:
    """In a process of its own: compile the kernel, or find it compiled; the seconds of each variant."""
    from checker.search import build

    times = {}
    for name, compact in (("exact", False), ("hash compaction", True)):
        began = time.perf_counter()
        build.library(False, compact)
        times[name] = time.perf_counter() - began
    return times


def _scenario(what: Value) -> Any:
    from models.scenario import Scenario

    return Scenario(cpus=what["cpus"], sites=what["sites"], rounds=what["rounds"])


CHILD: dict[str, Callable[[Value], Value]] = {"measure": measure, "export": export, "prepare": prepare}


def child(task: str, what: Value, environment: dict[str, str] | None = None) -> tuple[Value, Finished]:
    """Run one of the functions above in a fresh process."""
    inherited = os.environ if environment is None else environment
    path = {**inherited, "PYTHONPATH": str(ROOT)}
    done = must([sys.executable, str(Path(__file__).resolve()), "--child", task, json.dumps(what)], ROOT, path)
    return json.loads(done.out.splitlines()[-1]), done


# ---- rows -----------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """One way to search an instance. `exact`: whether it has to find exactly what the others find."""

    name: str
    take: Callable[[], Value]
    exact: bool = True
    compile_seconds: float | None = None
    runs: list[Value] = field(default_factory=list)

    def value(self) -> Value:
        """What is kept of it: medians, and the seconds of each run."""
        first = self.runs[0]
        seconds = [run["seconds"] for run in self.runs]
        middle = statistics.median(seconds)
        states, explored = first["states"], first.get("explored", first["states"])
        peak = round(statistics.median(run["peak"] for run in self.runs))
        value = {
            "name": self.name,
            "exact": self.exact,
            "states": states,
            "transitions": first["transitions"],
            "explored": explored,
            "seconds": middle,
            "all_seconds": seconds,
            "wall": statistics.median(run["wall"] for run in self.runs),
            "states_per_second": states / middle if middle else None,
            "transitions_per_second": first["transitions"] / middle if middle else None,
            "peak": peak,
            "peak_per_state": peak / states,
            "compile": self.compile_seconds,
        }
        if "before" in first:
            value["before"] = {
                key: statistics.median(run["before"][key] for run in self.runs) for key in first["before"]
            }
        for key in ("engine_bytes", "table_bytes", "own_bytes"):
            if key in first:
                value[key] = first[key]
        if "engine_bytes" in first:
            value["bytes_per_state"] = first["engine_bytes"] / explored
        elif "own_bytes" in first:
            value["bytes_per_state"] = first["own_bytes"] / explored
        return value


def own_rows(instance: Value, states: int, cores: int) -> list[Row]:
    """Our engines, in every way that makes a difference."""

    def row(name: str, engine: str, exact: bool = True, **how: Any) -> Row:
        defaults: Value = {"threads": 1, "symmetry": False, "compact": False, "levels": True}
        what = {**instance, "engine": engine, **defaults, **how}

        def take() -> Value:
            found, done = child("measure", what)
            return {**found, "wall": done.seconds, "peak": done.peak}

        return Row(name, take, exact)

    rows = [row("native, 1 thread", "native")]
    if cores > 1:
        rows.append(row("native, 2 threads", "native", threads=2))
    rows.append(row("native, 1 thread, symmetry", "native", symmetry=True))
    if cores > 1:
        rows.append(row("native, 2 threads, symmetry", "native", symmetry=True, threads=2))
    rows.append(row("native, 1 thread, no paths kept", "native", levels=False))
    rows.append(row("native, 1 thread, hash compaction", "native", exact=False, compact=True, room_for=states))
    rows.append(row("product", "product"))
    if states <= PYTHON_STATES:
        rows.append(row("python", "python"))
    return rows


def peer_rows(where: Path, states: int, cores: int) -> list[Row]:
    """SPIN and rumur, compiled."""
    rows: list[Row] = []
    have_compiler = shutil.which("gcc") is not None
    if have_compiler and shutil.which("spin"):
        began = time.perf_counter()
        must(["spin", "-a", "model.pml"], where)
        made = time.perf_counter() - began
        fitting = max(16, math.ceil(math.log2(states)))
        for name, flags, options in (
            (f"SPIN, -w{fitting}", ["-DNOREDUCE"], [f"-w{fitting}"]),
            ("SPIN, default -w24", ["-DNOREDUCE"], []),
            (f"SPIN, its reduction, -w{fitting}", [], [f"-w{fitting}"]),
        ):
            program = "pan" + "".join(flags)
            if not (where / program).exists():
                command = ["gcc", "-O3", "-w", "-DSAFETY", *flags, "-DMEMLIM=16000", "-o", program, "pan.c"]
                compiled = must(command, where).seconds
            rows.append(Row(name, _spin(where, program, options), bool(flags), made + compiled))
    if have_compiler and shutil.which("rumur"):
        for threads in (1, 2) if cores > 1 else (1,):
            began = time.perf_counter()
            name = f"rumur-{threads}"
            command = ["rumur", "--deadlock-detection", "off", "--pack-state", "off", "--threads", str(threads)]
            must([*command, "--output-format", "machine-readable", "--output", f"{name}.c", "model.m"], where)
            must(
                ["gcc", "-std=c11", "-O3", "-march=native", "-mcx16", "-w", "-o", name, f"{name}.c", "-lpthread"], where
            )
            made = time.perf_counter() - began
            rows.append(Row(f"rumur, {threads} thread{'s'[: threads > 1]}", _rumur(where, name), True, made))
    return rows


def _spin(where: Path, program: str, options: list[str]) -> Callable[[], Value]:
    depth = 100_000

    def take() -> Value:
        nonlocal depth
        done = run([f"./{program}", "-E", "-n", f"-m{depth}", *options], where)
        while "max search depth too small" in done.out:
            depth *= 10
            done = run([f"./{program}", "-E", "-n", f"-m{depth}", *options], where)
        if done.status != 0 or "out of memory" in done.out or "errors: 0" not in done.out:
            raise Failed(f"SPIN: status {done.status}\n{done.out[-2000:]}")
        stored = int(_only(r"(\d+) states, stored", done.out))
        matched = int(_only(r"(\d+) states, matched", done.out))
        own = float(_only(r"elapsed time ([\d.e+-]+) seconds", done.out))
        memory = re.search(r"([\d.]+)\s+total actual memory usage", done.out)
        found = {
            "states": stored,
            "transitions": stored + matched - 1,
            "seconds": own or done.seconds,
            "wall": done.seconds,
            "peak": done.peak,
        }
        return {**found, "own_bytes": round(float(memory[1]) * (1 << 20))} if memory else found

    return take


def _rumur(where: Path, program: str) -> Callable[[], Value]:
    def take() -> Value:
        done = run([f"./{program}"], where)
        if done.status != 0:
            raise Failed(f"rumur: status {done.status}\n{done.out[-2000:]}")
        states, fired = (int(_only(rf'<summary [^>]*\b{word}="(\d+)"', done.out)) for word in ("states", "rules_fired"))
        return {
            "states": states,
            "transitions": fired,
            "seconds": done.seconds,
            "wall": done.seconds,
            "peak": done.peak,
        }

    return take


def _only(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise Failed(f"no {pattern} in:\n{text[-2000:]}")
    return match[1]


# ---- one instance ---------------------------------------------------------------------------------------------------


@dataclass
class Bound:
    """Random accesses to a table of the size that the native search ended with (see bound.c)."""

    program: Path
    log: int
    cores: int
    rates: dict[int, list[float]] = field(default_factory=dict)
    huge: int = 0

    def take(self) -> None:
        for threads in (1, 2) if self.cores > 1 else (1,):
            done = must([str(self.program), str(threads), str(BOUND_SECONDS), str(self.log)])
            _, rate, huge = done.out.split()
            self.rates.setdefault(threads, []).append(float(rate))
            self.huge = int(huge)

    def value(self, states: int, transitions: int) -> Value:
        rates = {str(threads): statistics.median(rates) for threads, rates in self.rates.items() if rates}
        return {
            "table_bytes": 1 << self.log,
            "huge_bytes": self.huge,
            "accesses_per_second": rates,
            "states_per_second": {threads: rate * states / transitions for threads, rate in rates.items()},
        }


def instance_name(instance: Value) -> str:
    rounds = f", {instance['rounds']} rounds" if instance["rounds"] else ""
    sites = f"{instance['sites']} site{'s'[: instance['sites'] > 1]}"
    return f"{instance['strategy']}, {instance['cpus']} CPUs, {sites}{rounds}"


def take_instance(instance: Value, runs: int, bound: Path | None, values: Value) -> None:
    """Measure an instance. What is known is in `values` at any time, once every row has been run once."""
    cores = os.cpu_count() or 1
    known, _ = child("measure", {**instance, "engine": "native", "threads": 1, "symmetry": False, "compact": False,
                                 "levels": True})  # fmt: skip
    note(f"{instance_name(instance)}: {known['states']:,} states, {known['transitions']:,} transitions")
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        child("export", {**instance, "folder": folder})
        note("  compiling the peers")
        rows = [*own_rows(instance, known["states"], cores), *peer_rows(where, known["states"], cores)]
        room = Bound(bound, (known["table_bytes"] - 1).bit_length(), cores) if bound else None
        try:
            for number in range(runs):
                note(f"  run {number + 1} of {runs}")
                if room:
                    room.take()
                for row in rows:
                    if sum(taken["wall"] for taken in row.runs) < ALLOWANCE:
                        row.runs.append(row.take())
                        note(f"    {row.name:36} {row.runs[-1]['seconds']:8.3f} s")
        finally:
            if all(row.runs for row in rows):
                values["instances"].append(_summary(instance, known, rows, room))
    _agree(instance, rows)


def _summary(instance: Value, known: Value, rows: Sequence[Row], room: Bound | None) -> Value:
    value = {**instance, "name": instance_name(instance)}
    value.update(states=known["states"], transitions=known["transitions"], rows=[row.value() for row in rows])
    if room and room.rates:
        value["bound"] = room.value(known["states"], known["transitions"])
    value["ratios"] = ratios(value)
    return value


def _agree(instance: Value, rows: Sequence[Row]) -> None:
    """Raises Failed unless all exact rows counted the same, in every run."""
    counts = {
        (run["states"], run["transitions"]): [row.name for row in rows if row.exact and _counted(row, run)]
        for row in rows
        if row.exact
        for run in row.runs
    }
    if len(counts) > 1:
        lines = [f"  {s:,} states, {t:,} transitions: {'; '.join(names)}" for (s, t), names in counts.items()]
        raise Failed("\n".join([f"{instance_name(instance)}: they do not agree", *lines]))


def _counted(row: Row, like: Value) -> bool:
    return any((run["states"], run["transitions"]) == (like["states"], like["transitions"]) for run in row.runs)


def ratios(value: Value) -> dict[str, float]:
    """The ratios of one instance, those that can be had."""
    rows = {row["name"]: row for row in value["rows"]}
    one, two = rows["native, 1 thread"], rows.get("native, 2 threads")
    small = rows["native, 1 thread, symmetry"]
    found: dict[str, float] = {}

    def fastest(prefix: str) -> float | None:
        return min((row["seconds"] for name, row in rows.items() if name.startswith(prefix)), default=None)

    if (spin := fastest("SPIN")) is not None:
        found["fastest SPIN ÷ native, seconds"] = spin / one["seconds"]
    if (rumur := fastest("rumur, 1")) is not None:
        found["rumur ÷ native, seconds, 1 thread"] = rumur / one["seconds"]
    if "bound" in value:
        bounds = value["bound"]["states_per_second"]
        found["native ÷ bound, states/s, 1 thread"] = one["states_per_second"] / bounds["1"]
        if two and "2" in bounds:
            found["native ÷ bound, states/s, 2 threads"] = two["states_per_second"] / bounds["2"]
    if two:
        found["2 threads ÷ 1 thread, states/s"] = one["seconds"] / two["seconds"]
    found["states ÷ explored, symmetry"] = small["states"] / small["explored"]
    found["seconds ÷ seconds with symmetry, 1 thread"] = one["seconds"] / small["seconds"]
    return found


# ---- whole commands -------------------------------------------------------------------------------------------------


def take_commands(commands: Iterable[tuple[str, tuple[str, ...]]], runs: int, values: Value) -> None:
    """Commands from the prompt. Cold: with an empty cache directory, so that the kernel is compiled if it is needed."""
    beside = Path(sys.executable).parent / "check-strategy"
    program = str(beside) if beside.exists() else shutil.which("check-strategy")
    if program is None:
        note("check-strategy is not installed: whole commands are left out")
        return
    with tempfile.TemporaryDirectory() as warm:
        jobs = [(command, cache) for command, caches in commands for cache in caches]
        taken: dict[tuple[str, str], list[Finished]] = {job: [] for job in jobs}
        for number in range(runs):
            note(f"whole commands, run {number + 1} of {runs}")
            for job in jobs:
                command, cache = job
                if taken[job] and (taken[job][-1].status < 0 or sum(f.seconds for f in taken[job]) > ALLOWANCE):
                    continue
                with tempfile.TemporaryDirectory() as cold:
                    environment = {**os.environ, "XDG_CACHE_HOME": cold if cache == "cold" else warm}
                    words = [program, *command.split()]
                    if cache == "warm" and not taken[job]:
                        run(words, ROOT, environment, COMMAND_SECONDS)
                    done = run(words, ROOT, environment, COMMAND_SECONDS)
                taken[job].append(done)
                note(f"    {command} ({cache}): {done.seconds:.2f} s, status {done.status}")
        for (command, cache), finished in taken.items():
            seconds = [done.seconds for done in finished]
            values["commands"].append({
                "command": command, "cache": cache, "status": finished[0].status, "all_seconds": seconds,
                "seconds": statistics.median(seconds), "peak": max(done.peak for done in finished),
            })  # fmt: skip


# ---- the machine ----------------------------------------------------------------------------------------------------


def machine() -> Value:
    """What the numbers were measured on."""

    def first(path: str, pattern: str) -> str:
        try:
            found = re.search(pattern, Path(path).read_text(encoding="utf-8"), re.MULTILINE)
        except OSError:
            return "unknown"
        return found[1].strip() if found else "unknown"

    memory = first("/proc/meminfo", r"^MemTotal:\s*(\d+) kB")
    return {
        "processor": first("/proc/cpuinfo", r"^model name\s*:\s*(.*)$"),
        "virtual": "hypervisor" in first("/proc/cpuinfo", r"^flags\s*:(.*)$"),
        "cores": os.cpu_count(),
        "memory": int(memory) << 10 if memory.isdigit() else None,
        "kernel": os.uname().release,
        "huge_pages": first("/sys/kernel/mm/transparent_hugepage/enabled", r"\[(\w+)\]"),
        "load_before": os.getloadavg()[0],
    }


def tool_versions() -> dict[str, str]:
    """The version that each tool says it has; without those that are not there."""
    found = {"Python": sys.version.split()[0]}
    for name, command in (("gcc", "gcc --version"), ("SPIN", "spin -V"), ("rumur", "rumur --version")):
        if shutil.which(command.split()[0]):
            lines = run(command.split()).out.splitlines()
            found[name] = lines[0] if lines else "unknown"
        else:
            note(f"{command.split()[0]} is not there: what needs it is left out")
    return found


def compile_bound(folder: Path) -> Path | None:
    if not shutil.which("gcc"):
        return None
    source = Path(__file__).with_name("bound.c")
    must(["gcc", "-std=c11", "-O3", "-march=native", "-pthread", "-o", str(folder / "bound"), str(source)])
    return folder / "bound"


def take_all(values: Value, runs: int, quick: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        values["compile"] = child("prepare", {}, environment)[0]
        child("prepare", {})
        note(f"the kernel is compiled in {values['compile']['exact']:.2f} s")
        bound = compile_bound(Path(folder))
        take_commands(QUICK_COMMANDS if quick else COMMANDS, runs, values)
        for strategy, cpus, sites, rounds in QUICK if quick else FULL:
            instance = {"strategy": strategy, "cpus": cpus, "sites": sites, "rounds": rounds}
            take_instance(instance, runs, bound, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    parser.add_argument("--svg", metavar="FILE", help="draw them there")
    parser.add_argument("--quick", action="store_true", help="small instances, two runs: less than 90 seconds")
    parser.add_argument("--runs", type=int, metavar="N", help=f"of each row (default 3, or 2), up to {ALLOWANCE:g} s")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, what = options.child
        print(json.dumps(CHILD[task](json.loads(what))))
        return
    runs = options.runs or (2 if options.quick else 3)
    values: Value = {
        "date": time.strftime("%Y-%m-%d"), "machine": machine(), "versions": tool_versions(), "runs": runs,
        "quick": options.quick, "complete": False, "commands": [], "instances": [],
    }  # fmt: skip
    began = time.monotonic()
    try:
        take_all(values, runs, options.quick)
        values["complete"] = True
    except KeyboardInterrupt:
        note("interrupted: this is what there is")
    except Failed as failure:
        give_up(str(failure))
    values["minutes"] = (time.monotonic() - began) / 60
    print(plot.tables(values))
    if options.json:
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.svg and values["instances"]:
        Path(options.svg).write_text(plot.svg(values), encoding="utf-8")
    sys.exit(0 if values["complete"] else 130)


def give_up(text: str) -> NoReturn:
    note(f"benchmark failed: {text}")
    sys.exit(1)


if __name__ == "__main__":
    main()

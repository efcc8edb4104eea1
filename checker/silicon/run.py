"""Compile harness.c, run it in a process of its own, and read what it saw. Nothing that it does takes this process down."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checker.search.build import NoCompiler, cache_directory, compiler
from checker.silicon.machine import CannotAsk
from checker.silicon.operations import Special, Table

HARNESS = Path(__file__).with_name("harness.c")
_SOURCES = (HARNESS, HARNESS.with_name("site.h"), HARNESS.with_name("program.h"))
OPTIONS = ("-std=gnu11", "-O2", "-pthread")
PATIENCE = 5.0  # seconds after which a wait of the patcher is in vain
_GRACE = 30.0  # seconds that a run may take to start and to end


class Failed(Exception):
    """The run has ended otherwise than by itself; the message says how."""


@dataclass(frozen=True)
class Cell:
    """When an execution took place, at which site, having run the new at which (a mask), and what came of it."""

    before: int
    after: int
    site: int
    seen: int
    event: int


@dataclass(frozen=True)
class Torn:
    """Torn executions that are alike. `fetched`: the bytes, where the program counter tells; `memory`: what was there then."""

    before: int
    after: int
    site: int
    signal: int
    fetched: bytes | None
    memory: bytes
    count: int


@dataclass
class Observation:
    """What one run saw. `waits`: the operation that the patcher waited at in vain, or -1; after the last, the end."""

    cells: Counter[Cell] = field(default_factory=Counter)
    torn: list[Torn] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)  # executions of each executing CPU
    traps: int = 0
    retries: int = 0
    forgotten: int = 0
    torn_trials: int = 0  # summed over the executing CPUs
    trials: int = 0
    seconds: float = 0.0
    waits: int = -1

    @property
    def executions(self) -> int:
        return sum(self.threads)

    @property
    def rate(self) -> float:
        """Site executions per second and executing CPU, over the whole run."""
        return self.executions / len(self.threads) / self.seconds if self.threads and self.seconds else 0.0


def build() -> Path:
    """The compiled harness, from the cache or made now. Raises CannotAsk."""
    try:
        command = [*compiler(), *OPTIONS]
        name = hashlib.sha256(repr(command).encode() + b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[
            :32
        ]
        path = cache_directory() / f"silicon-{name}"
    except NoCompiler as error:
        raise CannotAsk(str(error)) from error
    if path.exists() and path.stat().st_uid == os.getuid():
        return path
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            made = Path(directory) / path.name
            done = subprocess.run(
                [*command, "-o", str(made), str(HARNESS)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
                raise CannotAsk(f"{command[0]} cannot compile the harness: {said}")
            made.chmod(0o700)
            os.replace(made, path)
    except OSError as error:
        raise CannotAsk(f"{error.filename or path.parent}: {error.strerror}") from error
    return path


def observe(
    table: Table, cpus: Sequence[int], executions: int, seconds: float, patience: float = PATIENCE
) -> Observation:
    """Run the table until each executing CPU has done `executions`, or `seconds` are over. Raises CannotAsk, Failed."""
    text = table.text(list(cpus), executions, seconds, patience)
    limit = seconds + patience + _GRACE
    try:
        done = subprocess.run([build()], input=text, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"the harness was still running after {limit:g} seconds and was ended") from error
    except OSError as error:
        raise CannotAsk(f"the harness cannot be run: {error.strerror}") from error
    found = read(done.stdout, done.returncode)
    add_up(found, table)
    return found


def add_up(found: Observation, table: Table) -> None:
    """Whether the harness counted each execution once. Raises Failed where its numbers contradict each other."""
    counted = sum(found.cells.values())
    if counted != found.executions:
        raise Failed(f"the harness counted {counted:,} of {found.executions:,} executions")
    cells = sum(n for cell, n in found.cells.items() if cell.event == table.special(Special.TORN))
    rows = sum(torn.count for torn in found.torn) + found.forgotten
    if cells != rows:
        raise Failed(f"the harness counted {cells:,} torn executions, and then {rows:,}")
    if found.retries and not table.goes_back:
        raise Failed(f"the harness went back to a site {found.retries:,} times, and no handler of the strategy does")


def read(text: str, status: int) -> Observation:
    """What the lines of the harness say. Raises Failed when they do not say it to the end."""
    found, ended = Observation(), False
    for line in text.splitlines():
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise Failed(f"the harness said “{line[:60]}”, which is not understood") from error
        kind = said.pop("kind")
        if kind == "count":
            count = said.pop("count")
            found.cells[Cell(**said)] += count
        elif kind == "torn":
            fetched = bytes.fromhex(said.pop("fetched"))
            known, memory = said.pop("known"), bytes.fromhex(said.pop("memory"))
            said.pop("landing")
            found.torn.append(Torn(fetched=fetched if known else None, memory=memory, **said))
        elif kind == "thread":
            found.threads.append(said["executions"])
            found.traps += said["traps"]
            found.retries += said["retries"]
            found.forgotten += said["forgotten"]
            found.torn_trials += said["torn_trials"]
        elif kind == "end":
            found.trials, found.seconds, found.waits, ended = said["trials"], said["seconds"], said["waits"], True
        else:
            raise Failed(f"the harness stopped: {said.get('what', kind)}")
    if status or not ended:
        how = f"was ended by signal {-status}" if status < 0 else f"left with status {status}"
        raise Failed(f"the harness {how} before it said what it saw")
    return found

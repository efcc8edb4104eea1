"""`check --watch`: check a file again each time it is saved, and say what has changed.

Contents are compared, not times: a file that is replaced, touched or saved twice in a second is seen for what it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checker.options import INCONCLUSIVE, UsageError, checked, complain, load_strategy, paint_of, scenario_of
from checker.outputs import refuse_outputs
from checker.report import layout, text
from checker.search.result import INTERRUPTED
from checker.verdict import CheckResult
from models.library import is_path, path_of
from models.system.errors import ModelError, ScenarioError

EVERY = 0.3  # seconds between looks at the files
_SETTLED = 0.05  # seconds in which nothing more may be written before a file is read
_OURS = ("checker", "models", "proofs")
_STATUS = {0: "everything required holds", 1: "violated", 3: "it does not work", 4: "inconclusive", 5: "vacuous"}


def watch(options: Any) -> int:
    """Check, wait for the file to change, and again, until Ctrl-C. Returns the status of the last check that was finished.

    Raises UsageError for a shipped strategy, and for a file that is not there to begin with.
    """
    name = options.strategy
    if not is_path(name):
        raise UsageError(f"--watch is for files: “{name}” is a shipped strategy, which nobody saves")
    if options.expected or options.keep_generated:
        raise UsageError("--watch shows verdicts as they change: --expected and --keep-generated are for one check")
    refuse_outputs(options, (), "is about one check; --watch makes several")
    path = path_of(name)
    if not path.is_file():
        raise UsageError(f"there is no file {path} to watch")
    watched, status, last = _Files(path), INCONCLUSIVE, None
    cached, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # two saves in a second would share one file
    try:
        while True:
            watched.read()
            status, result = _once(options, watched, last)
            last = result or last
            print(f"{_now()}  watching {watched}; Ctrl-C ends", flush=True)
            watched.wait()
    except KeyboardInterrupt:
        return status
    finally:
        sys.dont_write_bytecode = cached


def _once(options: Any, watched: _Files, last: CheckResult | None) -> tuple[int, CheckResult | None]:
    """One check and what is to be said of it: all at first, then what is different from the `last` that was finished."""
    try:
        with watched.loading():
            strategy = load_strategy(options.strategy)
        scenario = scenario_of(options, strategy, options.machine)
        result: CheckResult = checked(strategy, scenario, options, options.proof == "on")
    except ModelError as error:
        watched.add_folder()
        return complain(str(error), 3), None
    except ScenarioError as error:
        return complain(str(error), 2), None
    if result.exploration.stopped == INTERRUPTED:
        raise KeyboardInterrupt
    if last is None:
        print(text.render(result, paint_of()))
    else:
        print(f"\n{_now()}  {result.strategy.name}: {_STATUS[result.exit_status]}")
        print(differences(last, result))
    return result.exit_status, result


def differences(before: CheckResult, after: CheckResult) -> str:
    """A table of the verdicts and traces that are not as they were."""
    rows = [["use case", "property", "before", "now", "trace"]]
    for old, new in zip(before.results, after.results, strict=True):
        for x, y in zip(old.verdicts, new.verdicts, strict=True):
            lengths = [
                None if v.trace is None else len(result.traces[v.trace].steps)
                for v, result in ((x, before), (y, after))
            ]
            said = [text.answer(v) + (" vacuously" if v.vacuous else "") for v in (x, y)]
            if said[0] != said[1] or lengths[0] != lengths[1]:
                rows.append([old.use_case, x.property, *said, _trace(*lengths)])
    return layout.table(rows, paint_of()) if len(rows) > 1 else "no verdict and no trace's length has changed"


def _trace(before: int | None, now: int | None) -> str:
    """What became of a trace, by its length."""
    if before == now:
        return f"{now} steps" if now is not None else ""
    if before is None or now is None:
        return f"new: {now} steps" if before is None else f"gone ({before} steps)"
    return f"{before} → {now} steps"


def _now() -> str:
    return time.strftime("%H:%M:%S")


class _Files:
    """A file, what it imported from its own folder, and what stood in them when they were last read."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.resolve().parent
        self.contents: dict[Path, bytes | None] = {path.resolve(): None}
        self.imported: set[str] = set()

    def __str__(self) -> str:
        others = len(self.contents) - 1
        return f"{self.path}" + (f" and {layout.plural(others, 'file')} beside it" if others else "")

    def read(self) -> None:
        """Take the files as they are now."""
        self.contents = {path: _content(path) for path in self.contents}

    def loading(self) -> _Loading:
        """A context in which the file is imported afresh: what it imports from its folder is watched from then on."""
        return _Loading(self)

    def add(self, path: Path, began: float) -> None:
        """Watch one more file; where it was written since `began`, what was read of it is not known."""
        if path not in self.contents:
            is_new = path.stat().st_mtime >= began
            self.contents[path] = None if is_new else _content(path)

    def add_folder(self) -> None:
        """Watch every file beside this one: the reason why it does not work may be in any."""
        for path in self.folder.glob("*.py"):
            self.contents.setdefault(path, _content(path))

    def wait(self) -> None:
        """Until some file is not as it was read, and is there, and nobody writes any more."""
        while True:
            now = {path: _content(path) for path in self.contents}
            if now != self.contents and now[self.path.resolve()] is not None:
                time.sleep(_SETTLED)
                if now == {path: _content(path) for path in self.contents}:
                    return
            else:
                time.sleep(EVERY)


class _Loading:
    def __init__(self, files: _Files) -> None:
        self.files = files

    def __enter__(self) -> None:
        for name in self.files.imported:
            sys.modules.pop(name, None)
        self.before, self.began = set(sys.modules), time.time() - 0.01

    def __exit__(self, *_: object) -> None:
        for name, path in self.neighbours():
            self.files.imported.add(name)
            self.files.add(path, self.began)

    def neighbours(self) -> Iterator[tuple[str, Path]]:
        """What was imported from the folder of the file, or below it; nothing of ours, and nothing installed."""
        for name in set(sys.modules) - self.before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and name.partition(".")[0] not in _OURS:
                path = Path(file).resolve()
                if path.is_relative_to(self.files.folder) and "site-packages" not in path.parts:
                    yield name, path


def _content(path: Path) -> bytes | None:
    """What stands in a file; None where it cannot be read just now."""
    try:
        return path.read_bytes()
    except OSError:
        return None

"""Where strategies are found: those that are shipped, by name, and a user's, by path."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from models.machines.fetch import first_of, machine
from models.properties import refuse_unknown
from models.protocol import USE_CASES, Expect, Strategy
from models.scenario import Scenario
from models.system.errors import Location, ModelError, ScenarioError, described

if TYPE_CHECKING:
    from models.bug import Bug
    from models.model import Subject


@lru_cache(maxsize=1)
def shipped() -> dict[str, Strategy]:
    """Every shipped strategy by name, in the order of their files."""
    import models.strategies as package

    found: dict[str, Strategy] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda i: i.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for strategy in subjects_in(module):
            assert isinstance(strategy, Strategy)
            if strategy.name in found:
                raise ModelError(f"two strategies are called “{strategy.name}”", strategy.where)
            found[strategy.name] = strategy
    return found


@lru_cache(maxsize=1)
def bugs() -> dict[str, Bug]:
    """Every published bug by its identifier: kernels before JITs, by number."""
    import models.bugs as package

    found: dict[str, Bug] = {}
    for info in pkgutil.iter_modules(package.__path__):
        bug = importlib.import_module(f"{package.__name__}.{info.name}").bug
        if bug.identifier.lower() != info.name:
            raise ModelError(f"the file {info.name}.py is about {bug.identifier}", bug.where)
        found[bug.identifier] = bug

    return {name: found[name] for name in sorted(found, key=_number)}


def bug_lines() -> dict[str, str]:
    """What the file of each bug says in its first line, without running any of them."""
    found = {}
    for path in (Path(__file__).parent / "bugs").glob("[!_]*.py"):
        with path.open(encoding="utf-8") as file:
            name, _, says = file.readline().strip().strip('"').partition(": ")
        found[name] = says
    return {name: found[name] for name in sorted(found, key=_number)}


def _number(bug: str) -> tuple[bool, int, str]:
    """Kernels before JITs, by number."""
    return not bug.startswith("K"), int("".join(c for c in bug if c.isdigit()) or 0), bug


def subjects_in(module: ModuleType, imported: Collection[str] = ()) -> list[Subject]:
    """The strategies and programs that a module defines, in order; names that it imported do not count."""
    named: dict[str, Subject] = {}
    for name, value in vars(module).items():
        if name not in imported and (isinstance(value, Strategy) or _is_program(value)):
            named[name] = value
    return list({id(value): value for value in named.values()}.values())


def _is_program(value: object) -> bool:
    """Whether this is a program; without importing what programs need, for whoever has none."""
    module = sys.modules.get("models.program")
    return module is not None and isinstance(value, module.Program)


def imported_names(path: Path) -> set[str]:
    """The names that a file binds by importing them."""
    import ast

    statements = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in statements for alias in node.names}


def validate(strategy: Subject) -> Subject:
    """The strategy or program, if what it expects names things that exist. Raises ModelError at the expectation that does not."""
    for expect in strategy.expects:
        for name in (*expect.violated, *expect.exposed):
            refuse_unknown(name.partition("/")[0], f"{strategy.name}", expect.where)
        for use_case in expect.use_cases:
            if use_case not in USE_CASES:
                raise ModelError(f"{strategy.name}: “{use_case}” is no use case ({', '.join(USE_CASES)})", expect.where)
        try:
            scenario_of(strategy, expect)
        except ScenarioError as error:
            raise ModelError(f"{strategy.name}: {error.message}", expect.where) from error
    return strategy


def scenario_of(subject: Subject, expect: Expect) -> Scenario:
    """The scenario that an expectation speaks of. Raises ScenarioError."""
    own = not isinstance(subject, Strategy) or bool(subject.rounds)
    return Scenario(
        machine=machine(expect.machine) if expect.machine else first_of(subject.isa),
        transition=None if own else expect.transition,
        rounds=None if own else expect.rounds,
        cpus=expect.cpus,
        sites=expect.sites,
        without=frozenset(expect.without),
        preempt=expect.preempt,
        nmi=expect.nmi,
    )


def is_path(name: str) -> bool:
    """Whether `name` means a file rather than a shipped strategy."""
    return name.endswith(".py") or "/" in name or ".py:" in name


def path_of(name: str) -> Path:
    """The file that `name` means, which may also choose one of the strategies in it."""
    path, chooses, _ = name.partition(".py:")
    return Path(f"{path}.py" if chooses else path)


def load(name: str) -> Subject:
    """The strategy called `name`, or the one in the file at that path (`file.py`, or `file.py:name` for one of several).

    A file may also define programs.

    Raises KeyError for an unknown name and ModelError, with file and line, for a file that does not work.
    """
    if not is_path(name):
        return shipped()[name]
    path, chosen = path_of(name), name.partition(".py:")[2]
    found = load_file(path)
    if chosen:
        matching = [s for s in found if s.name == chosen]
        if not matching:
            raise ModelError(f"{path} defines nothing called “{chosen}”; it has {', '.join(s.name for s in found)}")
        return matching[0]
    return found[0]


def load_file(path: Path) -> Sequence[Subject]:
    """All strategies and programs in a file; at least one. Raises ModelError."""
    if not path.is_file():
        raise ScenarioError(f"{path} is a directory" if path.is_dir() else f"there is no file {path}")
    if path.suffix != ".py":
        raise ScenarioError(f"{path}: a strategy file ends in .py")
    full = str(path.resolve())
    import importlib.util

    spec = importlib.util.spec_from_file_location(f"strategy_file_{path.stem}", full)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look their module up
    try:
        with redirect_stdout(sys.stderr):  # standard output is for the answer
            spec.loader.exec_module(module)
    except ModelError:
        raise
    except SyntaxError as error:
        raise ModelError(
            f"not valid Python: {error.msg}", Location(error.filename or full, error.lineno or 1)
        ) from error
    except (Exception, SystemExit) as error:
        import traceback

        mine = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == full]
        where = Location(full, (mine[-1].lineno if mine else 1) or 1)
        raise ModelError(f"the file does not import: {described(error)}", where) from error
    found = subjects_in(module, imported_names(path))
    if not found:
        raise ModelError("the file defines no Strategy and no Program", Location(full, 1))
    for k, strategy in enumerate(found):
        if any(strategy.name == other.name for other in found[:k]):
            raise ModelError(f"the file defines two things called “{strategy.name}”", strategy.where)
    return [validate(strategy) for strategy in found]

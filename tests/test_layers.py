"""What may import what: models <- proofs <- checker, and inside models the language of systems stands alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("models", "proofs", "checker")
FILES = sorted(file for layer in LAYERS for file in (ROOT / layer).rglob("*.py"))
THIRD_PARTY = {
    "models": {"iced_x86", "capstone"},
    "proofs": {"z3", "networkx", "cvc5", "bitwuzla"},
    "checker": {"networkx", "hypothesis", "z3", "jinja2", "markupsafe", "markdown_it"},
}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, wherever the statement stands, with its line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            assert node.module is not None
            yield node.module, node.lineno


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def refuse(file: Path, allowed: str, wrong: list[tuple[str, int]]) -> None:
    said = "; ".join(f"line {line}: {module}" for module, line in wrong)
    assert not wrong, f"{file.relative_to(ROOT)} may import {allowed} only, but has {said}"


def test_there_is_something_to_check() -> None:
    assert {module_name(file).partition(".")[0] for file in FILES} == set(LAYERS)
    assert len(FILES) > 30


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_a_layer_imports_only_itself_and_what_is_below(file: Path) -> None:
    layer = module_name(file).partition(".")[0]
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    outside = sys.stdlib_module_names | THIRD_PARTY[layer]
    wrong = [
        (module, line)
        for module, line in imports(file)
        if module.partition(".")[0] not in outside and module.partition(".")[0] not in allowed
    ]
    refuse(file, ", ".join([*allowed, "the standard library", *sorted(THIRD_PARTY[layer])]), wrong)


@pytest.mark.parametrize("file", [f for f in FILES if is_in(module_name(f), "models.system")], ids=module_name)
def test_the_language_of_systems_knows_nothing_of_patching(file: Path) -> None:
    wrong = [(m, n) for m, n in imports(file) if is_in(m, "models") and not is_in(m, "models.system")]
    wrong += [(m, n) for m, n in imports(file) if m.partition(".")[0] not in sys.stdlib_module_names | {"models"}]
    refuse(file, "models.system and the standard library", wrong)


@pytest.mark.parametrize("file", [f for f in FILES if is_in(module_name(f), "models.strategies")], ids=module_name)
def test_a_strategy_is_written_with_the_public_vocabulary_alone(file: Path) -> None:
    allowed = {"models.protocol", "models.skeletons"}
    wrong = [
        (m, n) for m, n in imports(file) if m not in allowed and m.partition(".")[0] not in sys.stdlib_module_names
    ]
    refuse(file, "models.protocol, models.skeletons and the standard library", wrong)


def test_the_skeletons_are_written_with_the_public_vocabulary_alone() -> None:
    file = ROOT / "models" / "skeletons.py"
    wrong = [
        (m, n)
        for m, n in imports(file)
        if m != "models.protocol" and m.partition(".")[0] not in sys.stdlib_module_names
    ]
    refuse(file, "models.protocol and the standard library", wrong)


def test_the_command_starts_without_what_only_some_answers_need() -> None:
    """Heavy imports only where needed: little more than the errors of models is loaded before a command is chosen."""
    project = set[str]()
    for name in ("cli.py", "commands.py", "options.py", "studies.py", "outputs.py", "progress.py"):
        tree = ast.parse((ROOT / "checker" / name).read_text(encoding="utf-8"))
        top = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
        project |= {module for module in top if module.partition(".")[0] in LAYERS}
    light = {"models.system.errors", "checker.outputs", "checker.progress"}  # which import nothing else of ours
    light.add("checker.report.files")
    assert project <= {*light, "checker", "checker.commands", "checker.options", "checker.studies"}

"""Claims: docs/schema says what the JSON answers are, whole, and refuses what they are not."""

from __future__ import annotations

import argparse
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from checker.cli import _parser, main
from checker.report.files import SCHEMA
from checker.report.silicon import Answer, answer_json
from checker.silicon.compare import compare
from checker.silicon.machine import cpus, host
from models.properties import PROPERTIES
from models.protocol import USE_CASES
from tests.silicon.small import on_silicon, question, writing

DOCS = Path(__file__).parents[2] / "docs"
SMALL = ("--cpus", "1", "--sites", "1")
SHARED = "answer"  # what `check` writes, which other answers add members to

ANSWERS = {
    "violated and exposed": ("check", "nop-then-back", *SMALL),
    "proved": ("check", "careful-call-to-call"),
    "verified": ("check", "permanent", "--proof", "off", *SMALL),
    "a limit": ("check", "careful-call-to-call", "--max-states", "50"),
    "a step left out": ("check", "careful-call-to-call", "--without", "claim", *SMALL),
    "code that is freed": ("check", "stop-machine-frees-early", "--sites", "1", "--nmi"),
    "two rounds": ("check", "text-poke-batch", "--rounds", "2", "--machine", "x86-trap-gate", *SMALL),
    "a program": ("check", "PROGRAM", "--machine", "arm64-dic0"),
    "prove": ("prove", "nop-then-back", *SMALL),
    "prove more": ("prove", "careful-call-to-call", "--any-sites", "--any-rounds", *SMALL),
    "prove a program": ("prove", "PROGRAM", "--machine", "arm64-dic0"),
    "prove, a limit": ("prove", "careful-call-to-call", "--max-states", "50"),
    "explain": ("explain", "careful-call-to-call", *SMALL),
    "explain what is broken": ("explain", "nop-then-back", *SMALL),
    "explain, a limit": ("explain", "careful-call-to-call", "--max-states", "50", *SMALL),
    "explain a program": ("explain", "PROGRAM"),
    "matrix of a program": ("matrix", "PROGRAM"),
    "matrix": ("matrix", "stop-machine", "--cpus", "1"),
    "matrix, a limit": ("matrix", "permanent", "--max-states", "20", "--machine", "x86-linux"),
    "a bug of a strategy": ("bug", "K7"),
    "a bug of a program": ("bug", "K16"),
    "diff": ("diff", "careful-call-to-call", "nop-then-back", *SMALL),
    "catalogue": ("catalogue", "nop-then-back", "text-poke-batch-unsorted"),
    "an expectation that is not met": ("catalogue", "nop-then-back", "--max-states", "50"),
    "check --expected": ("check", "--expected", "careful-call-to-call"),
    "list": ("list",),
    "list of one kind": ("list", "bugs"),
}
MEASURED = sorted((DOCS / "silicon").glob("*.json"))  # answers of `silicon`, as machines gave them
HERE = (*SMALL[2:], "--align", "within-8", "--executions", "2000", "--max-seconds", "1")


def schemas() -> dict[str, Any]:
    return {
        path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted((DOCS / "schema").glob("*.json"))
    }


def closed(schema: Any, name: str = "") -> Any:
    """The schema with every object refusing members that it does not name; what others add to stays open itself."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value, key) for key, value in schema.items()}
    names_members = isinstance(schema.get("properties"), dict) and schema.get("type") is not None
    if (names_members and name != SHARED) or str(schema.get("$ref", "")).endswith(f"/{SHARED}"):
        made["unevaluatedProperties"] = False
    return made


def validator(command: str, close: bool = False) -> Draft202012Validator:
    made = {name: closed(schema) if close else schema for name, schema in schemas().items()}
    registry: Registry[Any] = Registry().with_resources((s["$id"], Resource.from_contents(s)) for s in made.values())
    return Draft202012Validator(made[f"{command}-{SCHEMA}.json"], registry=registry)


def schema_of(words: tuple[str, ...]) -> str:
    return "catalogue" if "--expected" in words else words[0]


@pytest.fixture
def program(tmp_path: Path) -> str:
    """The first program of the guide, as a file."""
    first = re.findall(r"```python\n(.*?)```", (DOCS / "writing-a-program.md").read_text(encoding="utf-8"), re.DOTALL)[
        0
    ]
    file = tmp_path / "program.py"
    file.write_text(first, encoding="utf-8")
    return str(file)


def answer(words: tuple[str, ...], program: str, capsys: pytest.CaptureFixture[str]) -> Any:
    assert main([program if word == "PROGRAM" else word for word in (*words, "--json", "-")]) in (0, 1, 4, 5)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_is_what_its_schema_says_and_has_no_other_member(
    case: str, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(ANSWERS[case], program, capsys)
    for close in (False, True):
        wrong = validator(schema_of(ANSWERS[case]), close).iter_errors(found)
        assert [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in wrong] == []


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_a_measurement_is_what_its_schema_says(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    for close in (False, True):
        wrong = validator("silicon", close).iter_errors(found)
        assert [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in wrong] == []


@on_silicon
@pytest.mark.parametrize("words", [("nop-then-back",), ("text-poke-batch", "--without", "sync-1", "--stores", "bytes")])
def test_what_this_machine_answers_is_what_the_schema_says(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(("silicon", *words, *HERE), "", capsys)
    assert validator("silicon", close=True).is_valid(found)
    assert validator("silicon").is_valid({**found, "survey": {}}) is False, "one kind of answer at a time"


@on_silicon
def test_what_is_torn_is_what_the_schema_says() -> None:
    """The harness stores half a displacement where the model, of whole instructions, knows of none."""
    wrong, right = question(writing((1, 3)), sites=2), question(writing((1, 5)), sites=2, on="x86-coherent")
    found = compare(right.allowed(), wrong.ask(cpus(), 2000, 1).observation)
    said = answer_json(Answer("half", [(right, found)], 1))
    whole = {"schema": SCHEMA, "host": host().facts, "command": "c", "date": "2026-01-01", "strategies": [said]}
    assert said["allowed_by"] and all(
        one for run in said["runs"] for one in (run["torn"], run["outcomes"][-1]["where"])
    )
    assert validator("silicon", close=True).is_valid(whole)
    damage(fullest(whole), validator("silicon"))


def test_the_measurements_are_of_every_kind() -> None:
    kinds = {kind for path in MEASURED for kind in json.loads(path.read_text(encoding="utf-8"))}
    assert {"strategies", "variants", "survey"} <= kinds


def test_the_answers_above_are_of_every_kind(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Else the claim above would say little."""
    checks = [
        answer(words, program, capsys)
        for words in ANSWERS.values()
        if words[0] == "check" and "--expected" not in words
    ]
    verdicts = [v for check in checks for result in check["results"] for v in result["verdicts"]]
    assert {v["verdict"] for v in verdicts} == {"proved", "verified", "violated", "exposed", "unknown"}
    assert {check["complete"] for check in checks} == {True, False}
    assert any(check["proof"] is None for check in checks) and any("threads" in check for check in checks)


def places(value: Any) -> Iterator[Any]:
    """The objects of an answer, of those that are alike the first."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from places(inner)
    elif isinstance(value, list) and value:
        yield from places(value[0])


FREE = (
    "changes",
    "bytes",
    "untested",
    "allowed",
    "allowed_by",
    "not_allowed",
    "too_wide",
)  # members are names


@pytest.mark.parametrize(
    "case",
    ["violated and exposed", "a program", "prove more", "explain", "explain a program", "matrix", "catalogue", "diff"],
)
def test_a_damaged_answer_is_refused(case: str, program: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage(answer(ANSWERS[case], program, capsys), validator(schema_of(ANSWERS[case])))


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_a_damaged_measurement_is_refused(path: Path) -> None:
    damage(fullest(json.loads(path.read_text(encoding="utf-8"))), validator("silicon"))


def fullest(value: Any) -> Any:
    """The same with one element of each array of objects or arrays: the one that says most."""
    if isinstance(value, dict):
        return {key: fullest(inner) for key, inner in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return [max(map(fullest, value), key=lambda one: len(json.dumps(one)))]
    return value


def damage(whole: Any, check: Draft202012Validator) -> None:
    """Every member is taken away in turn, and given a value of a type that no member has."""
    count = len(list(places(whole)))
    tried = 0
    for number in range(count):
        for member in list(list(places(whole))[number]):
            gone, wrong = copy.deepcopy(whole), copy.deepcopy(whole)
            list(places(wrong))[number][member] = [[[]]]
            assert not check.is_valid(wrong), f"{member} may be anything"
            required = member not in named(whole, number) and not member.startswith("seen by")
            if required:
                del list(places(gone))[number][member]
                assert not check.is_valid(gone), f"{member} may be left out"
            tried += 1
    assert tried > 5


def named(whole: Any, number: int) -> set[str]:
    """The members of an object that a model names, or that only some answers have: these may be missing."""
    objects = list(places(whole))
    found = {"sites", "rounds"} if set(objects[number]) <= {"sites", "rounds"} else set()
    for one in objects:
        for free in FREE:
            if one.get(free) is objects[number]:
                found |= set(objects[number])
    return found


def test_what_is_broken_has_a_trace(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = answer(ANSWERS["violated and exposed"], program, capsys)
    verdicts = [v for v in whole["results"][0]["verdicts"] if v["verdict"] == "violated"]
    assert validator("check").is_valid(whole) and verdicts
    verdicts[0]["trace"] = None
    assert not validator("check").is_valid(whole)


def test_a_member_that_no_schema_names_is_seen(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = answer(ANSWERS["explain"], program, capsys)
    for number in range(len(list(places(whole)))):
        more = copy.deepcopy(whole)
        list(places(more))[number]["undocumented"] = [[[]]]
        assert not validator("explain", close=True).is_valid(more)
    more = {**whole, "undocumented": 1}
    assert validator("explain").is_valid(more), "members may be added without a new number"


def test_there_is_a_schema_for_each_command_that_writes_json() -> None:
    (commands,) = (a.choices for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    writing = [name for name, parser in commands.items() if "--json" in parser._option_string_actions]
    assert set(schemas()) == {f"{name}-{SCHEMA}.json" for name in writing}


@pytest.mark.parametrize("name", schemas())
def test_a_schema_is_one(name: str) -> None:
    schema = schemas()[name]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema["$id"].endswith(f"/{name}") and schema["title"]
    assert f"schema/{name}" in (DOCS / "json.md").read_text(encoding="utf-8")


def members(schema: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and "type" in schema:
            yield from schema["properties"].items()
        for part in schema.values():
            yield from members(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from members(part)


@pytest.mark.parametrize("name", schemas())
def test_every_member_is_described_here_and_in_the_documentation(name: str) -> None:
    text = (DOCS / "json.md").read_text(encoding="utf-8")
    found = list(members(schemas()[name]))
    assert found
    for member, schema in found:
        assert schema.get("description") or "$ref" in schema, f"{member} is not described"
        assert f"`{member}`" in text or f'"{member}"' in text, f"docs/json.md does not say what {member} is"


def test_the_names_in_the_schemas_are_those_of_the_models() -> None:
    shared = schemas()[f"check-{SCHEMA}.json"]["$defs"]
    assert shared["property"]["enum"] == list(PROPERTIES)
    assert shared["use_case"]["enum"] == list(USE_CASES)
    assert shared["result"]["properties"]["verdicts"]["minItems"] == len(PROPERTIES)
    assert shared["answer"]["properties"]["schema"]["const"] == SCHEMA

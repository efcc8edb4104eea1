"""Claims: the reference has everything that there is, as it is, and notices what has changed."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import models.program
import models.protocol
import models.skeletons
from checker import documentation
from checker.cli import main
from checker.options import NAMES
from checker.report import reference
from checker.report.layout import WIDTH
from checker.report.reference import help_of, pages, sections, signature, toggles
from models.library import bugs
from models.machines.fetch import PRESETS, Machine
from models.properties import ACCEPTED, PROPERTIES, is_required
from models.protocol import USE_CASES, PolicyKind, Step
from models.system.expressions import Read

VOCABULARIES = {"strategies.md": models.protocol, "programs.md": models.program}
SELF_EVIDENT = {"name", "label", "says", "where"}  # `label` and `says` are told with `Step`
DEFINED = [
    pytest.param(page, module, name, id=f"{module.__name__}.{name}")
    for page, module in {**VOCABULARIES, "strategies.md ": models.skeletons}.items()
    for section in sections(module)
    for name in section.names
]


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages()


def cells(page: str) -> list[list[str]]:
    """The rows of all tables of a page, without what makes a cell look different."""
    return [[cell.strip(" *`") for cell in line.split(" | ")] for line in page.splitlines() if line.startswith("| ")]


def section_of(page: str, heading: str) -> str:
    """What stands under a heading, as far as the next one."""
    marks = "" if heading.startswith("#") else "#+ "
    found = re.search(rf"^{marks}{re.escape(heading)}\n(.*?)(?=^#+ |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


# ---- vocabularies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page, module", VOCABULARIES.items(), ids=VOCABULARIES)
def test_every_public_name_is_on_its_page(page: str, module: ModuleType, made: dict[str, str]) -> None:
    """Found in another way than the generator does it: by what the module holds, not by its source."""
    public = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and name[0] != "_"
    ]
    assert len(public) > 25
    for name in public:
        assert re.search(rf"^### {name}$|^- `{name}`|^\| `{name}` \|", made[page], re.MULTILINE), name


def test_a_name_that_is_imported_is_told_where_it_is_from(made: dict[str, str]) -> None:
    assert "- `Sync`, of [strategies](strategies.md): Ask every CPU" in made["programs.md"]
    assert "### Sync" in made["strategies.md"] and "### Sync" not in made["programs.md"]


@pytest.mark.parametrize("page, module, name", DEFINED)
def test_every_parameter_is_told_in_the_docstring(page: str, module: ModuleType, name: str) -> None:
    value = getattr(module, name)
    own = value.__doc__ or ""  # not one that is inherited, nor the one that dataclasses make up
    assert own and not own.startswith(f"{name}("), f"{name} has no docstring"
    if not (inspect.isclass(value) and issubclass(value, PolicyKind)):
        told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", inspect.getdoc(value) or ""))))
        untold = set(inspect.signature(value).parameters) - told - SELF_EVIDENT
        assert not untold, f"{name}: {', '.join(sorted(untold))}"


@pytest.mark.parametrize("page, module, name", DEFINED)
def test_every_parameter_is_in_the_signature(page: str, module: ModuleType, name: str, made: dict[str, str]) -> None:
    value, text = getattr(module, name), section_of(made[page.strip()], f"### {name}")
    if name != "PolicyKind":
        for parameter in set(inspect.signature(value).parameters) - {"where"}:
            usual = parameter in ("label", "says") and inspect.isclass(value) and issubclass(value, Step)
            assert usual or re.search(rf"\b{parameter}: ", text), parameter


def test_what_every_step_takes_is_told_once(made: dict[str, str]) -> None:
    assert 'Step(*, label: str = "")' in made["strategies.md"]
    assert 'Step(*, label: str = "", says: str = "")' in made["programs.md"]
    assert made["strategies.md"].count("label: str") == 1


def test_labels_are_those_that_a_step_gets(made: dict[str, str]) -> None:
    stop = models.protocol.StopMachine()
    assert f"Labelled `{stop.default_label()}` by default." in section_of(made["strategies.md"], "StopMachine")
    assert "by default" not in section_of(made["strategies.md"], "Sync")  # numbered, as its docstring says
    assert "by default" not in section_of(made["strategies.md"], "Write")  # depends on what is written


def test_a_signature_is_that_of_the_source() -> None:
    @dataclasses.dataclass
    class Thing:
        a: int
        b: dict[str, str] = dataclasses.field(default_factory=dict)
        c: str = "x"

    assert signature("Thing", Thing) == 'Thing(a: int, b: dict[str, str] = {}, c: str = "x")'

    def long(
        thing_number_one: Read, *, thing_number_two: int = 1, thing_number_three: tuple[str, ...] = ("a",)
    ) -> Machine:
        raise NotImplementedError

    assert signature("long", long).splitlines()[:3] == ["long(", "    thing_number_one: Read,", "    *,"]
    assert "\n" not in signature("long", long, width=0)


def test_text_means_nothing_to_markdown() -> None:
    assert reference.escape("a * b < c, `d * e < f`") == r"a \* b \< c, `d * e < f`"


# ---- machines, properties, bugs -------------------------------------------------------------------------------------


def test_every_preset_stands_beside_the_others_as_it_is(made: dict[str, str]) -> None:
    names = [name for name, _ in toggles()]
    assert {*names, "name", "says", "isa", "sources"} == {field.name for field in dataclasses.fields(Machine)}
    rows = {row[0].strip("| `"): row[1:] for row in cells(made["machines.md"]) if row[0].strip("| `") in PRESETS}
    assert list(rows) == list(PRESETS)
    for name, row in rows.items():
        values = [getattr(PRESETS[name], toggle) for toggle in names]
        switches = {True: "on", False: "off"}
        assert [cell.strip("| *") for cell in row] == [
            switches[value] if isinstance(value, bool) else value.value for value in values
        ]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_value_of_a_preset_has_its_reason(preset: Machine, made: dict[str, str]) -> None:
    section = section_of(made["machines.md"], preset.name)
    for toggle, reason in preset.sources:
        assert re.search(
            rf"^\| `{toggle.replace('_', '-')}` \| \S+ \| {re.escape(reference.escape(reason))} \|$", section, re.M
        )


@pytest.mark.parametrize("toggle, kind", toggles(), ids=lambda value: str(value))
def test_every_value_of_a_toggle_is_listed_and_the_docstrings_say_nothing_of_others(
    toggle: str, kind: Any, made: dict[str, str]
) -> None:
    section = section_of(made["machines.md"], toggle.replace("_", "-"))
    values = ["on", "off"] if kind is bool else [member.value for member in kind]
    assert re.findall(r"^- `([^`]+)`", section, re.MULTILINE) == values
    told = re.findall(r"^- `([^`]+)`:", inspect.getdoc(kind) or "", re.MULTILINE) if kind is not bool else []
    assert set(told) in (set(), set(values))
    assert len(section.split("- `")[0].split()) > 4


def test_every_property_says_what_each_use_case_asks(made: dict[str, str]) -> None:
    rows = {row[0].strip("| `"): row[1:] for row in cells(made["properties.md"])}
    for name, says in PROPERTIES.items():
        assert rows[name][0] == says
        for use_case, asked in zip(USE_CASES, rows[name][1:], strict=True):
            assert ("required" in asked) == is_required(use_case, name)
            kinds = {kind for property_, kind in ACCEPTED[use_case] if property_ == name and kind}
            assert set(re.findall(r"`(.+?)`", asked)) == kinds


@pytest.mark.parametrize("name", bugs())
def test_every_published_bug_is_told(name: str, made: dict[str, str]) -> None:
    bug, section = bugs()[name], section_of(made["bugs.md"], name)
    assert [row for row in cells(made["bugs.md"]) if f"[{name}](#{name.lower()})" in row[0]]
    for text in (bug.title, bug.story, bug.source, bug.subsystem, bug.architecture, bug.model, *bug.shows):
        assert reference.escape(text) in section
    assert f"`{bug.breaks}`" in section and f"`models/bugs/{name.lower()}.py`" in section


# ---- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_every_command_is_there_and_fits_the_terminal(name: str, made: dict[str, str]) -> None:
    section = section_of(made["commands.md"], name)
    assert f"usage: check-strategy {name} " in section and "--help" in section
    assert max(map(len, section.splitlines())) <= WIDTH


def test_help_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    usual = help_of("check")
    monkeypatch.setenv("COLUMNS", "200")
    assert help_of("check") == usual
    assert os.environ["COLUMNS"] == "200"


def test_a_command_without_a_parser_has_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checker.cli.NAMES", (*NAMES, "think"))
    with pytest.raises(LookupError, match="there is no command “think”"):
        help_of("think")


def test_no_option_has_two_forms_on_a_line() -> None:
    """Since Python 3.13 argparse writes such lines otherwise, and pages made with it would differ."""
    for name in NAMES:
        assert not re.search(
            r"^  --\w+ [A-Z]+, -\w|^  -\w [A-Z]+, --\w|^  --\w+, -\w+ [A-Z]", help_of(name), re.MULTILINE
        )


# ---- stale pages ----------------------------------------------------------------------------------------------------


def test_the_command_writes_and_compares_the_reference_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, proofs = tmp_path / "reference", tmp_path / "proofs"
    words = ["docs", "reference", "--reference", str(folder), "--output", str(proofs)]
    assert main(words) == 0 and not proofs.exists()
    assert {path.name for path in folder.iterdir()} == set(pages())
    assert main([*words, "--check"]) == 0
    page = folder / "machines.md"
    page.write_text(page.read_text(encoding="utf-8").replace("## Presets", "## Machines"), encoding="utf-8")
    before = page.read_bytes()
    capsys.readouterr()
    assert main([*words, "--check"]) == 1
    said = capsys.readouterr().out
    assert f"{page} differs, first in line" in said and f"check-strategy docs --reference {folder}" in said
    assert page.read_bytes() == before


def test_a_page_is_stale_when_a_docstring_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documentation.write(tmp_path, pages(), True)
    assert documentation.stale(tmp_path, pages(), True) == []
    monkeypatch.setattr(models.protocol.Sync, "__doc__", "Ask every CPU for its opinion.")
    assert [sentence.split(" ")[0] for sentence in documentation.stale(tmp_path, pages(), True)] == [
        str(tmp_path / "strategies.md"),
        str(tmp_path / "programs.md"),
    ]


def test_named_strategies_leave_the_reference_alone(tmp_path: Path) -> None:
    found = documentation.all_pages(["stop-machine"], tmp_path / "proofs", tmp_path / "reference")
    assert [known.folder.name for known in found] == ["proofs"]
    assert not found[0].whole


def test_pages_are_generated_for_both_folders_where_nothing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(documentation, "pages", lambda names: {"index.md": ""})
    found = documentation.all_pages([], tmp_path / "a", tmp_path / "b")
    assert [(known.folder.name, known.whole, known.option) for known in found] == [
        ("a", True, "--output"),
        ("b", True, "--reference"),
    ]

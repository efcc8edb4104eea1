"""The reference: pages that are made of the names, signatures, docstrings and data of the code, in Markdown.

Nothing is said here that the code does not say: what reads badly on a page is mended in its docstring.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import inspect
import io
import os
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from checker.options import NAMES
from checker.report import markdown
from checker.report.markdown import listed
from checker.report.page import GENERATED
from models.bug import Bug
from models.library import bugs, scenario_of
from models.machines.fetch import PRESETS, Machine
from models.properties import ACCEPTED, PROPERTIES, is_required
from models.protocol import USE_CASES, Policy, Step

WIDTH = 88  # columns of a signature
_SECTION = re.compile(r"# -+ (?P<title>.+?) -+$")
_DEFINITION = re.compile(r"(?:class|def) (?P<name>[A-Za-z]\w*)")
_CONSTANT = re.compile(r"(?P<name>[A-Za-z]\w*)(?:: [^=]+)? = (?P<value>.+?)(?:  # (?P<says>.+))?$")
_ITEM = re.compile(r"^- `(?P<name>[^`]+)`: (?P<says>.+(?:\n  .+)*)", re.MULTILINE)
_USUAL = ("label", "says", "where")  # what every step takes, said once


def pages() -> dict[str, str]:
    """The text of every page by its file name, in the order of the index."""
    made: dict[str, tuple[str, Callable[[], Iterable[str]]]] = {
        "strategies.md": ("The vocabulary of strategies", strategies),
        "programs.md": ("The vocabulary of programs", programs),
        "machines.md": ("Machines", machines),
        "properties.md": ("Properties and use cases", properties),
        "commands.md": ("The command line", commands),
        "bugs.md": ("Published bugs", published),
    }
    found = {name: _page(title, body()) for name, (title, body) in made.items()}
    toctree = ["```{toctree}", ":maxdepth: 1", "", *(name.removesuffix(".md") for name in made), "```"]
    return {"index.md": _page("Reference", [*_INTRODUCTION, "", *toctree]), **found}


_INTRODUCTION = (
    "Generated from the code: signatures, docstrings and data. The guides say how to begin; this says what there is.",
    "`check-strategy docs --check` tells when a page is older than the code.",
)


def _page(title: str, body: Iterable[str]) -> str:
    return "\n".join([GENERATED, "", f"# {title}", "", *body]) + "\n"


# ---- vocabularies ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant:
    """A name that is bound to a value: its source text, and the comment behind it."""

    name: str
    value: str
    says: str


@dataclass
class Section:
    """What stands under one heading of a module's source: definitions by name, and constants."""

    title: str
    names: list[str]
    constants: list[Constant]


def sections(module: ModuleType) -> list[Section]:
    """The public names that a module defines, under the headings that its source has, in order."""
    found = [Section("", [], [])]
    for line in inspect.getsource(module).splitlines():
        if heading := _SECTION.match(line):
            found.append(Section(heading["title"].capitalize(), [], []))
        elif (named := _DEFINITION.match(line) or _CONSTANT.match(line)) and is_public(named["name"], module):
            if named.re is _DEFINITION:
                found[-1].names.append(named["name"])
            else:
                found[-1].constants.append(Constant(named["name"], named["value"], named["says"] or ""))
    return [section for section in found if section.names or section.constants]


def is_public(name: str, module: ModuleType) -> bool:
    """Whether a name belongs to the vocabulary; `Step`, which nobody writes, tells what all steps have."""
    return name == "Step" or name in getattr(module, "__all__", [name])


def strategies() -> Iterator[str]:
    """Everything that a strategy file imports."""
    import models.protocol
    import models.skeletons

    yield from _module(models.protocol)
    yield from ["## Shared sequences", "", *paragraphs(models.skeletons), ""]
    for name in (name for section in sections(models.skeletons) for name in section.names):
        yield from definition(name, getattr(models.skeletons, name))


def programs() -> Iterator[str]:
    """Everything that a file with a program imports."""
    import models.assembly
    import models.program

    yield from _module(models.program)
    defined = [name for s in sections(models.program) for name in [*s.names, *(c.name for c in s.constants)]]
    rest = [getattr(models.program, name) for name in models.program.__all__ if name not in defined]
    yield from ["## From elsewhere", "", "Also imported from `models.program`:", ""]
    for value in rest:
        where = "[strategies](strategies.md)" if value.__module__ == "models.protocol" else f"`{value.__module__}`"
        yield f"- `{value.__name__}`, of {where}: {first_paragraph(value)}"
    yield from ["", "## Instructions", "", *paragraphs(models.assembly), ""]
    for info in pkgutil.iter_modules(models.assembly.__path__):
        module = import_module(f"models.assembly.{info.name}")
        rows = [["`models.assembly." + info.name + "`", "is"]]
        for name in (name for section in sections(module) for name in section.names):
            rows.append([f"`{signature(name, getattr(module, name))}`", first_paragraph(getattr(module, name))])
        yield from [f"### {info.name}", "", *paragraphs(module), "", *markdown.table(rows), ""]


def _module(module: ModuleType) -> Iterator[str]:
    """A module's docstring, and what it defines, section by section."""
    yield from [f"Module `{module.__name__}`.", "", *paragraphs(module), ""]
    for section in sections(module):
        yield from [f"## {section.title or 'Plain values'}", ""]
        for name in section.names:
            yield from definition(name, getattr(module, name))
        if section.constants:
            yield from [*markdown.table(_constants(module, section.constants)), ""]


def _constants(module: ModuleType, constants: Sequence[Constant]) -> Iterator[list[str]]:
    yield ["name", "value", "meaning"]
    for known in constants:
        value = getattr(module, known.name)
        says = f"the handler is to {value.kind.value}" if isinstance(value, Policy) else known.says
        yield [f"`{known.name}`", f"`{value!r}`" if isinstance(value, bytes) else f"`{known.value}`", escape(says)]


def definition(name: str, value: Any) -> Iterator[str]:
    """A class or a function: its signature, what it means, and the members that have a docstring."""
    yield from [f"### {name}", ""]
    if inspect.isclass(value) and issubclass(value, enum.Enum):
        yield from [*paragraphs(value), ""]
        yield from [*(f"- `{name}.{member.name}`: {member.value}" for member in value), ""]
        return
    yield from ["```python", signature(name, value), "```", "", *paragraphs(value), ""]
    if inspect.isclass(value):
        if label := default_label(value):
            yield from [f"Labelled `{label}` by default.", ""]
        told = [f"- `{said}`: {' '.join(filter(None, paragraphs(member)))}" for said, member in members(value)]
        yield from [*told, ""] if told else []


def default_label(cls: type) -> str:
    """The label of a step of a strategy, where it depends on nothing; otherwise its docstring tells."""
    if not issubclass(cls, Step) or cls is Step or cls.__module__ != Step.__module__:
        return ""
    with contextlib.suppress(AttributeError):  # it asks for a field, and there is none yet
        label = object.__new__(cls).default_label()
        return "" if f"`{label}-1`" in (cls.__doc__ or "") else label  # numbered, as its docstring says
    return ""


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class itself documents, each as it is written."""
    for name, member in vars(cls).items():
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        yield (name if isinstance(member, property) else signature(name, function, width=0)), function


def signature(name: str, value: Any, width: int = WIDTH) -> str:
    """How something is called, with types and defaults as the source has them; on several lines beyond a width, if any."""
    parameters = [p for p in inspect.signature(value).parameters.values() if p.name != "self"]
    if inspect.isclass(value):
        parameters = [
            p
            for p in parameters
            if p.name not in (_USUAL if issubclass(value, Step) and name != "Step" else ("where",))
        ]
    factories = {f.name: f.default_factory for f in dataclasses.fields(value)} if _is_record(value) else {}
    written, keywords = [], False
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and not keywords:
            written.append("*")
            keywords = True
        star = "*" if p.kind is p.VAR_POSITIONAL else ""
        written.append(f"{star}{p.name}{_annotation(p)}{_default(p, factories.get(p.name))}")
    returns = inspect.signature(value).return_annotation
    arrow = "" if inspect.isclass(value) or returns is inspect.Signature.empty else f" -> {returns}"
    short = f"{name}({', '.join(written)}){arrow}"
    if len(short) <= width or not width:
        return short
    return "\n".join([f"{name}(", *(f"    {one}," for one in written), f"){arrow}"])


def _is_record(value: Any) -> bool:
    return inspect.isclass(value) and dataclasses.is_dataclass(value)


def _annotation(parameter: inspect.Parameter) -> str:
    plain = re.sub(r"\b_(?=[A-Z])", "", str(parameter.annotation))  # `_Step` is how one module calls another's `Step`
    return "" if parameter.annotation is parameter.empty else f": {plain}"


def _default(parameter: inspect.Parameter, factory: Any) -> str:
    if parameter.default is parameter.empty:
        return ""
    if factory not in (None, dataclasses.MISSING):
        return f" = {factory()!r}"
    return f" = {parameter.default!r}".replace("'", '"')


def paragraphs(value: Any) -> list[str]:
    """A docstring as lines of Markdown; examples become blocks."""
    found: list[str] = []
    for part in (inspect.getdoc(value) or "").split("\n\n"):
        found += ["", *(["```pycon", part, "```"] if part.startswith(">>>") else [escape(part)])]
    return found[1:]


def first_paragraph(value: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return escape((inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " "))


def escape(text: str) -> str:
    """Plain text for Markdown: what stands in backticks stays, the rest means nothing but itself."""
    parts = text.split("`")
    return "`".join(re.sub(r"[<*]", r"\\\g<0>", part) if k % 2 == 0 else part for k, part in enumerate(parts))


# ---- machines -------------------------------------------------------------------------------------------------------


def machines() -> Iterator[str]:
    """The toggles, and every preset with a reason for each value."""
    import models.machines.fetch

    yield from [*paragraphs(models.machines.fetch), ""]
    yield "The guide to [machines](../machines.md) tells how to choose one, and what each preset is good for."
    yield from ["", "## Toggles", "", escape(_ITEM.sub("", inspect.getdoc(Machine) or "").strip()), ""]
    for name, kind in toggles():
        yield from toggle(name, kind)
    yield from ["## Presets", ""]
    for isa in dict.fromkeys(machine.isa for machine in PRESETS.values()):
        yield from [*markdown.table(comparison([m for m in PRESETS.values() if m.isa is isa])), ""]
    yield from ["Bold is what differs from the first of its table. Each value has a reason:", ""]
    for machine in PRESETS.values():
        yield from [f"### {machine.name}", "", f"{escape(machine.says[0].upper() + machine.says[1:])}.", ""]
        reasons = dict(machine.sources)
        rows = [[f"`{dashed(name)}`", shown(machine, name), escape(reasons[name])] for name, _ in toggles()]
        yield from [*markdown.table([["toggle", "value", "why"], *rows]), ""]


def toggles() -> list[tuple[str, type]]:
    """The names of the toggles, as in `Machine`, and what each may be: an enum, or bool."""
    fixed = ("name", "says", "isa", "sources")
    some = next(iter(PRESETS.values()))
    return [(f.name, type(getattr(some, f.name))) for f in dataclasses.fields(Machine) if f.name not in fixed]


def toggle(name: str, kind: type) -> Iterator[str]:
    """One toggle: what it is about, and its values with what each means where that needs saying."""
    text = inspect.getdoc(Machine if kind is bool else kind) or ""
    items = {found["name"]: " ".join(found["says"].split()) for found in _ITEM.finditer(text)}
    values = ["on", "off"] if kind is bool else [str(member.value) for member in kind]  # type: ignore[attr-defined]
    head = f"Where it is on: {escape(items[name])}." if kind is bool else escape(_ITEM.sub("", text).strip())
    yield from [f"### {dashed(name)}", "", head, ""]
    yield from [f"- `{v}`{f': {escape(items[v])}' if kind is not bool and v in items else ''}" for v in values]
    yield ""


def comparison(presets: Sequence[Machine]) -> Iterator[list[str]]:
    """A row for each preset; bold is what differs from the first."""
    names = [name for name, _ in toggles()]
    yield ["preset", *map(dashed, names)]
    for machine in presets:
        values = [(shown(machine, name), shown(presets[0], name)) for name in names]
        yield [f"`{machine.name}`", *(value if value == first else f"**{value}**" for value, first in values)]


def dashed(name: str) -> str:
    """A toggle as the command line has it."""
    return name.replace("_", "-")


def shown(machine: Machine, name: str) -> str:
    """The value of a toggle, as the command line has it."""
    value = getattr(machine, name)
    return str(value.value) if isinstance(value, enum.Enum) else "on" if value else "off"


# ---- properties, commands, bugs -------------------------------------------------------------------------------------


def properties() -> Iterator[str]:
    """What is checked, and what each use case requires of it."""
    import models.properties

    rows = [["property", "says that", *USE_CASES]]
    rows += [
        [f"`{name}`", says, *(asked(use_case, name) for use_case in USE_CASES)] for name, says in PROPERTIES.items()
    ]
    yield from [*paragraphs(models.properties), "", *markdown.table(rows), ""]
    yield "*Required*: where it is broken, the strategy is violated (exit status 1). *Exposure*: the use case lives with it;"
    yield "it is reported with a trace as *exposed*. In how many ways each property can be broken, its *kinds*, is listed"
    yield "in [JSON answers](../json.md#check)."


def asked(use_case: str, name: str) -> str:
    """What a use case asks of a property."""
    kinds = sorted(kind for property_, kind in ACCEPTED[use_case] if property_ == name and kind)
    if not is_required(use_case, name):
        return "exposure"
    return f"required, but {listed([f'`{kind}`' for kind in kinds])} is an exposure" if kinds else "required"


def commands() -> Iterator[str]:
    """The help of every command."""
    import checker.cli

    yield from [*paragraphs(checker.cli), ""]
    yield "A name of a strategy, or a file, in place of a command means `check`."
    for name in NAMES:
        yield from ["", f"## {name}", "", "```text", help_of(name), "```"]


def help_of(command: str) -> str:
    """What `check-strategy COMMAND --help` prints on a terminal of 80 columns. Raises LookupError where there is none."""
    from checker.cli import main

    printed, before = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"  # argparse asks for it
    try:
        with contextlib.redirect_stdout(printed):
            main([command, "--help"])
    except SystemExit as done:
        if done.code:
            raise LookupError(f"there is no command “{command}”") from done
    finally:
        del os.environ["COLUMNS"]
        os.environ.update({"COLUMNS": before} if before else {})
    return printed.getvalue().rstrip()


def published() -> Iterator[str]:
    """Every published bug that is modelled."""
    yield "Each is a short file in `models/bugs`: the protocol before its fix and after it, the property that breaks before"
    yield "and not after, and what the shortest trace has to contain. `check-strategy bug K1` shows one. Those that are not"
    yield "modelled, and why: [](../bugs.md)."
    rows = [["bug", "what", "where", "when", "breaks"]]
    for name, bug in bugs().items():
        where = f"{bug.architecture}, {bug.subsystem}"
        rows.append([f"[{name}](#{name.lower()})", escape(bug.title), escape(where), bug.date, f"`{bug.breaks}`"])
    yield from ["", *markdown.table(rows)]
    for bug in bugs().values():
        yield from ["", *_bug(bug)]


def _bug(bug: Bug) -> Iterator[str]:
    file = f"models/bugs/{Path(bug.where.file).name}"
    machine = scenario_of(bug.before, bug.found).machine.name
    facts = {
        "Where": f"{escape(bug.subsystem)} on {escape(bug.architecture)}, {bug.date}; {escape(bug.source)}",
        "Breaks": f"`{bug.breaks}`: {PROPERTIES[bug.breaks.partition('/')[0]]}",
        "Before": f"{escape(bug.before.says)}. Checked with `{machine}`{_circumstances(bug)}",
        "After": escape(bug.after.says),
        "The trace shows": "; ".join(f"“{escape(said)}”" for said in bug.shows),
    }
    yield from [f"## {bug.identifier}", "", f"**{escape(bug.title)}**", "", escape(bug.story), ""]
    yield from [f"- {name}: {text}" for name, text in facts.items()]
    if bug.model:
        yield f"- The model: {escape(bug.model)}"
    yield f"- File: `{file}`"


def _circumstances(bug: Bug) -> str:
    """What is not usual about the scenario in which the bug is found."""
    said = [f"without `{label}`" for label in bug.found.without]
    said += [name for name in ("preempt", "nmi") if getattr(bug.found, name)]
    return "".join(f", {one}" for one in said)

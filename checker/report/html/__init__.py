"""The answer of a check as one page that needs nothing else: no network, no other file.

Everything that comes from a model is data: it is put into the page as JSON and shown as text, never as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from checker.report import text
from checker.report.html.data import document, visible
from checker.verdict import CheckResult

if TYPE_CHECKING:
    from jinja2 import Environment


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates of this folder; whatever is put into them is escaped, and can be seen."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("checker.report", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> str:
    """A file of this folder as text."""
    return files("checker.report.html").joinpath(name).read_text(encoding="utf-8")


def render(
    result: CheckResult,
    name: str,
    back: str = "",
    title: str = "",
    about: Sequence[tuple[str, str]] = (),
    other: tuple[str, str] | None = None,
    command: str = "",
) -> str:
    """The page. `name` is what the user called the strategy.

    In a report, `back` is the address of its index, `title` stands in place of the strategy's name, `about` is said
    before the verdicts, a word and a sentence each, and `other` is a page beside it: what it is called, and its address.
    `command` is what gives the same answer, where that is not a check of `name`.
    """
    values = document(result, command or text.command_of(name, result.model.scenario, text.use_case_of(result)))
    script = asset("page.js")
    return (
        environment()
        .get_template("page.html")
        .render(
            title=title or values["name"],
            says=values["says"],
            about=about,
            data=_embedded(values),
            style=asset("base.css") + asset("page.css"),
            script=script,
            script_hash=_hash(script),
            plain=text.render(result),
            back=back,
            other=other,
        )
    )


def _embedded(values: object) -> str:
    """JSON that no HTML parser takes for the end of its script, or for a comment."""
    plain = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(script: str) -> str:
    """By which the page allows this script and no other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

"""Answers as JUnit XML, which Jenkins, GitLab and most other servers show: one test for each thing that was asked.

A test fails where something required is violated; it is an error where that is unknown, and skipped where nothing ever
put it to the test. So a server shows red whenever the exit status is 1 or 4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from checker.bugs import Examined
from checker.catalogue import Met
from checker.report.bug import render as render_bug
from checker.report.text import applies, render_trace
from checker.verdict import UNKNOWN, VIOLATED, CheckResult, PropertyVerdict

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 has no character for


def render(result: CheckResult, name: str) -> str:
    """A check: a suite for each use case, with a test for each property."""
    strategy, root = result.strategy.name, Element("testsuites")
    for answers in result.results:
        suite = _suite(root, f"{strategy}, {answers.use_case}", result.seconds)
        _properties(
            suite, {"model": name, "machine": result.model.scenario.machine.name, "applies to": applies(result)}
        )
        for verdict in answers.verdicts:
            test = _test(suite, f"{strategy}.{answers.use_case}", verdict.property)
            trace = "" if verdict.trace is None else render_trace(result.traces[verdict.trace], verdict.trace + 1)
            why = verdict.note if verdict.trace is None else result.traces[verdict.trace].why
            _judge(test, verdict, why, trace)
    return _text(root)


def _judge(test: Element, verdict: PropertyVerdict, why: str, trace: str) -> None:
    if verdict.verdict == VIOLATED:
        _outcome(test, "failure", verdict.kind or verdict.property, why)
    elif verdict.verdict == UNKNOWN:
        _outcome(test, "error" if verdict.required else "skipped", UNKNOWN, why)
    elif verdict.vacuous:
        _outcome(test, "skipped", "vacuous", f"vacuous: {'; '.join(verdict.vacuous)}")
    if trace:
        SubElement(test, "system-out").text = _clean(trace)


def render_catalogue(found: Sequence[Met], bugs: Sequence[Examined]) -> str:
    """The catalogue: a test for each expectation and use case, and one for each published bug."""
    root = Element("testsuites")
    suite = _suite(root, "expectations", sum({(m.strategy, m.scenario): m.seconds for m in found}.values()))
    for met in found:
        test = _test(suite, f"{met.strategy}.{met.use_case}", f"{met.scenario}: {met.expected}")
        if not met.ok:
            _outcome(test, "error" if met.inconclusive else "failure", "unmet", met.difference)
        elif met.vacuous:
            _outcome(test, "skipped", "vacuous", f"vacuous: {met.vacuous}")
    if bugs:
        suite = _suite(root, "bugs", sum(bug.before.seconds + bug.after.seconds for bug in bugs))
    for one in bugs:
        test = _test(suite, f"bugs.{one.bug.identifier}", one.bug.title)
        if not one.ok:
            _outcome(test, "failure", "not as published", one.difference)
            SubElement(test, "system-out").text = _clean(render_bug(one))
    return _text(root)


def _suite(root: Element, name: str, seconds: float) -> Element:
    return SubElement(root, "testsuite", name=_clean(name), time=f"{seconds:.3f}")


def _properties(suite: Element, facts: dict[str, str]) -> None:
    group = SubElement(suite, "properties")
    for name, value in facts.items():
        SubElement(group, "property", name=name, value=_clean(value))


def _test(suite: Element, group: str, name: str) -> Element:
    return SubElement(suite, "testcase", classname=_clean(group), name=_clean(name))


def _outcome(test: Element, outcome: str, type_: str, message: str) -> None:
    made = SubElement(test, outcome, message=_clean(message))
    if outcome != "skipped":
        made.set("type", type_)


def _text(root: Element) -> str:
    for suite in root:
        suite.set("tests", str(len(suite.findall("testcase"))))
        for count, outcome in {"failures": "failure", "errors": "error", "skipped": "skipped"}.items():
            suite.set(count, str(len(suite.findall(f"testcase/{outcome}"))))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """`text` without characters that no XML file can hold."""
    return _FORBIDDEN.sub("�", text)

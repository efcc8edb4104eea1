"""The page of one check, in a real browser: what a person does with it, and what must not happen."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from checker import check
from checker.report import html
from checker.search.result import Path as Run
from checker.trace import Narrator, Trace
from checker.verdict import CheckResult
from models.library import load
from models.properties import OLD_OR_NEW
from tests.browser.driving import Browser, browser

RIGHT, LEFT, HOME, END, ENTER = "\ue014", "\ue012", "\ue011", "\ue010", "\ue007"
HOSTILE = "</script><img src=http://localhost:1/x onerror=document.title=/broken/><!--<script>"


@pytest.fixture(scope="module")
def tab():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def result() -> CheckResult:
    return check("nop-then-back", witnesses=True, proof=True)


@pytest.fixture(scope="module")
def page(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(html.render(result, "nop-then-back"), encoding="utf-8")
    return path


def memory_shown(tab: Browser) -> list[list[str]]:
    """The bytes of memory, site by site, as the page shows them."""
    return [row.text.split("=")[0].split()[1:] for row in tab.every("#sites tr:first-child")]


def test_the_page_loads_without_a_word_on_the_console_and_asks_for_nothing_else(tab, page):
    tab.open(page)
    assert tab.text("h1") == "nop-then-back"
    assert tab.messages() == []
    assert tab.requests() == [page.as_uri()]


def test_it_opens_where_something_is_wrong_and_says_what(tab, page, result):
    tab.open(page)
    trace = result.traces[0]
    assert tab.text("#now").startswith(f"Step {len(trace.steps)} of {len(trace.steps)}, CPU 0.")
    assert trace.why in tab.text("#now") and trace.conjunct in tab.text("#now")


def in_words(result: CheckResult, state: dict[str, str]) -> dict[str, str]:
    """Values as the page has them: of views, the members of the set that they are."""
    views = {v.name: v.bits for v in result.model.system.variables if v.name.startswith("view_")}
    assert views
    found = dict(state)
    for name, value in state.items():
        if bits := views.get(name.rpartition(".")[2]):
            found[name] = "{" + ", ".join(bit for k, bit in enumerate(bits) if int(value) & 2**k) + "}"
    return found


def test_every_state_of_every_trace_is_that_of_the_reference_evaluator(tab, page, result):
    for number, trace in enumerate([*result.traces, *result.witnesses], 1):
        tab.open(page, f"#trace-{number}-step-0")
        tab.press("e")
        state = dict(trace.initial)
        for k, found in enumerate([trace.start, *(step.bytes for step in trace.steps)]):
            if k:
                tab.press(RIGHT)
                state |= {name: after for name, (_, after) in trace.steps[k - 1].changes.items()}
            assert memory_shown(tab) == [site.memory.split() for site in found]
            rows = tab.run(
                "return [...document.querySelectorAll('#variables tr')].map(r => [...r.children].map(c => c.textContent))"
            )
            assert {name: text.split(" → ")[-1] for name, text in rows} == in_words(result, state)


def test_what_a_use_case_accepts_is_not_called_a_violation(tab, tmp_path):
    result = check("careful-call-to-call-old", use_case="livepatch")
    path = tmp_path / "page.html"
    path.write_text(html.render(result, "careful-call-to-call-old"), encoding="utf-8")
    tab.open(path)
    assert [a.get_attribute("class") for a in tab.every("#traces a")] == ["exposure"]
    assert tab.text("#trace-says").startswith("Exposed: ")


def test_what_a_cpu_may_fetch_is_shown_with_what_it_would_run(tab, page):
    tab.open(page, "#step-2")
    row = next(row for row in tab.every("#sites tr") if row.text.startswith("CPU 0 may fetch e8/cc"))
    assert row.text.endswith("runs call A or int3")


def numbers(said: str) -> list[int]:
    """The CPUs that a row is about: `CPUs 0, 2 and 5 to 9 may fetch …`."""
    found = []
    for first, last in re.findall(r"(\d+)(?: to (\d+))?", re.sub(r"(may|has|have) .*", "", said)):
        found += range(int(first), int(last or first) + 1)
    return found


def test_of_many_cpus_each_that_acts_or_sees_something_else_has_a_row(tab, tmp_path):
    result = check("nop-then-back", cpus=7, sites=1)
    path = tmp_path / "page.html"
    path.write_text(html.render(result, "nop-then-back"), encoding="utf-8")
    for number, trace in enumerate(result.traces, 1):
        tab.open(path, f"#trace-{number}-step-0")
        before = trace.start[0].seen
        for step in trace.steps:
            tab.press(RIGHT)
            (site,) = step.bytes
            rows = tab.run(
                "return [...document.querySelectorAll('#sites tr:not(:first-child)')].map(r => [r.querySelector('th').innerText,"
                "[...r.querySelectorAll('.byte')].map(b => b.innerText).join(' ')])"
            )
            shown = {cpu: bytes_ for said, bytes_ in rows for cpu in numbers(said)}
            wanted = {cpu for cpu in range(7) if site.seen[cpu] or before[cpu] or cpu == step.instance}
            assert shown == {cpu: site.seen[cpu] or site.memory for cpu in wanted}
            before = site.seen


def test_keys_buttons_rows_and_the_slider_step(tab, page):
    tab.open(page, "#step-0")
    for act, expected in (
        (lambda: tab.press(RIGHT), 1),
        (lambda: tab.one("#on").click(), 2),
        (lambda: tab.one("#row-5").click(), 5),
        (lambda: tab.one("#back").click(), 4),
        (lambda: tab.press(LEFT), 3),
        (lambda: tab.press(END), 6),
        (lambda: tab.press(HOME), 0),
        (lambda: tab.one("#slider").send_keys(RIGHT, RIGHT), 2),
        (lambda: tab.one("#last").click(), 6),
        (lambda: tab.one("#first").click(), 0),
    ):
        act()
        assert tab.text("#now").startswith(f"Step {expected} of 6")
        assert tab.driver.current_url.endswith(f"#step-{expected}")
        assert tab.one("#lanes tr.current").get_attribute("id") == f"row-{expected}"


def test_a_link_names_the_step(tab, page):
    tab.open(page, "#step-3")
    assert tab.text("#now").startswith("Step 3 of 6")
    tab.open(page, "#trace-3-step-2")
    assert tab.text("#trace-title").startswith("Trace 3") and tab.text("#now").startswith("Step 2 of")
    tab.run("location.hash = '#step-4'")
    assert tab.text("#trace-title").startswith("Trace 1") and tab.text("#now").startswith("Step 4 of 6")
    tab.open(page, "#step-99")
    assert tab.text("#now").startswith("Step 6 of 6")
    assert tab.messages() == []


@pytest.mark.parametrize("fragment", ["#step-x", "#trace", "#step-", "#step--1", "#steps", "#trace-0", "#trace-99"])
def test_an_address_that_names_no_step_shows_a_step_all_the_same(tab, page, fragment):
    tab.open(page, fragment)
    assert tab.text("#now").startswith("Step ") and tab.text("#trace-title").startswith("Trace 1")
    tab.press(HOME, RIGHT)
    assert tab.text("#now").startswith("Step 1 of 6")


def test_the_skip_link_leads_to_the_steps_and_the_step_outlives_a_reload(tab, page):
    tab.open(page, "#trace-3-step-2")
    tab.one(".skip").send_keys(ENTER)
    assert tab.run("return document.activeElement.id") == "steps"
    tab.driver.refresh()
    assert tab.text("#trace-title").startswith("Trace 3") and tab.text("#now").startswith("Step 2 of")


def test_a_chosen_byte_leads_to_the_steps_that_change_it(tab, page, result):
    tab.open(page, "#step-0")
    tab.one("#sites .byte").click()
    tab.press(".")
    trace = result.traces[0]
    first = [step.bytes[0].memory.split()[0] for step in trace.steps]
    changes = [
        k for k, (a, b) in enumerate(zip([trace.start[0].memory.split()[0], *first], first, strict=False), 1) if a != b
    ]
    assert tab.text("#now").startswith(f"Step {changes[0]} of")
    assert tab.one("#sites .byte").get_attribute("class") == "byte changed"
    tab.press(HOME, ",")
    assert tab.text("#now").startswith("Step 0 of")


def test_the_focus_stays_on_what_was_pressed(tab, page):
    focused = "return document.activeElement.getAttribute('aria-label')"
    tab.open(page, "#step-2")
    byte = tab.every("#sites .byte")[7]
    name = byte.get_attribute("aria-label")
    byte.send_keys(ENTER)
    assert tab.run(focused) == name
    assert tab.run("return document.activeElement.getAttribute('aria-pressed')") == "true"
    tab.one("#first").send_keys(ENTER)
    assert tab.text("#now").startswith("Step 0 of") and tab.run(focused) == "to the start"
    assert tab.one("#first").get_attribute("aria-disabled") == tab.one("#back").get_attribute("aria-disabled") == "true"
    tab.one("#last").send_keys(ENTER)
    assert tab.text("#now").startswith("Step 6 of") and tab.run(focused) == "to the end"
    assert tab.one("#first").get_attribute("aria-disabled") == "false"


def test_the_focus_stays_in_the_lanes_when_another_trace_is_shown(tab, page):
    tab.open(page, "#step-1")
    tab.one("#row-1 a").send_keys("]")
    assert tab.text("#trace-title").startswith("Trace 2")
    assert tab.run("return document.activeElement.textContent") == "1"


def test_a_chosen_cpu_leads_to_its_steps(tab, page, result):
    tab.open(page, "#step-0")
    tab.every("#lanes thead button")[1].click()
    mine = [k for k, step in enumerate(result.traces[0].steps, 1) if step.actor == "cpu 0"]
    seen = []
    for _ in mine:
        tab.press(".")
        seen.append(int(tab.text("#now").split()[1]))
    assert seen == mine


def test_the_source_of_the_step_is_lit(tab, page, result):
    for number, step in enumerate(result.traces[0].steps, 1):
        tab.open(page, f"#step-{number}")
        if step.instance is None:
            assert f":{step.where.line}" in tab.text("#source-title")
            lit = tab.text("#source .lit")
            assert lit.split()[0] == str(step.where.line) and "yield" in lit


def test_play_goes_on_to_the_end_and_stops(tab, page):
    tab.open(page, "#step-4")
    tab.driver.set_script_timeout(20)
    tab.press(" ")
    assert tab.text("#play") == "pause"
    tab.driver.execute_async_script(
        "const done = arguments[0], t = setInterval(() => { if (location.hash === '#step-6') { clearInterval(t); done(); } }, 50)"
    )
    assert tab.text("#play") == "play"


def test_space_plays_when_a_link_has_the_focus_and_the_button_says_so_once(tab, page):
    tab.open(page, "#step-0")
    tab.one("#row-0 a").send_keys(" ")
    assert tab.text("#play") == "pause" and tab.one("#play").get_attribute("aria-pressed") is None
    tab.one("#row-0 a").send_keys(" ")
    assert tab.text("#play") == "play"


def test_light_and_dark_differ_and_follow_the_system_until_somebody_chooses(tab, page):
    paper = "return getComputedStyle(document.body).backgroundColor"
    seen = []
    for scheme in ("light", "dark"):
        tab.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.open(page)
        seen.append(tab.run(paper))
        tab.one("#theme").click()
        seen.append(tab.run(paper))
    tab.command("Emulation.setEmulatedMedia", features=[])
    light, chosen_dark, dark, chosen_light = seen
    assert light != dark and chosen_dark == dark and chosen_light == light


def test_on_paper_every_step_has_its_bytes(tab, page, result):
    tab.open(page)
    tab.command("Emulation.setEmulatedMedia", media="print")
    try:
        rows = [row.text for row in tab.every("#lanes tbody tr")]
        assert not tab.one("#state").is_displayed() and not tab.one("#controls").is_displayed()
        for step, row in zip(result.traces[0].steps, rows[1:], strict=False):
            assert step.says in row and f"{step.bytes[0].memory} = {step.bytes[0].decoded}" in row
    finally:
        tab.command("Emulation.setEmulatedMedia", media="")


def test_everything_that_can_be_operated_has_a_name_for_a_screen_reader(tab, page):
    tab.open(page, "#step-2")
    nodes = tab.command("Accessibility.getFullAXTree")["nodes"]
    operable = [n for n in nodes if n.get("role", {}).get("value") in ("button", "link", "slider", "combobox")]
    assert len(operable) > 30
    assert [n for n in operable if not n.get("name", {}).get("value")] == []
    bytes_ = [n["name"]["value"] for n in operable if ", byte " in n["name"]["value"]]
    assert len(bytes_) == len(set(bytes_)) > 20


LONG = """\
from models.assembly import arm64
from models.program import Check, Execute, Note, Program, Region, Thread, Write, word

cpu, patcher = Thread("cpu", many=True), Thread("patcher")
key = Region("key", {"nops": [arm64.nop()] * 3, "calls": [arm64.branch("one"), arm64.branch("two"), arm64.branch("three")]})
returned = word("returned")
threads = {
    cpu: [Execute(key, {"nops": [Check(~returned, "new-after-return", says="too late")]})],
    patcher: [Write(key.whole, "calls"), Note(returned, 1)],
}
program = Program(name="long" * 50, says="long" * 50, source="a test", threads=threads)
"""


@pytest.mark.parametrize("width", [360, 400, 1000])
def test_in_a_narrow_window_nothing_is_cut_off(tab, page, result, tmp_path, width):
    long, program = tmp_path / "long.html", tmp_path / "program.html"
    (tmp_path / "long.py").write_text(LONG, encoding="utf-8")
    name = "a_long_name" * 30
    program.write_text(html.render(check(str(tmp_path / "long.py")), name), encoding="utf-8")
    long.write_text(html.render(result, name, name, name, [(name, name)], (name, name)), encoding="utf-8")
    for path in (page, long, program):
        tab.open(path, "#step-2")
        assert tab.width(width) == width


def test_whatever_is_written_can_be_told_from_what_is_behind_it(tab, page, result):
    for scheme in ("light", "dark"):
        tab.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.open(page, "#step-0")
        tab.press("e")
        seen = set()
        for _ in result.traces[0].steps:
            tab.press(RIGHT)
            found = tab.run(CONTRASTS)
            tab.run("[...document.querySelectorAll('#sites .changed[aria-pressed=false]')].at(-1)?.click()")
            found += tab.run(CONTRASTS)  # with one that is followed
            assert [text for text in found if text[0] < 4.5] == []
            seen |= {kind for _, kind, _ in found}
        assert {"byte changed mixed", "byte changed", "n"} <= seen
    tab.command("Emulation.setEmulatedMedia", features=[])


# Of each element that has text of its own: the ratio of WCAG between its colour and what is behind it, its class, the text.
# What cannot be pressed, and the dots of lanes in which nothing happens, may be faint.
CONTRASTS = """
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const shares = [0.2126, 0.7152, 0.0722];
const luminance = (colour) => numbers(colour).slice(0, 3).map(linear).reduce((sum, c, k) => sum + c * shares[k], 0);
function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor, alpha = numbers(colour)[3];
    if (alpha === undefined || alpha === 1) return colour;
  }
}
const written = document.querySelectorAll("body *:not(script, noscript, option, optgroup, [aria-disabled=true])");
return [...written].flatMap((element) => {
  const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join("").trim();
  if (!text || text === "·" || !element.checkVisibility()) return [];
  const [dim, bright] = [getComputedStyle(element).color, behind(element)].map(luminance).sort((a, b) => a - b);
  return [[(bright + 0.05) / (dim + 0.05), element.className, text]];
});
"""


# ---- a strategy file that means harm --------------------------------------------------------------------------------


def hostile(result: CheckResult) -> CheckResult:
    """The same answer, as a strategy would have it that calls everything something with HTML in it."""

    def step(found):
        changes = {f"{name} {HOSTILE}": (a, f"{b} {HOSTILE}") for name, (a, b) in found.changes.items()}
        return replace(found, says=f"{found.says} {HOSTILE}", changes=changes)

    def trace(found: Trace) -> Trace:
        return replace(found, why=HOSTILE, conjunct=HOSTILE, steps=tuple(map(step, found.steps)))

    result = replace(result, traces=[trace(t) for t in result.traces], notes=[HOSTILE])
    prints = "".join(filter(str.isprintable, HOSTILE))  # what does not is refused when a strategy is made
    result.model = replace(
        result.model, plan=replace(result.model.plan, strategy=replace(result.strategy, name=prints, says=prints))
    )
    return result


def test_what_comes_from_a_users_file_is_only_ever_text(tab, result, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(html.render(hostile(result), HOSTILE), encoding="utf-8")
    tab.open(path, "#step-2")
    assert tab.text("h1") == HOSTILE and HOSTILE in tab.text("#now") and HOSTILE in tab.text("#command")
    assert tab.every("img") == [] and tab.driver.title == f"{HOSTILE} · check-strategy"
    assert tab.messages() == [] and tab.requests() == [f"{path.as_uri()}#step-2".partition("#")[0]]


def test_what_a_users_file_would_hide_is_shown(tab, result, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.browser.test_page.HOSTILE", "if \u202e\u2066 }x{ \0\x1b\x9b\ud800 \u2069\u200f")
    path = tmp_path / "page.html"
    path.write_text(html.render(hostile(result), HOSTILE, title=f"{HOSTILE} called"), encoding="utf-8")
    shown = r"if \u202e\u2066 }x{ \u0000\u001b\u009b\ud800 \u2069\u200f"
    tab.open(path, "#step-2")
    assert tab.text("h1") == f"{shown} called" and tab.driver.title.startswith(shown)
    assert shown in tab.text("#now") and shown in tab.text("#variables") and shown in tab.text("#command")
    assert re.search("[\u202a-\u202e\u2066-\u2069\0\x1b]", tab.run("return document.documentElement.outerHTML")) is None
    assert tab.messages() == []


def test_a_page_that_does_not_escape_is_noticed(tab, result, tmp_path, monkeypatch):
    monkeypatch.setattr(html, "_embedded", lambda values: json.dumps(values))
    path = tmp_path / "page.html"
    path.write_text(html.render(hostile(result), HOSTILE), encoding="utf-8")
    tab.open(path)
    assert tab.messages() != [] or tab.every("img") != []


# ---- long traces ----------------------------------------------------------------------------------------------------


def walk(name: str, length: int) -> CheckResult:
    """A check whose only trace is a long run that goes round the sites."""
    result = check(load(name), cpus=3, rounds=2)
    narrator = Narrator(result.model)
    number = {action: k for k, action in enumerate(narrator.system.actions)}
    state, steps = narrator.evaluator.initial(), []
    while len(steps) < length:
        enabled = [s for s in narrator.evaluator.transitions(state) if s.state != state]
        step = enabled[(7 * len(steps)) % len(enabled)]
        steps.append((number[step.action], step.instance, step.choice))
        state = step.state
    result.traces = [narrator.tell(Run(tuple(steps)), "a walk", OLD_OR_NEW)]
    return result


def test_a_trace_of_500_steps_loads_steps_and_jumps(tab, tmp_path):
    result = walk("careful-call-to-call", 500)
    path = tmp_path / "page.html"
    path.write_text(html.render(result, "careful-call-to-call"), encoding="utf-8")
    tab.open(path, "#step-250")
    assert tab.text("#now").startswith("Step 250 of 500")
    assert memory_shown(tab) == [site.memory.split() for site in result.traces[0].steps[249].bytes]
    tab.press(END)
    assert memory_shown(tab) == [site.memory.split() for site in result.traces[0].steps[-1].bytes]
    row = tab.one("#lanes tr.current").rect
    box = tab.one("#steps").rect
    assert (
        box["y"] <= row["y"] and row["y"] + row["height"] <= box["y"] + box["height"] + 1
    )  # in view without scrolling by hand
    assert tab.messages() == []

"""The report in a real browser: from its index to a step of a trace, and back."""

from __future__ import annotations

import pytest

from checker.publish import publish
from tests.browser.driving import browser


@pytest.fixture(scope="module")
def tab():
    with browser() as opened:
        yield opened


def test_from_the_index_to_a_trace_and_back(tab, tmp_path):
    publish(tmp_path, ["stop-machine-frees-early"])
    tab.open(tmp_path / "index.html")
    assert tab.requests() == [(tmp_path / "index.html").as_uri()]
    tab.one("td.violated a").click()
    assert tab.text("#now").startswith("Step 0 of")
    assert tab.one("#trace").is_displayed()
    tab.one(".back a").click()
    assert tab.one("#strategies").is_displayed()
    assert tab.messages() == []
    pages = list(tmp_path.rglob("*.html"))
    assert {path.parent.name for path in pages} >= {"strategies", "matrix", "proofs"}
    for path in pages:
        tab.open(path)
        assert (tab.width(360), tab.width(400)) == (360, 400), path

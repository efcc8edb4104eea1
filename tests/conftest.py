"""What every test rests on: an environment in which nothing answers otherwise than on a desk."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run in a job of GitHub Actions are not told as its remarks."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)

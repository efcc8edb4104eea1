"""A headless Chromium that looks at pages, and what it saw on the network and on its console."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
_QUIET = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1300,900",
)


class Browser:
    """One tab. `driver` is Selenium's."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def open(self, page: Path, fragment: str = "") -> None:
        self.driver.get("about:blank")  # so that a new fragment is a new visit
        self.messages(), self.requests()
        self.driver.get(f"{page.as_uri()}{fragment}")

    def messages(self) -> list[str]:
        """What the console has said since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that have been asked for since it was last asked."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if url != "about:blank"]

    def one(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def every(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def press(self, *keys: str) -> None:
        self.one("body").send_keys(*keys)

    def run(self, script: str, *arguments: object) -> object:
        return self.driver.execute_script(script, *arguments)

    def width(self, asked: int) -> object:
        """How wide the page becomes in a window of a width; more than that means that it has to be scrolled sideways."""
        self.command("Emulation.setDeviceMetricsOverride", width=asked, height=800, deviceScaleFactor=1, mobile=True)
        try:
            return self.run("return document.documentElement.scrollWidth")
        finally:
            self.command("Emulation.clearDeviceMetricsOverride")

    def command(self, name: str, **parameters: object) -> dict:
        return self.driver.execute_cdp_cmd(name, parameters)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser of its own; the test is skipped where there is none."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("no chromium with chromedriver here (Debian: chromium, chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*_QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()

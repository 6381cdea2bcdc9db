"""A real Chromium for the tests of the simulator's page: headless, offline but for this machine.

Where Chromium or its driver is missing, the tests are skipped; with MPESA_STK_REQUIRE_CHROMIUM=1 they
fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

__all__ = ["Browser", "start_browser"]

PATIENCE = 15.0
_MOST_STOPS = 60
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1280,1000",
    # Not even a name is looked up for a page that would ask for another address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_T = TypeVar("_T")


class Browser:
    """What the tests do with a page."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        """Go to an address, in a window of the usual width."""
        self.resize(1280, 900)
        self.driver.get(address)

    def leave(self) -> None:
        """Go away from the page, before its server ends."""
        self.driver.get("about:blank")

    def resize(self, width: int, height: int) -> None:
        """Give the window's inside a size in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, **features: str) -> None:
        """Pretend that the reader prefers something, such as ``color_scheme="dark"``."""
        listed = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in features.items()
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})

    def until(self, done: Callable[[], _T], wanted: str = "") -> _T:
        """Wait until a function gives something true, and give that."""
        passing = (NoSuchElementException, StaleElementReferenceException)
        waiting = WebDriverWait(self.driver, PATIENCE, 0.05, ignored_exceptions=passing)
        return waiting.until(lambda _: done(), wanted)

    def by_id(self, name: str) -> WebElement:
        """The element with an id."""
        return self.driver.find_element(By.ID, name)

    def all(self, selector: str) -> list[WebElement]:
        """The elements that a CSS selector names."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, name: str) -> str:
        """What can be read in the element with an id."""
        return self.by_id(name).text

    def content(self, selector: str) -> list[str]:
        """The whole text of each element that a CSS selector names, seen or not."""
        return [str(element.get_attribute("textContent")) for element in self.all(selector)]

    def shows(self, name: str, text: str) -> None:
        """Wait until a text can be read in the element with an id."""
        self.until(lambda: text in self.text(name), f"{text!r} in #{name}")

    def wait_for_focus(self, name: str) -> None:
        """Wait until the element with an id has the focus."""
        self.until(lambda: self.focused() == name, f"the focus on #{name}")

    def focused(self) -> str:
        """The id of the element that has the focus."""
        return str(self.driver.switch_to.active_element.get_attribute("id"))

    def press(self, *keys: str) -> None:
        """Type, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, name: str, key: str) -> None:
        """Press a key until the element with an id has the focus."""
        for _ in range(_MOST_STOPS):
            if self.focused() == name:
                return
            self.press(key)
        pytest.fail(f"the keyboard does not reach #{name}")

    def point_at(self, name: str) -> None:
        """Move the pointer to the element with an id."""
        ActionChains(self.driver).move_to_element(self.by_id(name)).perform()

    def run(self, script: str) -> object:
        """What a piece of JavaScript gives."""
        result: object = self.driver.execute_script(script)
        return result

    def hold_back(self, *patterns: str) -> None:
        """Let requests for addresses with these patterns fail, and no others."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": list(patterns)})

    def complaints(self) -> list[str]:
        """What the console has got since it was asked last, but for hints."""
        get_log: Callable[[str], list[dict[str, Any]]] = self.driver.get_log
        entries = get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]


@contextmanager
def start_browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile; skips, or fails, where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        missing = "chromium and chromedriver are not both on the PATH"
        if os.environ.get("MPESA_STK_REQUIRE_CHROMIUM") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    options = ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    # With the driver's path given, Selenium looks for nothing and fetches nothing.
    chrome = Chrome(options=options, service=Service(executable_path=driver))
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()

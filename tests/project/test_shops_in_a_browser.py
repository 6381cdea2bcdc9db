"""The example shops in a real browser, with real servers and a customer who answers by hand.

With MPESA_STK_SCREENSHOTS=1 the pictures of the shops in ``docs/images`` are taken anew.
"""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs
import pytest
from selenium.webdriver.common.action_chains import ActionChains

from browser import Browser, start_browser
from mpesa_stk.commands import simulate
from mpesa_stk.simulator import SCENARIOS, SimulatorServer
from running_shops import COMMANDS, running
from support import ROOT

pytestmark = pytest.mark.slow

PHONE = "0712 345 678"
IMAGES = ROOT / "docs" / "images"
TAKEN = {
    "flask": ("shop-orders-1280.png", "shop-waiting-390.png", "shop-cancelled-390.png"),
    "fastapi": ("shop-paid-390.png",),
}
SIZES = ((1280, 760), (390, 780))


@attrs.frozen
class Buyer:
    """A browser at a shop, and the simulated phone."""

    name: str
    browser: Browser
    address: str
    daraja: SimulatorServer

    def go_to(self, order: str) -> None:
        """Choose an order on the first page."""
        self.browser.open(self.address)
        (link,) = [
            link
            for link in self.browser.all("main a")
            if str(link.get_attribute("href")).rstrip("/").endswith(order)
        ]
        link.click()
        self.browser.until(lambda: self.browser.by_id("phone"))
        self.browser.run("window.isTheSamePage = true")

    def pay(self, *, clicks: int = 1) -> None:
        """Fill the form in, and press its button."""
        field = self.browser.by_id("phone")
        field.clear()
        field.send_keys(PHONE)
        button = self.browser.all("form button")[0]
        chain = ActionChains(self.browser.driver)
        (chain.double_click(button) if clicks == 2 else chain.click(button)).perform()
        self.sees("Look at your phone")
        self.browser.run("window.isTheSamePage = true")

    def answer(self, how: str) -> str:
        """Answer the last prompt on the phone, and give its receipt."""
        prompt = self.daraja.prompts[-1]
        self.daraja.decide(prompt.checkout_request_id, how)
        return prompt.receipt_number

    def sees(self, text: str) -> None:
        """Wait until the state of the order shows a text."""
        self.browser.shows("state", text)

    def has_not_left(self) -> bool:
        """Whether the page was not loaded again."""
        return self.browser.run("return window.isTheSamePage === true") is True

    def picture(self, name: str) -> None:
        """Check that the page fits both widths, and take its pictures if that is wanted."""
        for width, height in SIZES:
            self.browser.resize(width, height)
            self.browser.until(partial(self.browser.run, f"return innerWidth == {width}"))
            assert self.browser.run("return document.documentElement.scrollWidth - innerWidth") == 0
            picture = IMAGES / f"shop-{name}-{width}.png"
            if (
                picture.name in TAKEN.get(self.name, ())
                and os.environ.get("MPESA_STK_SCREENSHOTS") == "1"
            ):
                shot = self.browser.driver.get_screenshot_as_base64()
                picture.write_bytes(base64.b64decode(shot))
        self.browser.resize(*SIZES[0])


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for the whole file."""
    with start_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(params=COMMANDS)
def buyer(request: pytest.FixtureRequest, chromium: Browser, tmp_path: Path) -> Iterator[Buyer]:
    """A customer of one of the shops; in the end his browser's console is empty."""
    chromium.prefer()
    with (
        SimulatorServer(
            simulate._test_merchant(), scenario=SCENARIOS["by-hand"], randomness=random.Random(7)
        ) as daraja,
        running(request.param, daraja, tmp_path) as address,
    ):
        yield Buyer(request.param, chromium, address, daraja)
        assert chromium.complaints() == []
        chromium.leave()


def test_a_customer_buys(buyer: Buyer) -> None:
    """He pays one order, cancels another and pays it after all; the pages follow him by themselves."""
    buyer.go_to("INV-001")
    buyer.picture("form")
    buyer.pay(clicks=2)
    assert len(buyer.daraja.prompts) == 1
    buyer.picture("waiting")
    receipt = buyer.answer("paid")
    buyer.sees(receipt)
    assert buyer.has_not_left()
    buyer.picture("paid")

    buyer.go_to("INV-002")
    buyer.pay()
    buyer.answer("cancelled")
    buyer.sees("You cancelled")
    assert buyer.has_not_left()
    buyer.picture("cancelled")
    buyer.pay()
    receipt = buyer.answer("paid")
    buyer.sees(receipt)
    assert [prompt.amount for prompt in buyer.daraja.prompts] == [1500, 850, 850]

    def both_are_marked() -> bool:
        buyer.browser.driver.get(buyer.address)
        return len(buyer.browser.all(".badge")) == 2

    buyer.browser.until(both_are_marked, "two orders that the worker marked as paid")
    buyer.picture("orders")


@pytest.mark.parametrize(
    "buyer", ["flask"], indirect=True
)  # the template of the others is the same
def test_the_page_follows_without_javascript(buyer: Buyer) -> None:
    """It loads itself again until it is known what became of the payment."""
    scripts = "Emulation.setScriptExecutionDisabled"
    buyer.go_to("INV-003")
    buyer.browser.driver.execute_cdp_cmd(scripts, {"value": True})
    try:
        buyer.pay()
        receipt = buyer.answer("paid")
        buyer.sees(receipt)
    finally:
        buyer.browser.driver.execute_cdp_cmd(scripts, {"value": False})

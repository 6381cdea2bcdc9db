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
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser import Browser, start_browser
from mpesa_stk.commands import simulate
from mpesa_stk.simulator import SCENARIOS, SimulatorServer
from running_shops import COMMANDS, OWNER, running
from support import ROOT

pytestmark = pytest.mark.slow

PHONE = "0712 345 678"
IMAGES = ROOT / "docs" / "images"
TAKEN = {
    "flask": ("shop-orders-1280.png", "shop-waiting-390.png", "shop-cancelled-390.png"),
    "fastapi": ("shop-paid-390.png",),
    "django": ("shop-admin-1280.png",),
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

    def pay(self, *, clicks: int = 1) -> None:
        """Fill the form in, and press its button."""
        field = self.browser.by_id("phone")
        field.clear()
        field.send_keys(PHONE)
        button = self.browser.all("form button")[0]
        chain = ActionChains(self.browser.driver)
        (chain.double_click(button) if clicks == 2 else chain.click(button)).perform()
        self.sees("Look at your phone")

    def answer(self, how: str) -> str:
        """Answer the last prompt on the phone, and give its receipt."""
        prompt = self.daraja.prompts[-1]
        self.daraja.decide(prompt.checkout_request_id, how)
        return prompt.receipt_number

    def sees(self, text: str) -> None:
        """Wait until the state of the order shows a text."""

        def is_seen() -> bool:
            try:
                return text in self.browser.text("state")
            except WebDriverException:  # the page is loading itself again
                return False

        self.browser.until(is_seen, f"{text!r} in the state")

    def stay(self) -> None:
        """Note that this page is open."""
        self.browser.run("window.isTheSamePage = true")

    def has_stayed(self) -> bool:
        """Whether it was not loaded again."""
        return self.browser.run("return window.isTheSamePage === true") is True

    def picture(self, name: str, sizes: tuple[tuple[int, int], ...] = SIZES) -> None:
        """Check that the page fits some widths, and take its pictures if that is wanted."""
        for width, height in sizes:
            self.browser.resize(width, height)
            self.browser.until(partial(self.browser.run, f"return innerWidth == {width}"))
            assert self.browser.run("return document.documentElement.scrollWidth - innerWidth") == 0
            picture = IMAGES / f"shop-{name}-{width}.png"
            if picture.name in TAKEN[self.name] and os.environ.get("MPESA_STK_SCREENSHOTS") == "1":
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
    buyer.stay()
    receipt = buyer.answer("paid")
    buyer.sees(receipt)
    assert buyer.has_stayed()
    buyer.picture("paid")

    buyer.go_to("INV-002")
    buyer.pay()
    buyer.stay()
    buyer.answer("cancelled")
    buyer.sees("You cancelled")
    assert buyer.has_stayed()
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
    if buyer.name == "django":
        find_in_admin(buyer, receipt)


def find_in_admin(buyer: Buyer, receipt: str) -> None:
    """Be the owner: sign in, and go from the last order that was paid to its two payments."""
    browser = buyer.browser
    assert browser.complaints() == []
    browser.driver.get(f"{buyer.address}/admin/orders/order/")
    for field in ("username", "password"):
        browser.by_id(f"id_{field}").send_keys(OWNER)
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.all("#result_list tbody tr"))
    (row,) = [row for row in browser.all("#result_list tbody tr") if "INV-002" in row.text]
    row.find_element(By.LINK_TEXT, "Payments").click()
    browser.until(lambda: "/mpesa_stk/payment/" in browser.driver.current_url)
    rows = [row.text for row in browser.all("#result_list tbody tr")]
    assert len(rows) == 2
    assert receipt in rows[0]
    buyer.picture("admin", sizes=SIZES[:1])
    assert [each for each in browser.complaints() if "/favicon.ico" not in each] == []


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

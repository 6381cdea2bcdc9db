"""The admin in a real browser: the list, a payment, and a decision about it.

With MPESA_STK_SCREENSHOTS=1 the pictures of ``docs/how-to/django-admin.md`` are taken anew.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test.testcases import LiveServerThread
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from browser import Browser, start_browser
from django_admin import admin_client, admin_host, fill, new_store
from mpesa_stk import TransactionState
from support import ROOT

pytestmark = pytest.mark.slow

IMAGES = ROOT / "docs" / "images"
NUMBER = "00000000-0000-4000-8000-000000000005"


@contextmanager
def served() -> Iterator[str]:
    """A host over HTTP, on this machine only."""
    server = LiveServerThread("127.0.0.1", StaticFilesHandler, connections_override={})
    server.daemon = True
    server.start()
    assert server.is_ready.wait(10)
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.terminate()


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser in which somebody is logged in who may decide and see phones."""
    with (
        admin_host(tmp_path_factory.mktemp("host") / "shop.sqlite3"),
        served() as origin,
        start_browser(tmp_path_factory.mktemp("profile")) as browser,
    ):
        fill(new_store())
        client = admin_client(
            "view_payment", "view_keptcallback", "resolve_payment", "export_payments"
        )
        browser.open(f"{origin}/admin/login/")
        session = client.cookies["sessionid"].value
        browser.driver.add_cookie({"name": "sessionid", "value": session})
        browser.open(f"{origin}/admin/mpesa_stk/payment/")
        yield browser
        browser.leave()


def go(page: Browser, path: str, width: int, height: int) -> None:
    """Open a page of the admin in a window of a size."""
    origin = str(page.run("return location.origin"))
    page.open(f"{origin}/admin/mpesa_stk/{path}")
    page.resize(width, height)


def photograph(page: Browser, name: str) -> None:
    """Save a picture of what the window shows."""
    shot = page.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    (IMAGES / name).write_bytes(base64.b64decode(shot["data"]))


def reads(page: Browser, text: str) -> None:
    """Wait until the page has a text."""
    page.until(lambda: text in page.driver.page_source, text)


def rows(page: Browser) -> list[WebElement]:
    """The links to the payments of the list."""
    return page.all("#result_list tbody th a")


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
@pytest.mark.parametrize(
    "path", ["payment/", f"payment/{NUMBER}/change/", f"payment/{NUMBER}/resolve/"]
)
def test_pages_are_readable_at_any_width(page: Browser, path: str, width: int, height: int) -> None:
    """No page has to be scrolled sideways, and the style is there."""
    go(page, path, width, height)
    if path != "payment/":
        scrolled = page.run("return document.documentElement.scrollWidth")
        assert isinstance(scrolled, int)
        assert scrolled <= width
    (badge, *_) = page.all(".mpesa-badge")
    assert badge.value_of_css_property("border-radius") == "10px"
    assert page.complaints() == []
    if os.environ.get("MPESA_STK_SCREENSHOTS") == "1":
        part = path.strip("/").rpartition("/")[2]
        name = {"payment": "", "change": "-payment", "resolve": "-decision"}[part]
        photograph(page, f"django-admin{name}-{width}.png")


def test_a_person_decides_about_a_payment(page: Browser) -> None:
    """From the list to the payment, to the form, and back with the receipt."""
    go(page, "payment/", 1280, 900)
    page.driver.find_element(By.CSS_SELECTOR, ".mpesa-note a").click()
    (found,) = page.until(lambda: rows(page) if "in_review" in page.driver.current_url else [])
    found.click()
    reads(page, "its answer was lost")
    page.driver.find_element(By.LINK_TEXT, "DECIDE").click()
    page.until(lambda: page.all("input[value='paid']"))[0].click()
    page.by_id("id_receipt_number").send_keys("skn7rt61x9")
    page.driver.find_element(By.CSS_SELECTOR, "input[type='submit']").click()
    reads(page, "This field is required")
    page.by_id("id_note").send_keys("In the statement of 23 November")
    page.driver.find_element(By.CSS_SELECTOR, "input[type='submit']").click()
    reads(page, "The decision is written.")
    reads(page, "by amina: In the statement of 23 November")
    decided = new_store().get(NUMBER)
    assert (decided.state, decided.receipt_number) == (TransactionState.SUCCEEDED, "SKN7RT61X9")
    assert page.complaints() == []

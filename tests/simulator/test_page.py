"""The simulator's page in a real browser: prompts come, are answered by hand, and are told of.

With MPESA_STK_SCREENSHOTS=1 the pictures of ``docs/how-to/phone.md`` are taken anew.
"""

from __future__ import annotations

import base64
import os
import queue
import random
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

import mpesa_stk.simulator
from application import Application
from browser import Browser, start_browser
from mpesa_stk import (
    Clock,
    MpesaError,
    PayBill,
    PaymentConfirmed,
    PaymentFailed,
    parse_callback,
    stk_password,
    stk_timestamp,
)
from mpesa_stk.simulator import SCENARIOS, SimulatorServer
from mpesa_stk.web.messages import WebRequest
from support import (
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PASSKEY,
    ROOT,
    ManualClock,
    make_config,
)

pytestmark = pytest.mark.slow

PICTURES = ROOT / "docs" / "images"
PAGE = Path(mpesa_stk.simulator.__file__).parent / "page.html"
PATIENCE = 10.0
PHONE = "0718643064"
OTHER_PHONE = "0722000000"
BY_HAND = SCENARIOS["by-hand"]
# What a browser itself says where a server cannot be reached.
UNREACHED = re.compile(r"net::ERR_(CONNECTION_REFUSED|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)")


def simulator(**changes: Any) -> SimulatorServer:
    """A simulator whose prompts wait for the page, with the same ids on every run."""
    settings: dict[str, Any] = {"scenario": BY_HAND, "randomness": random.Random(7)}
    return SimulatorServer(make_config(account=PayBill("174379")), **(settings | changes))


class Shop(Application):
    """An application that pushes, and keeps the callbacks for the test."""

    def __init__(self, daraja: SimulatorServer, *, clock: Clock | None = None) -> None:
        self.callbacks: queue.Queue[bytes] = queue.Queue()
        super().__init__(daraja, clock=clock, account=PayBill("174379"))

    def called_with(self, request: WebRequest) -> None:
        """Keep a callback."""
        self.callbacks.put(request.body)

    def push(self, reference: str = "INV-001", *, phone: str = PHONE, amount: int = 100) -> str:
        """Ask for money; gives the CheckoutRequestID."""
        pushed = self.client.push(phone_number=phone, amount=amount, reference=reference)
        return pushed.checkout_request_id

    def called_back(self) -> PaymentConfirmed | PaymentFailed:
        """The next callback."""
        result = parse_callback(self.callbacks.get(timeout=PATIENCE))
        assert isinstance(result, PaymentConfirmed | PaymentFailed)
        return result


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for the whole file."""
    with start_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def daraja() -> Iterator[SimulatorServer]:
    """A simulator that listens."""
    with simulator() as server:
        yield server


@pytest.fixture
def shop(daraja: SimulatorServer) -> Iterator[Shop]:
    """An application beside it."""
    with Shop(daraja) as application:
        yield application


@pytest.fixture
def page(chromium: Browser, daraja: SimulatorServer) -> Iterator[Browser]:
    """The page, connected; afterwards its console is empty."""
    chromium.prefer()
    chromium.open(f"{daraja.origin}/")
    chromium.until(lambda: chromium.text("connection") == "connected")
    chromium.until(lambda: chromium.text("right-pin") == "1234")
    yield chromium
    assert chromium.complaints() == []
    chromium.leave()


def rows(page: Browser) -> list[str]:
    """The list of payments as it can be read, newest first; the last one is for everything."""
    return [element.text for element in page.all("#payments .row")]


def wait_for_row(page: Browser, *texts: str) -> str:
    """Wait until one payment's row shows all these texts, and give the row."""
    return page.until(
        lambda: next((row for row in rows(page) if all(text in row for text in texts)), ""),
        f"a row with {texts}",
    )


def steps(page: Browser) -> list[str]:
    """The names of the timeline's entries."""
    return page.content("#timeline .name")


# --- the phone -----------------------------------------------------------------------------------------


def test_a_prompt_is_paid_by_keyboard(page: Browser, shop: Shop) -> None:
    """The prompt takes the focus, the PIN and Enter pay, shop and page get the same receipt."""
    shop.push()
    page.wait_for_focus("pin")
    page.shows("prompt-text", "Do you want to pay KES 100.00 to paybill 174379 Account INV-001?")
    assert page.text("own-number") == "0718 643 064"
    assert "ends in 0:" in page.text("countdown") or "ends in 1:00" in page.text("countdown")
    page.press("1234", Keys.ENTER)
    paid = shop.called_back()
    assert isinstance(paid, PaymentConfirmed)
    row = wait_for_row(page, "INV-001", "paid", paid.receipt_number, "callback delivered (200)")
    assert "Result 0: The service request is processed successfully." in row
    page.shows("messages", f"{paid.receipt_number} Confirmed.")
    assert paid.receipt_number in page.content("#announce")[0]
    assert not page.by_id("veil").is_displayed()


def test_the_pin_is_masked_and_has_four_digits(page: Browser, shop: Shop) -> None:
    """Letters do not stay, three digits are not sent, and the reader is told."""
    shop.push()
    page.wait_for_focus("pin")
    assert page.by_id("pin").get_attribute("type") == "password"
    page.press("1a2b3", Keys.ENTER)
    page.shows("pin-fault", "A PIN has four digits.")
    assert page.by_id("pin").get_attribute("value") == "123"
    assert page.by_id("pin").get_attribute("aria-invalid") == "true"
    page.press("4", Keys.ENTER)
    assert isinstance(shop.called_back(), PaymentConfirmed)


@pytest.mark.parametrize("by_key", [True, False], ids=["Escape", "button"])
def test_a_prompt_is_cancelled(page: Browser, shop: Shop, *, by_key: bool) -> None:
    """Escape and the button both cancel; the shop is told 1032, and so is the reader."""
    shop.push()
    page.wait_for_focus("pin")
    if by_key:
        page.press(Keys.ESCAPE)
    else:
        page.by_id("cancel").click()
    refused = shop.called_back()
    assert isinstance(refused, PaymentFailed)
    assert refused.result.code == "1032"
    wait_for_row(page, "INV-001", "cancelled", "Result 1032: Request cancelled by user")
    page.shows("messages", "Not paid.")


def test_a_wrong_pin_is_a_wrong_pin(page: Browser, shop: Shop) -> None:
    """Any other PIN ends the prompt with 2001."""
    shop.push()
    page.wait_for_focus("pin")
    page.press("9999", Keys.ENTER)
    assert shop.called_back().result.code == "2001"
    wait_for_row(page, "wrong-pin", "2001", "callback delivered")


def test_an_ignored_prompt_runs_out(page: Browser, shop: Shop) -> None:
    """Ignored, it leaves the screen and goes on counting; a minute later it is over with 1037."""
    shop.push()
    page.wait_for_focus("pin")
    page.by_id("ignore").click()
    page.shows("ignored", "Ignored: KES 100.00, INV-001, ends in 0:")
    assert not page.by_id("veil").is_displayed()
    assert "waiting" in wait_for_row(page, "INV-001")
    page.by_id("minute").click()
    assert shop.called_back().result.code == "1037"
    wait_for_row(page, "no-response", "1037", "No response from user.")
    page.until(lambda: page.text("ignored") == "")


def test_an_ignored_prompt_can_be_shown_again(page: Browser, shop: Shop) -> None:
    """Shown again, it is answered like any other."""
    shop.push()
    page.wait_for_focus("pin")
    page.by_id("ignore").click()
    page.until(lambda: page.driver.switch_to.active_element.text == "Show again")
    page.press(Keys.ENTER)
    page.wait_for_focus("pin")
    page.press("1234", Keys.ENTER)
    assert isinstance(shop.called_back(), PaymentConfirmed)


def test_a_prompt_can_end_in_any_other_way(page: Browser, shop: Shop) -> None:
    """The menu offers every outcome, and lets the prompt end so."""
    shop.push()
    page.wait_for_focus("pin")
    menu = Select(page.by_id("outcome"))
    assert {"no-funds", "unreachable", "pin-locked"} <= {entry.text for entry in menu.options}
    menu.select_by_visible_text("unreachable")
    page.by_id("end").click()
    assert shop.called_back().result.code == "1037"
    wait_for_row(page, "unreachable", "DS timeout user cannot be reached.")


def test_prompts_wait_in_a_queue(page: Browser, shop: Shop) -> None:
    """Two phones ring: the older prompt comes first, the other one after it, with a count."""
    shop.push("FIRST")
    shop.push("SECOND", phone=OTHER_PHONE, amount=2500)
    page.shows("queue", "1 of 2 prompts")
    assert "Account FIRST?" in page.text("prompt-text")
    assert page.driver.title.startswith("(2)")
    page.press("1234", Keys.ENTER)
    page.shows("prompt-text", "KES 2,500.00 to paybill 174379 Account SECOND?")
    page.wait_for_focus("pin")
    assert page.by_id("pin").get_attribute("value") == ""
    page.press("1234", Keys.ENTER)
    assert {type(shop.called_back()) for _ in range(2)} == {PaymentConfirmed}
    page.until(lambda: [row for row in rows(page) if "callback delivered" in row][1:])


def test_a_prompt_answered_elsewhere_leaves_the_screen(
    page: Browser, shop: Shop, daraja: SimulatorServer
) -> None:
    """What another program answers is shown without a hand on the page, and the focus goes back."""
    page.tab_to("minute", Keys.TAB)
    checkout_request_id = shop.push()
    page.wait_for_focus("pin")
    answered = requests.post(
        f"{daraja.origin}/_sim/prompts/{checkout_request_id}/answer",
        json={"outcome": "no-funds"},
        timeout=PATIENCE,
    )
    assert answered.status_code == 200
    wait_for_row(page, "no-funds", "Result 1:")
    page.until(lambda: not page.by_id("veil").is_displayed())
    page.wait_for_focus("minute")


def test_who_chooses_something_keeps_the_focus(page: Browser, shop: Shop) -> None:
    """A prompt does not take the focus from a menu that is in use; it is announced all the same."""
    page.tab_to("fault", Keys.TAB)
    shop.push()
    page.until(lambda: page.by_id("veil").is_displayed())
    assert page.focused() == "fault"
    page.until(lambda: "New prompt: KES" in page.content("#announce")[0])


@pytest.mark.parametrize("reference", ["<script>a()", "<img onerror", "<b>&amp;</b>"])
def test_a_reference_stays_text(
    page: Browser, shop: Shop, daraja: SimulatorServer, reference: str
) -> None:
    """Markup in what an application sends is shown as it is, on the phone and in the lists."""
    push_anything(daraja, reference, shop.callback_url)
    page.shows("prompt-text", f"Account {reference}?")
    wait_for_row(page, reference)
    page.until(lambda: any(f'"{reference}"' in text for text in page.content(".body pre")))
    page.press("1234", Keys.ENTER)
    page.shows("messages", f"account {reference}")
    assert (
        page.run("return document.querySelectorAll('main script, main img, main b b').length") == 0
    )


def push_anything(daraja: SimulatorServer, reference: str, callback_url: str) -> None:
    """A push with a reference that `StkClient` would refuse."""
    token = requests.get(
        f"{daraja.origin}/oauth/v1/generate?grant_type=client_credentials",
        auth=(CONSUMER_KEY, CONSUMER_SECRET),
        timeout=PATIENCE,
    ).json()["access_token"]
    timestamp = stk_timestamp(datetime.now(timezone.utc))
    pushed = requests.post(
        f"{daraja.origin}/mpesa/stkpush/v1/processrequest",
        headers={"Authorization": f"Bearer {token}"},
        json={
            "BusinessShortCode": "174379",
            "Password": stk_password("174379", PASSKEY, timestamp),
            "Timestamp": timestamp,
            "TransactionType": "CustomerPayBillOnline",
            "Amount": 1,
            "PartyA": "254718643064",
            "PartyB": "174379",
            "PhoneNumber": "254718643064",
            "CallBackURL": callback_url,
            "AccountReference": reference,
            "TransactionDesc": "Payment",
        },
        timeout=PATIENCE,
    )
    assert pushed.status_code == 200, pushed.text


# --- what happened -------------------------------------------------------------------------------------


def test_the_timeline_tells_each_step(page: Browser, shop: Shop) -> None:
    """From the token to the callback, with the JSON as it was sent, and without secrets."""
    checkout_request_id = shop.push()
    page.wait_for_focus("pin")
    shop.client.query(checkout_request_id)
    page.press("1234", Keys.ENTER)
    posted = shop.callbacks.get(timeout=PATIENCE).decode()
    page.until(lambda: "Callback to your application" in steps(page))
    assert steps(page) == [
        "Token",
        "Push",
        "Prompt on the phone",
        "Status query",
        "Answer on the phone",
        "Callback to your application",
    ]
    assert page.content("#timeline .pill") == ["HTTP 200", "HTTP 200", "HTTP 500", "HTTP 200"]
    told = "".join(page.content("#timeline"))
    assert '"Password": "***"' in told
    assert '"access_token": "***"' in told
    assert '"Amount"' in told
    assert stk_password("174379", PASSKEY, "x")[:20] not in told
    pretty = page.content("#timeline li:last-child pre")[0]
    assert "100.00" in pretty  # as Daraja writes it, not as JavaScript would
    assert pretty.count("\n") > 10
    assert re.sub(r"\s", "", pretty) == re.sub(r"\s", "", posted)
    page.by_id("raw").click()
    assert page.content("#timeline li:last-child pre")[0] == posted


def test_the_timeline_shows_advice(page: Browser, shop: Shop) -> None:
    """What Daraja takes but does not ask for is said at the push, and at no other entry."""
    shop.client.push(
        phone_number=PHONE,
        amount=100,
        reference="INV-001",
        callback_url=f"{shop.callback_url}/mpesa",
    )
    page.wait_for_focus("pin")
    page.until(lambda: "Prompt on the phone" in steps(page))
    assert page.content("#timeline .advice") == [
        "Advice: CallBackURL contains mpesa: Safaricom says that it refuses such addresses"
    ]


def test_a_payment_can_be_picked(page: Browser, shop: Shop) -> None:
    """A row shows its own story, and newer payments do not push it away."""
    first = shop.push("FIRST")
    wait_for_row(page, "FIRST")
    page.all("#payments .row")[0].click()
    shop.push("SECOND", phone=OTHER_PHONE)
    wait_for_row(page, "SECOND")
    assert first in page.text("facts")
    page.all("#payments .row")[0].click()
    page.until(lambda: first not in page.text("facts"))
    current = [row.text for row in page.all('#payments .row[aria-current="true"]')]
    assert len(current) == 1
    assert "SECOND" in current[0]


def test_a_push_that_opened_no_prompt_is_told_of(page: Browser, shop: Shop) -> None:
    """A scripted fault is met by the next push, and stands under everything, with its answer."""
    Select(page.by_id("step")).select_by_visible_text("push")
    Select(page.by_id("fault")).select_by_visible_text("busy")
    page.by_id("add-fault").click()
    page.shows("told", "The next push meets busy.")
    with pytest.raises(MpesaError):
        shop.push()
    page.shows("empty", "No prompt yet: 2 requests came in")
    page.until(lambda: any("500.003.02" in text for text in page.content("#timeline pre")))
    assert "HTTP 500" in page.content("#timeline .pill")


def test_a_callback_that_is_not_taken_is_told_of(page: Browser, shop: Shop) -> None:
    """Where nobody listens, the row says that the callback was not delivered."""
    shop._receiver.close()
    shop.push()
    page.wait_for_focus("pin")
    page.press("1234", Keys.ENTER)
    wait_for_row(page, "paid", "callback not delivered")


# --- controls ------------------------------------------------------------------------------------------


def test_a_scenario_is_played(page: Browser, shop: Shop) -> None:
    """New pushes play what was chosen: here the customer cancels by himself."""
    Select(page.by_id("scenario")).select_by_visible_text("cancelled")
    page.by_id("use").click()
    page.shows("told", "New pushes play cancelled.")
    page.shows("now-playing", "New pushes: cancelled after 1 s.")
    shop.push()
    assert shop.called_back().result.code == "1032"
    wait_for_row(page, "INV-001", "cancelled", "callback delivered")


def test_the_clock_is_put_forward(page: Browser) -> None:
    """A quarter of an hour passes at once, and the page shows it."""
    before = page.text("time")
    page.by_id("quarter").click()
    page.shows("told", "It is now ")
    page.until(
        lambda: minutes(page.text("time")) - minutes(before) in (15, 16, 15 - 1440, 16 - 1440)
    )


def minutes(time: str) -> int:
    """Minutes since midnight of ``09:15:00 EAT``."""
    return int(time[:2]) * 60 + int(time[3:5])


def test_a_reset_forgets_all(page: Browser, shop: Shop) -> None:
    """The list is empty again, with the hint what to do first."""
    shop.push()
    page.wait_for_focus("pin")
    page.by_id("reset").click()
    page.shows("empty", "Nothing was asked for yet.")
    assert not page.by_id("veil").is_displayed()
    assert steps(page) == []


def test_the_beginning_says_what_to_do(page: Browser, daraja: SimulatorServer) -> None:
    """Before the first push there are the addresses to set, and a line to type."""
    hint = page.text("empty")
    assert "Nothing was asked for yet." in hint
    assert f"CHECKOUT_URL={daraja.origin}/mpesa/stkpush/v1/processrequest" in hint
    assert "curl -X POST" in hint
    assert "docs/how-to/simulator.md" in hint


# --- the ledger ----------------------------------------------------------------------------------------


def ledger(page: Browser) -> list[str]:
    """The rows of the ledger as they can be read, the newest first."""
    return [element.text for element in page.all("#entries tr")]


def test_the_ledger_shows_what_was_paid(page: Browser, shop: Shop, daraja: SimulatorServer) -> None:
    """A paid prompt and a payment by hand are rows, with the shop's receipt, payer and balance."""
    assert not page.by_id("rows").is_displayed()
    shop.push()
    page.wait_for_focus("pin")
    page.press("1234", Keys.ENTER)
    paid = shop.called_back()
    assert isinstance(paid, PaymentConfirmed)
    (row,) = page.until(lambda: ledger(page))
    for text in (paid.receipt_number, "paid prompt", "0718 643 064", "INV-001", "100.00"):
        assert text in row
    page.by_id("hand-amount").send_keys("2500.50")
    page.by_id("hand-reference").send_keys("<b>RENT</b>", Keys.ENTER)
    page.until(lambda: len(ledger(page)) == 2)
    by_hand = daraja.newest_rows(1)[0]
    page.shows("ledger-told", f"paid by hand, receipt {by_hand.receipt_number}.")
    for text in (by_hand.receipt_number, "paid by hand", "<b>RENT</b>", "2,500.50", "2,600.50"):
        assert text in ledger(page)[0]
    daraja.sweep()
    page.until(lambda: "sweep to the bank" in ledger(page)[0])


def test_a_payment_by_hand_without_an_amount_is_refused(page: Browser) -> None:
    """The reader is told beside the button."""
    page.by_id("pay").click()
    page.shows("ledger-told", "amount must be a number")
    page.by_id("hand-amount").send_keys("0")
    page.by_id("pay").click()
    page.shows("ledger-told", "amount must be more than 0")
    assert ledger(page) == []
    assert [line for line in page.complaints() if "400 (Bad Request)" not in line] == []


def test_the_statement_can_be_fetched(page: Browser, daraja: SimulatorServer) -> None:
    """The link leads to the file of the account that is chosen."""
    daraja.pay_by_hand(5)
    page.until(lambda: ledger(page))
    address = str(page.by_id("statement").get_attribute("href"))
    assert address.endswith("/_sim/statement.csv?account=paybill%20174379")
    file = requests.get(address, timeout=PATIENCE)
    assert file.text == daraja.statement_csv()


def test_an_outage_is_switched_on_and_off(page: Browser, shop: Shop) -> None:
    """While it is on, money moves and no callback goes out; the page says both, and why."""
    assert not page.by_id("out").is_displayed()
    page.by_id("outage").click()
    page.shows("out", "Outage: no callback is delivered")
    assert page.by_id("outage").get_attribute("aria-pressed") == "true"
    shop.push("LOST")
    page.wait_for_focus("pin")
    page.press("1234", Keys.ENTER)
    wait_for_row(page, "LOST", "paid", "callback not delivered", "an outage")
    page.until(lambda: "LOST" in "".join(ledger(page)))
    page.by_id("outage").click()
    page.until(lambda: not page.by_id("out").is_displayed())
    assert page.by_id("outage").get_attribute("aria-pressed") == "false"
    shop.push("AFTER", phone=OTHER_PHONE)
    page.wait_for_focus("pin")
    page.press("1234", Keys.ENTER)
    wait_for_row(page, "AFTER", "paid", "callback delivered")
    shop.called_back()
    assert shop.callbacks.empty()


# --- connection ----------------------------------------------------------------------------------------


def test_a_simulator_that_is_gone_is_missed_and_found_again(
    page: Browser, daraja: SimulatorServer
) -> None:
    """The page says that nobody answers, and goes on by itself with the next one on that port."""
    daraja.close()
    page.until(lambda: page.text("connection") == "not connected")
    page.shows("lost", "Not connected: the simulator does not answer.")
    assert not page.by_id("reset").is_enabled()
    with simulator(port=int(daraja.origin.rpartition(":")[2])) as another, Shop(another) as shop:
        page.until(lambda: page.text("connection") == "connected")
        assert not page.by_id("lost").is_displayed()
        shop.push("AGAIN")
        page.shows("prompt-text", "Account AGAIN?")
        page.press("1234", Keys.ENTER)
        assert isinstance(shop.called_back(), PaymentConfirmed)
        wait_for_row(page, "AGAIN", "paid", "callback delivered")
        assert [line for line in page.complaints() if not UNREACHED.search(line)] == []
        page.leave()


# --- for everybody -------------------------------------------------------------------------------------


def test_everything_can_be_done_by_keyboard(page: Browser, shop: Shop) -> None:
    """Without a mouse: choose a scenario, take a prompt's other end, open a story, put time forward."""
    page.tab_to("scenario", Keys.TAB)
    page.press("paid-l")
    page.tab_to("use", Keys.TAB)
    page.press(Keys.ENTER)
    page.shows("told", "New pushes play paid-late.")
    page.tab_to("scenario", Keys.TAB)
    page.press("by-h")
    page.tab_to("use", Keys.TAB)
    page.press(Keys.SPACE)
    page.shows("now-playing", "you answer on the phone")
    shop.push()
    page.wait_for_focus("pin")
    page.tab_to("outcome", Keys.TAB)
    page.press("exp", Keys.TAB, Keys.ENTER)
    assert shop.called_back().result.code == "1019"
    wait_for_row(page, "expired")
    page.tab_to("minute", Keys.TAB)
    page.press(Keys.ENTER)
    page.shows("told", "It is now ")
    page.tab_to("raw", Keys.TAB)
    page.press(Keys.TAB)
    page.until(lambda: page.driver.switch_to.active_element.tag_name == "summary")
    page.press(Keys.ENTER)
    page.until(lambda: page.all("#timeline details")[0].get_attribute("open") is not None)


def test_the_focus_can_be_seen(page: Browser) -> None:
    """Whatever the keyboard reaches has an outline."""
    seen = set()
    for _ in range(12):
        page.press(Keys.TAB)
        style = page.run("return getComputedStyle(document.activeElement).outlineStyle")
        if page.focused():
            seen.add((page.focused(), style))
    assert len(seen) >= 8
    assert {style for _, style in seen} == {"solid"}


def test_whatever_is_filled_in_or_pressed_has_a_name(page: Browser, shop: Shop) -> None:
    """Each button, menu, field and list has a name for a screen reader; news are announced politely."""
    shop.push()
    page.wait_for_focus("pin")
    controls = page.all("button, select, input, ol, section")
    assert [
        element.get_attribute("id") for element in controls if not element.accessible_name
    ] == []
    assert page.by_id("pin").accessible_name == "Enter M-PESA PIN"
    assert page.by_id("announce").get_attribute("aria-live") == "polite"
    assert {row.tag_name for row in page.all("#payments .row")} == {"button"}


CONTRASTS = [
    *(("--ink", ground) for ground in ("--ground", "--card", "--sunk", "--tint")),
    *(("--soft", ground) for ground in ("--ground", "--card", "--sunk", "--tint")),
    *((f"--{name}", f"--{name}-tint") for name in ("good", "wait", "bad")),
    *((f"--{name}", "--card") for name in ("good", "wait", "bad", "accent")),
    *((f"--{name}", "--sunk") for name in ("key", "text", "number")),
    ("--on-accent", "--accent"),
    *(("--wall-ink", ground) for ground in ("--wall-top", "--wall-mid", "--wall-low")),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_can_be_told_apart(page: Browser, scheme: str) -> None:
    """In both schemes each text has a contrast of at least 4.5 to 1 to what is behind it."""
    page.prefer(color_scheme=scheme)
    style = "getComputedStyle(document.documentElement)"
    weak = {}
    for text, ground in CONTRASTS:
        colours = [
            str(page.run(f"return {style}.getPropertyValue('{name}').trim()"))
            for name in (text, ground)
        ]
        ratio = contrast(*colours)
        if ratio < 4.5:
            weak[text, ground] = round(ratio, 2)
    assert weak == {}
    assert is_dark(str(page.run(f"return {style}.getPropertyValue('--ground').trim()"))) is (
        scheme == "dark"
    )


def luminance(colour: str) -> float:
    """The relative luminance of ``#rrggbb``, as the Web Content Accessibility Guidelines define it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def is_dark(colour: str) -> bool:
    """Whether a colour is nearer to black."""
    return luminance(colour) < 0.2


def test_nothing_moves_for_who_wants_no_motion(page: Browser, shop: Shop) -> None:
    """The prompt comes without animation where less motion is asked for, and with it elsewhere."""
    shop.push()
    page.wait_for_focus("pin")
    animation = "return getComputedStyle(document.getElementById('prompt')).animationName"
    page.prefer(reduced_motion="reduce")
    assert page.run(animation) == "none"
    page.prefer(reduced_motion="no-preference")
    assert page.run(animation) == "arrive"


def test_the_page_is_one_file_without_strangers() -> None:
    """It makes no HTML from text, asks no other address, and keeps no style in attributes."""
    text = PAGE.read_text(encoding="utf-8")
    for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert banned not in text
    assert "https://" not in text
    assert re.findall(r"http://(?!127\.0\.0\.1:8000/)", text) == []
    assert re.findall(r"""\s(?:src|style|on\w+)=["']""", text) == []
    assert len(text.encode()) < 64 * 1024


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844), (320, 640)])
def test_it_is_readable_at_any_width(chromium: Browser, width: int, height: int) -> None:
    """With several payments and an open prompt, nothing has to be scrolled sideways."""
    clock = ManualClock()
    with simulator(clock=clock) as daraja, Shop(daraja, clock=clock) as shop:
        chromium.prefer(reduced_motion="reduce", color_scheme="light")
        chromium.open(f"{daraja.origin}/")
        chromium.resize(width, height)
        story_so_far(chromium, shop, clock)
        scrolled = chromium.run("return document.documentElement.scrollWidth")
        assert isinstance(scrolled, int)
        assert scrolled <= width
        cut = chromium.run(
            "return [...document.querySelectorAll('button, .pill, h2, .name')]"
            ".filter((one) => one.getBoundingClientRect().right > innerWidth).length"
        )
        assert cut == 0
        if os.environ.get("MPESA_STK_SCREENSHOTS") == "1" and width != 320:
            photograph(chromium, PICTURES / f"simulator-{width}.png", width, height)
        assert chromium.complaints() == []
        chromium.leave()


def story_so_far(page: Browser, shop: Shop, clock: ManualClock) -> None:
    """One payment cancelled, one paid and looked at, one on the phone and one behind it."""
    page.until(lambda: page.text("right-pin") == "1234")
    shop.push("SCHOOL-FEES", phone=OTHER_PHONE, amount=12500)
    page.wait_for_focus("pin")
    clock.advance(4)
    page.press(Keys.ESCAPE)
    wait_for_row(page, "SCHOOL-FEES", "cancelled", "callback delivered")
    clock.advance(41)
    shop.push("INV-001")
    page.wait_for_focus("pin")
    clock.advance(7)
    page.press("1234", Keys.ENTER)
    wait_for_row(page, "INV-001", "paid", "callback delivered")
    clock.advance(33)
    shop.push("INV-002", amount=2450)
    shop.push("RENT-11", phone=OTHER_PHONE, amount=8000)
    page.shows("queue", "1 of 2 prompts")
    page.all("#payments .row")[2].click()
    page.until(lambda: "Callback to your application" in steps(page))


def photograph(page: Browser, file: Path, width: int, height: int) -> None:
    """Take a picture; a narrow page is taken down to its timeline, a wide one down to its ledger."""
    page.run("scrollTo(0, 0)")
    whole = int(str(page.run("return Math.round(document.body.scrollHeight)")))
    height = min(max(height, whole), 2100)
    if width >= 760:
        page.run("document.querySelector('#story .scroll').scrollTop = 0")
    page.point_at("business")
    page.by_id("pin").send_keys("12")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken: dict[str, Any] = page.driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
    )
    file.write_bytes(base64.b64decode(taken["data"]))
    assert file.stat().st_size < 300 * 1024

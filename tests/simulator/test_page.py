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
from mpesa_stk.simulator import SCENARIOS, Scenario, SimulatorServer
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
PAGE = Path(mpesa_stk.simulator.__file__).parent / "page"
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
    """The list of payments as it can be read, newest first."""
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
    wait_for_row(page, "INV-001", "paid", "callback: delivered")
    page.shows(
        "facts", f"0 The service request is processed successfully.\nReceipt\n{paid.receipt_number}"
    )
    page.shows("messages", f"{paid.receipt_number} Confirmed.")
    page.until(lambda: paid.receipt_number in page.content("#announce")[0])
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
    wait_for_row(page, "INV-001", "cancelled", "1032 Request cancelled by user")
    page.shows("messages", "Not paid.")


def test_a_wrong_pin_is_a_wrong_pin(page: Browser, shop: Shop) -> None:
    """Any other PIN ends the prompt with 2001."""
    shop.push()
    page.wait_for_focus("pin")
    page.press("9999", Keys.ENTER)
    assert shop.called_back().result.code == "2001"
    wait_for_row(page, "wrong-pin", "2001", "callback: delivered")


def test_an_ignored_prompt_runs_out(page: Browser, shop: Shop) -> None:
    """Ignored, it leaves the screen and goes on counting; a minute later it is over with 1037."""
    shop.push()
    page.wait_for_focus("pin")
    page.by_id("ignore").click()
    page.shows("ignored", "Unanswered: KES 100.00, INV-001, ends in 0:")
    assert not page.by_id("veil").is_displayed()
    wait_for_row(page, "INV-001", "unanswered")
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
    assert {"no-funds", "unreachable", "pin-locked"} <= {
        entry.get_attribute("value") for entry in menu.options
    }
    menu.select_by_visible_text("unreachable: the phone is off")
    page.by_id("end").click()
    assert shop.called_back().result.code == "1037"
    wait_for_row(page, "unreachable", "DS timeout user cannot be reached.")


def test_prompts_wait_in_a_queue(page: Browser, shop: Shop) -> None:
    """Two phones ring: the older prompt comes first, the other one after it, with a count."""
    shop.push("FIRST")
    shop.push("SECOND", phone=OTHER_PHONE, amount=2500)
    page.shows("queue", "1 more waiting")
    assert "Account FIRST?" in page.text("prompt-text")
    assert page.driver.title.startswith("(2)")
    page.press("1234", Keys.ENTER)
    page.shows("prompt-text", "KES 2,500.00 to paybill 174379 Account SECOND?")
    page.wait_for_focus("pin")
    assert page.by_id("pin").get_attribute("value") == ""
    page.press("1234", Keys.ENTER)
    assert {type(shop.called_back()) for _ in range(2)} == {PaymentConfirmed}
    page.until(lambda: [row for row in rows(page) if "callback: delivered" in row][1:])


def test_a_prompt_answered_elsewhere_leaves_the_screen(
    page: Browser, shop: Shop, daraja: SimulatorServer
) -> None:
    """The answer of another program is shown at once, and the focus goes back."""
    page.tab_to("minute", Keys.TAB)
    checkout_request_id = shop.push()
    page.wait_for_focus("pin")
    answered = requests.post(
        f"{daraja.origin}/_sim/prompts/{checkout_request_id}/answer",
        json={"outcome": "no-funds"},
        timeout=PATIENCE,
    )
    assert answered.status_code == 200
    wait_for_row(page, "no-funds", "1 The balance is insufficient")
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
    page.shows("summary", reference)
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
        "Token request",
        "Push request",
        "Prompt on the phone",
        "Status query",
        "Answer on the phone",
        "Callback to your application",
    ]
    assert page.content("#timeline .pill") == ["HTTP 200", "HTTP 200", "HTTP 500", "HTTP 200"]
    usual = page.content(
        "#timeline li.wait:has(.pill)"
    )  # the HTTP 500 of an open prompt is no failure
    assert "the prompt is still open: Daraja's usual answer until then" in usual[0]
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


def test_phone_and_story_agree(page: Browser, shop: Shop) -> None:
    """The story follows the phone, and a click on a waiting payment moves both."""
    first = shop.push("FIRST")
    second = shop.push("SECOND", phone=OTHER_PHONE)
    wait_for_row(page, "FIRST", "on the phone")
    wait_for_row(page, "SECOND", "waiting")
    page.shows("facts", first)
    page.all("#payments .row")[0].click()
    page.shows("prompt-text", "Account SECOND?")
    page.shows("facts", second)
    assert current(page) == ["SECOND"]
    page.wait_for_focus("pin")
    page.press("1234", Keys.ENTER)
    page.shows("prompt-text", "Account FIRST?")
    page.shows("facts", first)
    assert current(page) == ["FIRST"]


def current(page: Browser) -> list[str]:
    """The references of the rows that are marked as current."""
    texts = page.content('#payments .row[aria-current="true"] .what')
    return [text.rpartition("· ")[2] for text in texts]


def test_a_payment_can_be_picked(page: Browser, shop: Shop) -> None:
    """The story of an ended payment stays while others come, until the reader follows the phone again."""
    first = shop.push("FIRST")
    page.wait_for_focus("pin")
    page.press("1234", Keys.ENTER)
    wait_for_row(page, "FIRST", "callback: delivered")
    page.all("#payments .row")[0].click()
    second = shop.push("SECOND", phone=OTHER_PHONE)
    wait_for_row(page, "SECOND", "on the phone")
    page.shows("following", "a payment that you picked")
    assert first in page.text("facts")
    page.by_id("follow").click()
    page.shows("facts", second)
    assert current(page) == ["SECOND"]


def test_an_ended_payment_has_a_text_for_its_customer(page: Browser, shop: Shop) -> None:
    """In English and in Swahili; an open one has none."""
    shop.push()
    page.wait_for_focus("pin")
    page.shows("summary", "on the phone")
    assert not page.by_id("tell").is_displayed()
    page.press(Keys.ESCAPE)
    page.until(lambda: page.by_id("tell").is_displayed())
    page.by_id("tell").click()
    page.shows("tell-en", "You cancelled")
    assert page.text("tell-sw")
    assert page.by_id("tell-sw").get_attribute("lang") == "sw"


def test_a_push_that_opened_no_prompt_is_told_of(page: Browser, shop: Shop) -> None:
    """A scripted fault is shown until the next push meets it; then its answer is among all requests."""
    choose(page, "step", "push")
    choose(page, "fault", "busy")
    page.shows("fault-words", "500.003.02 System is busy")
    page.by_id("add-fault").click()
    page.shows("told", "The next push request fails with busy.")
    page.shows("scripted", "Next to fail: push request with busy.")
    with pytest.raises(MpesaError):
        shop.push()
    page.shows("empty", "No prompt yet: 2 requests came in")
    page.until(lambda: any("500.003.02" in text for text in page.content("#timeline pre")))
    assert "HTTP 500" in page.content("#timeline .pill")
    page.until(lambda: not page.by_id("scripted").is_displayed())
    words = "The last push request opened no prompt. HTTP 500, 500.003.02 System is busy."
    page.until(lambda: words in page.content("#announce")[0])
    assert not page.by_id("refused").is_displayed()  # all requests are on the screen
    shop.push("SECOND")
    page.wait_for_focus("pin")
    choose(page, "fault", "dropped")
    page.by_id("add-fault").click()
    page.shows("scripted", "push request with dropped")
    with pytest.raises(MpesaError):
        shop.push("THIRD", phone=OTHER_PHONE)
    page.shows("refused", "opened no prompt. No answer. Simulated failure: dropped.")
    page.by_id("refused-show").click()
    page.until(lambda: page.by_id("everything").get_attribute("aria-pressed") == "true")
    page.wait_for_focus("story-title")


def choose(page: Browser, name: str, value: str) -> None:
    """Choose from a menu by the value of an entry."""
    Select(page.by_id(name)).select_by_value(value)


def test_a_scripted_fault_can_be_cleared(page: Browser) -> None:
    """The faults of a pull are offered for a pull alone, and one press drops what is scripted."""
    assert not page.all('#fault option[value="pull-flat"]')
    choose(page, "step", "pull")
    choose(page, "fault", "pull-flat")
    page.by_id("add-fault").click()
    page.shows("scripted", "pull request with pull-flat")
    page.by_id("clear").click()
    page.until(lambda: not page.by_id("scripted").is_displayed())


def test_a_callback_that_fails_has_a_badge_and_advice(page: Browser, shop: Shop) -> None:
    """Beside the badge of the payment, above all parts, at the payment, and for screen readers."""
    shop._receiver.close()
    place = shop.callback_url.split("/")[2]
    first = shop.push()
    page.wait_for_focus("pin")
    page.press("1234", Keys.ENTER)
    wait_for_row(page, "paid", "callback: no server")
    page.shows("callout", "Callback failed: no server")
    page.shows("callout", f"No server listens at {place}.")
    page.shows("callout", "Start your application")
    assert not page.by_id("trouble").is_displayed()  # the advice is on the screen
    page.until(lambda: "the callback was not delivered, no server" in page.content("#announce")[0])
    shop.push("SECOND", phone=OTHER_PHONE)
    page.shows("trouble", "The last callback failed: no server.")
    assert not page.by_id("callout").is_displayed()
    page.by_id("trouble-show").click()
    page.shows("facts", first)
    page.shows("callout", "Callback failed: no server")
    page.wait_for_focus("story-title")


def test_payments_are_found(page: Browser, shop: Shop, daraja: SimulatorServer) -> None:
    """By words and by kind; a list that is long is shown bit by bit, and moved through by keys."""
    daraja.play(Scenario(answer_after=0.0, callbacks=0))
    for number in range(56):
        shop.push(f"ORDER-{number:02}", phone=f"07110000{number:02}")
    page.until(lambda: page.text("count") == "56 payments")
    assert len(rows(page)) == 50
    page.by_id("show-more").click()
    page.until(lambda: len(rows(page)) == 56)
    wait_for_row(page, "ORDER-00", "callback: none in this scenario")
    assert not page.by_id("further").is_displayed()
    page.by_id("find").send_keys("0711 000 04")
    page.until(lambda: page.text("count") == "10 matches")
    page.press(Keys.TAB, Keys.TAB)
    page.press(Keys.DOWN, Keys.DOWN, Keys.ENTER)
    page.until(lambda: current(page) == ["ORDER-47"])
    page.press(Keys.END, Keys.ENTER)
    page.until(lambda: current(page) == ["ORDER-40"])
    choose(page, "show", "undelivered")
    page.shows("no-match", "No payment under “callback failed” mentions “0711 000 04”.")
    page.by_id("show-all").click()
    page.until(lambda: page.text("count") == "56 payments")


# --- controls ------------------------------------------------------------------------------------------


def test_the_menu_shows_the_scenario_in_force(
    page: Browser, shop: Shop, daraja: SimulatorServer
) -> None:
    """Whoever chose it: the page, another program, or a test with a scenario that has no name."""
    menu = page.by_id("scenario")
    assert menu.get_attribute("value") == "by-hand"
    choose(page, "scenario", "cancelled")
    page.shows("told", "New payments play cancelled.")
    page.shows(
        "scenario-words",
        "In force: the customer presses Cancel. Phone 0700 000 004 always does this.",
    )
    shop.push()
    assert shop.called_back().result.code == "1032"
    wait_for_row(page, "INV-001", "cancelled", "callback: delivered")
    daraja.play("paid-late")
    page.until(lambda: menu.get_attribute("value") == "paid-late")
    daraja.play(Scenario(answer_after=7.0, callbacks=2))
    page.shows("scenario-words", "In force: paid after 7 s, 2 callbacks.")
    assert Select(menu).first_selected_option.text == "your own scenario"


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


def test_a_new_start_forgets_all(page: Browser, shop: Shop) -> None:
    """After a question; then the list is empty again, with the first steps."""
    shop.push()
    page.wait_for_focus("pin")
    page.by_id("reset").click()
    page.wait_for_focus("keep")
    page.press(Keys.ENTER)
    page.until(lambda: not page.by_id("sure").is_displayed())
    wait_for_row(page, "INV-001")
    page.by_id("reset").click()
    page.by_id("forget").click()
    page.shows("empty", "No payment yet.")
    assert not page.by_id("veil").is_displayed()
    page.until(lambda: steps(page) == [])


def test_the_beginning_says_what_to_do(page: Browser, daraja: SimulatorServer) -> None:
    """Before the first push there are the addresses to set, and a line to type."""
    hint = page.text("empty")
    assert "Three steps lead to the first one" in hint
    assert f"CHECKOUT_URL={daraja.origin}/mpesa/stkpush/v1/processrequest" in hint
    assert "C2B_CALLBACK=http://127.0.0.1:8000/payments/callback" in hint
    assert "curl -X POST" in hint


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
    page.shows("ledger-told", f"paid, receipt {by_hand.receipt_number}.")
    for text in (
        by_hand.receipt_number,
        "paid without a prompt",
        "<b>RENT</b>",
        "2,500.50",
        "2,600.50",
    ):
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
    page.shows("out", "Outage: callbacks are lost")
    assert page.by_id("outage").get_attribute("aria-pressed") == "true"
    shop.push("LOST")
    page.wait_for_focus("pin")
    page.press("1234", Keys.ENTER)
    wait_for_row(page, "LOST", "paid", "callback: lost in outage")
    assert not page.by_id("trouble").is_displayed()  # it is lost on purpose
    page.until(lambda: "LOST" in "".join(ledger(page)))
    page.by_id("outage").click()
    page.until(lambda: not page.by_id("out").is_displayed())
    assert page.by_id("outage").get_attribute("aria-pressed") == "false"
    shop.push("AFTER", phone=OTHER_PHONE)
    page.wait_for_focus("pin")
    page.press("1234", Keys.ENTER)
    wait_for_row(page, "AFTER", "paid", "callback: delivered")
    shop.called_back()
    assert shop.callbacks.empty()


# --- connection ----------------------------------------------------------------------------------------


def test_a_simulator_that_is_gone_is_missed_and_found_again(
    page: Browser, daraja: SimulatorServer
) -> None:
    """The page says that nobody answers, and goes on by itself with the next one on that port."""
    daraja.close()
    page.until(lambda: page.text("connection") == "not connected")
    page.shows("lost", "does not answer. Start it again at this address")
    assert not page.by_id("reset").is_enabled()
    with simulator(port=int(daraja.origin.rpartition(":")[2])) as another, Shop(another) as shop:
        page.until(lambda: page.text("connection") == "connected")
        assert not page.by_id("lost").is_displayed()
        shop.push("AGAIN")
        page.shows("prompt-text", "Account AGAIN?")
        page.press("1234", Keys.ENTER)
        assert isinstance(shop.called_back(), PaymentConfirmed)
        wait_for_row(page, "AGAIN", "paid", "callback: delivered")
        assert [line for line in page.complaints() if not UNREACHED.search(line)] == []
        page.leave()


# --- for everybody -------------------------------------------------------------------------------------


def test_everything_can_be_done_by_keyboard(page: Browser, shop: Shop) -> None:
    """Without a mouse: choose a scenario, take a prompt's other end, open a story, put time forward."""
    page.tab_to("scenario", Keys.TAB)
    page.press("paid-l")
    page.shows("scenario-words", "the customer pays after 90 seconds")
    page.press(Keys.HOME)
    page.shows("scenario-words", "the phone waits a minute for your answer")
    page.tab_to("outage", Keys.TAB)
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
        element.get_attribute("id")
        for element in controls
        if element.is_displayed() and not element.accessible_name
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
    ("--on-alarm", "--alarm"),
    ("--ink", "--bad-tint"),
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


def test_the_page_has_no_strangers() -> None:
    """It makes no markup from text, asks no other address, and keeps no style or script in its markup."""
    files = {file.name: file.read_text(encoding="utf-8") for file in PAGE.iterdir()}
    text = "\n".join(files.values())
    for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert banned not in text
    assert "https://" not in text
    assert re.findall(r"http://(?!127\.0\.0\.1:8000/)", text) == []
    assert re.findall(r"""\s(?:style|on\w+)=["']""", files["page.html"]) == []
    assert re.findall(r"<(?:style|script>)", files["page.html"]) == []
    assert len(text.encode()) < 80 * 1024


def test_no_part_is_blank_while_the_page_loads(chromium: Browser, daraja: SimulatorServer) -> None:
    """A part without an answer says so, and is filled when the answer comes."""
    chromium.hold_back("*/_sim/names", "*/_sim/prompts/*")
    chromium.open(f"{daraja.origin}/")
    for part in ("list-loading", "story-loading"):
        chromium.shows(part, "This cannot be loaded yet. The simulator does not answer.")
    chromium.hold_back("*/_sim/prompts/*")
    with Shop(daraja) as shop:
        shop.push()
        wait_for_row(chromium, "INV-001")
        chromium.shows("story-fault", "The payment cannot be shown.")
        chromium.hold_back()
        chromium.by_id("try-again").click()
        chromium.shows("facts", "0718 643 064")
    assert [line for line in chromium.complaints() if "ERR_BLOCKED" not in line] == []
    chromium.leave()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (800, 900), (390, 844), (320, 640)])
def test_it_is_readable_at_any_width(chromium: Browser, width: int, height: int) -> None:
    """With several payments and an open prompt, nothing has to be scrolled sideways."""
    clock = ManualClock()
    with simulator(clock=clock) as daraja, Shop(daraja, clock=clock) as shop:
        chromium.prefer(reduced_motion="reduce", color_scheme="light")
        chromium.open(f"{daraja.origin}/")
        chromium.resize(width, height)
        story_so_far(chromium, shop, clock)
        for part in ("phone", "payments", "story", "ledger"):
            turn_to(chromium, part)
            assert overflowing(chromium) == []
        turn_to(chromium, "phone")
        if width == 800:
            top = chromium.run(
                "return document.getElementById('story-body').getBoundingClientRect().top"
            )
            assert float(str(top)) < height - 150  # the story begins on the first screen
        if os.environ.get("MPESA_STK_SCREENSHOTS") == "1" and width in (390, 1280):
            photograph(chromium, PICTURES / f"simulator-{width}.png", width, height)
        assert chromium.complaints() == []
        chromium.leave()


def turn_to(page: Browser, part: str) -> None:
    """Press the button of a part, if the page is so narrow that it has these buttons."""
    (button,) = page.all(f'#tabs [data-part="{part}"]')
    if button.is_displayed():
        button.click()


def overflowing(page: Browser) -> object:
    """The elements that reach beyond the right edge of the page."""
    return page.run(
        "return [...document.querySelectorAll('main *, header *, nav *')]"
        ".filter((one) => one.getBoundingClientRect().right > innerWidth && !one.closest('.aside'))"
        ".map((one) => one.id || one.className || one.tagName)"
    )


def story_so_far(page: Browser, shop: Shop, clock: ManualClock) -> None:
    """One payment cancelled, one paid and looked at, one on the phone and one behind it."""
    page.until(lambda: page.content("#right-pin") == ["1234"])
    shop.push("SCHOOL-FEES", phone=OTHER_PHONE, amount=12500)
    page.wait_for_focus("pin")
    clock.advance(4)
    page.press(Keys.ESCAPE)
    page.until(lambda: shop.callbacks.qsize() == 1)
    shop.status = 403
    clock.advance(41)
    shop.push("INV-001")
    page.shows("prompt-text", "Account INV-001?")
    page.wait_for_focus("pin")
    clock.advance(7)
    page.press("1234", Keys.ENTER)
    page.until(lambda: shop.callbacks.qsize() == 2)
    shop.status = 200
    clock.advance(33)
    shop.push("INV-002", amount=2450)
    shop.push("RENT-11", phone=OTHER_PHONE, amount=8000)
    page.shows("queue", "1 more waiting")
    page.until(lambda: "403 refused" in "".join(page.content("#payments .row")))
    page.run("document.querySelectorAll('#payments .row')[2].click()")
    page.until(lambda: "Callback to your application" in steps(page))


def photograph(page: Browser, file: Path, width: int, height: int) -> None:
    """Take a picture of the first screen."""
    page.run("scrollTo(0, 0)")
    page.point_at("business")
    page.by_id("pin").send_keys("12")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken: dict[str, Any] = page.driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip})
    file.write_bytes(base64.b64decode(taken["data"]))
    assert file.stat().st_size < 300 * 1024

"""The pages of the example shops: buy, wait, pay again. No browser, and time is moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from example_shops import EXAMPLES
from mpesa_stk.testing import phones
from shop_pages import DjangoPages, FastApiPages, FlaskPages, django_pages

Pages: TypeAlias = FlaskPages | FastApiPages | DjangoPages
ORDER = "/orders/INV-001"


@pytest.fixture(params=["django", "fastapi", "flask"])
def pages(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pages]:
    """A shop whose orders are all unpaid."""
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.sqlite3"))
    if request.param == "django":
        with django_pages(tmp_path) as shop:
            yield shop
    elif request.param == "fastapi":
        yield FastApiPages()
    else:
        flask = FlaskPages()
        yield flask
        # Python warns of connections that are not closed, whenever it finds them.
        flask.orders.database().dispose()


def test_an_order_is_bought(pages: Pages) -> None:
    """The form asks at the shop's price. The page waits, shows the receipt, and the order is marked."""
    assert "KES 1,500" in pages.get("/").text
    first = pages.get(ORDER)
    assert (first.waits, "Pay with M-Pesa" in first.words("next")) == (False, True)
    waiting = pages.post(ORDER, phone_number="0718 643 064")
    assert waiting.words("state").startswith("Look at your phone")
    assert "Usilipe mara ya pili" in waiting.words("state")
    assert (waiting.waits, "button" in waiting.text) == (True, False)
    pages.advance(5)
    (prompt,) = pages.daraja.prompts
    paid = pages.get(ORDER)
    assert paid.words("state").startswith(f"Paid Receipt {prompt.receipt_number}")
    assert not paid.waits
    assert prompt.amount == 1500
    assert "Paid" not in pages.get("/").text
    pages.work()
    assert "Paid" in pages.get("/").text
    assert [row["receipt"] for row in pages.sold()] == [prompt.receipt_number, None, None]


def test_a_report_that_comes_twice_does_no_harm(pages: Pages) -> None:
    """The order keeps its first payment, whatever is reported later."""
    pages.post(ORDER, phone_number=phones.PAID)
    pages.advance(5)
    pages.work()
    before = pages.sold()
    pages.report(before[0]["paid_by"])
    pages.work()
    assert pages.sold() == before


def test_a_customer_who_cancels_may_pay_again(pages: Pages) -> None:
    """The page says so in both languages, and a second try is another payment of the same order."""
    pages.post(ORDER, phone_number=phones.CANCELLED)
    pages.advance(20)
    cancelled = pages.get(ORDER)
    assert cancelled.words("state").startswith("You cancelled")
    assert "Umeghairi malipo" in cancelled.words("state")
    assert "Pay again" in cancelled.words("next")
    assert not cancelled.waits
    pages.work()
    assert pages.sold()[0]["paid_by"] is None
    assert pages.post(ORDER, phone_number=phones.PAID).waits
    pages.advance(5)
    assert pages.get(ORDER).words("state").startswith("Paid Receipt")


def test_two_clicks_send_one_prompt(pages: Pages) -> None:
    """The second one shows the same waiting page."""
    for _ in range(2):
        assert pages.post(ORDER, phone_number=phones.PAID).waits
    assert len(pages.daraja.prompts) == 1


PROBLEMS = {
    "no phone": ("", 400, "no Kenyan mobile number"),
    "not a phone": ("0718", 400, "no Kenyan mobile number"),
    "another phone": ("0722000000", 409, "already waits for an answer on a phone"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_refusal_is_said_in_plain_words(name: str, pages: Pages) -> None:
    """Nothing is sent, and the page says why."""
    phone, status, words = PROBLEMS[name]
    if status == 409:
        pages.post(ORDER, phone_number=phones.BY_HAND)
    before = len(pages.daraja.prompts)
    page = pages.post(ORDER, phone_number=phone)
    assert (page.status, len(pages.daraja.prompts)) == (status, before)
    assert words in page.words("problem")
    assert (f'value="{phone}" aria-describedby="problem"' in page.text) == (status == 400)


def test_an_order_that_is_paid_is_not_paid_again(pages: Pages) -> None:
    """A form that was left open in another window asks for no money."""
    pages.post(ORDER, phone_number=phones.PAID)
    pages.advance(5)
    page = pages.post(ORDER, phone_number=phones.PAID)
    assert page.status == 409
    assert "paid already" in page.words("problem")
    assert page.words("state").startswith("Paid")
    assert len(pages.daraja.prompts) == 1


def test_a_lost_answer_is_no_failure(pages: Pages) -> None:
    """The prompt may be on the phone or not: the page waits. In the end it does not say that it failed."""
    pages.daraja.play("dropped")
    uncertain = pages.post(ORDER, phone_number="0718643064")
    assert uncertain.waits
    assert "We do not know if the request reached your phone" in uncertain.words("state")
    pages.advance(1000)
    pages.work()
    expired = pages.get(ORDER)
    assert expired.words("state").startswith("We do not know yet")
    assert "usilipe tena" in expired.words("state")
    assert expired.waits
    refused = pages.post(ORDER, phone_number=phones.PAID)
    assert refused.status == 409
    assert "Please do not pay again" in refused.words("problem")
    assert pages.daraja.prompts == []


def test_a_refused_push_is_said(pages: Pages) -> None:
    """No prompt appeared, so the page offers to try again."""
    pages.daraja.play("blocked")
    page = pages.post(ORDER, phone_number="0718643064")
    assert page.status == 502
    assert page.words("problem").startswith("We could not ask for the payment just now.")
    assert "Pay again" in page.words("next")


def test_one_phone_is_not_asked_without_end(pages: Pages) -> None:
    """The form has the limits of the endpoints: a stranger cannot pester a phone through it."""
    for _ in range(5):
        page = pages.post(ORDER, phone_number=phones.CANCELLED)
        pages.advance(20)
    assert page.status == 429
    assert "asked too often" in page.words("problem")
    assert len(pages.daraja.prompts) == 4


def test_an_order_that_the_shop_does_not_have_is_not_found(pages: Pages) -> None:
    """For its page, and for its form."""
    assert pages.get("/orders/INV-404").status == 404
    assert pages.post("/orders/INV-404", phone_number=phones.PAID).status == 404
    assert pages.daraja.prompts == []


def test_fastapi_reads_no_more_of_a_form_than_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form that is too large is refused."""
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.sqlite3"))
    assert FastApiPages().post_too_much(ORDER) == 413


def test_the_django_shop_knows_its_prices(tmp_path: Path) -> None:
    """A page that posts its own amount is told the price, for an order that there is."""
    with django_pages(tmp_path) as pages:
        order = pages.key_of("INV-001")
        asked = {"phone_number": phones.PAID, "reference": "INV-001", "amount": 1}
        assert pages.ask(asked | {"order": order}) == (409, "wrong_amount")
        assert pages.ask(asked | {"order": f"{order}9"}) == (404, "nothing_to_pay")
        assert pages.ask(asked | {"order": "auth.User:1"}) == (404, "nothing_to_pay")
        assert pages.daraja.prompts == []


def test_the_shops_share_what_is_the_same() -> None:
    """A change of one shop's copy belongs to the others, too."""
    copies = {
        name: {(EXAMPLES / shop / folder / name).read_bytes() for shop, folder in shops.items()}
        for name, shops in (
            ("paying.py", {"flask_shop": "", "fastapi_shop": "", "django_shop": "orders"}),
            ("static/shop.css", {"flask_shop": "", "fastapi_shop": "", "django_shop": "orders"}),
            ("static/wait.js", {"flask_shop": "", "fastapi_shop": "", "django_shop": "orders"}),
            ("templates/base.html", {"flask_shop": "", "fastapi_shop": ""}),
            ("templates/order.html", {"flask_shop": "", "fastapi_shop": ""}),
            ("templates/orders.html", {"flask_shop": "", "fastapi_shop": ""}),
        )
    }
    assert {name: len(texts) for name, texts in copies.items()} == dict.fromkeys(copies, 1)

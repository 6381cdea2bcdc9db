"""Orders over HTTP: one order is paid once, and a page knows from each 409 what to do."""

from __future__ import annotations

from typing import Any

import pytest

from daraja_double import result
from mpesa_stk import MemoryLimits, OutcomeUnknown, WebResponse
from support import callback
from web_cases import Shop, body_of, error_of

pytestmark = pytest.mark.usefixtures("face")

ORDER = "order 17"
OTHER = "0700000001"


def ordered(shop: Shop, **changes: Any) -> WebResponse:
    """A checkout of the order."""
    return shop.handle(shop.checkout(**({"order": ORDER} | changes)))


def failed(shop: Shop) -> None:
    """The customer cancels the last prompt."""
    body_of(shop.handle(shop.called_back(callback(1032, checkout_request_id=shop.checkout_id))))


def obstacle(response: WebResponse) -> tuple[str, str | None, str, str]:
    """What a 409 says of the attempt in the way: code, number, state, field."""
    error = body_of(response, 409)["error"]
    assert set(error) == {"code", "message", "field", "transaction_no", "state"}
    return error["code"], error["transaction_no"], error["state"], error["field"]


def test_the_same_checkout_of_an_order_returns_its_attempt() -> None:
    """A customer who presses the button twice gets one prompt."""
    shop = Shop()
    first = body_of(ordered(shop))
    assert body_of(ordered(shop)) == first
    assert len(shop.daraja.pushes) == 1
    assert shop.stored().order == ORDER


def test_another_checkout_of_an_open_order_is_told_to_wait() -> None:
    """With the number of the attempt in the way, for whoever names its phone."""
    shop = Shop()
    number = body_of(ordered(shop))["transaction_no"]
    refused = ordered(shop, description="Again")
    assert obstacle(refused) == ("PaymentInProgress", number, "PENDING", "order")
    assert len(shop.daraja.pushes) == 1


def test_a_paid_order_is_not_paid_again() -> None:
    """Whatever the payload is."""
    shop = Shop()
    number = body_of(ordered(shop))["transaction_no"]
    body_of(shop.handle(shop.called_back()))
    for changes in ({}, {"amount": 5}, {"description": "Again"}):
        refused = ordered(shop, **changes)
        assert obstacle(refused) == ("AlreadyPaid", number, "SUCCEEDED", "order")
    assert len(shop.daraja.pushes) == 1


def expire(shop: Shop) -> str:
    """An attempt about which nobody ever learns anything."""
    shop.daraja.push_script.append(OutcomeUnknown("no complete answer in time"))
    number: str = body_of(ordered(shop), 202)["transaction_no"]
    shop.clock.advance(3600)
    shop.process_due()
    return number


@pytest.mark.parametrize("claim", [{}, {"unresolved_ok": True}, {"unresolved_ok": "true"}])
def test_no_browser_says_that_an_unresolved_order_may_be_paid_again(claim: dict[str, Any]) -> None:
    """The risk of a second payment is the shop's."""
    shop = Shop()
    number = expire(shop)
    assert obstacle(ordered(shop, **claim)) == ("PaymentUnresolved", number, "EXPIRED", "order")
    assert len(shop.daraja.pushes) == 1


def test_after_a_final_failure_any_phone_may_pay() -> None:
    """The order is free again."""
    shop = Shop()
    body_of(ordered(shop))
    failed(shop)
    body_of(ordered(shop, phone_number=OTHER))
    assert len(shop.daraja.pushes) == 2


def test_a_stranger_who_names_an_order_learns_no_number_to_ask_by() -> None:
    """By the number, a query would show him the payer's phone."""
    shop = Shop()
    number = body_of(ordered(shop))["transaction_no"]
    refused = ordered(shop, phone_number=OTHER)
    assert obstacle(refused) == ("PaymentInProgress", None, "PENDING", "order")
    assert number.encode() not in refused.body
    open_to_all = Shop(rules={"authorize": lambda *_args: True})
    number = body_of(ordered(open_to_all))["transaction_no"]
    assert obstacle(ordered(open_to_all, phone_number=OTHER))[1] == number


@pytest.mark.parametrize("order", ["", 17, [], "x" * 129, "a\nb"])
def test_a_bad_order_is_400_and_named(order: object) -> None:
    """One line of at most 128 characters, or nothing."""
    shop = Shop()
    assert error_of(ordered(shop, order=order), 400) == ("InvalidRequest", "order")
    assert shop.daraja.pushes == []


def test_an_order_may_be_left_out() -> None:
    """Null is as good as nothing."""
    shop = Shop()
    body_of(ordered(shop, order=None))
    assert shop.stored().order is None


# --- with prices and limits ------------------------------------------------------------------------------


def test_the_price_is_that_of_the_order_if_there_is_one() -> None:
    """Otherwise a cheap reference would buy a dear order."""
    prices = {ORDER: 85_000, "INV-2024-001": 1}
    shop = Shop(rules={"quote": prices.get})
    assert error_of_price(ordered(shop, amount=1)) == ("wrong_amount", "amount", 85_000)
    body_of(ordered(shop, amount=None))
    assert [push["Amount"] for push in shop.daraja.pushes] == [85_000]
    refused = ordered(shop, order="order 18")
    assert error_of(refused, 404) == ("nothing_to_pay", "order")


def error_of_price(response: WebResponse) -> tuple[str, str, int]:
    """Code, field and price of a 409."""
    error = body_of(response, 409)["error"]
    return error["code"], error["field"], error["amount"]


def test_an_open_order_is_no_way_around_the_price() -> None:
    """Its attempt may fail at any moment, and then this checkout would be the next one."""
    shop = Shop(rules={"quote": {ORDER: 85_000}.get})
    body_of(ordered(shop, amount=None))
    assert error_of_price(ordered(shop, amount=1)) == ("wrong_amount", "amount", 85_000)


def test_a_paid_order_says_so_though_nothing_is_owed_any_more() -> None:
    """A page can tell a paid order from an unknown one."""
    prices = {ORDER: 100}
    shop = Shop(rules={"quote": prices.get})
    body_of(ordered(shop))
    body_of(shop.handle(shop.called_back()))
    prices.clear()
    assert obstacle(ordered(shop))[0] == "AlreadyPaid"


def test_an_open_order_is_not_limited_as_a_new_prompt() -> None:
    """The phone of its attempt has a prompt: the answer is that attempt, or what to wait for."""
    shop = Shop(rules={"limits": MemoryLimits()})
    first = body_of(ordered(shop))
    assert body_of(ordered(shop)) == first
    assert obstacle(ordered(shop, description="Again"))[0] == "PaymentInProgress"
    assert error_of(ordered(shop, order="order 18"), 429) == ("prompt_open", "phone_number")
    shop.daraja.query_script.append(result(shop.checkout_id, "4999"))
    body_of(shop.handle(shop.post("query", {"transaction_no": first["transaction_no"]})))
    assert len(shop.daraja.pushes) == 1


def test_a_paid_order_needs_no_place_of_the_phone() -> None:
    """It is answered while a prompt for something else is open."""
    shop = Shop(rules={"limits": MemoryLimits()})
    body_of(ordered(shop))
    body_of(shop.handle(shop.called_back()))
    body_of(ordered(shop, order="order 18"))
    assert obstacle(ordered(shop))[0] == "AlreadyPaid"

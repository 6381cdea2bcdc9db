"""The server's own price: a page that posts its own amount sells nothing for one shilling."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from both_faces import Face
from daraja_double import refusal
from mpesa_stk import StoreError, TransactionState, WebResponse
from support import callback
from web_cases import PAYLOAD, Shop, body_of, error_of

pytestmark = pytest.mark.usefixtures("face")

PRICES = {"INV-2024-001": 85_000}
UNPRICED = {name: value for name, value in PAYLOAD.items() if name != "amount"}


def priced(quote: object = PRICES.get, **rules: Any) -> Shop:
    """A shop that knows what a laptop costs."""
    return Shop(rules={"quote": quote} | rules)


def test_a_laptop_is_not_sold_for_one_shilling() -> None:
    """Another amount than the server's is a conflict that names the right one, and nothing is sent."""
    shop = priced()
    for amount in (1, 84_999, 85_001, 85_000.5, 10**9, float("nan")):
        body = body_of(shop.handle(shop.checkout(amount=amount)), 409)
        assert body["error"] == {
            "code": "wrong_amount",
            "message": "The amount is not the price.",
            "field": "amount",
            "amount": 85_000,
        }
    assert shop.daraja.pushes == []
    assert shop.store.find(reference="INV-2024-001") is None


@pytest.mark.parametrize("amount", ["85000", True, [85_000], {}])
def test_an_amount_that_is_no_number_is_no_price(amount: object) -> None:
    """It is refused as without a quote."""
    shop = priced()
    assert error_of(shop.handle(shop.checkout(amount=amount)), 400) == ("InvalidAmount", "amount")
    assert shop.daraja.pushes == []


@pytest.mark.parametrize("changes", [{}, {"amount": None}, {"amount": 85_000}])
def test_the_customer_pays_the_servers_price(changes: dict[str, Any]) -> None:
    """Whether the request names it or leaves it out."""
    shop = priced()
    body_of(shop.handle(shop.post("checkout", UNPRICED | changes)))
    assert [push["Amount"] for push in shop.daraja.pushes] == [85_000]
    assert shop.stored().amount == 85_000


def test_what_has_no_price_is_not_paid_for() -> None:
    """A reference that the server does not know is 404, and nothing is sent."""
    shop = priced()
    refused = shop.handle(shop.checkout(reference="INV-9", amount=1))
    assert error_of(refused, 404) == ("nothing_to_pay", "reference")
    assert shop.daraja.pushes == []


def test_without_a_quote_the_amount_is_needed() -> None:
    """Nothing else says it."""
    shop = Shop()
    refused = shop.handle(shop.post("checkout", UNPRICED))
    assert error_of(refused, 400) == ("InvalidRequest", "amount")


def test_the_same_key_keeps_the_price_of_its_payment() -> None:
    """A request that is sent again gets its payment, though the order costs more now, or is paid."""
    prices: dict[str, int] = dict(PRICES)
    shop = priced(prices.get)
    request = shop.post("checkout", UNPRICED, Idempotency_Key="a-random-key")
    first = body_of(shop.handle(request))
    prices["INV-2024-001"] = 90_000
    assert body_of(shop.handle(request)) == first
    body_of(
        shop.handle(shop.called_back(callback(amount=85_000, checkout_request_id=shop.checkout_id)))
    )
    prices.clear()
    assert body_of(shop.handle(request))["state"] == "SUCCEEDED"
    assert len(shop.daraja.pushes) == 1


def test_the_key_of_a_refused_push_does_not_keep_its_price() -> None:
    """A new prompt would be sent for it, so the server is asked for its price again."""
    prices: dict[str, int] = dict(PRICES)
    shop = priced(prices.get)
    shop.daraja.push_script.append(refusal("500.001.1001", "Unable to lock subscriber", 500))
    request = shop.post("checkout", UNPRICED, Idempotency_Key="a-random-key")
    error_of(shop.handle(request), 502)
    prices["INV-2024-001"] = 90_000
    # Another amount under the same key is another payload.
    assert error_of(shop.handle(request), 409) == ("IdempotencyConflict", "Idempotency-Key")
    assert len(shop.daraja.pushes) == 1


def later(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function as an ``async def``."""

    async def awaited(*args: Any) -> Any:
        return function(*args)

    return awaited


def test_a_quote_may_be_awaited_on_an_event_loop() -> None:
    """The synchronous face cannot wait for one: it says so in its log, and sells nothing."""
    shop = priced(later(PRICES.get))
    response = shop.handle(shop.post("checkout", UNPRICED))
    if Face.asyncio:
        assert shop.stored().amount == 85_000
        assert shop.stored().state is TransactionState.PENDING
    else:
        assert error_of(response, 500) == ("internal_error", None)
        assert shop.daraja.pushes == []


def raising(error: Exception) -> Callable[..., Any]:
    """A function of the host that fails."""

    def fail(*_args: object) -> Any:
        raise error

    return fail


def generator(*_args: object) -> Any:
    """Never runs when it is called."""
    yield 85_000


BROKEN = [
    raising(RuntimeError("CANARYquote")),
    raising(KeyError("CANARYquote")),
    generator,
    lambda *_args: 0,
    lambda *_args: -1,
    lambda *_args: True,
    lambda *_args: 85_000.0,
    lambda *_args: "85000 CANARYquote",
]


@pytest.mark.parametrize("quote", BROKEN)
def test_a_quote_that_fails_sells_nothing_and_says_nothing(
    quote: object, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is 500 without the text of the error. The log has it for the host."""
    shop = priced(quote)
    with caplog.at_level(logging.ERROR, logger="mpesa_stk"):
        response = shop.handle(shop.checkout())
    assert error_of(response, 500) == ("internal_error", None)
    assert b"CANARY" not in response.body
    assert shop.daraja.pushes == []
    assert "host_function_failed function=quote" in caplog.text


def test_a_quote_whose_database_is_down_is_503() -> None:
    """Then the customer may try again."""
    shop = priced(raising(StoreError("CANARYdsn")))
    response = shop.handle(shop.checkout())
    assert error_of(response, 503) == ("StoreError", None)
    assert response.headers["Retry-After"] == "5"
    assert b"CANARY" not in response.body


def test_a_slow_quote_holds_no_place_of_the_phone() -> None:
    """While the price is looked up, the same phone can be asked for another order."""
    others: list[WebResponse] = []

    def quote(name: str) -> int:
        if name == "INV-2024-001":
            others.append(shop.handle(shop.checkout(reference="INV-2", amount=7)))
        return 7

    shop = priced(quote, limits=None)
    refused = shop.handle(shop.checkout(amount=7))
    assert body_of(others[0])["state"] == "PENDING"
    assert error_of(refused, 429) == ("prompt_open", "phone_number")

"""Who may check out, who may see a payment, and whose an idempotency key is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

import attrs
import pytest

from both_faces import Face
from mpesa_stk import StoreError, Transaction, TransactionState, WebRequest
from support import callback
from web_cases import PAYLOAD, Shop, body_of, error_of

pytestmark = pytest.mark.usefixtures("face")


def by_cookie(request: WebRequest) -> str | None:
    """Who the client is, as a shop with sessions knows it."""
    return request.headers.get("cookie")


# --- authorize -----------------------------------------------------------------------------------------


class Doorman:
    """Lets signed-in customers check out and see their own payments; writes down what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, request: WebRequest, action: str, transaction: Transaction | None) -> bool:
        """Say whether a client may do it."""
        self.asked.append((action, transaction.transaction_no if transaction else None))
        return by_cookie(request) == "wanjiru"


def test_who_may_not_check_out_is_refused_before_anything_is_sent() -> None:
    """403, no push, no payment, and the host's quote is not asked either."""
    doorman, quoted = Doorman(), list[str]()

    def quote(name: str) -> int:
        quoted.append(name)
        return 100

    shop = Shop(rules={"authorize": doorman, "quote": quote})
    refused = shop.handle(shop.checkout())
    assert error_of(refused, 403) == ("not_allowed", None)
    assert shop.daraja.pushes == []
    assert shop.store.find(reference="INV-2024-001") is None
    assert quoted == []
    body_of(shop.handle(shop.post("checkout", PAYLOAD, Cookie="wanjiru")))
    assert doorman.asked == [("checkout", None)] * 2
    assert [event.reason for event in shop.events if event.kind == "refusal"] == [
        "authorize said no"
    ]


def test_who_may_not_see_a_payment_sees_nothing_of_it() -> None:
    """By either id; Daraja is not asked, and whom `authorize` lets in sees it whole by either id."""
    doorman = Doorman()
    shop = Shop(rules={"authorize": doorman})
    body_of(shop.handle(shop.post("checkout", PAYLOAD, Cookie="wanjiru")))
    body_of(shop.handle(shop.called_back()))
    number = shop.stored().transaction_no
    for payload in ({"transaction_no": number}, {"checkout_request_id": shop.checkout_id}):
        refused = shop.handle(shop.post("query", payload, Cookie="mallory"))
        assert error_of(refused, 403) == ("not_allowed", None)
        body = body_of(shop.handle(shop.post("query", payload, Cookie="wanjiru")))
        assert body["local_transaction"]["phone_number"] == "+254718643064"
        assert body["local_transaction"]["receipt_no"] == "NLJ7RT61SV"
    assert doorman.asked[1:] == [("query", number)] * 4
    assert shop.daraja.queries == []


def test_callbacks_are_never_asked_about() -> None:
    """Daraja has no session."""
    shop = Shop(rules={"authorize": lambda _request, action, _payment: action == "checkout"})
    body_of(shop.handle(shop.checkout()))
    body_of(shop.handle(shop.called_back()))
    assert shop.stored().state is TransactionState.SUCCEEDED


def raises(error: Exception) -> Callable[..., Any]:
    """A function of the host that fails."""

    def fail(*_args: object) -> Any:
        raise error

    return fail


def yields(*_args: object) -> Any:
    """Never runs when it is called, and what it returns looks like a yes."""
    yield False


async def refuses(*_args: object) -> bool:
    """Say no, later."""
    return False


class Refuses:
    """Says no, later, and is no coroutine."""

    def __init__(self, *_args: object) -> None:
        """Take the request."""

    def __await__(self) -> Generator[None, None, bool]:
        """Say no."""
        return refuses().__await__()


@pytest.mark.parametrize(
    ("authorize", "status", "code"),
    [
        (raises(RuntimeError("CANARYdoor")), 500, "internal_error"),
        (raises(StoreError("CANARYdoor")), 503, "StoreError"),
        (yields, 500, "internal_error"),
        (lambda *_args: None, 403, "not_allowed"),
    ],
)
def test_a_doubtful_yes_is_a_no(
    authorize: object, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent or shown, and no text of the host's error leaves."""
    shop = Shop(rules={"authorize": authorize})
    with caplog.at_level(logging.ERROR, logger="mpesa_stk"):
        response = shop.handle(shop.checkout())
    assert error_of(response, status) == (code, None)
    assert b"CANARY" not in response.body
    assert shop.daraja.pushes == []


@pytest.mark.parametrize("authorize", [refuses, Refuses])
def test_an_awaited_no_is_never_taken_for_a_yes(authorize: object) -> None:
    """The synchronous face cannot wait for it: a coroutine is true, so it refuses to guess."""
    shop = Shop(rules={"authorize": authorize})
    response = shop.handle(shop.checkout())
    expected = (403, "not_allowed") if Face.asyncio else (500, "internal_error")
    assert (response.status, error_of(response, response.status)[0]) == expected
    assert shop.daraja.pushes == []


# --- ids that can be guessed -------------------------------------------------------------------------


def test_a_guessed_id_shows_no_way_to_the_payer() -> None:
    """No field of the answer holds the number, the receipt, or the `transaction_no` that shows them."""
    shop = Shop()
    body_of(shop.handle(shop.checkout()))
    body_of(shop.handle(shop.called_back()))
    response = shop.handle(shop.post("query", {"checkout_request_id": shop.checkout_id}))
    assert body_of(response)["state"] == "SUCCEEDED"
    for word in ("718643064", "NLJ7RT61SV", shop.stored().transaction_no):
        assert word.encode() not in response.body


def test_a_masked_payment_without_receipt_has_none() -> None:
    """Null stays null."""
    shop = Shop()
    body_of(shop.handle(shop.checkout()))
    body_of(shop.handle(shop.called_back(callback(1032, checkout_request_id=shop.checkout_id))))
    body = body_of(shop.handle(shop.post("query", {"checkout_request_id": shop.checkout_id})))
    assert body["local_transaction"]["receipt_no"] is None


def test_show_all_is_the_shape_of_old() -> None:
    """With the flag, a query by CheckoutRequestID shows every field whole."""
    shop = Shop(rules={"show_all": True})
    number = body_of(shop.handle(shop.checkout()))["transaction_no"]
    body_of(shop.handle(shop.called_back()))
    body = body_of(shop.handle(shop.post("query", {"checkout_request_id": shop.checkout_id})))
    assert body["local_transaction"] == {
        "transaction_no": number,
        "phone_number": "+254718643064",
        "amount": "100",
        "status": "0",
        "receipt_no": "NLJ7RT61SV",
        "created": "2026-11-23T06:00:00Z",
    }


# --- idempotency keys ----------------------------------------------------------------------------------


def keyed(shop: Shop, customer: str | None, key: str = "order-17", **changes: Any) -> WebRequest:
    """A checkout of a customer under a key."""
    fields = {"Idempotency_Key": key} | ({} if customer is None else {"Cookie": customer})
    return shop.post("checkout", PAYLOAD | changes, **fields)


def test_one_customers_key_does_not_block_another() -> None:
    """Mallory used the key first, for himself. Wanjiru still gets her prompt."""
    shop = Shop(rules={"key_scope": by_cookie})
    body_of(shop.handle(keyed(shop, "mallory", phone_number="0700000001", amount=1)))
    body_of(shop.handle(keyed(shop, "wanjiru")))
    assert [push["PhoneNumber"] for push in shop.daraja.pushes] == [254700000001, 254718643064]


def test_one_customers_key_does_not_reveal_anothers_payment() -> None:
    """The same key and payload from somebody else is a payment of its own."""
    shop = Shop(rules={"key_scope": by_cookie})
    mine = body_of(shop.handle(keyed(shop, "wanjiru")))
    theirs = body_of(shop.handle(keyed(shop, "mallory")))
    assert mine["transaction_no"] != theirs["transaction_no"]
    assert body_of(shop.handle(keyed(shop, "wanjiru"))) == mine
    assert len(shop.daraja.pushes) == 2


def test_without_a_scope_each_key_is_everybodys() -> None:
    """So keys must be random there. A scope of None is apart from every named scope."""
    plain, scoped = Shop(), Shop(rules={"key_scope": by_cookie})
    first = body_of(plain.handle(keyed(plain, "wanjiru")))
    assert body_of(plain.handle(keyed(plain, "mallory"))) == first
    assert plain.stored().idempotency_key == "order-17"
    numbers = {
        body_of(scoped.handle(keyed(scoped, customer)))["transaction_no"]
        for customer in (None, "", "none", "wanjiru", None)
    }
    assert len(numbers) == 4


def test_the_stored_key_shows_neither_scope_nor_key() -> None:
    """It is a hash, within the rule for keys."""
    shop = Shop(rules={"key_scope": lambda _request: "session \ud800 \u4ed8"})
    body_of(shop.handle(keyed(shop, None)))
    stored = shop.stored().idempotency_key
    assert stored is not None
    assert stored.startswith("scoped-")
    assert len(stored) == 71


def test_scope_and_key_cannot_be_shifted_into_each_other() -> None:
    """A customer cannot choose a key that ends in another customer's."""
    shop = Shop(rules={"key_scope": by_cookie})
    for customer, key in (("a", "b:c"), ("a:b", "c"), ("a:", "b:c")):
        body_of(shop.handle(keyed(shop, customer, key)))
    assert len(shop.daraja.pushes) == 3


@pytest.mark.parametrize("scope", [raises(RuntimeError("CANARY")), lambda _request: 17])
def test_a_scope_that_fails_sends_nothing(scope: object) -> None:
    """Without its scope a key would be everybody's."""
    shop = Shop(rules={"key_scope": scope})
    response = shop.handle(keyed(shop, "wanjiru"))
    assert error_of(response, 500) == ("internal_error", None)
    assert shop.daraja.pushes == []


def test_a_bad_key_is_named_before_it_is_hashed() -> None:
    """The rule for keys holds for what the customer sent."""
    shop = Shop(rules={"key_scope": by_cookie})
    refused = shop.handle(keyed(shop, "wanjiru", "two words"))
    assert error_of(refused, 400) == ("InvalidRequest", "Idempotency-Key")


def test_a_request_without_a_key_needs_no_scope() -> None:
    """The host's function is not called."""
    shop = Shop(rules={"key_scope": raises(RuntimeError("not called"))})
    body_of(shop.handle(attrs.evolve(shop.checkout())))


async def scope_later(request: WebRequest) -> str | None:
    """Find out who the client is, later."""
    return by_cookie(request)


def test_a_scope_may_be_awaited_on_an_event_loop() -> None:
    """As the other functions of the host."""
    shop = Shop(rules={"key_scope": scope_later})
    response = shop.handle(keyed(shop, "wanjiru"))
    assert response.status == (200 if Face.asyncio else 500)

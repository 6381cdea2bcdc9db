"""A shop over a Daraja that answers at once: what is measured is the library and the database."""

from __future__ import annotations

import itertools
import json
from collections import deque
from typing import Any

import attrs

from daraja_double import answer, result
from mpesa_stk import (
    AsyncPayments,
    AsyncStkClient,
    AsyncTransactionStore,
    HttpRequest,
    HttpResponse,
    Payments,
    StkClient,
    Transaction,
    TransactionStore,
)
from mpesa_stk.daraja.protocol import stk_timestamp
from mpesa_stk.payments.budget import AwaitedQueryBudget, UnlimitedQueryBudget
from mpesa_stk.payments.signing import signed_url
from support import CALLBACK_SECRET, TOKEN, accepted, callback, claim_of, make_config


class InstantDaraja:
    """A `Transport`: accepts every push, with ids of its own; of every payment it knows nothing yet."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = itertools.count()

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request."""
        if request.method == "GET":
            return answer({"access_token": TOKEN, "expires_in": "3599"})
        asked = json.loads(request.body or b"").get("CheckoutRequestID")
        if asked is not None:
            return result(asked, "4999", "The transaction is still under processing")
        return answer(accepted(f"ws_CO_{self._name}{next(self._numbers):09}718643064"))

    def close(self) -> None:
        """Nothing is open."""


class AwaitedDaraja:
    """An `AsyncTransport` to an `InstantDaraja`."""

    def __init__(self, name: str) -> None:
        self._daraja = InstantDaraja(name)

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request."""
        return self._daraja.send(request)

    async def close(self) -> None:
        """Nothing is open."""


@attrs.define
class Orders:
    """What customers order in a shop, and the callbacks that Daraja still owes."""

    name: str
    owed: deque[tuple[bytes, str]] = attrs.Factory(deque)
    _numbers: itertools.count[int] = attrs.Factory(itertools.count)

    def next(self) -> dict[str, Any]:
        """The arguments of the next checkout."""
        order = f"{self.name}{next(self._numbers):07}"
        return {
            "phone_number": "0718643064",
            "amount": 100,
            "reference": order,
            "idempotency_key": f"order-{order}",
        }

    def owe(self, payment: Transaction) -> Transaction:
        """Daraja will call back about a payment."""
        assert payment.checkout_request_id is not None
        body = callback(
            receipt=payment.reference,
            checkout_request_id=payment.checkout_request_id,
            transaction_date=int(stk_timestamp(payment.created)),
        )
        token = signed_url("", CALLBACK_SECRET, **claim_of(payment)).strip("/")
        self.owed.append((body, token))
        return payment


@attrs.define
class Shop:
    """Payments over a store, and the callbacks that Daraja still owes."""

    payments: Payments
    orders: Orders

    def checkout(self) -> Transaction:
        """One customer is asked; the callback is owed from now on."""
        return self.orders.owe(self.payments.checkout(**self.orders.next()))

    def take_callback(self) -> bool:
        """Daraja calls back about the oldest payment; whether there was one."""
        if not self.orders.owed:
            return False
        body, token = self.orders.owed.popleft()
        receipt = self.payments.handle_callback(body, token=token)
        assert receipt.outcome.value == "settled"
        return True


@attrs.define
class AsyncShop:
    """The same over an asynchronous store."""

    payments: AsyncPayments
    orders: Orders

    async def checkout(self) -> Transaction:
        """One customer is asked; the callback is owed from now on."""
        return self.orders.owe(await self.payments.checkout(**self.orders.next()))

    async def take_callback(self) -> None:
        """Daraja calls back about the oldest payment."""
        body, token = self.orders.owed.popleft()
        receipt = await self.payments.handle_callback(body, token=token)
        assert receipt.outcome.value == "settled"


def open_shop(store: TransactionStore, name: str) -> Shop:
    """A shop with signed callbacks that may ask Daraja as often as it likes."""
    config = make_config(callback_secrets=(CALLBACK_SECRET,))
    client = StkClient(config, transport=InstantDaraja(name))
    return Shop(Payments(client, store, query_budget=UnlimitedQueryBudget()), Orders(name))


def open_async_shop(store: AsyncTransactionStore, name: str) -> AsyncShop:
    """The same over an asynchronous store."""
    config = make_config(callback_secrets=(CALLBACK_SECRET,))
    client = AsyncStkClient(config, transport=AwaitedDaraja(name))
    budget = AwaitedQueryBudget(UnlimitedQueryBudget())
    return AsyncShop(AsyncPayments(client, store, query_budget=budget), Orders(name))

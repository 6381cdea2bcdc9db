"""A checkout over HTTP: who asks, for what price, how often, and then the checkout itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mpesa_stk.errors import AlreadyPaid, InvalidAmount, OrderRefused
from mpesa_stk.payments.checkout import checked_key
from mpesa_stk.payments.orders import OrderStatus
from mpesa_stk.payments.payments_flow import PaymentsFlow
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.web import bodies
from mpesa_stk.web.host_rules import HostRules
from mpesa_stk.web.messages import Refusal, WebRequest, WebResponse
from mpesa_stk.web.throttle import Client, Throttle


class WebCheckout:
    """Checks customers out at the host's prices, within its limits."""

    def __init__(self, payments: PaymentsFlow, /, *, host: HostRules, throttle: Throttle) -> None:
        self._payments = payments
        self._host = host
        self._throttle = throttle

    async def run(
        self, request: WebRequest, checkout: dict[str, Any], client: Client, /
    ) -> Transaction:
        """Check out.

        The host's functions are called before a place of the phone is taken.

        Args:
            request: The request. It is allowed.
            checkout: What its body asks for, as `bodies.checkout_of` returns it.
            client: Who asks.

        Raises:
            Refusal: There is nothing to pay, or its amount is another one.
            Limited: The phone was asked too often.
            MpesaError: As `Payments.checkout` raises.
        """
        phone = PhoneNumber.parse(checkout["phone_number"])
        key = checked_key(checkout["idempotency_key"])
        if key is not None:
            key = await self._host.stored_key(request, key)
        checkout = checkout | {"idempotency_key": key}
        known = await self._payments.of_key(key) if key is not None else None
        if known is not None and known.state is not TransactionState.REJECTED:
            # No prompt is sent for it, so it keeps its price and does not count.
            return await self._payments.checkout.run(**_at(checkout, known.amount))
        status = await self._status(checkout["order"])
        if status is not None and status.paid and status.deciding is not None:
            raise AlreadyPaid(status.deciding.transaction_no)
        if self._host.quote is not None:
            checkout = _at(checkout, await self._price(checkout, client))
        if status is not None and not status.may_pay:
            # An attempt is in the way, or is the answer: no prompt is sent.
            return await self._payments.checkout.run(**checkout)
        return await self._throttle.prompt(
            phone, client, lambda: self._payments.checkout.run(**checkout)
        )

    async def _status(self, order: str | None) -> OrderStatus | None:
        return None if order is None else await self._payments.order(order)

    async def _price(self, checkout: dict[str, Any], client: Client) -> int:
        """Return the server's price.

        Raises:
            Refusal: There is none, or the request has another amount.
            InvalidAmount: The amount of the request is no number.
        """
        field = "reference" if checkout["order"] is None else "order"
        price = await self._host.price(checkout[field])
        if price is None:
            await self._throttle.missed(client)
            raise Refusal(bodies.nothing_to_pay_answer(field))
        amount = checkout["amount"]
        if amount is None:
            return price
        if isinstance(amount, bool) or not isinstance(amount, (int, float, Decimal)):
            raise InvalidAmount("amount", "must be a number")
        if amount != price:
            raise Refusal(bodies.wrong_amount_answer(price))
        return price

    async def obstacle(self, refused: OrderRefused, checkout: dict[str, Any], /) -> WebResponse:
        """Answer a checkout of an order that another attempt is in the way of.

        A client that names the phone of that attempt gets its number, by which a query shows the phone. So
        do all clients whom the host lets in.
        """
        attempt = await self._payments.get(refused.transaction_no)
        phone = PhoneNumber.parse(checkout["phone_number"])
        is_named = attempt is not None and attempt.phone_number == phone.e164
        shows = self._host.authorize is not None or is_named
        return bodies.order_answer(refused, attempt, shows_number=shows)


def _at(checkout: dict[str, Any], price: int) -> dict[str, Any]:
    """Return a checkout with a price, unless it has one."""
    amount = checkout["amount"]
    return checkout | {"amount": price if amount is None else amount}

"""Define what the attempts at one order allow: the places they take, and the next attempt. Pure.

An attempt takes a place of its order while it may be paid, and another one when it is paid. A store gives
each place of an account to one payment, so two checkouts, or two successes, cannot both have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from types import MappingProxyType

import attrs

from mpesa_stk.daraja.results import Language, explain
from mpesa_stk.errors import AlreadyPaid, OrderRefused, PaymentInProgress, PaymentUnresolved
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.schedule import PROMPT_LIVES
from mpesa_stk.payments.state import Transaction, TransactionState

_S = TransactionState
_PROMPTED = frozenset({Meaning.ACCEPTED.value, Meaning.LINKED.value})
_FINAL = frozenset({Meaning.REFUSED, Meaning.NOT_PAID, Meaning.PERSON_NOT_PAID, Meaning.RELEASED})
"""What gives back the place of an attempt that has ended without a success."""
PAYLOAD = ("phone_number", "amount", "reference", "description", "order")
"""The fields that tell one request for money from another."""


# --- places -----------------------------------------------------------------------------------------


def live_slot(order: str | None, /) -> str | None:
    """Return the place of the one attempt that may still be paid."""
    return None if order is None else f"live:{order}"


def paid_slot(order: str | None, /) -> str | None:
    """Return the place of the first attempt that was paid."""
    return None if order is None else f"paid:{order}"


def slot_after(
    before: Transaction,
    meaning: Meaning,
    state: TransactionState,
    now: datetime,
    *,
    paid_before: bool,
) -> str | None:
    """Return the place of an attempt after an event.

    Args:
        before: The attempt before the event.
        meaning: The meaning of the event.
        state: The state after the event.
        now: The time of the event.
        paid_before: Whether another attempt has the place of the paid one.
    """
    if state is _S.SUCCEEDED:
        if before.state is _S.SUCCEEDED:
            return before.order_slot
        return None if paid_before else paid_slot(before.order)
    if meaning is Meaning.AGAIN:
        return live_slot(before.order)
    if state.settled and meaning in _FINAL:
        return None
    if meaning is Meaning.QUERY_NOT_PAID and not prompt_may_live(before, now):
        return None
    return before.order_slot


def prompt_may_live(attempt: Transaction, now: datetime, /) -> bool:
    """Return whether the customer may still answer the prompt of an attempt.

    A prompt lives for minutes (`PROMPT_LIVES`). If the moment at which it appeared is unknown, it may live
    until the payment expires.
    """
    appeared = [entry.at for entry in attempt.history if entry.event in _PROMPTED]
    ends = max(appeared) + PROMPT_LIVES if appeared else attempt.expires_at
    return now < ends


# --- the next attempt -------------------------------------------------------------------------------


def was_prompted(rejected: Transaction, /) -> bool:
    """Return whether a callback came about a refused push. Then its prompt appeared, and may be paid."""
    return rejected.checkout_request_id is not None or rejected.needs_review is not None


def is_unresolved(attempt: Transaction, now: datetime, /) -> bool:
    """Return whether an attempt that has ended unpaid may have been paid after all.

    That is so if it expired, if only a query said that it failed while its prompt could still be answered,
    or if a person must look at it. A person who resolves it, or a callback, ends the doubt.
    """
    if attempt.needs_review is not None:
        return True
    if attempt.state is _S.REJECTED:
        return was_prompted(attempt)
    holds = attempt.order_slot is not None
    return holds and (attempt.state is _S.EXPIRED or prompt_may_live(attempt, now))


@attrs.frozen(kw_only=True)
class Way:
    """The way that is open to a checkout.

    Attributes:
        live: The attempt that it returns instead of a new one, or None.
        ended: Attempts that must give their place back before a new one.
    """

    live: Transaction | None = None
    ended: tuple[Transaction, ...] = ()


def way_for(
    intent: Transaction,
    others: Sequence[Transaction],
    now: datetime,
    /,
    *,
    unresolved_ok: bool,
) -> Way:
    """Return what the other attempts at an order allow.

    Raises:
        AlreadyPaid: One of them is paid.
        PaymentInProgress: One with another payload may still be paid.
        PaymentUnresolved: It is unknown whether one was paid, and `unresolved_ok` is False.
    """
    for attempt in others:
        if attempt.paid:
            raise AlreadyPaid(attempt.transaction_no)
    for attempt in others:
        if not attempt.settled:
            if differing(intent, attempt):
                raise PaymentInProgress(attempt.transaction_no)
            return Way(live=attempt)
    for attempt in others:
        if is_unresolved(attempt, now) and not unresolved_ok:
            raise PaymentUnresolved(attempt.transaction_no)
    return Way(ended=tuple(attempt for attempt in others if attempt.order_slot is not None))


def obstacle(others: Sequence[Transaction], /) -> OrderRefused | None:
    """Return why a new attempt, which is stored already, must not be pushed. None if it may be."""
    for attempt in others:
        if attempt.paid:
            return AlreadyPaid(attempt.transaction_no)
    for attempt in others:
        if not attempt.settled:
            return PaymentInProgress(attempt.transaction_no)
    return None


def differing(one: Transaction, other: Transaction, /) -> tuple[str, ...]:
    """Return the names of the fields in which two requests for money differ."""
    return tuple(name for name in PAYLOAD if getattr(one, name) != getattr(other, name))


# --- for the host -----------------------------------------------------------------------------------


class OrderState(str, Enum):
    """What is known about an order."""

    UNPAID = "UNPAID"
    """No attempt is paid, and none may still be paid."""
    IN_PROGRESS = "IN_PROGRESS"
    """An attempt may still be paid."""
    UNRESOLVED = "UNRESOLVED"
    """Nobody knows whether an attempt was paid."""
    PAID = "PAID"
    """An attempt was paid."""


_TEXTS: Mapping[OrderState, tuple[str, str]] = MappingProxyType(
    {
        OrderState.UNPAID: (
            "This order is not paid yet. You can pay now.",
            "Agizo hili bado halijalipwa. Unaweza kulipa sasa.",
        ),
        OrderState.IN_PROGRESS: (
            "Please answer the M-Pesa prompt on your phone. Do not pay a second time.",
            "Tafadhali jibu ombi la M-Pesa kwenye simu yako. Usilipe mara ya pili.",
        ),
        OrderState.UNRESOLVED: (
            "We do not know yet if you have paid. Please do not pay again, and keep your M-Pesa message.",
            "Bado hatujui kama umelipa. Tafadhali usilipe tena, na uhifadhi ujumbe wako wa M-Pesa.",
        ),
        OrderState.PAID: (
            "Your payment has arrived. Thank you.",
            "Malipo yako yamefika. Asante.",
        ),
    }
)


@attrs.frozen(kw_only=True)
class OrderStatus:
    """What is known about an order, and what may be done now.

    Attributes:
        order: The order.
        state: `OrderState`.
        attempts: Its payments, the first created first.
        deciding: The attempt that gives the order its state: the paid one, the one that may still be paid,
            the one whose outcome is unknown. Otherwise the last one, or None if there is none.
    """

    order: str
    state: OrderState
    attempts: tuple[Transaction, ...]
    deciding: Transaction | None

    @property
    def paid(self) -> bool:
        """Whether the order is paid."""
        return self.state is OrderState.PAID

    @property
    def paid_twice(self) -> bool:
        """Whether more than one attempt was paid. Then the customer gets money back."""
        return len(self.receipts) > 1

    @property
    def receipts(self) -> tuple[str | None, ...]:
        """The receipt of each attempt that was paid. One is None if it is not known yet."""
        return tuple(one.receipt_number for one in self.attempts if one.paid)

    @property
    def may_pay(self) -> bool:
        """Whether a checkout would start a new attempt now."""
        return self.state is OrderState.UNPAID

    @property
    def may_pay_at_risk(self) -> bool:
        """Whether a checkout with ``unresolved_ok=True`` would start a new attempt now."""
        return self.state in (OrderState.UNPAID, OrderState.UNRESOLVED)

    def message(self, language: Language = "en", /) -> str:
        """Return a text for the customer, in English (``en``) or Swahili (``sw``)."""
        last = self.deciding
        if self.may_pay and last is not None and last.state is _S.FAILED and last.result_code:
            return explain(last.result_code).message(language)
        return _TEXTS[self.state][language == "sw"]


def status_of(order: str, attempts: Sequence[Transaction], now: datetime, /) -> OrderStatus:
    """Return the status of an order from its attempts, the first created first."""
    state, deciding = OrderState.UNPAID, attempts[-1] if attempts else None
    for attempt in attempts:
        if attempt.paid:
            state, deciding = OrderState.PAID, attempt
            break
        if not attempt.settled:
            state, deciding = OrderState.IN_PROGRESS, attempt
        elif state is not OrderState.IN_PROGRESS and is_unresolved(attempt, now):
            state, deciding = OrderState.UNRESOLVED, attempt
    return OrderStatus(order=order, state=state, attempts=tuple(attempts), deciding=deciding)

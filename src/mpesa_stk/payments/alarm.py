"""Distinguish "callbacks have stopped while pushes succeed" from "no customers". Pure.

The rule: among the last `ENOUGH` payments that Daraja accepted at least `SETTLE` ago, and of which Daraja
said how they ended, none got a callback. One callback among them ends the alarm. Without customers these
payments stay the same ones, so no alarm begins or ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from itertools import islice

from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.search import PaymentSearch
from mpesa_stk.payments.state import Transaction

ENOUGH = 5
"""How many payments in a row must be without a callback. One callback in a hundred gets lost by itself."""
SETTLE = timedelta(minutes=10)
"""How long a callback may take. A query often tells the outcome some seconds before it."""
RECENT = timedelta(days=7)
"""Older payments say nothing about today."""
LOOKED_AT = 50
"""How many payments are read to find `ENOUGH` that say something."""

_CALLBACKS = frozenset(
    meaning.value
    for meaning in (Meaning.PAID, Meaning.NOT_PAID, Meaning.UNPROVEN, Meaning.CONTRADICTED)
)


class CallbackNews(str, Enum):
    """What is new about callbacks."""

    STOPPED = "callbacks_stopped"
    """Payments are made, and their callbacks do not come."""
    RETURNED = "callbacks_returned"
    """They come again."""


class CallbackAlarm:
    """Judges payments again and again. It says once that callbacks stopped, and once that they returned."""

    def __init__(self) -> None:
        self._raised = False

    def judge(self, payments: Iterable[Transaction], /) -> CallbackNews | None:
        """Return what is new about callbacks, or None.

        Args:
            payments: Those that `recent_payments` finds, the last created first.
        """
        came = list(
            islice((_had_callback(one) for one in payments if _says_something(one)), ENOUGH)
        )
        if self._raised and any(came):
            self._raised = False
            return CallbackNews.RETURNED
        if not self._raised and len(came) == ENOUGH and not any(came):
            self._raised = True
            return CallbackNews.STOPPED
        return None


def recent_payments(now: datetime, /) -> PaymentSearch:
    """Return the search for the payments to judge."""
    return PaymentSearch(created_from=now - RECENT, created_before=now - SETTLE)


def _says_something(payment: Transaction) -> bool:
    """Return whether a callback for the payment came, or must have been sent.

    Daraja sends one when it knows how a payment ended. It knows if its query says so.
    """
    return _had_callback(payment) or payment.settled_by == "query"


def _had_callback(payment: Transaction) -> bool:
    return payment.settled_by == "callback" or any(
        entry.event in _CALLBACKS for entry in payment.history
    )

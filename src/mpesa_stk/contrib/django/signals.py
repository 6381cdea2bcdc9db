"""Signals about payments. The worker sends them after the database has the payment, at least once.

Every receiver gets ``transaction``, the `Transaction` as stored, and ``using``, the alias of its database.
The sender is the model `Payment`.

If a receiver raises an exception, the others are called nevertheless, and the payment is reported again
later. So a receiver must be idempotent: change the order only if it is not changed yet.
"""

from __future__ import annotations

from django.dispatch import Signal

from mpesa_stk.contrib.django import runtime
from mpesa_stk.contrib.django.models import Payment, ReviewSignal
from mpesa_stk.payments.due import DueReport
from mpesa_stk.payments.state import Transaction

__all__ = ["deliver", "payment_needs_review", "payment_settled", "process_due"]

payment_settled = Signal()
"""A payment has its outcome, or there is news of it, such as a receipt, a review or a late success."""
payment_needs_review = Signal()
"""A person must look at a settled payment. Each reason is sent once, unless a receiver fails."""


def process_due(*, limit: int = 100, deadline: float = 25.0) -> DueReport:
    """Do one bounded batch of due work, and send the signals. For cron, Celery and the like.

    The arguments and errors are those of `Payments.process_due`. ``manage.py mpesa_worker`` does the same
    again and again.
    """
    return runtime.payments().process_due(on_settled=deliver, limit=limit, deadline=deadline)


def deliver(transaction: Transaction, /) -> None:
    """Send the signals about a settled payment, as its `on_settled`.

    Raises:
        Exception: The first that a receiver raised, after all receivers were called.
    """
    alias = runtime.alias()
    facts = {"transaction": transaction, "using": alias}
    errors = _send(payment_settled, facts)
    if transaction.needs_review:
        errors += _send_review(transaction, facts)
    if errors:
        raise errors[0]


def _send_review(transaction: Transaction, facts: dict[str, object]) -> list[Exception]:
    """Send the signal about a review, unless it was sent with these reasons before."""
    sent = ReviewSignal.objects.using(facts["using"])
    key = {"transaction_no": transaction.transaction_no}
    if sent.filter(**key, reasons=transaction.needs_review).exists():
        return []
    errors = _send(payment_needs_review, facts)
    if not errors:
        sent.update_or_create(**key, defaults={"reasons": transaction.needs_review})
    return errors


def _send(signal: Signal, facts: dict[str, object]) -> list[Exception]:
    """Call all receivers. Django logs their exceptions."""
    answers = signal.send_robust(sender=Payment, **facts)
    return [answer for _, answer in answers if isinstance(answer, Exception)]

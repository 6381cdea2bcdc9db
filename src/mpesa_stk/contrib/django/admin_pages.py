"""The contents of the admin's page of a payment, in the words of ``mpesa-stk payments show``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import attrs

from mpesa_stk.commands.payment_facts import View, moment
from mpesa_stk.commands.review_words import reasons_of, words_for
from mpesa_stk.commands.story import story_of
from mpesa_stk.contrib.django.models import Payment
from mpesa_stk.errors import StoreError
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import KeptCallback

__all__ = ["Line", "Review", "facts_of", "reviews_of", "story_of_payment", "transaction_of"]

_FACTS = (
    "transaction_no",
    "account",
    "order",
    "reference",
    "prompt_reference",
    "description",
    "idempotency_key",
    "created",
    "expires_at",
    "due_at",
    "paid_at",
    "receipt_number",
    "settled_by",
    "result_code",
    "result_desc",
    "checkout_request_id",
    "merchant_request_id",
    "reported",
)
_TEXTS = ("order", "reference", "prompt_reference", "description", "result_desc", "idempotency_key")
# The command line's words, and those of the admin.
_WORDS = (
    ("--paid", "\u201cPaid\u201d"),
    ("--not-paid", "\u201cNot paid\u201d"),
    ("`show` lists what is kept.", "The page of the payment lists what is kept."),
    ("`list --order` shows both with", "A search for the order shows both, with"),
    ("run process_due", "is the worker running?"),
)


@attrs.frozen
class Line:
    """A line of a story or a fact."""

    label: str
    text: str


@attrs.frozen
class Review:
    """A reason for a review, and the step that a person takes."""

    why: str
    step: str


def _in_admin_words(text: str, /) -> str:
    """Return a text of the command line as the admin says it."""
    for theirs, ours in _WORDS:
        text = text.replace(theirs, ours)
    return text


def reviews_of(transaction: Transaction, /) -> list[Review]:
    """Return the reasons for a review of a payment."""
    return [
        Review(words.why, _in_admin_words(words.step))
        for words in map(words_for, reasons_of(transaction))
    ]


def story_of_payment(
    transaction: Transaction, kept: list[KeptCallback], view: View, /
) -> Iterator[list[Line]]:
    """Return the story of a payment in three parts: its facts, its events and its state."""
    part: list[Line] = []
    for line in story_of(transaction, kept, view=view, language="en"):
        if line:
            label, _, text = line.partition("  ")
            part.append(Line(label, _in_admin_words(text.strip())))
        else:
            yield part
            part = []
    # The reasons for a review are shown elsewhere. Each has two lines at the end.
    yield part[: len(part) - 2 * len(reasons_of(transaction))]


def facts_of(payment: Payment, view: View, /) -> list[Line]:
    """Return the stored facts of a payment, with the names of its columns."""
    facts = []
    for name in _FACTS:
        value: Any = getattr(payment, name)
        if value not in (None, ""):
            label = str(Payment._meta.get_field(name).verbose_name)  # noqa: SLF001 - Django's name for it
            facts.append(Line(label, _shown(payment, name, value, view)))
    return facts


def _shown(payment: Payment, name: str, value: Any, view: View) -> str:  # noqa: ANN401 - as stored
    if isinstance(value, datetime):
        return moment(value)
    if name == "checkout_request_id":
        return str(view.checkout_id(value))
    if name in _TEXTS:
        return view.text(payment, value)
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def transaction_of(payment: Payment, /) -> Transaction | None:
    """Return the payment as the library knows it, or None if its row cannot be read."""
    try:
        return payment.transaction
    except StoreError:
        return None

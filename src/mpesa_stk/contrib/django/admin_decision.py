"""The form with which a person decides about a payment that needs a review."""

from __future__ import annotations

from typing import Any

from django import forms

from mpesa_stk.clock import AwaitedClock, SystemClock
from mpesa_stk.contrib.django.orm_store import DjangoTransactionStore
from mpesa_stk.contrib.django.runtime import host_settings
from mpesa_stk.errors import (
    ConfigurationError,
    DuplicateTransaction,
    InvalidRequest,
    StoreError,
)
from mpesa_stk.faces import finish
from mpesa_stk.hooks import Hook, Notifier
from mpesa_stk.payments.desk import Desk
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.payments.store import AwaitedTransactionStore

__all__ = ["DecisionForm", "decide"]

_LONGEST_NAME = 64
_OUTCOMES = {"paid": TransactionState.SUCCEEDED, "not-paid": TransactionState.FAILED, "": None}
_FIELDS = ("note", "outcome", "receipt_number")


class DecisionForm(forms.Form):
    """A decision of a person: the outcome, the receipt, and the reason."""

    outcome = forms.ChoiceField(
        label="Decision",
        required=False,
        choices=[
            ("", "A note alone: the payment stays as it is, and the review is closed"),
            ("paid", "Paid: the M-Pesa statement shows the money"),
            ("not-paid", "Not paid: the M-Pesa statement does not show the money"),
        ],
        widget=forms.RadioSelect,
        initial="",
    )
    receipt_number = forms.CharField(
        label="Receipt",
        required=False,
        max_length=40,
        help_text="As in the M-Pesa statement, if it is paid and has no receipt here.",
    )
    note = forms.CharField(
        label="Why",
        max_length=500,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text="Name what you saw, and where, for those who read it later.",
    )


def decide(
    form: DecisionForm, transaction_no: str, /, *, by: str, using: str
) -> Transaction | None:
    """Write the decision of a valid form.

    Args:
        form: The form. If the decision breaks a rule, it gets the error.
        transaction_no: The payment.
        by: Who decided.
        using: The alias of the payments' database.

    Returns:
        The payment afterwards, or None if the form has an error.
    """
    facts: dict[str, Any] = form.cleaned_data
    store = AwaitedTransactionStore(DjangoTransactionStore(using))
    desk = Desk(store, clock=AwaitedClock(SystemClock()), notify=Notifier(_hooks()))
    try:
        return finish(
            desk.resolve(
                transaction_no,
                note=facts["note"],
                by=by[:_LONGEST_NAME],
                outcome=_OUTCOMES[facts["outcome"]],
                receipt_number=facts["receipt_number"] or None,
            )
        )
    except InvalidRequest as error:
        form.add_error(error.field if error.field in _FIELDS else None, error.rule)
    except DuplicateTransaction:
        form.add_error("receipt_number", "another payment has it: search for it")
    except StoreError as error:
        form.add_error(None, f"It may not be written. Look at the payment: {error}")
    return None


def _hooks() -> tuple[Hook, ...]:
    """Return the host's hooks, if this process has the settings of an account. A desk needs none."""
    try:
        return host_settings().hooks
    except ConfigurationError:
        return ()

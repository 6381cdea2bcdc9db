"""The tables. The names of the fields are those of `Transaction` and `KeptCallback`."""

from __future__ import annotations

import attrs
from django.db import models

from mpesa_stk.contrib.django.orm_columns import (
    ExactCharField,
    ExactTextField,
    MomentField,
    PartialIndex,
)
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.stores.rows import LENGTHS, UNIQUE, transaction_of

__all__ = [
    "FIELDS",
    "AppBudget",
    "AppToken",
    "AppTokenFlight",
    "KeptCallback",
    "Payment",
    "ReviewSignal",
]

FIELDS = tuple(attrs.fields_dict(Transaction))
"""The columns of a `Transaction`."""


def _short(name: str, label: str, /, **options: object) -> ExactCharField:
    """Make a column of a short text."""
    return ExactCharField(label, max_length=LENGTHS[name], **options)


class Payment(models.Model):
    """A `Transaction`. Only the store changes it: a change by hand could lose money.

    `in_review` repeats whether `needs_review` has a value, for an index that every database can have.
    """

    transaction_no = _short("transaction_no", "payment", primary_key=True)
    idempotency_key = _short("idempotency_key", "idempotency key", null=True)
    account = _short("account", "account")
    phone_number = _short("phone_number", "phone number")
    amount = models.BigIntegerField("amount (KES)")
    reference = _short("reference", "reference")
    description = ExactTextField("description", blank=True)
    prompt_reference = _short("prompt_reference", "reference on the phone", null=True)
    order = _short("order", "order", null=True)
    order_slot = _short("order_slot", "place of the order", null=True)
    state = _short(
        "state", "state", choices=[(one.value, one.value.capitalize()) for one in TransactionState]
    )
    created = MomentField("created")
    updated = MomentField("updated")
    expires_at = MomentField("given up at")
    due_at = MomentField("due at", null=True)
    merchant_request_id = ExactTextField("MerchantRequestID", null=True)
    checkout_request_id = _short("checkout_request_id", "CheckoutRequestID", null=True)
    response_description = ExactTextField("Daraja's answer", null=True)
    customer_message = ExactTextField("message for the customer", null=True)
    result_code = _short("result_code", "result code", null=True)
    result_desc = ExactTextField("result", null=True)
    receipt_number = _short("receipt_number", "receipt", null=True)
    paid_at = MomentField("paid at", null=True)
    settled_by = _short("settled_by", "settled by", null=True)
    needs_review = ExactTextField("reason for a review", null=True)
    in_review = models.BooleanField("open review", default=False)
    reported = models.BooleanField("reported", default=False)
    history = ExactTextField("history")
    version = models.BigIntegerField("version")

    class Meta:
        """Searches and lists take the payments created last. A claim takes the due ones of an account."""

        verbose_name = "payment"
        verbose_name_plural = "payments"
        default_permissions = ("view",)
        permissions = (
            ("resolve_payment", "Can decide about a payment that needs a review"),
            ("export_payments", "Can export payments"),
            ("see_phone", "Can see whole phone numbers"),
        )
        indexes = (
            PartialIndex(
                fields=["account", "due_at"],
                name="mpesa_stk_due",
                where=models.Q(due_at__isnull=False),
            ),
            PartialIndex(
                fields=["account", "order"],
                name="mpesa_stk_order",
                where=models.Q(order__isnull=False),
            ),
            PartialIndex(
                fields=["in_review", "created"],
                name="mpesa_stk_review",
                where=models.Q(in_review=True),
            ),
            models.Index(fields=["account", "created"], name="mpesa_stk_account"),
            models.Index(fields=["created"], name="mpesa_stk_created"),
            models.Index(fields=["state", "created"], name="mpesa_stk_state"),
            models.Index(fields=["reference", "created"], name="mpesa_stk_reference"),
            models.Index(fields=["phone_number", "created"], name="mpesa_stk_phone"),
        )
        constraints = tuple(
            models.UniqueConstraint(fields=UNIQUE[field], name=f"mpesa_stk_unique_{field}")
            for field in ("idempotency_key", "checkout_request_id", "receipt_number", "order_slot")
        )

    def __str__(self) -> str:
        return str(self.transaction_no)

    @property
    def transaction(self) -> Transaction:
        """The payment as the library knows it.

        Raises:
            StoreError: Another version of the library wrote the row.
        """
        return transaction_of({name: getattr(self, name) for name in FIELDS})


class KeptCallback(models.Model):
    """A callback that could not settle a payment yet, kept raw as evidence."""

    callback_id = _short("callback_id", "callback", primary_key=True)
    body = models.BinaryField("body")
    reason = ExactTextField("reason")
    received = MomentField("received")
    checkout_request_id = _short("checkout_request_id", "CheckoutRequestID", null=True)
    transaction_no = _short("transaction_no", "payment", null=True)

    class Meta:
        """Only the store adds and deletes them."""

        verbose_name = "kept callback"
        verbose_name_plural = "kept callbacks"
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=["checkout_request_id"], name="mpesa_stk_callback_prompt"),
            models.Index(fields=["transaction_no"], name="mpesa_stk_callback_payment"),
            models.Index(fields=["received"], name="mpesa_stk_callback_received"),
        )

    def __str__(self) -> str:
        return str(self.callback_id)


class AppToken(models.Model):
    """The access token of an app of Daraja. It is a secret in clear text."""

    app = _short("app", "app", primary_key=True)
    value = ExactTextField("token", null=True)
    expires_in = models.FloatField("life in seconds", null=True)
    renew_at = MomentField("renewed at", null=True)
    version = models.BigIntegerField("version")

    class Meta:
        """No page shows it."""

        verbose_name = "access token"
        verbose_name_plural = "access tokens"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.app)


class AppTokenFlight(models.Model):
    """The worker that fetches an app's token, and until when the others wait for it."""

    app = _short("app", "app", primary_key=True)
    holder = ExactCharField("holder", max_length=32, null=True)
    until = MomentField("until", null=True)
    version = models.BigIntegerField("version")

    class Meta:
        """No page shows it."""

        verbose_name = "flight of a token"
        verbose_name_plural = "flights of tokens"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.app)


class AppBudget(models.Model):
    """How fast an app may ask Daraja about payments."""

    app = _short("app", "app", primary_key=True)
    next_at = MomentField("next query at")
    interval_seconds = models.FloatField("seconds between queries")
    slowed_at = MomentField("slowed down at", null=True)
    version = models.BigIntegerField("version")

    class Meta:
        """No page shows it."""

        verbose_name = "budget of queries"
        verbose_name_plural = "budgets of queries"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.app)


class ReviewSignal(models.Model):
    """The reasons for a review of a payment about which the signal was sent last."""

    transaction_no = _short("transaction_no", "payment", primary_key=True)
    reasons = models.TextField("reasons")

    class Meta:
        """No page shows it."""

        verbose_name = "signal about a review"
        verbose_name_plural = "signals about reviews"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.transaction_no)

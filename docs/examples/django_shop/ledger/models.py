"""The tables. The names of the fields are those of `Transaction` and `KeptCallback`."""

from django.db import models

ID = 128  # the longest id that the library takes from Daraja


class Payment(models.Model):
    """A `Transaction`."""

    transaction_no = models.CharField(primary_key=True, max_length=36)
    idempotency_key = models.CharField(max_length=255, null=True)
    account = models.CharField(max_length=64)
    phone_number = models.CharField(max_length=16)
    amount = models.PositiveIntegerField()
    reference = models.CharField(max_length=255)
    description = models.CharField(max_length=255, blank=True)
    order = models.CharField(max_length=128, null=True)
    prompt_reference = models.CharField(max_length=255, null=True)
    order_slot = models.CharField(max_length=133, null=True)
    state = models.CharField(max_length=16)
    created = models.DateTimeField()
    updated = models.DateTimeField()
    expires_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True)
    merchant_request_id = models.CharField(max_length=ID, null=True)
    checkout_request_id = models.CharField(max_length=ID, null=True, unique=True)
    response_description = models.TextField(null=True)
    customer_message = models.TextField(null=True)
    result_code = models.CharField(max_length=64, null=True)
    result_desc = models.TextField(null=True)
    receipt_number = models.CharField(max_length=ID, null=True, unique=True)
    paid_at = models.DateTimeField(null=True)
    settled_by = models.CharField(max_length=16, null=True)
    needs_review = models.TextField(null=True)
    reported = models.BooleanField()
    history = models.JSONField()
    version = models.PositiveIntegerField()

    class Meta:
        """A search takes the payments created last; a claim reads one account's due."""

        indexes = (
            models.Index(fields=["reference", "created"], name="payment_by_reference"),
            models.Index(fields=["account", "due_at"], name="payment_by_due_at"),
            models.Index(fields=["account", "order"], name="payment_by_order"),
            models.Index(fields=["account", "created"], name="payment_by_account"),
            models.Index(fields=["phone_number", "created"], name="payment_by_phone"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["idempotency_key", "account"], name="payment_key_of_account"
            ),
            models.UniqueConstraint(
                fields=["account", "order_slot"], name="payment_place_of_order"
            ),
        )

    def __str__(self) -> str:
        return self.transaction_no


class Callback(models.Model):
    """A `KeptCallback`."""

    callback_id = models.CharField(primary_key=True, max_length=64)
    body = models.BinaryField()
    reason = models.CharField(max_length=255)
    received = models.DateTimeField(db_index=True)
    checkout_request_id = models.CharField(max_length=ID, null=True, db_index=True)
    transaction_no = models.CharField(max_length=36, null=True, db_index=True)

    def __str__(self) -> str:
        return self.callback_id

"""The first tables."""

from __future__ import annotations

from django.db import migrations, models

from mpesa_stk.contrib.django.orm_columns import (
    ExactCharField,
    ExactTextField,
    MomentField,
    PartialIndex,
)


class Migration(migrations.Migration):
    """Payments, kept callbacks, tokens, budgets, and signals about reviews."""

    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="AppBudget",
            fields=[
                (
                    "app",
                    ExactCharField(
                        max_length=255, primary_key=True, serialize=False, verbose_name="app"
                    ),
                ),
                ("next_at", MomentField(verbose_name="next query at")),
                ("interval_seconds", models.FloatField(verbose_name="seconds between queries")),
                ("slowed_at", MomentField(null=True, verbose_name="slowed down at")),
                ("version", models.BigIntegerField(verbose_name="version")),
            ],
            options={
                "verbose_name": "budget of queries",
                "verbose_name_plural": "budgets of queries",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="AppToken",
            fields=[
                (
                    "app",
                    ExactCharField(
                        max_length=255, primary_key=True, serialize=False, verbose_name="app"
                    ),
                ),
                ("value", ExactTextField(null=True, verbose_name="token")),
                ("expires_in", models.FloatField(null=True, verbose_name="life in seconds")),
                ("renew_at", MomentField(null=True, verbose_name="renewed at")),
                ("version", models.BigIntegerField(verbose_name="version")),
            ],
            options={
                "verbose_name": "access token",
                "verbose_name_plural": "access tokens",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="AppTokenFlight",
            fields=[
                (
                    "app",
                    ExactCharField(
                        max_length=255, primary_key=True, serialize=False, verbose_name="app"
                    ),
                ),
                ("holder", ExactCharField(max_length=32, null=True, verbose_name="holder")),
                ("until", MomentField(null=True, verbose_name="until")),
                ("version", models.BigIntegerField(verbose_name="version")),
            ],
            options={
                "verbose_name": "flight of a token",
                "verbose_name_plural": "flights of tokens",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="KeptCallback",
            fields=[
                (
                    "callback_id",
                    ExactCharField(
                        max_length=64, primary_key=True, serialize=False, verbose_name="callback"
                    ),
                ),
                ("body", models.BinaryField(verbose_name="body")),
                ("reason", ExactTextField(verbose_name="reason")),
                ("received", MomentField(verbose_name="received")),
                (
                    "checkout_request_id",
                    ExactCharField(max_length=255, null=True, verbose_name="CheckoutRequestID"),
                ),
                (
                    "transaction_no",
                    ExactCharField(max_length=255, null=True, verbose_name="payment"),
                ),
            ],
            options={
                "verbose_name": "kept callback",
                "verbose_name_plural": "kept callbacks",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["checkout_request_id"], name="mpesa_stk_callback_prompt"),
                    models.Index(fields=["transaction_no"], name="mpesa_stk_callback_payment"),
                    models.Index(fields=["received"], name="mpesa_stk_callback_received"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Payment",
            fields=[
                (
                    "transaction_no",
                    ExactCharField(
                        max_length=255, primary_key=True, serialize=False, verbose_name="payment"
                    ),
                ),
                (
                    "idempotency_key",
                    ExactCharField(max_length=255, null=True, verbose_name="idempotency key"),
                ),
                ("account", ExactCharField(max_length=64, verbose_name="account")),
                ("phone_number", ExactCharField(max_length=64, verbose_name="phone number")),
                ("amount", models.BigIntegerField(verbose_name="amount (KES)")),
                ("reference", ExactCharField(max_length=255, verbose_name="reference")),
                ("description", ExactTextField(blank=True, verbose_name="description")),
                (
                    "prompt_reference",
                    ExactCharField(
                        max_length=255, null=True, verbose_name="reference on the phone"
                    ),
                ),
                ("order", ExactCharField(max_length=255, null=True, verbose_name="order")),
                (
                    "order_slot",
                    ExactCharField(max_length=255, null=True, verbose_name="place of the order"),
                ),
                (
                    "state",
                    ExactCharField(
                        choices=[
                            ("CREATED", "Created"),
                            ("UNCERTAIN", "Uncertain"),
                            ("PENDING", "Pending"),
                            ("SUCCEEDED", "Succeeded"),
                            ("FAILED", "Failed"),
                            ("REJECTED", "Rejected"),
                            ("EXPIRED", "Expired"),
                        ],
                        max_length=64,
                        verbose_name="state",
                    ),
                ),
                ("created", MomentField(verbose_name="created")),
                ("updated", MomentField(verbose_name="updated")),
                ("expires_at", MomentField(verbose_name="given up at")),
                ("due_at", MomentField(null=True, verbose_name="due at")),
                (
                    "merchant_request_id",
                    ExactTextField(null=True, verbose_name="MerchantRequestID"),
                ),
                (
                    "checkout_request_id",
                    ExactCharField(max_length=255, null=True, verbose_name="CheckoutRequestID"),
                ),
                ("response_description", ExactTextField(null=True, verbose_name="Daraja's answer")),
                (
                    "customer_message",
                    ExactTextField(null=True, verbose_name="message for the customer"),
                ),
                (
                    "result_code",
                    ExactCharField(max_length=64, null=True, verbose_name="result code"),
                ),
                ("result_desc", ExactTextField(null=True, verbose_name="result")),
                (
                    "receipt_number",
                    ExactCharField(max_length=255, null=True, verbose_name="receipt"),
                ),
                ("paid_at", MomentField(null=True, verbose_name="paid at")),
                ("settled_by", ExactCharField(max_length=64, null=True, verbose_name="settled by")),
                ("needs_review", ExactTextField(null=True, verbose_name="reason for a review")),
                ("in_review", models.BooleanField(default=False, verbose_name="open review")),
                ("reported", models.BooleanField(default=False, verbose_name="reported")),
                ("history", ExactTextField(verbose_name="history")),
                ("version", models.BigIntegerField(verbose_name="version")),
            ],
            options={
                "verbose_name": "payment",
                "verbose_name_plural": "payments",
                "permissions": (
                    ("resolve_payment", "Can decide about a payment that needs a review"),
                    ("export_payments", "Can export payments"),
                    ("see_phone", "Can see whole phone numbers"),
                ),
                "default_permissions": ("view",),
                "indexes": [
                    PartialIndex(
                        fields=["account", "due_at"],
                        name="mpesa_stk_due",
                        where=models.Q(("due_at__isnull", False)),
                    ),
                    PartialIndex(
                        fields=["account", "order"],
                        name="mpesa_stk_order",
                        where=models.Q(("order__isnull", False)),
                    ),
                    PartialIndex(
                        fields=["in_review", "created"],
                        name="mpesa_stk_review",
                        where=models.Q(("in_review", True)),
                    ),
                    models.Index(fields=["account", "created"], name="mpesa_stk_account"),
                    models.Index(fields=["created"], name="mpesa_stk_created"),
                    models.Index(fields=["state", "created"], name="mpesa_stk_state"),
                    models.Index(fields=["reference", "created"], name="mpesa_stk_reference"),
                    models.Index(fields=["phone_number", "created"], name="mpesa_stk_phone"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("idempotency_key", "account"),
                        name="mpesa_stk_unique_idempotency_key",
                    ),
                    models.UniqueConstraint(
                        fields=("checkout_request_id",), name="mpesa_stk_unique_checkout_request_id"
                    ),
                    models.UniqueConstraint(
                        fields=("receipt_number",), name="mpesa_stk_unique_receipt_number"
                    ),
                    models.UniqueConstraint(
                        fields=("order_slot", "account"), name="mpesa_stk_unique_order_slot"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReviewSignal",
            fields=[
                (
                    "transaction_no",
                    ExactCharField(
                        max_length=255, primary_key=True, serialize=False, verbose_name="payment"
                    ),
                ),
                ("reasons", models.TextField(verbose_name="reasons")),
            ],
            options={
                "verbose_name": "signal about a review",
                "verbose_name_plural": "signals about reviews",
                "default_permissions": (),
            },
        ),
    )

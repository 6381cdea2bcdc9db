"""The first tables."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Payments and kept callbacks."""

    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="Callback",
            fields=[
                ("callback_id", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("body", models.BinaryField()),
                ("reason", models.CharField(max_length=255)),
                ("received", models.DateTimeField(db_index=True)),
                ("checkout_request_id", models.CharField(db_index=True, max_length=128, null=True)),
                ("transaction_no", models.CharField(db_index=True, max_length=36, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Payment",
            fields=[
                (
                    "transaction_no",
                    models.CharField(max_length=36, primary_key=True, serialize=False),
                ),
                ("idempotency_key", models.CharField(max_length=255, null=True)),
                ("account", models.CharField(max_length=64)),
                ("phone_number", models.CharField(max_length=16)),
                ("amount", models.PositiveIntegerField()),
                ("reference", models.CharField(max_length=255)),
                ("description", models.CharField(blank=True, max_length=255)),
                ("state", models.CharField(max_length=16)),
                ("created", models.DateTimeField()),
                ("updated", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("due_at", models.DateTimeField(null=True)),
                ("merchant_request_id", models.CharField(max_length=128, null=True)),
                ("checkout_request_id", models.CharField(max_length=128, null=True, unique=True)),
                ("response_description", models.TextField(null=True)),
                ("customer_message", models.TextField(null=True)),
                ("result_code", models.CharField(max_length=64, null=True)),
                ("result_desc", models.TextField(null=True)),
                ("receipt_number", models.CharField(max_length=128, null=True, unique=True)),
                ("paid_at", models.DateTimeField(null=True)),
                ("settled_by", models.CharField(max_length=16, null=True)),
                ("needs_review", models.TextField(null=True)),
                ("reported", models.BooleanField()),
                ("history", models.JSONField()),
                ("version", models.PositiveIntegerField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["reference", "created"], name="payment_by_reference"),
                    models.Index(fields=["account", "due_at"], name="payment_by_due_at"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["idempotency_key", "account"], name="payment_key_of_account"
                    )
                ],
            },
        ),
    )

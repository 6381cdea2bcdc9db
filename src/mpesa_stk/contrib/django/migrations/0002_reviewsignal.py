"""The reviews about which the signal was sent."""

from __future__ import annotations

from django.db import migrations, models

from mpesa_stk.contrib.django.orm_columns import ExactCharField


class Migration(migrations.Migration):
    """Signals about reviews."""

    dependencies = (("mpesa_stk", "0001_initial"),)

    operations = (
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

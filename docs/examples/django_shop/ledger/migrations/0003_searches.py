"""The indexes of searches, which read the payments created last first."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Searches of payments."""

    dependencies = (("ledger", "0002_orders"),)

    operations = (
        migrations.AddIndex(
            "payment", models.Index(fields=["account", "created"], name="payment_by_account")
        ),
        migrations.AddIndex(
            "payment", models.Index(fields=["phone_number", "created"], name="payment_by_phone")
        ),
    )

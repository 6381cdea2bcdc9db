"""Several attempts at one order, of which one has its place."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Orders of payments."""

    dependencies = (("ledger", "0001_initial"),)

    operations = (
        migrations.AddField("payment", "order", models.CharField(max_length=128, null=True)),
        migrations.AddField("payment", "order_slot", models.CharField(max_length=133, null=True)),
        migrations.AddIndex(
            "payment", models.Index(fields=["account", "order"], name="payment_by_order")
        ),
        migrations.AddConstraint(
            "payment",
            models.UniqueConstraint(
                fields=["account", "order_slot"], name="payment_place_of_order"
            ),
        ),
    )

"""The reference that a prompt showed in place of the payment's own."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """References of prompts."""

    dependencies = (("ledger", "0003_searches"),)

    operations = (
        migrations.AddField(
            "payment", "prompt_reference", models.CharField(max_length=255, null=True)
        ),
    )

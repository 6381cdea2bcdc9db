"""The table of orders, with three to begin with."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

SOLD = (
    ("INV-001", "Leather shoes", 1500),
    ("INV-002", "Kiondo basket", 850),
    ("INV-003", "Coffee from Nyeri, 500 g", 600),
)


def sell(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Add the orders."""
    rows = apps.get_model("orders", "Order").objects.using(schema_editor.connection.alias)
    for number, title, price in SOLD:
        rows.create(number=number, title=title, price=price)


class Migration(migrations.Migration):
    """Make the table and its rows."""

    initial = True

    operations = (
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=12, unique=True)),
                ("title", models.CharField(max_length=80)),
                ("price", models.PositiveIntegerField(help_text="Shillings")),
                ("paid_by", models.CharField(blank=True, editable=False, max_length=36)),
                ("receipt", models.CharField(blank=True, editable=False, max_length=128)),
            ],
            options={"ordering": ("number",)},
        ),
        migrations.RunPython(sell, migrations.RunPython.noop),
    )

"""``manage.py process_due``: one batch of the work that is due, for cron."""

from django.core.management.base import BaseCommand

from shop import payments as shop


class Command(BaseCommand):
    """Asks about open payments and reports the settled ones."""

    help = "Ask about open payments, and report the settled ones."

    def handle(self, *_args: object, **_options: object) -> None:
        """Do one batch and say what it did."""
        self.stdout.write(str(shop.payments().process_due(on_settled=shop.deliver)))

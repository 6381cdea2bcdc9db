"""``manage.py mpesa_payments``: the desk for "the customer says that he paid"."""

from __future__ import annotations

import argparse
from typing import Any

from mpesa_stk.commands.payments_command import add_actions
from mpesa_stk.contrib.django.project_command import ProjectCommand


class Command(ProjectCommand):
    """Looks at payments, and writes down the decision of a person."""

    help = "Looks at the payments, and decides about them. Sends nothing to Daraja."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the actions of ``mpesa-stk payments``."""
        for action in add_actions(parser):
            action.set_defaults(database=None)

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's
        """Do the action."""
        self.run("payments", options["command"], options)

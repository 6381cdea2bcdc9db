"""``manage.py mpesa_reconcile``: compares the payments with Safaricom's own records."""

from __future__ import annotations

import argparse
from typing import Any

from mpesa_stk.commands.reconcile import add_options, run
from mpesa_stk.contrib.django.project_command import ProjectCommand


class Command(ProjectCommand):
    """Says what is missing in the payments or in Safaricom's records."""

    help = (
        "Compares the payments with Safaricom's own records, and says what is missing on either side. "
        "Changes nothing without --apply. Ends with 0 only if both agree."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of ``mpesa-stk reconcile``."""
        add_options(parser)
        parser.set_defaults(database=None)

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's
        """Reconcile."""
        self.run("reconcile", run, options)

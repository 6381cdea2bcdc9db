"""``manage.py mpesa_worker``: does the work that is due, and sends the signals."""

from __future__ import annotations

import argparse
from typing import Any

from mpesa_stk.commands.context import Context
from mpesa_stk.commands.loop import stop_signals
from mpesa_stk.commands.worker import add_options, check_options, work
from mpesa_stk.contrib.django.project_command import ProjectCommand, current_payments
from mpesa_stk.contrib.django.signals import deliver


class Command(ProjectCommand):
    """Asks Daraja about open payments, and reports settled ones to the receivers of the signals."""

    help = (
        "Does what is due, again and again: asks Daraja about open payments, and sends the signals "
        "about settled ones. Run as many as you like."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of ``mpesa-stk worker``."""
        add_options(parser)

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's
        """Work until a signal stops the command."""
        self.run("worker", _work, options)


def _work(context: Context, arguments: argparse.Namespace, /) -> int:
    check_options(context, arguments)
    current_payments()  # settings that cannot work end the command at once
    with stop_signals() as stop:
        return work(
            context,
            current_payments,
            deliver,
            stop=stop,
            every=arguments.every,
            limit=arguments.limit,
            once=arguments.once,
            pull_every=arguments.pull,
        )

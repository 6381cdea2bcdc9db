"""``manage.py mpesa_simulate``: is Daraja for this project, and does the due work."""

from __future__ import annotations

import argparse
from typing import Any

from mpesa_stk.commands.context import BadArgument, Context
from mpesa_stk.commands.exit_codes import NOT_DONE
from mpesa_stk.commands.loop import stop_signals
from mpesa_stk.commands.simulate import NO_MONEY, add_options, open_server
from mpesa_stk.commands.worker import work
from mpesa_stk.contrib.django import runtime
from mpesa_stk.contrib.django.host_settings import SETTING
from mpesa_stk.contrib.django.project_command import ProjectCommand, current_payments
from mpesa_stk.contrib.django.signals import deliver


class Command(ProjectCommand):
    """Serves a simulated Daraja, and does the work of ``mpesa_worker`` beside it."""

    help = (
        "Is Daraja on this machine for a project with MPESA_STK['simulate'], with the customer's phone "
        "on a web page. Does the work of mpesa_worker, too."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of ``mpesa-stk simulate``, without the address."""
        add_options(parser)

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's
        """Be Daraja until a signal stops the command."""
        self.run("simulate", _simulate, options)


def _simulate(context: Context, arguments: argparse.Namespace, /) -> int:
    host = runtime.host_settings()
    if host.simulated is None:
        raise BadArgument(
            f'{SETTING}: set "simulate": True first, so that the shop uses the simulator'
        )
    arguments.host, arguments.port = "127.0.0.1", host.simulated.port
    server = open_server(context, arguments, *host.configs)
    if server is None:
        return NOT_DONE
    with server, stop_signals() as stop:
        context.say(NO_MONEY)
        context.show(
            f"The customer's phone is at {server.origin}/",
            f"Callbacks go to {host.configs[0].callback_url}",
        )
        return work(context, current_payments, deliver, stop=stop)

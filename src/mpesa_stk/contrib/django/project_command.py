"""The common part of the commands of ``manage.py``: the context of a run, with the project's payments."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand
from django.db import close_old_connections

from mpesa_stk.commands.context import Context, Project
from mpesa_stk.commands.running import Command, run_command
from mpesa_stk.contrib.django import runtime
from mpesa_stk.contrib.django.host_settings import named_database
from mpesa_stk.contrib.django.orm_store import DjangoTransactionStore
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.payments import Payments

__all__ = ["ProjectCommand"]


class ProjectCommand(BaseCommand):
    """A command of ``mpesa-stk`` with the payments of this project.

    Attributes:
        transport: Carries requests to Daraja. None for HTTP.
    """

    requires_system_checks: tuple[str, ...] = ()
    transport: Any = None

    def run(self, name: str, command: Command, options: dict[str, Any], /) -> None:
        """Run a command of the library, and end with its exit code.

        Raises:
            SystemExit: The exit code is not 0.
        """
        self.stdout.ending = ""  # print() writes the ends of lines
        code = run_command(self.context(name), command, argparse.Namespace(**options))
        if code:
            sys.exit(code)

    def context(self, name: str, /) -> Context:
        """Return the context of a run."""
        project = Project(
            program="manage.py mpesa_",
            store=DjangoTransactionStore(named_database()),
            payments=current_payments,
        )
        return Context(
            command=name,
            environ=os.environ,
            clock=runtime.clock(),
            transport=self.transport,
            stdout=self.stdout,
            project=project,
        )


def current_payments() -> Payments | Accounts:
    """Return the payments, after connections of the database were closed that are too old or broken."""
    close_old_connections()
    return runtime.payments()

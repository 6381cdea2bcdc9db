"""``manage.py mpesa_doctor``: checks the settings without moving money."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.checks import WARNING, CheckMessage

from mpesa_stk.commands.context import Context
from mpesa_stk.commands.doctor import add_options, check_configs, show_findings
from mpesa_stk.commands.doctor_settings import Finding
from mpesa_stk.contrib.django import deployment
from mpesa_stk.contrib.django.checks import check_deployment, check_project
from mpesa_stk.contrib.django.host_settings import read_settings
from mpesa_stk.contrib.django.project_command import ProjectCommand
from mpesa_stk.errors import ConfigurationError


class Command(ProjectCommand):
    """Runs the system checks of the payments, and asks Daraja and the callback URL."""

    help = (
        "Checks the settings without moving money. Asks Daraja for a token and about a payment that "
        "cannot exist, and GETs your callback URL."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of ``mpesa-stk doctor``."""
        add_options(parser)

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's
        """Check everything, and print the findings."""
        self.run("doctor", _check, options)


def _check(context: Context, arguments: argparse.Namespace, /) -> int:
    findings = list(map(_finding, check_project()))
    try:
        host = read_settings()
    except ConfigurationError:
        # The first checks have named the settings. On a machine that only builds, missing ones are fine.
        findings += map(_finding, check_deployment())
    else:
        findings += map(_finding, deployment.found(host))
        findings += check_configs(context, host.configs, offline=arguments.offline)
    return show_findings(context, findings, as_json=arguments.json)


def _finding(message: CheckMessage) -> Finding:
    """Return the message of a system check as a finding."""
    return Finding(
        level="problem" if message.level > WARNING else "warning",
        check=str(message.id),
        text=str(message.msg),
        remedy=message.hint or "",
    )

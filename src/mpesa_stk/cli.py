"""The ``mpesa-stk`` command: reads the arguments, and runs one of `commands`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import attrs

from mpesa_stk.commands import (
    completion,
    demo,
    doctor,
    explain,
    payment,
    payments_command,
    reconcile,
    replay,
    serve,
    simulate,
    trigger,
    upgrade,
    worker,
)
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.running import run_command
from mpesa_stk.privacy import hides_locals
from mpesa_stk.version import __version__

_COMMANDS = (
    demo,
    simulate,
    serve,
    worker,
    payments_command,
    reconcile,
    trigger,
    replay,
    payment,
    explain,
    upgrade,
    doctor,
    completion,
)


@hides_locals
def main(argv: Sequence[str] | None = None, /, *, context: Context | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments after the command's name. None for those of the process.
        context: The world of the command. None for that of the process.

    Returns:
        One of `commands.exit_codes`.
    """
    arguments = _parser().parse_args(argv)
    context = attrs.evolve(context or Context(), command=arguments.name)
    return run_command(context, arguments.command, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mpesa-stk", description="Tools for M-Pesa Express.")
    parser.add_argument("--version", action="version", version=f"mpesa-stk {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="command", dest="name", required=True
    )
    for command in _COMMANDS:
        command.add_to(commands)
    commands.choices["completion"].set_defaults(parser=parser)
    return parser

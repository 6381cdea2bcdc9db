"""The ``mpesa-stk`` command: reads the arguments, runs one of `commands`, and handles its errors."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import attrs

from mpesa_stk.commands import (
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
from mpesa_stk.commands.context import BadArgument, Context, one_line
from mpesa_stk.commands.exit_codes import BAD_ARGUMENTS, NOT_DONE, UNKNOWN
from mpesa_stk.errors import ConfigurationError, InvalidRequest, StoreError
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
    try:
        return _run(context, arguments)
    except BrokenPipeError:
        context.drop_output()
        return NOT_DONE


def _run(context: Context, arguments: argparse.Namespace) -> int:
    """Run the command, and print each error that it does not handle."""
    command: Callable[[Context, argparse.Namespace], int] = arguments.command
    try:
        return command(context, arguments)
    except ConfigurationError as error:
        context.complain(*(f"{name}: {rule}" for name, rule in error.problems))
        context.complain("`mpesa-stk doctor` says what to do about each setting")
    except (BadArgument, InvalidRequest) as error:
        context.complain(str(error))
    except StoreError as error:
        context.complain(
            f"the store failed: {one_line(str(error))}",
            "see that the database runs, and that its user may use the tables",
        )
        return NOT_DONE
    except KeyboardInterrupt:
        context.complain("stopped")
        return UNKNOWN
    return BAD_ARGUMENTS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mpesa-stk", description="Tools for M-Pesa Express.")
    parser.add_argument("--version", action="version", version=f"mpesa-stk {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="command", dest="name", required=True
    )
    for command in _COMMANDS:
        command.add_to(commands)
    return parser

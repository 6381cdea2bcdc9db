"""Run a command, and print the errors that it does not handle."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from mpesa_stk.commands.context import BadArgument, Context, one_line
from mpesa_stk.commands.exit_codes import BAD_ARGUMENTS, NOT_DONE, UNKNOWN
from mpesa_stk.errors import ConfigurationError, InvalidRequest, StoreError
from mpesa_stk.privacy import hides_locals

Command = Callable[[Context, argparse.Namespace], int]
"""Runs a command, and returns its exit code."""


@hides_locals
def run_command(context: Context, command: Command, arguments: argparse.Namespace, /) -> int:
    """Run a command.

    Returns:
        Its exit code.
    """
    try:
        return _run(context, command, arguments)
    except BrokenPipeError:
        context.drop_output()
        return NOT_DONE


def _run(context: Context, command: Command, arguments: argparse.Namespace) -> int:
    try:
        return command(context, arguments)
    except ConfigurationError as error:
        context.complain(*(f"{name}: {rule}" for name, rule in error.problems))
        context.complain(f"`{context.command_line('doctor')}` says what to do about each setting")
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

"""The ``mpesa-stk`` command: reads the arguments and calls one of `commands`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version

from mpesa_stk.commands import (
    codes,
    demo,
    doctor,
    payment,
    replay,
    serve,
    simulate,
    trigger,
    worker,
)
from mpesa_stk.secrecy import hides_locals

__all__ = ["main"]

_COMMANDS = (demo, simulate, serve, worker, trigger, replay, payment, codes, doctor)


@hides_locals
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments after the command's name; those of the process by default.

    Returns:
        The exit code: 0 done, 1 not done, 2 bad arguments or settings, 3 nobody can tell yet.
    """
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mpesa-stk", description="Tools for M-Pesa Express.")
    number = version("mpesa-stk-client")
    parser.add_argument("--version", action="version", version=f"mpesa-stk {number}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    return parser

"""The ``mpesa-stk`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from mpesa_stk.errors import InvalidRequest
from mpesa_stk.simulator import demo
from mpesa_stk.simulator.prompts import OUTCOMES

__all__ = ["main"]

_BAD_ARGUMENTS = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments after the command's name; those of the process by default.

    Returns:
        The exit code: 0 done, 1 not done, 2 bad arguments.
    """
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mpesa-stk", description="Tools for M-Pesa Express.")
    number = version("mpesa-stk-client")
    parser.add_argument("--version", action="version", version=f"mpesa-stk {number}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    command = commands.add_parser(
        "demo",
        help="play one payment against a simulated Daraja on this machine",
        description="Plays one payment, from push to report, against a simulated Daraja on this "
        "machine. Timeline on stderr, the payment as JSON on stdout.",
    )
    command.add_argument("--phone", default="0718643064", help="who pays (%(default)s)")
    command.add_argument("--amount", default="100", help="whole shillings (%(default)s)")
    command.add_argument("--reference", default="INV-001", help="shown in the prompt (%(default)s)")
    command.add_argument(
        "--outcome",
        default="paid",
        choices=tuple(OUTCOMES),
        help="how the customer answers (%(default)s)",
    )
    command.set_defaults(command=_demo)
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    try:
        order = demo.check_order(
            phone=arguments.phone, amount=arguments.amount, reference=arguments.reference
        )
    except InvalidRequest as error:
        print(f"mpesa-stk demo: {error}", file=sys.stderr)
        return _BAD_ARGUMENTS
    return demo.run(order, outcome=arguments.outcome)

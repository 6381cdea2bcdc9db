"""``mpesa-stk demo``: one payment against a simulated Daraja on this machine."""

from __future__ import annotations

import argparse
import sys

from mpesa_stk.commands.parsers import BAD_ARGUMENTS, Commands
from mpesa_stk.errors import InvalidRequest
from mpesa_stk.simulator import demo
from mpesa_stk.simulator.prompts import OUTCOMES

__all__ = ["add_to"]


def add_to(commands: Commands, /) -> None:
    """Add the command to the parser."""
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
    command.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        order = demo.check_order(
            phone=arguments.phone, amount=arguments.amount, reference=arguments.reference
        )
    except InvalidRequest as error:
        print(f"mpesa-stk demo: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    return demo.run(order, outcome=arguments.outcome)

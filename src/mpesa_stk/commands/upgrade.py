"""``mpesa-stk database upgrade``: brings the tables of a database to the version of this library."""

from __future__ import annotations

import argparse

from mpesa_stk.commands import database
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.exit_codes import DONE
from mpesa_stk.commands.options import Subparsers


def add_to(commands: Subparsers, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "database",
        help="bring the tables of your database up to this version",
        description="Works on the tables of the SQL stores.",
    )
    actions = command.add_subparsers(title="actions", metavar="action", required=True)
    upgrade = actions.add_parser(
        "upgrade",
        help="make missing tables, and bring older ones up",
        description="Makes missing tables, and brings older ones up to what this version of the "
        "library needs. No payment is lost. Stop older workers before.",
    )
    database.add_option(upgrade)
    upgrade.set_defaults(command=run)


def run(context: Context, arguments: argparse.Namespace, /) -> int:
    """Upgrade the tables, and print what was done."""
    url = database.needed(context, arguments.database)
    with database.open_schemas(url) as schemas:
        for name, schema in schemas.items():
            before, now = schema.upgrade()
            if before == now:
                context.show(f"{name}: version {now}, as needed")
            elif before is None:
                context.show(f"{name}: made, version {now}")
            else:
                context.show(f"{name}: version {before} -> {now}")
    return DONE

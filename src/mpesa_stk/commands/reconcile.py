"""``mpesa-stk reconcile``: compares the books with Safaricom's own records, and closes the day."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import timedelta

import attrs

from mpesa_stk.commands import database, payments_source
from mpesa_stk.commands.context import BadArgument, Context, one_line
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE, UNKNOWN
from mpesa_stk.commands.findings import Books, books_of
from mpesa_stk.commands.findings_screen import books_facts, show_books, write_csv
from mpesa_stk.commands.options import Subparsers, whole_number
from mpesa_stk.commands.payment_facts import View
from mpesa_stk.commands.payments_export import opened
from mpesa_stk.commands.pulls import each_account, pull
from mpesa_stk.commands.screen import Advance, screen_of
from mpesa_stk.errors import InvalidRequest, InvalidStatement, MpesaError
from mpesa_stk.faces import finish
from mpesa_stk.payments.desk import Desk
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.record_report import ReconcileReport
from mpesa_stk.privacy import hides_locals
from mpesa_stk.reconcile.statement import Statement, StatementSource
from mpesa_stk.reconcile.statement_file import read_statement

_HOURS = 48
_PATIENCE = 120.0


def add_to(commands: Subparsers, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "reconcile",
        help="compare your payments with Safaricom's own records",
        description="Compares the payments of your database with Safaricom's own records, and says what "
        "is missing on either side. Changes nothing without --apply. Ends with 0 only if both agree.",
    )
    add_options(command)
    database.add_option(command)
    command.set_defaults(command=run)


def add_options(command: argparse.ArgumentParser, /) -> None:
    """Add the options that do not say where the payments are."""
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--statement",
        nargs="+",
        metavar="FILE",
        help="statements of the organisation portal: .csv, .xls or .xlsx; needs no keys",
    )
    source.add_argument(
        "--pull",
        action="store_true",
        help="ask Daraja for the last hours of every account; needs the settings",
    )
    command.add_argument(
        "--hours",
        default=_HOURS,
        type=whole_number(1, _HOURS),
        metavar="NUMBER",
        help="with --pull: how many hours (%(default)s, which is all that Daraja has)",
    )
    command.add_argument(
        "--account",
        metavar="NUMBER",
        help="with --statement: the paybill or till number of files that do not name it",
    )
    command.add_argument(
        "--apply", action="store_true", help="write what is proven into your payments"
    )
    output = command.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="JSON on stdout")
    output.add_argument("--csv", metavar="FILE", help="every line as CSV; - is stdout")
    command.add_argument("--unmask", action="store_true", help="show phone numbers whole")


@hides_locals
def run(context: Context, arguments: argparse.Namespace, /) -> int:
    """Reconcile the payments with each record, and print the findings."""
    all_books = (_of_files if arguments.statement else _of_pulls)(context, arguments)
    view = View(arguments.unmask)
    if arguments.json:
        context.show(json.dumps({"records": [books_facts(one, view) for one in all_books]}))
    elif arguments.csv:
        with opened(context, arguments.csv) as target:
            count = write_csv(target, all_books, view)
        context.say(f"{count:,} lines")
    else:
        for number, books in enumerate(all_books):
            if number:
                context.show("")
            show_books(context, books, view)
    return exit_code(all_books)


def exit_code(all_books: Sequence[Books], /) -> int:
    """Return 0 if all books agree, 1 if any do not, and 3 if a record does not cover its period."""
    if any(books.differ for books in all_books):
        return NOT_DONE
    return DONE if all(books.agree for books in all_books) else UNKNOWN


# --- the records -----------------------------------------------------------------------------------------


def _of_files(context: Context, arguments: argparse.Namespace) -> list[Books]:
    """Reconcile with files, those of one account as one record. All are read before anything is changed."""
    by_number: dict[str, list[Statement]] = {}
    with screen_of(context).progress("rows read") as advance:
        for name in arguments.statement:
            statement = _read(context, name, arguments.account, advance)
            by_number.setdefault(statement.number or "", []).append(statement)
    with (
        screen_of(context).progress("payments compared") as advance,
        payments_source.open_desk(context, arguments, advance=advance) as open_desk,
    ):
        # A record of a foreign account stops the command before the first change.
        rehearsals = (False, True) if arguments.apply and len(by_number) > 1 else (arguments.apply,)
        for applies in rehearsals:
            all_books = []
            for number, statements in by_number.items():
                report = _compared(open_desk.desk, number, statements, applies=applies)
                all_books.append(books_of(report, name=number, source=statements[0].source.value))
    return all_books


def _compared(
    desk: Desk, number: str, statements: list[Statement], *, applies: bool
) -> ReconcileReport:
    """Reconcile one account.

    Raises:
        BadArgument: The database has no payments of it.
    """
    try:
        return finish(desk.reconcile(statements, apply=applies))
    except InvalidRequest as error:
        raise BadArgument(f"--statement: that of {number} {error.rule}") from None


def _read(context: Context, name: str, account: str | None, advance: Advance) -> Statement:
    """Read one file.

    Raises:
        BadArgument: It cannot be read, is no statement, or is of an account that neither it nor the
            command line names.
    """
    try:
        statement = read_statement(context.folder / name)
    except OSError as error:
        raise BadArgument(f"{name}: cannot be read ({type(error).__name__})") from None
    except InvalidStatement as error:
        raise BadArgument(f"{name}: {error}") from None
    if statement.number is None and account is None:
        raise BadArgument(f"{name}: does not say of which account it is: give --account NUMBER")
    advance(len(statement.rows))
    return attrs.evolve(statement, number=statement.number or account)


def _of_pulls(context: Context, arguments: argparse.Namespace) -> list[Books]:
    """Reconcile with Daraja's record of each account. If one has none, the others still are compared."""
    all_books = []
    with (
        database.open_source(context, arguments.database) as payments_now,
        screen_of(context).progress("rows compared") as advance,
    ):
        for payments in each_account(payments_now()):
            statement, problem = _asked(context, payments, arguments.hours)
            if statement is None:
                name, source = payments.account, StatementSource.PULL.value
                all_books.append(Books(name=name, source=source, problems=(problem,)))
                continue
            report = payments.reconcile(statement, apply=arguments.apply)
            source = statement.source.value
            all_books.append(books_of(report, name=payments.account, source=source))
            advance(len(statement.rows))
    return all_books


def _asked(context: Context, payments: Payments, hours: int) -> tuple[Statement | None, str]:
    """Ask Daraja about one account, and return its record, or None and why there is none."""
    end = context.clock.now()
    try:
        statement = pull(payments, end - timedelta(hours=hours), end, patience=_PATIENCE)
    except MpesaError as error:
        return None, one_line(f"Daraja gave no record: {type(error).__name__}: {error}")
    busy = "Daraja allows no further question now: try again in some minutes"
    return statement, "" if statement is not None else busy

"""``mpesa-stk payments``: the desk for "the customer says that he paid". Reads the arguments."""

from __future__ import annotations

import argparse

from mpesa_stk.commands import database
from mpesa_stk.commands.days import age, day
from mpesa_stk.commands.options import Subparsers, add_json, add_language, whole_number
from mpesa_stk.commands.payments_change import run_forget, run_resolve
from mpesa_stk.commands.payments_export import run_export
from mpesa_stk.commands.payments_look import run_find, run_list, run_reviews, run_show
from mpesa_stk.payments.state import TransactionState

_LIMIT = 50
_MOST = 1_000


def add_to(commands: Subparsers, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "payments",
        help="look at the payments of your database, and decide about them",
        description="Looks at the payments of your database, and decides about them. Sends nothing to "
        "Daraja, and needs no other setting.",
    )
    for action in add_actions(command):
        database.add_option(action)


def add_actions(command: argparse.ArgumentParser, /) -> list[argparse.ArgumentParser]:
    """Add the actions, and return the parser of each. The caller adds where the payments are."""
    actions = command.add_subparsers(title="actions", metavar="action", required=True)
    return [
        add(actions)
        for add in (
            _add_list,
            _add_find,
            _add_show,
            _add_reviews,
            _add_resolve,
            _add_export,
            _add_forget,
        )
    ]


def _add_list(actions: Subparsers) -> argparse.ArgumentParser:
    action = actions.add_parser("list", help="list payments, the newest first")
    _add_filters(action)
    action.add_argument("--reference", metavar="TEXT", help="only with this reference")
    action.add_argument("--order", metavar="TEXT", help="only for this order")
    action.add_argument("--phone", metavar="NUMBER", help="only of this payer")
    _add_days(action)
    _add_limit(action)
    action.add_argument("--all", action="store_true", help="all of them, however many")
    action.add_argument("--after", metavar="CURSOR", help="go on where another list ended")
    _add_view(action)
    action.set_defaults(command=run_list)
    return action


def _add_find(actions: Subparsers) -> argparse.ArgumentParser:
    action = actions.add_parser(
        "find",
        help="find payments by whatever the customer knows",
        description="Finds payments by a phone number, a receipt, a reference, an order, a transaction "
        "number or a CheckoutRequestID, and says by which.",
    )
    action.add_argument("value", metavar="VALUE")
    _add_limit(action)
    _add_view(action)
    action.set_defaults(command=run_find)
    return action


def _add_show(actions: Subparsers) -> argparse.ArgumentParser:
    action = actions.add_parser(
        "show",
        help="tell the story of a payment",
        description="Tells what happened to a payment, who decided what, and the next step.",
    )
    action.add_argument(
        "transaction",
        metavar="TRANSACTION_NO",
        help="or a CheckoutRequestID, or the receipt of the customer",
    )
    _add_view(action)
    add_language(action)
    action.set_defaults(command=run_show)
    return action


def _add_reviews(actions: Subparsers) -> argparse.ArgumentParser:
    action = actions.add_parser(
        "reviews",
        help="list the payments that a person must look at, and what to do",
        description="Lists the payments that a person must look at, why, and what to do. Ends with 1 if "
        "there is any.",
    )
    _add_filters(action)
    _add_view(action)
    action.set_defaults(command=run_reviews)
    return action


def _add_resolve(actions: Subparsers) -> argparse.ArgumentParser:
    action = actions.add_parser(
        "resolve",
        help="write down what a person decided about a payment",
        description="Writes what a person decided about a payment into its history, and closes its "
        "review. Your code is told of it like of any news. A paid payment stays paid.",
    )
    action.add_argument("transaction", metavar="TRANSACTION_NO")
    action.add_argument("--note", required=True, metavar="TEXT", help="why, in your words")
    action.add_argument("--by", metavar="NAME", help="who decides (your login name)")
    outcome = action.add_mutually_exclusive_group()
    outcome.add_argument("--paid", action="store_true", help="the money has come")
    outcome.add_argument("--not-paid", action="store_true", help="the money has not come")
    action.add_argument("--receipt", metavar="CODE", help="the receipt in the M-Pesa statement")
    _add_yes(action)
    _add_unmask(action)
    action.set_defaults(command=run_resolve)
    return action


def _add_export(actions: Subparsers) -> argparse.ArgumentParser:
    action = actions.add_parser(
        "export",
        help="write payments as CSV for an accountant",
        description="Writes the payments that were asked for on the days from --since to --until as "
        "CSV, the newest first.",
    )
    _add_filters(action)
    _add_days(action, required=True)
    action.add_argument("--csv", default="-", metavar="FILE", help="- is stdout (%(default)s)")
    action.add_argument(
        "--bom", action="store_true", help="mark the file as UTF-8, which Excel needs"
    )
    _add_unmask(action)
    action.set_defaults(command=run_export)
    return action


def _add_forget(actions: Subparsers) -> argparse.ArgumentParser:
    action = actions.add_parser(
        "forget",
        help="forget who paid, and keep the books",
        description="Forgets phone numbers and CheckoutRequestIDs of payments that ended long ago. "
        "Amounts, receipts and references stay.",
    )
    action.add_argument(
        "--older-than",
        required=True,
        type=age,
        metavar="AGE",
        help="days, months or years: 90d, 18m, 3y",
    )
    action.add_argument("--dry-run", action="store_true", help="only count them")
    _add_yes(action)
    action.set_defaults(command=run_forget)
    return action


# --- options of several actions --------------------------------------------------------------------------


def _add_filters(action: argparse.ArgumentParser) -> None:
    action.add_argument("--account", metavar="NAME", help='only of this account: "paybill 600000"')
    action.add_argument(
        "--state",
        type=str.upper,
        choices=[state.value for state in TransactionState],
        help="only in this state",
    )


def _add_days(action: argparse.ArgumentParser, *, required: bool = False) -> None:
    for option, words in (("--since", "from this day on"), ("--until", "up to and with this day")):
        action.add_argument(
            option, type=day, required=required, metavar="DAY", help=f"{words}, in Nairobi"
        )


def _add_limit(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--limit",
        default=_LIMIT,
        type=whole_number(1, _MOST),
        metavar="NUMBER",
        help="at most so many (%(default)s)",
    )


def _add_view(action: argparse.ArgumentParser) -> None:
    add_json(action)
    _add_unmask(action)


def _add_unmask(action: argparse.ArgumentParser) -> None:
    action.add_argument("--unmask", action="store_true", help="show phone numbers whole")


def _add_yes(action: argparse.ArgumentParser) -> None:
    action.add_argument("--yes", action="store_true", help="do not ask")

"""``mpesa-stk payments resolve`` and ``forget``: write the decision of a person."""

from __future__ import annotations

import argparse
from datetime import datetime

from mpesa_stk.commands import payments_source
from mpesa_stk.commands.context import BadArgument, Context
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE
from mpesa_stk.commands.payment_facts import View, moment, payments
from mpesa_stk.commands.payments_source import OpenDesk
from mpesa_stk.commands.review_words import reasons_of
from mpesa_stk.commands.screen import screen_of, show_lines
from mpesa_stk.errors import DuplicateTransaction
from mpesa_stk.faces import finish
from mpesa_stk.payments.desk import Desk
from mpesa_stk.payments.events import Forgotten, Meaning
from mpesa_stk.payments.search import PaymentSearch
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.payments.transaction import meaning_of
from mpesa_stk.privacy import hides_locals

_AT_ONCE = 200
_YES = ("y", "yes", "ndio")


# --- resolve ---------------------------------------------------------------------------------------------


@hides_locals
def run_resolve(context: Context, arguments: argparse.Namespace, /) -> int:
    """Write a person's decision about a payment, and show the payment before and after."""
    if arguments.receipt is not None and arguments.not_paid:
        raise BadArgument("--receipt: is for a payment that is paid")
    by = arguments.by or context.login_name()
    if not by:
        raise BadArgument("--by: is needed, because the system has no login name")
    view = View(arguments.unmask)
    with payments_source.open_desk(context, arguments) as open_desk:
        before = open_desk.store.get(arguments.transaction)
        if before is None:
            context.complain("TRANSACTION_NO: is not in this database")
            return NOT_DONE
        show_lines(
            context,
            f"payment   {before.transaction_no}: {before.amount:,} shillings from "
            f"{view.phone(before)} for {view.text(before, before.reference)}",
            f"before    {_in_short(before)}",
            f"decision  {_decision(arguments)}, by {by}: {arguments.note}",
        )
        if not _confirmed(context, "Write this decision?", arguments):
            return NOT_DONE
        after = _resolve(open_desk.desk, before, arguments, by)
    show_lines(context, f"after     {_in_short(after)}")
    return DONE


def _resolve(
    desk: Desk, before: Transaction, arguments: argparse.Namespace, by: str
) -> Transaction:
    outcome = None
    if arguments.paid or arguments.not_paid:
        outcome = TransactionState.SUCCEEDED if arguments.paid else TransactionState.FAILED
    try:
        return finish(
            desk.resolve(
                before.transaction_no,
                note=arguments.note,
                by=by,
                outcome=outcome,
                receipt_number=arguments.receipt,
            )
        )
    except DuplicateTransaction:
        raise BadArgument("--receipt: another payment has it: see `find`") from None


def _in_short(transaction: Transaction) -> str:
    receipt = transaction.receipt_number
    reasons = "; ".join(reasons_of(transaction))
    return ", ".join(
        (
            transaction.state.value,
            f"receipt {receipt}" if receipt else "no receipt",
            f"needs review: {reasons}" if reasons else "no review",
        )
    )


def _decision(arguments: argparse.Namespace) -> str:
    words = "paid" if arguments.paid else "not paid" if arguments.not_paid else "review closed"
    return f"{words}, receipt {arguments.receipt}" if arguments.receipt else words


# --- forget ----------------------------------------------------------------------------------------------


@hides_locals
def run_forget(context: Context, arguments: argparse.Namespace, /) -> int:
    """Forget who paid, in payments that ended long ago."""
    try:
        before = arguments.older_than.before(context.clock.now())
    except (ValueError, OverflowError):
        raise BadArgument("--older-than: reaches beyond the calendar") from None
    with payments_source.open_desk(context, arguments) as open_desk:
        if arguments.dry_run:
            _count(context, open_desk, before)
            return DONE
        context.say(
            f"Payments from before {moment(before)} lose their phone number, Daraja's ids, the "
            "description and the notes. This cannot be undone."
        )
        if not _confirmed(context, "Forget who paid?", arguments):
            return NOT_DONE
        count = 0
        with screen_of(context).progress("forgotten") as advance:
            more = True
            while more:
                done = finish(open_desk.desk.forget(before, _AT_ONCE))
                advance(done)
                count += done
                more = done == _AT_ONCE
    show_lines(context, f"{payments(count)} forgotten")
    return DONE


def _count(context: Context, open_desk: OpenDesk, before: datetime) -> None:
    """Print how many payments would be forgotten, and how many are not finished."""
    wanted = PaymentSearch(created_before=before, not_forgotten=True)
    ready = left = 0
    with screen_of(context).progress("looked at") as advance:
        for payment in open_desk.all(wanted, advance=advance):
            if meaning_of(payment, Forgotten(), context.clock.now()) is Meaning.FORGOTTEN:
                ready += 1
            else:
                left += 1
    show_lines(
        context,
        f"{payments(ready)} from before {moment(before)} would be forgotten",
        *([f"{payments(left)} would stay: open, not reported, or to be reviewed"] if left else ()),
    )


# --- asking ----------------------------------------------------------------------------------------------


def _confirmed(context: Context, question: str, arguments: argparse.Namespace) -> bool:
    """Ask a person at a terminal.

    Raises:
        BadArgument: There is no terminal, and ``--yes`` is not given.
    """
    if arguments.yes:
        return True
    answer = context.ask(f"{question} [y/N]")
    if answer is None:
        raise BadArgument("--yes: is needed, because nobody is here to be asked")
    if answer.lower() in _YES:
        return True
    context.complain("nothing was changed")
    return False

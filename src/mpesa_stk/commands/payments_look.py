"""``mpesa-stk payments list``, ``find``, ``show`` and ``reviews``: look at payments, without changes."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence

from mpesa_stk.commands import payments_source
from mpesa_stk.commands.context import BadArgument, Context
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE
from mpesa_stk.commands.payment_facts import (
    COLUMNS,
    View,
    facts_of,
    history_facts,
    kept_facts,
    row_of,
)
from mpesa_stk.commands.payments_source import OpenDesk
from mpesa_stk.commands.review_words import reasons_of, words_for
from mpesa_stk.commands.screen import Column, screen_of, show_lines
from mpesa_stk.commands.story import story_of
from mpesa_stk.errors import InvalidPhoneNumber
from mpesa_stk.payments.search import PaymentSearch
from mpesa_stk.payments.state import Transaction
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import hides_locals

_ID = re.compile(r"[!-~]{1,128}")
_LONGEST_VALUE = 200
_NOT_HERE = "is not in this database"


# --- list ------------------------------------------------------------------------------------------------


@hides_locals
def run_list(context: Context, arguments: argparse.Namespace, /) -> int:
    """List payments, the newest first."""
    search = payments_source.search_of(arguments)
    with payments_source.open_desk(context, arguments) as desk:
        if arguments.all:
            with screen_of(context).progress("read") as advance:
                found = list(desk.all(search, cursor=arguments.after, advance=advance))
            after = None
        else:
            page = desk.page(search, cursor=arguments.after, limit=arguments.limit)
            found, after = list(page.payments), page.next_cursor
    view = View(arguments.unmask)
    if arguments.json:
        facts = [facts_of(one, view) for one in found]
        context.show(json.dumps({"payments": facts, "next": after}))
        return DONE
    _show_table(context, found, view)
    if after is not None:
        context.say(f"There are more: --all, or --after {after}")
    return DONE


def _show_table(context: Context, found: Sequence[Transaction], view: View) -> None:
    if found:
        screen_of(context).table(COLUMNS, [row_of(one, view) for one in found])
    else:
        context.say("No payment matches.")


# --- find ------------------------------------------------------------------------------------------------


@hides_locals
def run_find(context: Context, arguments: argparse.Namespace, /) -> int:
    """Find payments by a value that the customer knows, and print by which kind each was found."""
    value: str = arguments.value.strip()
    if not 1 <= len(value) <= _LONGEST_VALUE:
        raise BadArgument(f"VALUE: must be 1 to {_LONGEST_VALUE} characters")
    view = View(arguments.unmask)
    with payments_source.open_desk(context, arguments) as desk:
        found = list(_found_by(desk, value, arguments.limit))
    if arguments.json:
        facts = [{"found_by": by, **facts_of(one, view)} for by, one in found]
        context.show(json.dumps({"payments": facts}))
    elif found:
        rows = [(by, *row_of(one, view)) for by, one in found]
        screen_of(context).table((Column("found by"), *COLUMNS), rows)
    else:
        context.complain(f"VALUE: {_NOT_HERE}, neither as a phone number nor as anything else")
    return DONE if found else NOT_DONE


def _found_by(desk: OpenDesk, value: str, limit: int) -> Iterator[tuple[str, Transaction]]:
    """Look a value up as everything that it can be."""
    if _ID.fullmatch(value):
        for by, one in (
            ("transaction number", desk.store.get(value)),
            ("CheckoutRequestID", desk.store.find(checkout_request_id=value)),
            ("receipt", desk.store.find(receipt_number=value.upper())),
        ):
            if one is not None:
                yield by, one
    searches = {
        "reference": PaymentSearch(reference=value),
        "order": PaymentSearch(order=value),
    }
    try:
        phone = PhoneNumber.parse(value)
    except InvalidPhoneNumber:
        pass
    else:
        searches = {"phone": PaymentSearch(phone_number=phone.e164)} | searches
    for by, search in searches.items():
        for one in desk.page(search, limit=limit).payments:
            yield by, one


# --- show ------------------------------------------------------------------------------------------------


@hides_locals
def run_show(context: Context, arguments: argparse.Namespace, /) -> int:
    """Print the history of a payment, its state and the next step."""
    name: str = arguments.transaction
    if not _ID.fullmatch(name):
        raise BadArgument("TRANSACTION_NO: must be 1 to 128 visible characters")
    view = View(arguments.unmask)
    with payments_source.open_desk(context, arguments) as desk:
        transaction = desk.by_any_id(name)
        if transaction is None:
            context.complain(f"TRANSACTION_NO: {_NOT_HERE}")
            return NOT_DONE
        kept = desk.kept_for(transaction)
    if arguments.json:
        history = [history_facts(transaction, entry, view) for entry in transaction.history]
        callbacks = [kept_facts(one) for one in kept]
        facts = facts_of(transaction, view)
        context.show(json.dumps({**facts, "history": history, "kept_callbacks": callbacks}))
    else:
        show_lines(context, *story_of(transaction, kept, view=view, language=arguments.lang))
    return DONE


# --- reviews ---------------------------------------------------------------------------------------------


@hides_locals
def run_reviews(context: Context, arguments: argparse.Namespace, /) -> int:
    """List the payments that a person must look at, why, and what to do about each reason."""
    search = payments_source.search_of(arguments, needs_review=True)
    view = View(arguments.unmask)
    with payments_source.open_desk(context, arguments) as desk:
        found = list(desk.all(search))
    if arguments.json:
        context.show(json.dumps({"payments": [_review_facts(one, view) for one in found]}))
    elif found:
        _show_reviews(context, found, view)
    elif context.output().isatty():
        # Silent otherwise: cron sends a mail about every line.
        context.say("Nothing needs a person.")
    return NOT_DONE if found else DONE


def _review_facts(transaction: Transaction, view: View) -> dict[str, object]:
    reviews = [
        {"reason": reason, "why": words.why, "what_to_do": words.step}
        for reason in reasons_of(transaction)
        for words in (words_for(reason),)
    ]
    return {**facts_of(transaction, view), "reviews": reviews}


def _show_reviews(context: Context, found: Sequence[Transaction], view: View) -> None:
    """Print each payment with the numbers of its reasons, and below them each reason once."""
    numbers: dict[str, int] = {}
    rows = []
    for one in found:
        marks = [numbers.setdefault(reason, len(numbers) + 1) for reason in reasons_of(one)]
        rows.append((", ".join(map(str, marks)), *row_of(one, view)))
    screen_of(context).table((Column("why"), *COLUMNS), rows)
    for reason, number in numbers.items():
        words = words_for(reason)
        show_lines(context, "", f"{number}  {words.why}", f"   What to do: {words.step}")
    resolve = context.command_line("payments resolve")
    show_lines(context, "", f'Then: {resolve} TRANSACTION_NO --note "..."')

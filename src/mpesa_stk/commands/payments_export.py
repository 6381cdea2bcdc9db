"""``mpesa-stk payments export``: payments as CSV, for an accountant's spreadsheet."""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import BinaryIO, TextIO, cast

from mpesa_stk.commands import payments_source
from mpesa_stk.commands.context import BadArgument, Context
from mpesa_stk.commands.exit_codes import DONE
from mpesa_stk.commands.payment_facts import View, payments
from mpesa_stk.commands.screen import Advance, screen_of
from mpesa_stk.daraja.protocol import NAIROBI
from mpesa_stk.payments.state import Transaction
from mpesa_stk.privacy import hides_locals, printable

HEADINGS = (
    "asked_at",
    "paid_at",
    "amount",
    "receipt",
    "phone",
    "reference",
    "order",
    "state",
    "account",
    "transaction_no",
)
# A spreadsheet computes a cell that begins so, also after spaces. The last four are the wide forms.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
BOM = "\ufeff"
_ONLY_OURS = 0o600


@hides_locals
def run_export(context: Context, arguments: argparse.Namespace, /) -> int:
    """Write payments as CSV."""
    search, view = payments_source.search_of(arguments), View(arguments.unmask)
    count = 0
    with (
        payments_source.open_desk(context, arguments) as desk,
        opened(context, arguments.csv) as target,
        _progress(context, arguments.csv) as advance,
    ):
        if arguments.bom:
            target.write(BOM)
        writer = csv.writer(target, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(HEADINGS)
        for transaction in desk.all(search, advance=advance):
            writer.writerow(cells_of(transaction, view))
            count += 1
    context.say(payments(count))
    return DONE


def _progress(context: Context, name: str) -> AbstractContextManager[Advance]:
    """Return the progress of an export. A spinner would be drawn into rows on the same terminal."""
    if name == "-" and context.output().isatty():
        return nullcontext(lambda _number: None)
    return screen_of(context).progress("written")


def cells_of(transaction: Transaction, view: View) -> tuple[str | int, ...]:
    """Return the cells of a payment: amounts as numbers, times as spreadsheets read them."""
    paid_at = transaction.paid_at
    created = transaction.created.astimezone(NAIROBI)
    return (
        f"{created:%Y-%m-%d %H:%M:%S}",
        "" if paid_at is None else f"{paid_at.astimezone(NAIROBI):%Y-%m-%d %H:%M:%S}",
        transaction.amount,
        harmless(transaction.receipt_number or ""),
        # Without the plus, with which a spreadsheet would compute.
        harmless(view.phone(transaction).removeprefix("+")),
        harmless(view.text(transaction, transaction.reference)),
        harmless(view.text(transaction, transaction.order)),
        transaction.state.value,
        harmless(transaction.account),
        harmless(transaction.transaction_no),
    )


def harmless(text: str, /) -> str:
    """Return a text as a cell that no spreadsheet computes.

    A reference comes from outside. As ``=HYPERLINK(...)`` it would become a formula in the accountant's
    spreadsheet. An apostrophe in front makes it a text.
    """
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


@contextmanager
def opened(context: Context, name: str, /) -> Iterator[TextIO]:
    """Open the target as UTF-8. A file gets its name when it is complete, and only its owner reads it.

    Raises:
        BadArgument: The file cannot be written.
    """
    if name == "-":
        with _as_utf8(context.output()) as target:
            yield target
        return
    path = context.folder / name
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with open(part, "x", encoding="utf-8", newline="", opener=_only_ours) as target:
            yield target
        part.replace(path)
    except OSError as error:
        raise BadArgument(f"--csv: cannot be written ({type(error).__name__})") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _only_ours(name: str, flags: int) -> int:
    return os.open(name, flags, _ONLY_OURS)


@contextmanager
def _as_utf8(stream: TextIO) -> Iterator[TextIO]:
    """Write to a text stream in UTF-8 instead of its own encoding, if it has bytes below."""
    below = getattr(stream, "buffer", None)
    if below is None:
        yield stream
        return
    stream.flush()
    target = io.TextIOWrapper(cast("BinaryIO", below), encoding="utf-8", newline="")
    try:
        yield target
    finally:
        target.detach()

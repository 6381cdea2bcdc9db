"""Write a ledger as the statement that Safaricom's organisation portal exports. Pure.

Header block, columns and date form are those of real exports (docs/how-to/simulator.md, section
"Safaricom's ledger").
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal

from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.simulator.ledger import Ledger, LedgerRow
from mpesa_stk.simulator.prompts import EAT

ORGANIZATION = "SIMULATED SHOP"
"""Name of every merchant."""
COLUMNS = (
    "Receipt No.",
    "Completion Time",
    "Initiation Time",
    "Details",
    "Transaction Status",
    "Paid In",
    "Withdrawn",
    "Balance",
    "Balance Confirmed",
    "Reason Type",
    "Other Party Info",
    "Linked Transaction ID",
    "A/C No.",
    "Currency",
)
"""The columns of the statement."""

# Details and Reason Type. The words for payments, for the sweep of a till and for the charge of a paybill
# are those of real exports. The others are made up in their manner.
_TILL_WORDS = {
    "payment": ("Merchant Payment", "Pay Merchant"),
    "sweep": ("Merchant Payment", "Merchant Account to Organization Settlement Account"),
    "fee": ("Pay Merchant Charge", "Pay Merchant Charge"),
    "reversal": ("Merchant Payment Reversal", "Pay Merchant Reversal"),
}
_PAYBILL_WORDS = {
    "payment": ("Pay Bill Online", "Pay Bill Online"),
    "sweep": ("Organization Settlement", "Utility Account to Organization Settlement Account"),
    "fee": ("Pay Bill Charge", "Pay Bill Charge"),
    "reversal": ("Pay Bill Reversal", "Pay Bill Reversal"),
}


def portal_lines(
    ledger: Ledger, account: PayBill | Till, begins: datetime, ends: datetime, /
) -> list[list[str]]:
    """The lines of an account's statement, each a list of cells.

    Args:
        ledger: The ledger.
        account: The account.
        begins: First second that it covers, aware.
        ends: Last second that it covers, aware.
    """
    rows = ledger.rows(account, begins=begins, ends=ends)
    opening = ledger.balance_before(account, begins)
    closing = rows[-1].balance if rows else opening
    return [
        *_header(account, begins, ends),
        ["Opening Balance:", amount_text(opening), "Closing Balance:", amount_text(closing)],
        list(COLUMNS),
        *map(_cells, rows),
    ]


def portal_csv(lines: Iterable[Iterable[str]], /) -> str:
    """The lines of a statement as the portal's .csv. A NUL, which Python 3.10 cannot write, is replaced."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([cell.replace("\0", "\ufffd") for cell in line] for line in lines)
    return text.getvalue()


def _header(account: PayBill | Till, begins: datetime, ends: datetime) -> Iterator[list[str]]:
    is_till = isinstance(account, Till)
    yield ["Account Holder:", ORGANIZATION]
    yield ["Till Number:" if is_till else "Short Code:", account.party_b]
    yield ["Account:", "Merchant Account" if is_till else "Utility Account"]
    yield ["Time Period:", "From", _time(begins), "To", _time(ends)]
    yield ["Operator:", "OPERATOR", "Organization:", ORGANIZATION]


def _cells(row: LedgerRow) -> list[str]:
    is_till = isinstance(row.account, Till)
    details, reason = (_TILL_WORDS if is_till else _PAYBILL_WORDS)[row.kind]
    party = f"{_masked(row.phone_number, local=is_till)} - {row.name}" if row.phone_number else ""
    if party and not is_till and row.kind == "payment":
        account_number = f" Acc. {row.reference}" if row.reference else ""
        details = f"{details} from {party}{account_number}"
    comes_in = row.amount > 0
    return [
        row.receipt_number,
        _time(row.completed),
        _time(row.initiated),
        details,
        "Failed" if row.failed else "Completed",
        amount_text(row.amount) if comes_in else "",
        "" if comes_in else amount_text(row.amount),
        amount_text(row.balance) if row.balance else "0",
        "true",
        reason,
        party,
        row.linked_to,
        row.reference,
        "KES",
    ]


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(EAT):%d-%m-%Y %H:%M:%S}"


def amount_text(amount: Decimal, /) -> str:
    """An amount as in ``30.0`` and ``-22779.95``."""
    text = f"{amount:.2f}"
    return text.removesuffix("0")


def _masked(phone_number: str, *, local: bool) -> str:
    """A phone as in ``070****366`` for tills, and as in ``25470****904`` for paybills."""
    shown = f"0{phone_number[3:]}" if local else phone_number
    return f"{shown[: 3 if local else 5]}****{shown[-3:]}"

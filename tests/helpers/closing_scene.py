"""A made-up shop after a day without callbacks, and the statement of that day."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from desk_scene import keep, store_at
from mpesa_stk import Transaction, TransactionState
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.state import HistoryEntry
from support import make_transaction

__all__ = ["CLOSING", "PAYMENTS", "QUIET", "payment", "shop_at", "statement", "write_statement"]

CLOSING = datetime(2026, 9, 26, 5, tzinfo=timezone.utc)
"""Eight in the morning in Nairobi, the day after."""
_MORNING = datetime(2026, 9, 25, 6, tzinfo=timezone.utc)
_S = TransactionState
_HEAD = """\
Account Holder:,DUKA LTD
Short Code:,600000
Account:,Utility Account
Time Period:,From,25-09-2026 00:00:00,To,25-09-2026 23:59:59
Operator:,wanjiku,Organization:,DUKA LTD
Opening Balance:,0.0,Closing Balance:,9650.0
Receipt No.,Completion Time,Initiation Time,Details,Transaction Status,Paid In,Withdrawn,Balance,\
Balance Confirmed,Reason Type,Other Party Info,Linked Transaction ID,A/C No.,Currency
"""


def payment(
    number: int,
    state: TransactionState,
    amount: int,
    reference: str,
    *,
    minute: int,
    receipt: str | None = None,
    by: str = "callback",
    **changes: Any,
) -> Transaction:
    """A payment of that morning, so many minutes after nine in Nairobi."""
    at = _MORNING + timedelta(minutes=minute)
    event = {"callback": Meaning.PAID, "query": Meaning.QUERY_PAID}.get(by, Meaning.TIME_UP)
    history = (
        HistoryEntry(
            at=at + timedelta(seconds=1), event=Meaning.ACCEPTED.value, state=_S.PENDING, code=None
        ),
        HistoryEntry(at=at + timedelta(seconds=20), event=event.value, state=state, code="0"),
    )
    paid = state is _S.SUCCEEDED
    fields: dict[str, Any] = {
        "transaction_no": f"{number:08}-5d0b-4c7e-8a4c-0b9a2d1e7f10",
        "phone_number": f"+2547220001{number:02}",
        "amount": amount,
        "reference": reference,
        "state": state,
        "checkout_request_id": f"ws_CO_25092026{number:010}7220001{number:02}",
        "result_code": "0" if paid else None,
        "receipt_number": receipt,
        "paid_at": at + timedelta(seconds=18) if receipt else None,
        "settled_by": by,
        "reported": True,
        "due_at": None,
        "created": at,
        "updated": history[-1].at,
        "expires_at": at + timedelta(minutes=15),
        "history": history,
    }
    return make_transaction(**(fields | changes))


def row(receipt: str, minute: int, amount: str, reference: str, phone: str = "25472****") -> str:
    """A line of the statement, completed so many minutes and 18 seconds after nine."""
    hours, minutes = divmod(9 * 60 + minute, 60)
    at = f"25-09-2026 {hours:02}:{minutes:02}:18"
    details = f"Pay Bill Online from {phone}001 - A. NAME Acc. {reference}"
    return (
        f"{receipt},{at},{at},{details},Completed,{amount},,0.0,true,Pay Bill Online,"
        f"{phone} - A. NAME,,{reference},KES\n"
    )


QUIET = (
    payment(1, _S.SUCCEEDED, 1_500, "INV-301", minute=0, receipt="UIP1AA11AA"),
    payment(2, _S.SUCCEEDED, 700, "INV-302", minute=4, receipt="UIP1AA12AB"),
)
"""Payments of before the callbacks stopped. Books and statement agree about them."""
LOST = payment(3, _S.EXPIRED, 2_400, "INV-303", minute=60, by="time")
ASKED = payment(4, _S.SUCCEEDED, 350, "INV-304", minute=70, by="query")
OTHER = payment(5, _S.SUCCEEDED, 900, "INV-305", minute=80, receipt="UIP1AA15AE")
TWINS = (
    payment(6, _S.EXPIRED, 500, "LUNCH", minute=90, by="time"),
    payment(7, _S.EXPIRED, 500, "LUNCH", minute=91, by="time"),
)
CLAIMED = payment(8, _S.SUCCEEDED, 4_000, "INV-308", minute=100, receipt="UIP1AA18AH")
PAYMENTS = (*QUIET, LOST, ASKED, OTHER, *TWINS, CLAIMED)
"""All payments of that day."""

_QUIET_ROWS = row("UIP1AA11AA", 0, '"1,500.00"', "INV-301") + row(
    "UIP1AA12AB", 4, "700.00", "INV-302"
)
_OTHER_ROWS = (
    row("UIP1AA13AC", 60, '"2,400.00"', "INV-303")
    + row("UIP1AA14AD", 70, "350.00", "INV-304")
    + row("UIP1AA15AE", 80, "90.00", "INV-305")
    + row("UIP1AA16AF", 92, "500.00", "LUNCH")
    + row("UIP1AA19AK", 120, "1000.00", "0733000111")
)


def statement(*, quiet: bool = False) -> str:
    """The statement of that day, or of a day on which nothing was lost."""
    return _HEAD + _QUIET_ROWS + ("" if quiet else _OTHER_ROWS)


def write_statement(folder: Path, *, quiet: bool = False, name: str = "september-25.csv") -> Path:
    """Download the statement."""
    path = folder / name
    path.write_text(statement(quiet=quiet), encoding="utf-8")
    return path


def shop_at(url: str, *payments: Transaction) -> str:
    """Make the tables of the shop, and store its payments. Returns the URL."""
    with store_at(url) as store:
        store.create_tables()
    keep(url, *payments)
    return url

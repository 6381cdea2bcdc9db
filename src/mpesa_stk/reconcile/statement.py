"""Define what Safaricom's own records say: `Statement` and its rows. Pure.

A statement is read from a file of the organisation portal, or pulled from Daraja
(docs/how-to/closing-the-day.md).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum

import attrs

from mpesa_stk.privacy import masked_phone_repr


class StatementSource(str, Enum):
    """Where a statement comes from."""

    FILE = "statement"
    """A file of the organisation portal."""
    PULL = "pull"
    """Daraja's Pull Transactions."""


class RowKind(str, Enum):
    """The kind of account that a customer paid to."""

    PAYBILL = "paybill"
    TILL = "till"


@attrs.frozen(kw_only=True)
class StatementRow:
    """One payment that reached the account, as Safaricom recorded it.

    Fees, sweeps to a bank, payments that failed, and payments that the same record shows as reversed are no
    rows.

    Attributes:
        receipt_number: M-Pesa's receipt, in capitals.
        completed: When it was completed, aware, UTC.
        amount: Shillings that came in. More than 0.
        kind: Whether it was paid to a paybill or a till. None if the record does not say.
        reference: The account number that the customer gave. None if it is empty, as for a till.
        phone_number: The payer as the record shows it, such as ``254712****904``. Digits may be missing or
            replaced. None if it shows none, or a hash.
    """

    receipt_number: str
    completed: datetime
    amount: Decimal
    kind: RowKind | None = None
    reference: str | None = None
    phone_number: str | None = attrs.field(default=None, repr=masked_phone_repr)


@attrs.frozen(kw_only=True)
class Statement:
    """Payments that reached one account in one period, as Safaricom recorded them.

    Attributes:
        source: `StatementSource`.
        number: The shortcode or till number that the file names, or that was asked about. None if the file
            names none.
        rows: The payments, the first completed first. Each receipt stands there once.
        covers_from: Begin of the period, aware, UTC. None if it is not known: then no moment is covered.
        covers_until: End of the period, aware, UTC: a moment after the last one that is covered.
        complete: Whether every payment of the period is among the rows, as far as the source itself shows.
            If not, the absence of a row is no proof.
        empty_answer: Whether Daraja said that there are no records. It says the same if the account is not
            registered for pulls, so this alone is no proof.
        left_out: How many lines are no payments to the account: fees, sweeps, failed ones, reversals, and
            the payments that were taken back.
        problems: Why the statement is not complete, in constant words, one for each kind.
    """

    source: StatementSource
    number: str | None = None
    rows: tuple[StatementRow, ...] = ()
    covers_from: datetime | None = None
    covers_until: datetime | None = None
    complete: bool = True
    empty_answer: bool = False
    left_out: int = 0
    problems: tuple[str, ...] = ()

"""Keep Safaricom's ledger of each account: money in, money out, and the balance after each. Pure.

The facts are in docs/how-to/simulator.md, section "Safaricom's ledger".
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Literal

import attrs

from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.privacy import masked_id_repr

MOST_ROWS = 100_000
"""Largest number of rows that are kept for one account."""
# Rows are deleted many at once, because each deletion at the front moves all others.
_DELETED_AT_ONCE = 1000

Movement = Literal["payment", "sweep", "fee", "reversal"]


@attrs.frozen(kw_only=True)
class LedgerRow:
    """One movement of money, or a payment that failed.

    Attributes:
        number: Counts from 1 over all accounts.
        account: The account.
        kind: A ``payment`` of a customer, a ``sweep`` to a bank, a ``fee``, or a ``reversal``.
        receipt_number: M-Pesa's receipt.
        initiated: Time at which it began, aware, in whole seconds.
        completed: Time at which it was completed, aware, in whole seconds.
        amount: Shillings: more than 0 if they came in, less if they went out.
        balance: Balance of the account afterwards.
        failed: Whether no money moved.
        phone_number: The payer's phone, ``254`` and nine digits, or empty.
        name: The payer's name, or empty.
        reference: The account number that the customer gave. Empty for a till.
        linked_to: Receipt of the payment that a fee or a reversal belongs to, or empty.
        checkout_request_id: Id of the prompt that was paid. None if no prompt asked for the money.
    """

    number: int
    account: PayBill | Till
    kind: Movement
    receipt_number: str
    initiated: datetime
    completed: datetime
    amount: Decimal
    balance: Decimal
    failed: bool = False
    phone_number: str = attrs.field(default="", repr=False)
    name: str = attrs.field(default="", repr=False)
    reference: str = ""
    linked_to: str = ""
    checkout_request_id: str | None = attrs.field(default=None, repr=masked_id_repr)

    @property
    def moved(self) -> Decimal:
        """The change of the balance."""
        return Decimal(0) if self.failed else self.amount


class Ledger:
    """The rows of each account, the oldest first.

    It keeps `MOST_ROWS` rows of an account. Then the oldest go, and the balances of the others stay.
    """

    def __init__(
        self, accounts: Iterable[PayBill | Till], /, *, most_rows: int = MOST_ROWS
    ) -> None:
        """Start without rows.

        Args:
            accounts: The accounts.
            most_rows: Largest number of rows of one account.
        """
        self._rows: dict[PayBill | Till, list[LedgerRow]] = {account: [] for account in accounts}
        self._most_rows = most_rows
        self._number = 0

    def add(
        self,
        account: PayBill | Till,
        kind: Movement,
        /,
        *,
        receipt_number: str,
        initiated: datetime,
        completed: datetime,
        amount: Decimal,
        failed: bool = False,
        **facts: str | None,
    ) -> LedgerRow:
        """Add a row. It is never completed before the row above it.

        Args:
            account: The account.
            kind: As in `LedgerRow`, and so are the others.
            receipt_number: The receipt.
            initiated: Time at which it began.
            completed: Time at which it was completed.
            amount: Shillings, less than 0 if they go out.
            failed: Whether no money moves.
            facts: The texts of `LedgerRow`.
        """
        rows = self._rows[account]
        completed = completed.replace(microsecond=0)
        if rows:
            completed = max(completed, rows[-1].completed)
        self._number += 1
        row = LedgerRow(
            number=self._number,
            account=account,
            kind=kind,
            receipt_number=receipt_number,
            initiated=initiated.replace(microsecond=0),
            completed=completed,
            amount=amount,
            balance=self.balance(account) + (0 if failed else amount),
            failed=failed,
            **facts,  # type: ignore[arg-type] # the texts of a row, by name
        )
        rows.append(row)
        if len(rows) >= self._most_rows + min(_DELETED_AT_ONCE, self._most_rows):
            del rows[: -self._most_rows]
        return row

    def balance(self, account: PayBill | Till, /) -> Decimal:
        """The balance of an account."""
        rows = self._rows[account]
        return rows[-1].balance if rows else Decimal(0)

    def balance_before(self, account: PayBill | Till, moment: datetime, /) -> Decimal:
        """The balance of an account before the first row of a moment."""
        rows = self._rows[account][-self._most_rows :]
        place = bisect_left(rows, moment, key=_completed)
        if place > 0:
            return rows[place - 1].balance
        return rows[0].balance - rows[0].moved if rows else Decimal(0)

    def rows(
        self,
        account: PayBill | Till,
        /,
        *,
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> list[LedgerRow]:
        """The kept rows of an account that were completed in a span, both ends included."""
        rows = self._rows[account][-self._most_rows :]
        first = 0 if begins is None else bisect_left(rows, begins, key=_completed)
        last = len(rows) if ends is None else bisect_right(rows, ends, key=_completed)
        return rows[first:last]

    def newest(self, count: int, /) -> list[LedgerRow]:
        """The newest rows of all accounts, the newest first."""
        ends = [reversed(rows[-count:]) for rows in self._rows.values()]
        merged = heapq.merge(*ends, key=lambda row: row.number, reverse=True)
        return [row for _, row in zip(range(count), merged, strict=False)]

    def payment(self, receipt_number: str, /) -> LedgerRow | None:
        """The kept payment with a receipt, unless it failed or was reversed already."""
        for rows in self._rows.values():
            if any(row.kind == "reversal" and row.linked_to == receipt_number for row in rows):
                return None
            for row in reversed(rows):
                if row.receipt_number == receipt_number and row.kind == "payment":
                    return None if row.failed else row
        return None


def _completed(row: LedgerRow) -> datetime:
    return row.completed

"""`LedgerMethods`: the methods of a `Simulation` for its ledger and its outages. Safe between threads."""

from __future__ import annotations

from abc import ABC
from datetime import datetime, timedelta
from decimal import Decimal

from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.simulator.books import PAYER, PAYER_NAME
from mpesa_stk.simulator.changes import Changes
from mpesa_stk.simulator.engine import DarajaEngine
from mpesa_stk.simulator.ledger import LedgerRow
from mpesa_stk.simulator.ledger_file import portal_csv, portal_lines
from mpesa_stk.simulator.ledger_sheet import portal_xlsx
from mpesa_stk.simulator.outages import Outage
from mpesa_stk.simulator.prompts import EAT


class LedgerMethods(ABC):
    """The part of `Simulation` that is about Safaricom's own records.

    An account is one of the merchants' accounts. By default it is that of the first merchant.
    """

    merchants: tuple[StkConfig, ...]
    _changes: Changes
    _engine: DarajaEngine

    # --- money that no prompt asked for ------------------------------------------------------------

    def pay_by_hand(
        self,
        amount: Decimal | int,
        /,
        *,
        phone_number: str = PAYER,
        reference: str = "",
        name: str = PAYER_NAME,
        account: PayBill | Till | None = None,
        failed: bool = False,
    ) -> LedgerRow:
        """Let a customer pay from the menu of the phone, without a prompt. There is no callback.

        Args:
            amount: Shillings, with two decimal places at most.
            phone_number: The payer's phone.
            reference: The account number that the customer types. A till takes none.
            name: The payer's name.
            account: The account that is paid.
            failed: Whether the payment fails: it stands in the ledger, and no money moves.

        Raises:
            ValueError: An argument breaks its rule.
        """
        with self._changes:
            row = self._engine.books.pay(
                self._account(account),
                amount=amount,
                phone_number=phone_number,
                reference=reference,
                name=name,
                failed=failed,
            )
            self._changes.notify()
        return row

    def sweep(
        self, amount: Decimal | int | None = None, /, *, account: PayBill | Till | None = None
    ) -> LedgerRow:
        """Move money to the merchant's bank.

        Args:
            amount: Shillings. Default: the whole balance.
            account: The account.

        Raises:
            ValueError: The amount is 0 or less, or more than the balance.
        """
        with self._changes:
            row = self._engine.books.sweep(self._account(account), amount)
            self._changes.notify()
        return row

    def charge_fee(
        self,
        amount: Decimal | int,
        /,
        *,
        receipt_number: str = "",
        account: PayBill | Till | None = None,
    ) -> LedgerRow:
        """Take a fee from the account.

        Args:
            amount: Shillings.
            receipt_number: Receipt of the payment that it is for.
            account: The account.

        Raises:
            ValueError: The amount is 0 or less, or more than the balance.
        """
        with self._changes:
            row = self._engine.books.charge(
                self._account(account), amount, linked_to=receipt_number
            )
            self._changes.notify()
        return row

    def reverse(self, receipt_number: str, /) -> LedgerRow:
        """Give a payment back to its customer.

        Args:
            receipt_number: Receipt of the payment.

        Raises:
            LookupError: No payment has this receipt, or it was reversed already.
            ValueError: The balance is lower than the payment.
        """
        with self._changes:
            row = self._engine.books.reverse(receipt_number)
            self._changes.notify()
        return row

    # --- the records ---------------------------------------------------------------------------------

    def ledger(self, account: PayBill | Till | None = None, /) -> list[LedgerRow]:
        """The rows of an account, the oldest first. Beyond 100,000, the oldest are forgotten."""
        with self._changes:
            self._engine.books.enter_prompts()
            return self._engine.books.ledger.rows(self._account(account))

    def newest_rows(self, count: int, /) -> list[LedgerRow]:
        """The newest rows of all accounts, the newest first."""
        with self._changes:
            self._engine.books.enter_prompts()
            return self._engine.books.ledger.newest(count)

    def statement_csv(
        self,
        account: PayBill | Till | None = None,
        /,
        *,
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> str:
        """Write the statement of an account, as the organisation portal exports it.

        Args:
            account: The account.
            begins: First second that it covers, aware. Default: the begin of today, in Nairobi.
            ends: Last second that it covers, aware. Default: the end of the day of `begins`, in Nairobi.
        """
        return portal_csv(self._statement(account, begins, ends))

    def statement_xlsx(
        self,
        account: PayBill | Till | None = None,
        /,
        *,
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> bytes:
        """Write the statement of an account as .xlsx. The arguments are those of `statement_csv`."""
        return portal_xlsx(self._statement(account, begins, ends))

    def _statement(
        self, account: PayBill | Till | None, begins: datetime | None, ends: datetime | None
    ) -> list[list[str]]:
        with self._changes:
            books = self._engine.books
            books.enter_prompts()
            first = _midnight(books.now()) if begins is None else begins
            last = _midnight(first) + timedelta(days=1, seconds=-1) if ends is None else ends
            return portal_lines(books.ledger, self._account(account), first, last)

    def register_for_pulls(self, account: PayBill | Till | None = None, /) -> None:
        """Register an account for Pull Transactions, as its merchant once did.

        Without a registration, a pull is answered 1001, as by Daraja.

        Args:
            account: The account.
        """
        with self._changes:
            self._engine.register_pull(self._account(account))

    # --- outages -------------------------------------------------------------------------------------

    def outage(self, *, begins: datetime | None = None, ends: datetime | None = None) -> Outage:
        """Let no callback be delivered for some time. Money still moves.

        The callbacks of that time are lost: they do not come afterwards, and are not tried again.

        Args:
            begins: First moment of it, aware. Default: now.
            ends: The moment after its last one, aware. Default: `end_outage` ends it.

        Raises:
            ValueError: A time has no zone, or the end is not after the begin.
        """
        with self._changes:
            outage = self._engine.outages.add(begins, ends)
            self._changes.notify()
        return outage

    def end_outage(self) -> None:
        """Deliver callbacks again from now on, and forget the outages to come."""
        with self._changes:
            self._engine.outages.end()
            self._changes.notify()

    @property
    def outages(self) -> tuple[Outage, ...]:
        """The outages, past ones too. Beyond 100, the first ones are forgotten."""
        with self._changes:
            return self._engine.outages.all()

    @property
    def current_outage(self) -> Outage | None:
        """The outage of this moment, or None."""
        with self._changes:
            return self._engine.outages.current()

    def _account(self, account: PayBill | Till | None) -> PayBill | Till:
        known = [merchant.account for merchant in self.merchants]
        if account is not None and account not in known:
            raise ValueError("the account must be that of one of the merchants")
        return known[0] if account is None else account


def _midnight(moment: datetime) -> datetime:
    """The begin of a moment's day in Nairobi."""
    return moment.astimezone(EAT).replace(hour=0, minute=0, second=0, microsecond=0)

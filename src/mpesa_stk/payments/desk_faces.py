"""The work of a person with payments, on both faces: `Payments` and `Accounts` inherit these methods."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mpesa_stk.faces import finish
from mpesa_stk.payments.alarm import CallbackNews
from mpesa_stk.payments.desk import Desk
from mpesa_stk.payments.reconciling import Claim
from mpesa_stk.payments.record_report import ReconcileReport
from mpesa_stk.payments.search import PaymentPage, PaymentSearch
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import hides_locals
from mpesa_stk.reconcile.statement import Statement


class DeskFace:
    """The methods of a desk, for `Payments` and `Accounts`."""

    _desk: Desk

    @hides_locals
    def search(  # noqa: PLR0913 - one argument for each thing to search by
        self,
        *,
        phone_number: str | PhoneNumber | None = None,
        receipt_number: str | None = None,
        reference: str | None = None,
        order: str | None = None,
        state: TransactionState | None = None,
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        needs_review: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> PaymentPage:
        """Return one page of the payments of this account that match, the last created first.

        All given values must match. Without any, all payments are found. The store must be a
        `SearchableStore`, as the stores of this package are.

        Args:
            phone_number: Who pays, in every form that `normalize_phone` accepts.
            receipt_number: M-Pesa's receipt, exactly.
            reference: Your reference, exactly.
            order: What is being paid, exactly.
            state: `TransactionState`.
            created_from: Created at this moment or later. The moment has a time zone.
            created_before: Created before this moment.
            needs_review: Whether only payments that a person must look at are wanted.
            cursor: The `next_cursor` of the page before, or None for the first page.
            limit: The most payments of the page, 1 to 1000.

        Raises:
            InvalidRequest: A field breaks a rule.
            ConfigurationError: The store cannot search.
            StoreError: The store failed.
        """
        return finish(
            self._desk.search(
                PaymentSearch(
                    phone_number=phone_number,
                    receipt_number=receipt_number,
                    reference=reference,
                    order=order,
                    state=state,
                    created_from=created_from,
                    created_before=created_before,
                    needs_review=needs_review,
                ),
                cursor=cursor,
                limit=limit,
            )
        )

    @hides_locals
    def reviews(self, *, cursor: str | None = None, limit: int = 50) -> PaymentPage:
        """Return one page of the payments of this account that a person must look at.

        Args:
            cursor: The `next_cursor` of the page before, or None for the first page.
            limit: The most payments of the page, 1 to 1000.

        Raises:
            InvalidRequest: The cursor or the limit breaks a rule.
            ConfigurationError: The store cannot search.
            StoreError: The store failed.
        """
        return finish(self._desk.reviews(cursor=cursor, limit=limit))

    @hides_locals
    def resolve(
        self,
        transaction_no: str,
        /,
        *,
        note: str,
        by: str,
        outcome: TransactionState | None = None,
        receipt_number: str | None = None,
    ) -> Transaction:
        """Write a person's decision about a payment of this account, and close its review.

        The decision is an entry in the history, and the payment is reported again if it changes the
        state, the receipt or the review. A paid payment is never called unpaid. Evidence that comes later
        counts as before: a proven success makes a payment SUCCEEDED that a person called FAILED.

        A reason for a review that appears while the decision is written stays.

        Args:
            transaction_no: The number of the payment.
            note: Why, in one line of at most 500 characters. It is kept in the history.
            by: Who decided, in at most 64 characters.
            outcome: SUCCEEDED if the customer paid, FAILED if not. None only closes the review.
            receipt_number: The receipt that you read in the M-Pesa statement, for a paid payment without
                one.

        Returns:
            The payment as now stored.

        Raises:
            InvalidRequest: A field breaks a rule, or the decision does. `field` and `rule` say which.
            DuplicateTransaction: Another payment has that receipt.
            StoreError: The store failed.
        """
        return finish(
            self._desk.resolve(
                transaction_no, note=note, by=by, outcome=outcome, receipt_number=receipt_number
            )
        )

    @hides_locals
    def reconcile(
        self, statement: Statement | Sequence[Statement], /, *, apply: bool = False
    ) -> ReconcileReport:
        """Compare the payments of this account with Safaricom's own records of it.

        First look at the report of a dry run. With `apply`, each payment that the record proves becomes
        SUCCEEDED and is reported. Paid payments get their receipts. A payment that a person must look at
        gets a review. Applying the same statement again has no effect. Each payment is changed by itself,
        so a call that failed may be made again.

        docs/how-to/closing-the-day.md has the rules. The store must be a `SearchableStore`.

        Args:
            statement: The record, or several, which are read as one. Several accounts may be among them.
            apply: Whether payments are changed.

        Raises:
            InvalidRequest: A statement names no account, an account that is not served here, or a number
                that several accounts have.
            ConfigurationError: The store cannot search.
            StoreError: The store failed. Payments that were changed before stay so.
        """
        return finish(self._desk.reconcile(statement, apply=apply))

    @hides_locals
    def claim(
        self, transaction_no: str, receipt_number: str, /, *, statement: Statement | None = None
    ) -> Claim:
        """Answer a customer who says "I paid, here is my code".

        The answer comes from what is stored and from the statement. A claim does not settle the payment:
        a person who reads a code over a shoulder could make it. It is an entry in the history of
        the payment, which keeps the first five codes. Limit how often a customer may ask, so that codes
        cannot be guessed.

        Args:
            transaction_no: The number of the payment.
            receipt_number: The code of the SMS, as the customer typed it.
            statement: A fresh record, for example of a pull, in which the code is looked up.

        Raises:
            InvalidRequest: The payment is not known, the code does not have the form of a receipt, or the
                statement is not of the payment's account.
            StoreError: The store failed.
        """
        return finish(self._desk.claim(transaction_no, receipt_number, statement=statement))

    @hides_locals
    def check_callbacks(self) -> CallbackNews | None:
        """Look whether callbacks still come while payments are made.

        Call it every minute or so, as `mpesa-stk worker` does. It reads the last payments of this account
        from the store, and does not ask Daraja. The news goes to the hooks and the log too, as an
        `Event` of the kind ``alarm``.

        Returns:
            The news, once: callbacks stopped, or they returned. None if there is no news.

        Raises:
            ConfigurationError: The store cannot search.
            StoreError: The store failed.
        """
        return finish(self._desk.check_callbacks())


class AsyncDeskFace:
    """The methods of a desk, awaited, for `AsyncPayments` and `AsyncAccounts`."""

    _desk: Desk

    @hides_locals
    async def search(  # noqa: PLR0913 - as above
        self,
        *,
        phone_number: str | PhoneNumber | None = None,
        receipt_number: str | None = None,
        reference: str | None = None,
        order: str | None = None,
        state: TransactionState | None = None,
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        needs_review: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> PaymentPage:
        """Return one page of the payments that match, as `Payments.search` does."""
        return await self._desk.search(
            PaymentSearch(
                phone_number=phone_number,
                receipt_number=receipt_number,
                reference=reference,
                order=order,
                state=state,
                created_from=created_from,
                created_before=created_before,
                needs_review=needs_review,
            ),
            cursor=cursor,
            limit=limit,
        )

    @hides_locals
    async def reviews(self, *, cursor: str | None = None, limit: int = 50) -> PaymentPage:
        """Return one page of the payments that need a person, as `Payments.reviews` does."""
        return await self._desk.reviews(cursor=cursor, limit=limit)

    @hides_locals
    async def resolve(
        self,
        transaction_no: str,
        /,
        *,
        note: str,
        by: str,
        outcome: TransactionState | None = None,
        receipt_number: str | None = None,
    ) -> Transaction:
        """Write a person's decision about a payment, as `Payments.resolve` does."""
        return await self._desk.resolve(
            transaction_no, note=note, by=by, outcome=outcome, receipt_number=receipt_number
        )

    @hides_locals
    async def reconcile(
        self, statement: Statement | Sequence[Statement], /, *, apply: bool = False
    ) -> ReconcileReport:
        """Compare payments with Safaricom's own records, as `Payments.reconcile` does."""
        return await self._desk.reconcile(statement, apply=apply)

    @hides_locals
    async def claim(
        self, transaction_no: str, receipt_number: str, /, *, statement: Statement | None = None
    ) -> Claim:
        """Answer a customer who names a receipt, as `Payments.claim` does."""
        return await self._desk.claim(transaction_no, receipt_number, statement=statement)

    @hides_locals
    async def check_callbacks(self) -> CallbackNews | None:
        """Look whether callbacks still come, as `Payments.check_callbacks` does."""
        return await self._desk.check_callbacks()

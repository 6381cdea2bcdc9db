"""Opens the payments of ``mpesa-stk payments``, and reads them page by page."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

import attrs

from mpesa_stk.clock import AwaitedClock
from mpesa_stk.commands import database
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.days import end_of, start_of
from mpesa_stk.commands.screen import Advance
from mpesa_stk.faces import finish
from mpesa_stk.hooks import Notifier
from mpesa_stk.payments.desk import Desk
from mpesa_stk.payments.search import PaymentPage, PaymentSearch
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.payments.store import AwaitedTransactionStore, KeptCallback, TransactionStore
from mpesa_stk.privacy import hides_locals

_PAGE = 500


@attrs.frozen
class OpenDesk:
    """The desk of a database that is open."""

    store: TransactionStore
    desk: Desk

    def page(
        self, search: PaymentSearch, /, *, cursor: str | None = None, limit: int
    ) -> PaymentPage:
        """Return one page of the payments that are wanted."""
        return finish(self.desk.search(search, cursor=cursor, limit=limit))

    def all(
        self, search: PaymentSearch, /, *, cursor: str | None = None, advance: Advance | None = None
    ) -> Iterator[Transaction]:
        """Return all payments that are wanted, the newest first, page by page."""
        while True:
            page = self.page(search, cursor=cursor, limit=_PAGE)
            yield from page.payments
            if advance is not None:
                advance(len(page.payments))
            cursor = page.next_cursor
            if cursor is None:
                return

    def by_any_id(self, name: str, /) -> Transaction | None:
        """Find a payment by any of the three ids that a person may have."""
        return (
            self.store.get(name)
            or self.store.find(checkout_request_id=name)
            or self.store.find(receipt_number=name.upper())
        )

    def kept_for(self, transaction: Transaction, /) -> list[KeptCallback]:
        """Return the callbacks that are kept for a payment, oldest first."""
        return self.store.kept_callbacks(
            checkout_request_id=transaction.checkout_request_id,
            transaction_no=transaction.transaction_no,
        )


class _CountedStore(AwaitedTransactionStore):
    """A store that says how far a long work on it is."""

    def __init__(self, store: TransactionStore, advance: Advance) -> None:
        super().__init__(store)
        self._advance = advance

    @hides_locals
    async def search(
        self, search: PaymentSearch, /, *, cursor: str | None, limit: int
    ) -> PaymentPage:
        """Count each payment that is read."""
        page = await super().search(search, cursor=cursor, limit=limit)
        self._advance(len(page.payments))
        return page

    @hides_locals
    async def replace(self, transaction: Transaction, /) -> bool:
        """Count each payment that is written."""
        self._advance(1)
        return await super().replace(transaction)


@contextlib.contextmanager
def open_desk(
    context: Context, arguments: argparse.Namespace, /, *, advance: Advance | None = None
) -> Iterator[OpenDesk]:
    """Open the payments that ``--database`` or the setting names.

    Args:
        context: The world of the command.
        arguments: Its arguments.
        advance: Is called with the number of payments that the desk just read or wrote.

    Raises:
        BadArgument: Neither names a database, or it cannot be opened.
    """
    with database.open_store(context, arguments.database) as store:
        counted = None if advance is None else _CountedStore(store, advance)
        awaited, clock = counted or AwaitedTransactionStore(store), AwaitedClock(context.clock)
        yield OpenDesk(store, Desk(awaited, clock=clock, notify=Notifier(())))


def search_of(arguments: argparse.Namespace, /, *, needs_review: bool = False) -> PaymentSearch:
    """Return the search that the options of an action mean.

    Raises:
        InvalidPhoneNumber: ``--phone`` is none.
    """
    given = vars(arguments)
    since, until, state = (given.get(name) for name in ("since", "until", "state"))
    return PaymentSearch(
        accounts=_accounts(given.get("account")),
        phone_number=given.get("phone"),
        reference=given.get("reference"),
        order=given.get("order"),
        state=None if state is None else TransactionState(state),
        created_from=None if since is None else start_of(since),
        created_before=None if until is None else end_of(until),
        needs_review=needs_review,
    )


def _accounts(name: str | None) -> frozenset[str] | None:
    """Return the names under which payments store an account. People know a paybill by its number."""
    return None if name is None else frozenset({name, f"paybill {name}"})

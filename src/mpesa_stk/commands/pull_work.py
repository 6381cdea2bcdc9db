"""``mpesa-stk worker --pull``: looks for payments in Safaricom's records, and closes each day."""

from __future__ import annotations

import argparse
import math
import re
from datetime import datetime, timedelta

import attrs

from mpesa_stk.commands.context import Context, one_line
from mpesa_stk.commands.findings import APPLIED, Books, Verdict, books_of, headline
from mpesa_stk.commands.payment_facts import payments as in_words
from mpesa_stk.commands.pulls import each_account, pull
from mpesa_stk.commands.screen import show_lines
from mpesa_stk.daraja.protocol import NAIROBI
from mpesa_stk.errors import ConfigurationError, MpesaError, StoreError
from mpesa_stk.hooks import Event
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.schedule import (
    LEAST_PULL_PAUSE,
    RECORDS_REACH,
    closed_day,
    is_to_be_looked_for,
)
from mpesa_stk.payments.state import Transaction, TransactionState

_UNRESOLVED = (TransactionState.UNCERTAIN, TransactionState.EXPIRED)
_PAGE = 500
# A payment may be completed a moment before our clock says that it was asked for.
_BEFORE_PUSH = timedelta(minutes=2)
_DAY = timedelta(days=1)
_LONGEST_PAUSE = 86_400.0
_UNITS = {"s": 1, "m": 60, "h": 3600}
_match_pause = re.compile(r"([1-9][0-9]{0,4})([smh])").fullmatch


def pause(text: str, /) -> float:
    """Read a pause such as ``15m``, as an argparse type, and return its seconds."""
    found = _match_pause(text)
    seconds = float(int(found[1]) * _UNITS[found[2]]) if found else 0.0
    if not LEAST_PULL_PAUSE <= seconds <= _LONGEST_PAUSE:
        raise argparse.ArgumentTypeError("must be 1m to 24h, such as 15m")
    return seconds


@attrs.define
class _Done:
    """The work that was done for one account.

    Attributes:
        looked: When its payments were last looked for with success. None if they never were.
        closed: The first moment of the last day that was closed.
    """

    looked: datetime | None = None
    closed: datetime | None = None


class PullWork:
    """Pulls Safaricom's records when payments are to be looked for, and when a day is closed.

    Call it after each batch. It pulls at most once in its pause for each of the two. If a pull fails, the
    same payments are looked for after the next pause.
    """

    def __init__(self, context: Context, every: float, /) -> None:
        """Make the work.

        Args:
            context: The world of the command.
            every: The least seconds between two pulls for payments of an account.
        """
        self._context = context
        self._every = every
        self._next = context.clock.monotonic()
        self._is_busy = False
        self._done: dict[str, _Done] = {}

    def __call__(self, payments: Payments | Accounts, /) -> None:
        """Look, if it is time to.

        Raises:
            StoreError: The store failed.
        """
        now = self._context.clock.monotonic()
        if now < self._next:
            return
        self._is_busy = False
        try:
            for one in each_account(payments):
                self._look(one)
                self._close(one)
            self._next = now + (LEAST_PULL_PAUSE if self._is_busy else self._every)
        except ConfigurationError as error:
            self._next = math.inf
            self._context.complain(
                *(f"--pull: {name}: {rule}" for name, rule in error.problems),
                "--pull: looks for nothing until the worker is started anew",
            )

    # --- payments without outcome -----------------------------------------------------------------

    def _look(self, payments: Payments) -> None:
        """Look for the payments of one account that are due for it, in one pull."""
        now = self._context.clock.now()
        done = self._done.setdefault(payments.account, _Done())
        due = [
            payment.created
            for payment in _unresolved(payments, now - RECORDS_REACH)
            if is_to_be_looked_for(payment.created, since=done.looked, now=now)
        ]
        if due:
            start = max(min(due) - _BEFORE_PUSH, now - RECORDS_REACH)
            books = self._pulled(payments, start, now)
            if books is None:
                return
            found = sum(len(books.of(verdict)) for verdict in APPLIED)
            payments.notify(Event(kind="records", outcome="found" if found else "not_found"))
            show_lines(
                self._context,
                f"{books.name}: looked for {in_words(len(due))}, {found} found in the records",
            )
        done.looked = now

    # --- a day ------------------------------------------------------------------------------------

    def _close(self, payments: Payments) -> None:
        """Close the last day of one account, once."""
        now = self._context.clock.now()
        done = self._done.setdefault(payments.account, _Done())
        day = closed_day(now)
        if day == done.closed or now - day > RECORDS_REACH:
            return
        books = self._pulled(payments, day, day + _DAY)
        if books is None:
            return
        done.closed = day
        outcome = "agree" if books.agree else "differ" if books.differ else "not_covered"
        payments.notify(Event(kind="records", outcome=outcome))
        name = f"{payments.account}, {day.astimezone(NAIROBI):%Y-%m-%d}"
        show_lines(self._context, f"{name}: {verdict_on(books)}", *self._what_differs(books))

    def _what_differs(self, books: Books) -> list[str]:
        """Return a line for each kind of finding that a person should know of."""
        quiet = (Verdict.CONFIRMED, Verdict.NOT_COVERED)
        lines = [
            f"  {in_words(len(found))}: {headline(verdict, applied=books.applied)}"
            for verdict in Verdict
            if verdict not in quiet and (found := books.of(verdict))
        ]
        how = self._context.command_line("reconcile --pull")
        return [*lines, *([f"  see them: {how}"] if books.differ else ())]

    # --- both -------------------------------------------------------------------------------------

    def _pulled(self, payments: Payments, start: datetime, end: datetime) -> Books | None:
        """Pull, write what is proven into the books, and return the findings. None if it failed."""
        try:
            statement = pull(payments, start, end, patience=0.0)
            if statement is None:
                self._is_busy = True  # the budget of the app goes to status queries now
                return None
            report = payments.reconcile(statement, apply=True)
        except (StoreError, ConfigurationError):
            raise
        except MpesaError as error:
            name = type(error).__name__
            payments.notify(Event(kind="records", outcome="error", error=name))
            self._context.complain(
                f"{payments.account}: Daraja gave no record: {name}: {one_line(str(error))}"
            )
            return None
        return books_of(report, name=payments.account, source=statement.source.value)


def _unresolved(payments: Payments, since: datetime) -> list[Transaction]:
    """Return the payments of an account whose outcome is unknown."""
    found: list[Transaction] = []
    for state in _UNRESOLVED:
        cursor = None
        while True:
            page = payments.search(state=state, created_from=since, cursor=cursor, limit=_PAGE)
            found.extend(page.payments)
            cursor = page.next_cursor
            if cursor is None:
                break
    return found


def verdict_on(books: Books, /) -> str:
    """Return in one line whether something is missing."""
    confirmed = in_words(len(books.of(Verdict.CONFIRMED)))
    if books.agree:
        return f"nothing is missing, {confirmed} confirmed"
    if books.differ:
        return f"the books and Safaricom do not agree, {confirmed} confirmed"
    why = "; ".join(books.problems) or "Daraja's record does not cover the day"
    return f"nobody can say whether something is missing: {why}"

"""Pull Transactions of the simulated Daraja: the registration and the query. Pure.

Codes, texts and forms are those of Safaricom's portal and of captures (docs/how-to/simulator.md, section
"Pull Transactions").
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import cast

from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.daraja.exchange import HttpResponse
from mpesa_stk.simulator import validation
from mpesa_stk.simulator.apps import Merchants
from mpesa_stk.simulator.books import Books
from mpesa_stk.simulator.faults import NO_ROWS, daraja_answer, refusal, request_id
from mpesa_stk.simulator.incoming import Request
from mpesa_stk.simulator.ledger import LedgerRow
from mpesa_stk.simulator.pull_pages import page_of, registered

WINDOW = timedelta(hours=48)
"""Age of the oldest row that is returned."""


class PullEndpoints:
    """Answer registrations and queries whose token was checked."""

    def __init__(self, merchants: Merchants, /, *, books: Books, randomness: random.Random) -> None:
        self._merchants = merchants
        self._books = books
        self._random = randomness
        self._registered: set[PayBill | Till] = set()

    def register(self, account: PayBill | Till, /) -> None:
        """Register an account."""
        self._registered.add(account)

    def answer(
        self, request: Request, payload: Mapping[str, object], /, *, app: str
    ) -> HttpResponse:
        """Answer one request.

        Args:
            request: The request.
            payload: The object of its body.
            app: Consumer key of the app.
        """
        shortcode = validation.digits_of(payload.get("ShortCode"))
        registers = request.path.endswith("/register")
        accounts = self._merchants.accounts_of(app, shortcode or "")
        if shortcode is None or (registers and not accounts):
            return self._refuse("400.001", "Invalid ShortCode")
        fields = validation.PULL_REGISTER_FIELDS if registers else validation.PULL_QUERY_FIELDS
        field = validation.invalid_field(payload, fields)
        if field is not None:
            return self._refuse("400.002.02", f"Bad Request - Invalid {field}")
        reference = request_id(self._random)
        if registers:
            again = self._registered.issuperset(accounts)
            for account in accounts:
                self.register(account)
            return daraja_answer(200, registered(reference, shortcode, request.form, again=again))
        rows = self._rows(payload, [one for one in accounts if one in self._registered])
        if not rows:
            return daraja_answer(200, {"ResponseRefID": reference, **NO_ROWS})
        offset = validation.whole_of(payload["OffSetValue"]) or 0
        return daraja_answer(200, page_of(rows, offset, reference, request.form))

    def _rows(
        self, payload: Mapping[str, object], accounts: list[PayBill | Till]
    ) -> list[LedgerRow]:
        """The payments of a window that reached the accounts, the oldest first."""
        # Both were checked.
        begins = cast("datetime", validation.pull_time(payload["StartDate"]))
        ends = cast("datetime", validation.pull_time(payload["EndDate"]))
        oldest = self._books.now() - WINDOW
        rows = [
            row
            for account in accounts
            for row in self._books.ledger.rows(account, begins=max(begins, oldest), ends=ends)
            if row.kind == "payment" and not row.failed
        ]
        return sorted(rows, key=lambda row: row.number)

    def _refuse(self, code: str, message: str) -> HttpResponse:
        return refusal(request_id(self._random), 400, code, message)

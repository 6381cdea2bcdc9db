"""The outage of 25 September 2026, replayed: 137 payments reach the account, and the books know of 34.

Safaricom delivered no confirmations for three and a half hours, and no backlog came afterwards. Here the
status query stammers as well, so nobody but Safaricom's own records knows of the other 103.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from mpesa_stk import PaymentSearch, Transaction, TransactionState, cli
from mpesa_stk.commands.context import Context
from mpesa_stk.stores.sql import SqlTransactionStore
from mpesa_stk.testing import ManualClock, SimulatedDaraja, phones, simulated_config

pytestmark = pytest.mark.slow

ALL, KNOWN = 137, 34
BEGIN = datetime(2026, 9, 25, 5, tzinfo=timezone.utc)
"""Eight in the morning in Nairobi."""
MIDNIGHT = datetime(2026, 9, 24, 21, tzinfo=timezone.utc)
EVERY = 120.0
CONFIG = simulated_config()
ENVIRON = {
    "consumer_key": CONFIG.consumer_key,
    "consumer_secret": CONFIG.consumer_secret,
    "shortcode": CONFIG.account.shortcode,
    "pass_key": CONFIG.passkey,
    "c2b_callback": CONFIG.callback_url,
    "callback_secret": CONFIG.callback_secrets[0],
    "access_token_url": CONFIG.environment.token_url,
    "checkout_url": CONFIG.environment.push_url,
    "mpesa_query_check_url": CONFIG.environment.query_url,
}


class Shop:
    """A shop on that day. Its database is at `url`.

    Attributes:
        daraja: Safaricom, with its ledger.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'payments.db'}"
        self.daraja = SimulatedDaraja(CONFIG, clock=ManualClock(start=BEGIN))
        self.daraja.register_for_pulls()
        self._engine = create_engine(self.url)
        self._store = SqlTransactionStore(self._engine)
        self._store.create_tables()

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def trade(self) -> None:
        """Sell to everybody of that day, and ask Daraja as a worker does."""
        payments = self.daraja.payments(self._store)
        for number in range(ALL):
            if number == KNOWN:
                outage_ends = self.daraja.clock.now() + timedelta(hours=3, minutes=30)
                self.daraja.outage(ends=outage_ends)
            if number >= KNOWN:
                self.daraja.next("query", *["no-text"] * 20)
            payments.checkout(
                phone_number=phones.PAID, amount=100 + number, reference=f"INV-{number}"
            )
            self.daraja.advance(EVERY)
            payments.process_due(on_settled=lambda _: None)
        for _ in range(60):
            self.daraja.next("query", *["no-text"] * 20)
            self.daraja.advance(EVERY)
            payments.process_due(on_settled=lambda _: None)

    def payments(self) -> list[Transaction]:
        """All payments as they are stored now."""
        page = self._store.search(PaymentSearch(), cursor=None, limit=1000)
        return list(page.payments)

    def books(self) -> Counter[TransactionState]:
        """How many payments are in each state."""
        return Counter(one.state for one in self.payments())

    def reconcile(self, *argv: str) -> tuple[int, Any]:
        """Run the command, and return its exit code and what it says to programs."""
        output = self.folder / "output.json"
        with output.open("w", encoding="utf-8") as stdout:
            context = Context(
                environ=ENVIRON | {"mpesa_database": self.url},
                clock=self.daraja.clock,
                transport=self.daraja,
                folder=self.folder,
                stdout=stdout,
            )
            code = cli.main(["reconcile", *argv, "--json"], context=context)
        (record,) = json.loads(output.read_text(encoding="utf-8"))["records"]
        return code, record

    def download(self) -> str:
        """Download the statement of that day, the next morning."""
        text = self.daraja.statement_csv(
            CONFIG.account, begins=MIDNIGHT, ends=MIDNIGHT + timedelta(days=1)
        )
        (self.folder / "statement.csv").write_text(text, encoding="utf-8")
        return "statement.csv"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """The shop in the evening of that day: 34 payments in its books."""
    shop = Shop(tmp_path)
    shop.trade()
    yield shop
    shop.close()


LOST = ALL - KNOWN


def test_without_a_record_nobody_knows(shop: Shop) -> None:
    """34 payments are paid, and a person would have to look 103 of them up."""
    assert len(shop.daraja.ledger()) == ALL
    assert shop.books() == {
        TransactionState.SUCCEEDED: KNOWN,
        TransactionState.EXPIRED: LOST,
    }
    assert sum(one.needs_review is not None for one in shop.payments()) == LOST


@pytest.mark.parametrize("source", ["pull", "statement"])
def test_with_a_record_the_books_close(shop: Shop, source: str) -> None:
    """A dry run finds the 103, --apply settles them with their receipts, and then both sides agree."""
    if source == "pull":
        argv = ["--pull"]
    else:
        shop.daraja.advance(12 * 3600.0)
        argv = ["--statement", shop.download()]
    code, record = shop.reconcile(*argv)
    assert code == 1
    assert (record["counts"]["confirmed"], record["counts"]["settled"]) == (KNOWN, LOST)
    assert shop.books()[TransactionState.EXPIRED] == LOST

    code, record = shop.reconcile(*argv, "--apply")
    assert (code, record["agree"]) == (0, True)
    assert shop.books() == {TransactionState.SUCCEEDED: ALL}
    held = {one.receipt_number for one in shop.payments()}
    assert held == {row.receipt_number for row in shop.daraja.ledger()}
    assert not any(one.needs_review for one in shop.payments())

    code, record = shop.reconcile(*argv)
    assert (code, record["counts"]["confirmed"]) == (0, ALL)


def test_an_app_without_the_product(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, and it is said that the app lacks the product."""
    shop.daraja.next("pull", *["pull-no-product"] * 4)
    code, record = shop.reconcile("--pull", "--apply")
    assert code == 3
    assert "Pull Transactions is not enabled on this app" in record["problems"][0]
    assert shop.books()[TransactionState.EXPIRED] == LOST
    assert capsys.readouterr().err == ""

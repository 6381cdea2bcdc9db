"""A year of a shop under a seed: what Safaricom's own records settle that callbacks and queries could not.

``python -m tests.simulation.year --days 365 --source pull``
Other sources are ``statement``, ``weekly`` and ``none``. ``--till`` is a shop with a till.

Push answers and callbacks are lost, queries stammer, Safaricom delivers nothing for hours, customers pay by
hand, amounts are equal, and references are used twice. In the end the books are compared with the ledger.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

import attrs

from mpesa_stk import (
    MemoryTransactionStore,
    MpesaError,
    PayBill,
    Statement,
    Till,
    Transaction,
    TransactionState,
    read_statement,
)
from mpesa_stk.simulator import SCENARIOS, Scenario
from mpesa_stk.testing import SimulatedDaraja, simulated_config

SOURCES = ("none", "pull", "statement", "weekly")
_PRICES = (50, 100, 100, 100, 250, 500, 1500)
_OPENS, _CLOSES = 7 * 3600, 21 * 3600
_STEP = 600.0
_OUTAGE = timedelta(hours=3, minutes=30)
_OPEN_WAYS = ("paid", "paid", "paid", "paid", "paid", "cancelled", "no-funds", "ignored")
_LOST = SCENARIOS["callback-lost"]
_SILENT = Scenario(outcome="paid", callbacks=0, query_outcome="expired")


@attrs.define(kw_only=True)
class Count:
    """What came of a year.

    Attributes:
        payments: Payments that were asked for.
        paid: Those that were paid, as the ledger shows.
        unknown: Those that ended unknown before a record was read.
        by_record: Those that a record settled.
        wrong: Payments called paid that nobody paid.
        left: Paid ones that count as unpaid, and stand in no list for a person.
        listed: Paid ones that count as unpaid, and are listed for a person, with their candidates.
        by_hand: Payments that nobody asked for.
        unasked: How many of them the records listed.
    """

    payments: int = 0
    paid: int = 0
    unknown: int = 0
    by_record: int = 0
    wrong: int = 0
    left: int = 0
    listed: int = 0
    by_hand: int = 0
    unasked: int = 0

    @property
    def resolved(self) -> float:
        """Which part of the payments needs no person."""
        return 1 - (self.left + self.listed + self.wrong) / max(self.payments, 1)


class Year:
    """One shop, day by day."""

    def __init__(self, seed: int, *, source: str, till: bool = False) -> None:
        self.chance = random.Random(seed)
        self.source = source
        self.till = till
        account = Till(store_number="600002", till_number="5000001") if till else PayBill("600000")
        self.daraja = SimulatedDaraja(simulated_config(account=account), seed=seed)
        self.store = MemoryTransactionStore()
        self.payments = self.daraja.payments(self.store)
        self.asked: list[Transaction] = []
        self.receipts: dict[str, str] = {}
        """What the customers paid, by the number of the payment."""
        self.hand_receipts: set[str] = set()
        self._today: list[str] = []
        self.listed: set[str] = set()
        self.unasked: set[str] = set()
        self.count = Count()
        if source == "pull":
            self.daraja.register_for_pulls()

    def run(self, days: int) -> Count:
        """Live through the days, and compare in the end."""
        silent = set(self.chance.sample(range(days), max(days // 120, 1)))
        for day in range(days):
            began = self.daraja.clock.now()
            if day in silent:
                begins = began + timedelta(hours=self.chance.randrange(8, 17))
                self.daraja.outage(begins=begins, ends=begins + _OUTAGE)
            self._day(customers=self.chance.randrange(20, 41))
            self._close(day, began)
        self._pass(86_400.0)
        self._compare()
        return self.count

    # --- the day -------------------------------------------------------------------------------------

    def _day(self, *, customers: int) -> None:
        moments = sorted(self.chance.uniform(_OPENS, _CLOSES) for _ in range(customers))
        now = 0.0
        for moment in moments:
            self._pass(moment - now)
            now = moment
            if self.chance.random() < 0.05:
                self._by_hand()
            else:
                self._ask()
        self._pass(86_400.0 - now)

    def _ask(self) -> None:
        """A customer presses the button."""
        chance = self.chance
        reference = f"O{len(self.asked)}"
        if self.asked and chance.random() < 0.02:
            reference = self.asked[-1].reference
        lot = chance.random()
        scenario: Scenario = SCENARIOS[chance.choice(_OPEN_WAYS)]
        if lot < 0.02:
            scenario = _LOST
        elif lot < 0.03:
            scenario = _SILENT
        elif lot < 0.04:
            scenario = attrs.evolve(_SILENT, push_fault="done-but-dropped")
        self.daraja.play(scenario)
        try:
            self.asked.append(
                self.payments.checkout(
                    phone_number=f"25471{chance.randrange(10**7):07}",
                    amount=chance.choice(_PRICES),
                    reference=reference,
                )
            )
        except MpesaError:
            return
        self._today.append(self.asked[-1].transaction_no)
        self.count.payments += 1

    def _by_hand(self) -> None:
        """A customer pays without being asked, sometimes with a reference that was in use."""
        known = self.asked and self.chance.random() < 0.3
        row = self.daraja.pay_by_hand(
            self.chance.choice(_PRICES),
            phone_number=f"25472{self.chance.randrange(10**7):07}",
            reference="" if self.till else self.asked[-1].reference if known else "SCHOOL FEES",
        )
        self.hand_receipts.add(row.receipt_number)
        self.count.by_hand += 1

    def _pass(self, seconds: float) -> None:
        """Let time pass, and do what is due."""
        while seconds > 0:
            step = min(seconds, _STEP)
            self.daraja.advance(step)
            seconds -= step
            self.payments.process_due(on_settled=lambda _payment: None)

    # --- the close of a day ----------------------------------------------------------------------------

    def _close(self, day: int, began: datetime) -> None:
        for prompt in self.daraja.prompts:
            if prompt.outcome.paid and not self.daraja.is_open(prompt):
                number = prompt.callback_url.rstrip("/").rpartition("/")[2].partition(".")[0]
                self.receipts[number] = prompt.receipt_number
        self.count.unknown += sum(
            stored is not None and stored.state is TransactionState.EXPIRED
            for stored in map(self.store.get, self._today)
        )
        self._today.clear()
        for statement in self._records(day, began):
            report = self.payments.reconcile(statement, apply=True)
            self.count.by_record += len(report.settled)
            self.unasked |= {row.receipt_number for row in report.unasked}
            self.listed |= {
                payment.transaction_no
                for doubt in report.ambiguous
                for payment in doubt.transactions
            }

    def _records(self, day: int, began: datetime) -> Iterator[Statement]:
        """What the shop has of Safaricom at the end of a day."""
        now = self.daraja.clock.now()
        if self.source == "pull":
            yield self.payments.client.pull(now - timedelta(hours=47), now)
        elif self.source == "statement":
            yield self._statement(began - timedelta(days=1), now)
        elif self.source == "weekly" and day % 7 == 6:
            yield self._statement(began - timedelta(days=7), now)

    def _statement(self, begins: datetime, ends: datetime) -> Statement:
        text = self.daraja.statement_csv(begins=begins, ends=ends)
        return read_statement(text.encode())

    # --- the end -----------------------------------------------------------------------------------------

    def _compare(self) -> None:
        """Compare the books with what the customers really paid."""
        for asked in self.asked:
            stored = self.store.get(asked.transaction_no)
            assert stored is not None
            receipt = self.receipts.get(stored.transaction_no)
            self.count.paid += receipt is not None
            self.count.wrong += stored.paid and stored.receipt_number not in (receipt, None)
            self.count.wrong += stored.paid and receipt is None and stored.receipt_number is None
            if receipt is not None and not stored.paid:
                known = stored.needs_review or stored.transaction_no in self.listed
                self.count.listed += bool(known)
                self.count.left += not known
        self.count.unasked = len(self.unasked & self.hand_receipts)


def main() -> int:
    """Run a year, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.year", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--source", choices=SOURCES, default="pull")
    parser.add_argument("--till", action="store_true", help="a till, whose rows name no reference")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    year = Year(arguments.seed, source=arguments.source, till=arguments.till)
    count = year.run(arguments.days)
    for name, value in attrs.asdict(count).items():
        print(f"{name:>10}  {value:,}")
    print(f"{count.resolved:.4%} of the payments need no person")
    return int(count.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

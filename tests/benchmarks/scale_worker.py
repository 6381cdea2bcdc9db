"""One worker process of the scale benchmarks, with a store of its own on each of some databases.

It obeys the lines on its standard input, each a JSON list of a verb and its arguments, and answers each
with a line. Seconds are of the monotonic clock, which the processes of a machine share.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mpesa_stk.stores.sql import SqlTransactionStore
from scale_data import LONG_AGO
from scale_double import Shop, open_shop
from support import ACCOUNTS

BATCH = 100
_NO_LEASE = timedelta(0)  # what is claimed is due again, behind all others


class Worker:
    """A shop on each database."""

    def __init__(self, name: str, urls: list[str]) -> None:
        stores = [SqlTransactionStore(sa.create_engine(url)) for url in urls]
        self._shops: list[Shop] = [
            open_shop(store, f"{name}D{number}N") for number, store in enumerate(stores)
        ]

    def window(self, database: int, verb: str, begins: float, ends: float) -> list[float]:
        """Do one thing again and again in a window of time.

        Returns:
            For how many payments, in how many seconds, with how many of this process's processor.
        """
        shop = self._shops[database]
        step: Callable[[], int | None] = {
            "checkout": lambda: len([shop.checkout()]),
            "callback": lambda: 1 if shop.take_callback() else None,  # none is owed any more
            "claim": lambda: _claim(shop),
        }[verb]
        time.sleep(max(begins - time.monotonic(), 0))
        done, now, processor = 0, time.monotonic(), time.process_time()
        while now < ends and (more := step()) is not None:
            done += more
            now = time.monotonic()
        return [done, now - begins, time.process_time() - processor]

    def follow(self, database: int, batches: int) -> list[int]:
        """Ask about what is due, batch after batch; resident bytes after each one."""
        resident = []
        payments = self._shops[database].payments
        for _ in range(batches):
            report = payments.process_due(limit=BATCH, deadline=600.0)
            assert (report.queried, report.failed) == (BATCH, 0)
            resident.append(_resident())
        return resident


def _resident() -> int:
    """Bytes of this process in memory. Not the peak, which a process inherits from its parent (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _claim(shop: Shop) -> int:
    """One batch; it may be empty, where another worker had the database to itself meanwhile."""
    moment = LONG_AGO + timedelta(days=1, seconds=time.monotonic())
    return len(shop.payments.store.claim_due(moment, BATCH, _NO_LEASE, ACCOUNTS))


def main() -> None:
    """Say that we are ready; then do what each line asks, and answer with a line."""
    name, *urls = sys.argv[1:]
    worker = Worker(name, urls)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        answer: Any = getattr(worker, verb)(*arguments)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

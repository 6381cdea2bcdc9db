"""A worker that dies at a chosen step: what the crash tests run in processes of their own.

Its store and its transport are doubles that delegate to the real ones, and tell the parent of each step
before it is taken. Imports the package and `support`, nothing of pytest.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import attrs
import sqlalchemy

from mpesa_stk import (
    Environment,
    HttpRequest,
    HttpResponse,
    KeptCallback,
    MpesaError,
    Payments,
    RequestsTransport,
    StkClient,
    Transaction,
    TransactionStore,
    Transport,
)
from mpesa_stk.stores.sql import SqlTransactionStore
from support import CALLBACK_SECRET, START, ManualClock, make_config, make_transaction

__all__ = [
    "AMOUNT",
    "DIED",
    "WRITES",
    "Order",
    "Place",
    "SteppedStore",
    "SteppedTransport",
    "Steps",
    "act",
    "nursery",
    "open_engine",
    "shop",
]

T = TypeVar("T")
Reach = Callable[[str], None]

DIED = -signal.SIGKILL if hasattr(signal, "SIGKILL") else None
"""The exit code of a worker that was killed."""
WRITES = frozenset(
    {"add", "replace", "claim_due", "keep_callback", "drop_callback", "purge_callbacks"}
)
"""The methods that commit something."""
AMOUNT = 100
PATIENCE = 20.0


@attrs.frozen(kw_only=True)
class Place:
    """Where a worker finds everything.

    Attributes:
        environment: Daraja.
        callback_url: The shop's, before it is signed.
        signed: Whether callback URLs are signed.
    """

    environment: Environment
    callback_url: str
    signed: bool


@attrs.frozen(kw_only=True)
class Order:
    """What a worker does.

    Attributes:
        action: ``checkout``, ``handle_callback`` or ``process_due``.
        phone_number: Who pays.
        key: The payment's idempotency key.
        order: What is paid, or None.
        body: The callback's body.
        token: The token of its URL.
    """

    action: str
    phone_number: str
    key: str
    order: str | None = None
    body: bytes = b""
    token: str | None = None


def shop(
    place: Place, store: TransactionStore, clock: ManualClock, transport: Transport | None = None
) -> Payments:
    """A worker's payments."""
    config = make_config(
        environment=place.environment,
        callback_url=place.callback_url,
        callback_secrets=(CALLBACK_SECRET,) if place.signed else (),
    )
    client = StkClient(config, clock=clock, transport=transport)
    # Not always the same, or a due time that is set twice would be no change.
    jitter = itertools.cycle((0.4, 0.6)).__next__
    return Payments(client, store, clock=clock, jitter=jitter)


def open_engine(database_url: str) -> sqlalchemy.Engine:
    """An engine of one process. SQLite need not wait for the disk: processes die here, not machines."""
    engine = sqlalchemy.create_engine(database_url)
    if engine.dialect.name == "sqlite":

        def relax(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA synchronous = OFF")

        sqlalchemy.event.listen(engine, "connect", relax)
    return engine


def act(payments: Payments, order: Order, on_settled: Callable[[Transaction], object]) -> None:
    """Do what an order says."""
    if order.action == "checkout":
        payments.checkout(
            phone_number=order.phone_number,
            amount=AMOUNT,
            reference="INV-1",
            idempotency_key=order.key,
            order=order.order,
        )
    elif order.action == "handle_callback":
        payments.handle_callback(order.body, token=order.token)
    else:
        payments.process_due(on_settled=on_settled, limit=10)


# --- doubles that say where they are -------------------------------------------------------------------


def _around(reach: Reach, name: str, call: Callable[[], T]) -> T:
    reach(f"before {name}")
    result = call()
    reach(f"after {name}")
    return result


class Steps:
    """Gives each step of a worker a name of its own, and hands it on."""

    def __init__(self, at: Callable[[str], None]) -> None:
        self._at = at
        self._seen: Counter[str] = Counter()

    def __call__(self, point: str) -> None:
        """A step is reached."""
        self._seen[point] += 1
        count = self._seen[point]
        self._at(point if count == 1 else f"{point} {count}")


class SteppedStore:
    """A store that tells before and after each method."""

    def __init__(self, store: TransactionStore, reach: Reach) -> None:
        self._store = store
        self._reach = reach
        self.method = ""

    def _do(self, method: str, call: Callable[[], T]) -> T:
        self.method = method
        return _around(self._reach, f"store.{method}", call)

    def add(self, transaction: Transaction, /) -> None:
        """Insert."""
        self._do("add", lambda: self._store.add(transaction))

    def get(self, transaction_no: str, /) -> Transaction | None:
        """By number."""
        return self._do("get", lambda: self._store.get(transaction_no))

    def find(self, **value: Any) -> Transaction | None:
        """By value."""
        return self._do("find", lambda: self._store.find(**value))

    def replace(self, transaction: Transaction, /) -> bool:
        """Compare and set."""
        return self._do("replace", lambda: self._store.replace(transaction))

    def attempts(self, account: str, order: str, /) -> list[Transaction]:
        """By order."""
        return self._do("attempts", lambda: self._store.attempts(account, order))

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Claim."""
        return self._do("claim_due", lambda: self._store.claim_due(now, limit, lease, accounts))

    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep."""
        self._do("keep_callback", lambda: self._store.keep_callback(kept))

    def kept_callbacks(self, **names: Any) -> list[KeptCallback]:
        """Look."""
        return self._do("kept_callbacks", lambda: self._store.kept_callbacks(**names))

    def drop_callback(self, callback_id: str, /) -> None:
        """Forget."""
        self._do("drop_callback", lambda: self._store.drop_callback(callback_id))

    def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Forget the old ones."""
        return self._do("purge_callbacks", lambda: self._store.purge_callbacks(before, limit))


class SteppedTransport:
    """A transport that tells before and after each exchange."""

    def __init__(self, transport: Transport, place: Place, reach: Reach) -> None:
        self._transport = transport
        self._names = {
            url: name.removesuffix("_url") for name, url in place.environment.urls.items()
        }
        self._reach = reach

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send."""
        name = f"send {self._names[request.url]}"
        return _around(self._reach, name, lambda: self._transport.send(request))

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()


# --- processes ------------------------------------------------------------------------------------------


def nursery(database_url: str, orders: Connection) -> None:
    """Fork a worker for each order from this process, which has all that takes long done already.

    It has no threads and no connections, so that a fork of it is as good as a new process.
    """
    engine = open_engine(database_url)
    _warm_up(SqlTransactionStore(engine), RequestsTransport())
    engine.dispose()
    orders.send("ready")
    context = multiprocessing.get_context("fork")
    while True:
        try:
            place, order, now, kill_at = orders.recv()
        except EOFError:
            return
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(place, order, engine, now, kill_at, sender))
        worker.start()
        sender.close()
        worker.join(PATIENCE)
        if worker.is_alive():
            worker.kill()
        orders.send((worker.exitcode, _entries(receiver)))
        worker.join(PATIENCE)
        worker.close()


def _warm_up(store: TransactionStore, transport: Transport) -> None:
    """Let every statement be compiled once; the engine remembers it."""
    transport.close()
    now = START
    payment = make_transaction()
    kept = KeptCallback(
        callback_id="1", body=b"{}", reason="", received=now, checkout_request_id="ws_CO_1"
    )
    store.add(payment)
    store.replace(payment)
    store.get(payment.transaction_no)
    for name in ("checkout_request_id", "receipt_number", "idempotency_key", "reference"):
        store.find(**{name: "none"})
    store.attempts(payment.account, "none")
    store.claim_due(now + timedelta(days=1), 10, timedelta(seconds=1), frozenset({payment.account}))
    store.keep_callback(kept)
    store.kept_callbacks(checkout_request_id="ws_CO_1", transaction_no=payment.transaction_no)
    store.purge_callbacks(now + timedelta(days=1), 1)
    store.drop_callback(kept.callback_id)


def _entries(receiver: Connection) -> list[tuple[str, Any]]:
    """All that a worker wrote, which outlives it."""
    entries = []
    with receiver:
        while True:
            try:
                entries.append(receiver.recv())
            except EOFError:
                return entries


def _work(
    place: Place,
    order: Order,
    engine: sqlalchemy.Engine,
    now: datetime,
    kill_at: str | None,
    journal: Connection,
) -> None:
    """Carry out one order in this process, which ends by SIGKILL when it reaches `kill_at`."""

    def at(point: str) -> None:
        journal.send(("step", point))
        if point == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    reach = Steps(at)

    def tell(transaction: Transaction) -> None:
        _around(
            reach,
            "on_settled",
            lambda: journal.send(("told", (transaction.transaction_no, transaction.state))),
        )

    clock = ManualClock(start=now)
    store = SteppedStore(SqlTransactionStore(engine, clock=clock), reach)

    def before_commit(_connection: sqlalchemy.Connection) -> None:
        """All statements of a method are executed, and nothing is committed."""
        if store.method in WRITES:
            reach(f"inside store.{store.method}")

    sqlalchemy.event.listen(engine, "commit", before_commit)
    transport = SteppedTransport(RequestsTransport(monotonic=clock.monotonic), place, reach)
    try:
        act(shop(place, store, clock, transport), order, tell)
    except MpesaError as error:
        journal.send(("raised", type(error).__name__))
    engine.dispose()

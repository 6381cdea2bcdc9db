"""What `MemoryTransactionStore` costs with 1,000 and with 1,000,000 payments stored."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import attrs
import pytest

from measure import Call, Line, Scoreboard, Times, in_words, profile, ratio, take_turns
from mpesa_stk import MemoryTransactionStore, Transaction, TransactionState
from support import ACCOUNTS, START, make_transaction

FEW = 1_000
MANY = 1_000_000
DUE = 100
LIMIT = 1.5
_LEASE = timedelta(minutes=2)
_DRAWN = 500


@attrs.frozen
class Stores:
    """The same payments, and in one store very many more."""

    few: MemoryTransactionStore
    many: MemoryTransactionStore
    drawn: tuple[Transaction, ...]


def _settled(number: int, pattern: Transaction) -> Transaction:
    """A payment that was paid and reported; it shares what it can with the others."""
    return Transaction(
        transaction_no=f"{number:08x}-0000-4000-8000-000000000000",
        idempotency_key=f"order-{number}",
        account=pattern.account,
        phone_number=pattern.phone_number,
        amount=pattern.amount,
        reference=f"INV-{number}",
        state=TransactionState.SUCCEEDED,
        created=pattern.created,
        updated=pattern.updated,
        expires_at=pattern.expires_at,
        due_at=None,
        checkout_request_id=f"ws_CO_{number:017d}718643064",
        receipt_number=f"R{number:09d}",
        reported=True,
    )


def _filled(size: int) -> MemoryTransactionStore:
    """A store with that many payments that are over, and `DUE` that are due."""
    store = MemoryTransactionStore()
    pattern = make_transaction()
    for number in range(size):
        store.add(_settled(number, pattern))
    for number in range(DUE):
        store.add(make_transaction(transaction_no=f"due-{number}", due_at=START))
    return store


@pytest.fixture(scope="module")
def stores() -> Iterator[Stores]:
    """Both stores, made once and hidden from the garbage collector."""
    few, many = _filled(FEW), _filled(MANY)
    pattern = make_transaction()
    drawn = tuple(_settled(number, pattern) for number in range(0, FEW, FEW // _DRAWN))
    gc.collect()
    gc.freeze()
    yield Stores(few, many, drawn)
    gc.unfreeze()


def test_look_ups(benchmark: Any, scoreboard: Scoreboard, stores: Stores) -> None:
    """Finding a payment by any of its unique values takes as long among a million as among a thousand."""

    def look_up(store: MemoryTransactionStore) -> None:
        for wanted in stores.drawn:
            number = wanted.transaction_no
            by_checkout = store.find(checkout_request_id=wanted.checkout_request_id)
            by_receipt = store.find(receipt_number=wanted.receipt_number)
            by_key = store.find(idempotency_key=wanted.idempotency_key)
            by_reference = store.find(reference=wanted.reference)
            assert by_checkout is by_receipt is by_key is by_reference is store.get(number)
            assert by_checkout is not None

    many, few = take_turns(
        benchmark, lambda: look_up(stores.many), lambda: look_up(stores.few), rounds=200
    )
    _judge(scoreboard, "get and find", many, few, lambda: look_up(stores.many))


def test_claim_due(benchmark: Any, scoreboard: Scoreboard, stores: Stores) -> None:
    """Claiming what is due costs the same beside a million payments that are over."""
    moments = (START + 2 * _LEASE * turn for turn in itertools.count())

    def claim(store: MemoryTransactionStore) -> None:
        claimed = store.claim_due(next(moments), 2 * DUE, _LEASE, ACCOUNTS)
        assert len(claimed) == DUE

    many, few = take_turns(
        benchmark, lambda: claim(stores.many), lambda: claim(stores.few), rounds=200
    )
    _judge(scoreboard, f"claim_due of {DUE}", many, few, lambda: claim(stores.many))


def _judge(scoreboard: Scoreboard, what: str, many: Times, few: Times, call: Call) -> None:
    """O(1) shows as a ratio of about 1; the limit leaves room for colder memory caches."""
    found = ratio(many, few)
    notes = [in_words(many, few)]
    if found > LIMIT:
        notes += profile(call, calls=100)
    scoreboard.lines.append(
        Line(
            budget=f"memory store, {what}: {MANY:,} stored as fast as {FEW:,} (at most {LIMIT} x)",
            measured=f"{found:.3f}",
            met=found <= LIMIT,
            notes=tuple(notes),
        )
    )

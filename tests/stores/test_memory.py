"""`MemoryTransactionStore`: its methods and their edges."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from mpesa_stk import (
    DuplicateTransaction,
    KeptCallback,
    MemoryTransactionStore,
    StoreError,
    Transaction,
)
from support import ACCOUNTS, START, make_transaction

LEASE = timedelta(seconds=60)


def numbered(number: int, **changes: Any) -> Transaction:
    """One of many payments."""
    return make_transaction(transaction_no=f"no-{number}", **changes)


def kept(number: int, **changes: Any) -> KeptCallback:
    """A kept callback."""
    facts: dict[str, Any] = {
        "callback_id": f"callback-{number}",
        "body": b"{}",
        "reason": "no payment has this checkout_request_id yet",
        "received": START,
        "checkout_request_id": "ws_CO_1",
    }
    return KeptCallback(**(facts | changes))


def test_added_transaction_is_found_by_each_of_its_values() -> None:
    """Get and all four finds return what was added."""
    store = MemoryTransactionStore()
    transaction = numbered(
        1, idempotency_key="key", checkout_request_id="ws_CO_1", receipt_number="NLJ7RT61SV"
    )
    store.add(transaction)
    assert store.get("no-1") == transaction
    assert store.find(idempotency_key="key") == transaction
    assert store.find(checkout_request_id="ws_CO_1") == transaction
    assert store.find(receipt_number="NLJ7RT61SV") == transaction
    assert store.find(reference="INV-1") == transaction


def test_what_is_not_there_is_none() -> None:
    """Unknown values find nothing, and no value finds nothing."""
    store = MemoryTransactionStore()
    assert store.get("no-1") is None
    assert store.find(checkout_request_id="x") is None
    assert store.find(reference="x") is None
    assert store.find() is None


def test_reference_finds_the_payment_created_last() -> None:
    """References repeat; the newest payment wins, whatever the order of adding."""
    store = MemoryTransactionStore()
    store.add(numbered(1, created=START + timedelta(seconds=9)))
    store.add(numbered(2))
    found = store.find(reference="INV-1")
    assert found is not None
    assert found.transaction_no == "no-1"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"transaction_no": "no-1"}, "transaction_no"),
        ({"idempotency_key": "key"}, "idempotency_key"),
        ({"checkout_request_id": "ws_CO_1"}, "checkout_request_id"),
    ],
)
def test_add_refuses_a_value_that_is_taken(changes: dict[str, Any], field: str) -> None:
    """The error names the field, and nothing is stored."""
    store = MemoryTransactionStore()
    store.add(numbered(1, idempotency_key="key", checkout_request_id="ws_CO_1"))
    with pytest.raises(DuplicateTransaction) as caught:
        store.add(attrs.evolve(numbered(2), **changes))
    assert caught.value.field == field
    assert store.get("no-2") is None


def test_replace_refuses_a_receipt_that_is_taken() -> None:
    """A receipt pays one payment."""
    store = MemoryTransactionStore()
    store.add(numbered(1, receipt_number="NLJ7RT61SV"))
    store.add(numbered(2))
    with pytest.raises(DuplicateTransaction):
        store.replace(numbered(2, receipt_number="NLJ7RT61SV"))


def test_replace_is_a_compare_and_set_on_the_version() -> None:
    """The second writer with the same version loses, and nothing of it is written."""
    store = MemoryTransactionStore()
    store.add(numbered(1))
    assert store.replace(numbered(1, result_code="1"))
    assert not store.replace(numbered(1, result_code="2"))
    stored = store.get("no-1")
    assert stored is not None
    assert (stored.result_code, stored.version) == ("1", 1)
    assert not store.replace(numbered(9))


def test_lease_ends_at_its_exact_instant() -> None:
    """A claimed payment is not due one microsecond before the lease ends, and is at its end."""
    store = MemoryTransactionStore()
    store.add(numbered(1, due_at=START))
    tick = timedelta(microseconds=1)
    assert store.claim_due(START - tick, 10, LEASE, ACCOUNTS) == []
    (claimed,) = store.claim_due(START, 10, LEASE, ACCOUNTS)
    assert claimed == store.get("no-1")
    assert (claimed.due_at, claimed.version) == (START + LEASE, 1)
    assert store.claim_due(START + LEASE - tick, 10, LEASE, ACCOUNTS) == []
    assert len(store.claim_due(START + LEASE, 10, LEASE, ACCOUNTS)) == 1


def test_lease_of_no_length_is_claimed_again_at_once() -> None:
    """Each call takes each due payment once, and none is lost."""
    store = MemoryTransactionStore()
    store.add(numbered(1, due_at=START))
    for _ in range(3):
        assert len(store.claim_due(START, 10, timedelta(0), ACCOUNTS)) == 1


def test_payment_rescheduled_to_and_fro_is_claimed_once() -> None:
    """Two entries for the same time are one payment."""
    store = MemoryTransactionStore()
    store.add(numbered(1, due_at=START))
    store.replace(numbered(1, due_at=START + LEASE))
    store.replace(numbered(1, due_at=START, version=1))
    assert len(store.claim_due(START, 10, LEASE, ACCOUNTS)) == 1


def test_longest_due_comes_first_and_the_limit_holds() -> None:
    """The order is that of the due times."""
    store = MemoryTransactionStore()
    for number in (3, 1, 2):
        store.add(numbered(number, due_at=START + timedelta(seconds=number)))
    claimed = store.claim_due(START + timedelta(seconds=9), 2, LEASE, ACCOUNTS)
    assert [transaction.transaction_no for transaction in claimed] == ["no-1", "no-2"]


def test_payment_that_is_never_due_is_never_claimed() -> None:
    """Finished payments, and those whose time was moved, are passed over."""
    store = MemoryTransactionStore()
    store.add(numbered(1, due_at=None))
    store.add(numbered(2, due_at=START))
    store.replace(numbered(2, due_at=None))
    assert store.claim_due(START + LEASE, 10, LEASE, ACCOUNTS) == []


def test_rescheduling_for_ever_does_not_grow_the_heap() -> None:
    """Entries that are out of date are dropped when they are most of the heap."""
    store = MemoryTransactionStore()
    store.add(numbered(1, due_at=START))
    for turn in range(1000):
        moment = START + timedelta(seconds=turn)
        store.replace(numbered(1, due_at=moment, version=turn))
    assert sum(map(len, store._due.values())) < 100
    (claimed,) = store.claim_due(START + timedelta(hours=1), 10, LEASE, ACCOUNTS)
    assert claimed.transaction_no == "no-1"


def test_kept_callbacks_are_there_until_dropped() -> None:
    """They are found by either value, oldest first, and dropping twice is no error."""
    store = MemoryTransactionStore()
    first, second = kept(1), kept(2, checkout_request_id="ws_CO_2", transaction_no="no-2")
    store.keep_callback(first)
    store.keep_callback(second)
    assert store.kept_callbacks(checkout_request_id="ws_CO_1") == [first]
    assert store.kept_callbacks(transaction_no="no-2") == [second]
    found = store.kept_callbacks(checkout_request_id="ws_CO_1", transaction_no="no-2")
    assert found == [first, second]
    assert store.kept_callbacks() == []
    store.drop_callback("callback-1")
    store.drop_callback("callback-1")
    assert store.kept_callbacks(checkout_request_id="ws_CO_1") == []


def test_dropping_one_kept_callback_leaves_the_others_of_its_prompt() -> None:
    """Two callbacks about one prompt are two pieces of evidence."""
    store = MemoryTransactionStore()
    store.keep_callback(kept(1))
    store.keep_callback(kept(2))
    store.drop_callback("callback-1")
    assert store.kept_callbacks(checkout_request_id="ws_CO_1") == [kept(2)]


def test_repr_of_a_kept_callback_hides_body_and_payer() -> None:
    """The raw body may hold a phone number."""
    shown = repr(kept(1, body=b"254718643064", checkout_request_id="ws_CO_1718643064"))
    assert "718643064" not in shown


def test_kept_callbacks_have_a_bound() -> None:
    """While it is reached a further one is a StoreError; one that is there already is none."""
    store = MemoryTransactionStore(max_kept_callbacks=2)
    store.keep_callback(kept(1))
    store.keep_callback(kept(2))
    store.keep_callback(kept(2))
    with pytest.raises(StoreError, match=r"^2 callbacks are kept: no more fit into memory$"):
        store.keep_callback(kept(3))
    assert store.kept_callbacks(checkout_request_id="ws_CO_1") == [kept(1), kept(2)]
    store.drop_callback("callback-1")
    store.keep_callback(kept(3))
    assert store.purge_callbacks(START + LEASE, 1) == 1
    store.keep_callback(kept(4))
    assert store.kept_callbacks(checkout_request_id="ws_CO_1") == [kept(3), kept(4)]


def test_keeping_costs_the_same_however_many_are_kept() -> None:
    """Nothing is looked through: with 5,000 kept, as many calls are made as with none."""
    store = MemoryTransactionStore()
    store.keep_callback(kept(0))
    few = calls_of(lambda: store.keep_callback(kept(1)))
    for number in range(2, 5_000):
        store.keep_callback(kept(number))
    assert calls_of(lambda: store.keep_callback(kept(5_000))) == few


def calls_of(work: Callable[[], object]) -> int:
    """How many functions and builtins are called meanwhile."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.disable()  # what a collection calls is not counted
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def test_replaced_values_are_free_again() -> None:
    """A payment that lost its key, or moved to another account, stands in nobody's way."""
    store = MemoryTransactionStore()
    store.add(numbered(1, idempotency_key="key", due_at=START))
    assert store.replace(numbered(1, account="till 1", due_at=START))
    assert store.find(idempotency_key="key") is None
    store.add(numbered(2, idempotency_key="key"))
    assert store.claim_due(START, 10, LEASE, ACCOUNTS) == []
    assert len(store.claim_due(START, 10, LEASE, frozenset({"till 1"}))) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_fork_while_the_store_is_used_does_not_block_the_child() -> None:
    """The lock of the parent is not the child's, and neither are the payments that come after."""
    store = MemoryTransactionStore()
    store.add(numbered(1, due_at=START))

    def work() -> None:
        store.add(numbered(2))
        assert len(store.claim_due(START, 10, LEASE, ACCOUNTS)) == 1

    child = multiprocessing.get_context("fork").Process(target=work)
    with store._lock():  # another thread is at work at the moment of the fork
        child.start()
        child.join(20)
        hangs = child.is_alive()
    child.kill()
    child.join(20)
    assert not hangs
    assert child.exitcode == 0
    assert store.get("no-2") is None

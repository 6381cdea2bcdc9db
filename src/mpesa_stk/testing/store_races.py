"""Tests of `StoreContract` about races: one writer wins, and the store informs all others.

In a race each worker is a thread with a separate handle. All of them start at one barrier.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import attrs
import pytest

from mpesa_stk.errors import DuplicateTransaction
from mpesa_stk.payments.state import HistoryEntry, Transaction, TransactionState
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.testing.contract_values import (
    LEASE,
    OTHER,
    OURS,
    START,
    TICK,
    MakeStore,
    number_of,
    payment,
)

__all__ = ["StoreRaces"]

T = TypeVar("T")
_WORKERS = 8
_ROUNDS = 3
_CHANGES = 5
_CLAIMERS = 3
_DUE = 50
_PATIENCE = 120.0


class StoreRaces:
    """Test that one writer wins each race. `StoreContract` includes these tests."""

    threads: bool = True

    def close_store(self, store: TransactionStore, /) -> None:
        """Release a handle, in the thread that opened it. The default is a no-op."""

    @pytest.fixture
    def race(self, make_store: MakeStore) -> Callable[..., list[Any]]:
        """Return a function that runs actions side by side, each with a separate handle.

        It returns their results.
        """
        if not self.threads:
            pytest.skip("threads = False: this store's handles may not be used side by side")

        def race(*actions: Callable[[TransactionStore], T]) -> list[T]:
            barrier = threading.Barrier(len(actions))

            def run(action: Callable[[TransactionStore], T]) -> T:
                store = make_store()
                try:
                    barrier.wait(_PATIENCE)
                    return action(store)
                finally:
                    self.close_store(store)

            with ThreadPoolExecutor(len(actions)) as pool:
                futures = [pool.submit(run, action) for action in actions]
                return [future.result(_PATIENCE) for future in futures]

        return race

    def test_race_to_add_one_number(
        self, make_store: MakeStore, race: Callable[..., list[str]]
    ) -> None:
        """Of concurrent `add` with one transaction_no, one succeeds and the others fail."""
        for turn in range(_ROUNDS):
            ends = race(*(_adder(turn, description=str(n)) for n in range(_WORKERS)))
            assert sorted(ends) == ["stored"] + ["transaction_no"] * (_WORKERS - 1), (
                f"one worker stores the payment, and the others get "
                f"DuplicateTransaction('transaction_no'); got {ends}"
            )
            stored = make_store().get(number_of(turn))
            assert stored is not None, "the winner's payment must be there"
            assert stored.description == str(ends.index("stored")), (
                "the payment that is stored is not the winner's"
            )

    def test_race_to_add_one_key(
        self, make_store: MakeStore, race: Callable[..., list[str]]
    ) -> None:
        """Of concurrent `add` with one idempotency_key, one succeeds: at most one push is sent."""
        for turn in range(_ROUNDS):
            key = f"key-{turn}"
            ordinals = range(turn * _WORKERS, (turn + 1) * _WORKERS)
            ends = race(*(_adder(n, idempotency_key=key) for n in ordinals))
            assert sorted(ends) == ["idempotency_key"] * (_WORKERS - 1) + ["stored"], (
                f"one worker stores the payment, and the others get "
                f"DuplicateTransaction('idempotency_key'); got {ends}"
            )
            found = make_store().find(idempotency_key=key)
            assert found is not None, "the key must lead to the winner's payment"
            assert found.transaction_no == number_of(ordinals[ends.index("stored")]), (
                "the key leads to a payment that is not the winner's"
            )

    def test_race_to_add_one_key_in_two_accounts(
        self, make_store: MakeStore, race: Callable[..., list[str]]
    ) -> None:
        """Of concurrent `add` with one key in two accounts, one succeeds in each account."""
        for turn in range(_ROUNDS):
            key, ordinals = f"key-{turn}", range(turn * _WORKERS, (turn + 1) * _WORKERS)
            accounts = [OTHER if n % 2 else "paybill 600000" for n in ordinals]
            ends = race(
                *(
                    _adder(n, idempotency_key=key, account=account)
                    for n, account in zip(ordinals, accounts, strict=True)
                )
            )
            for account in (OTHER, "paybill 600000"):
                of_account = [
                    end for end, its in zip(ends, accounts, strict=True) if its == account
                ]
                assert sorted(of_account) == ["idempotency_key"] * (len(of_account) - 1) + [
                    "stored"
                ], f"a key is unique in its account, and only there; got {ends}"
                found = make_store().find(idempotency_key=key, account=account)
                assert found is not None, "the key must lead to its account's payment"
                assert found.account == account, "the key leads to another account's payment"

    def test_race_to_replace_one_version(
        self, make_store: MakeStore, race: Callable[..., list[bool]]
    ) -> None:
        """Of concurrent `replace` of one version, one returns True, and its data is stored."""
        for turn in range(_ROUNDS):
            make_store().add(payment(turn))
            writers = [_replacer(turn, result_code=str(n)) for n in range(_WORKERS)]
            wins = race(*writers)
            assert wins.count(True) == 1, f"one writer wins, all others get False; got {wins}"
            stored = make_store().get(number_of(turn))
            assert stored is not None, "the payment is gone"
            assert (stored.result_code, stored.version) == (str(wins.index(True)), 1), (
                "what is stored is not what the one winner wrote, or its version did not grow by one"
            )

    def test_race_to_change_loses_no_change(
        self, make_store: MakeStore, race: Callable[..., list[None]]
    ) -> None:
        """If workers read, change and replace until they win, each change is there once."""
        make_store().add(payment(1))
        race(*[_append_until_done] * _WORKERS)
        stored = make_store().get(number_of(1))
        assert stored is not None, "the payment is gone"
        wanted = _WORKERS * _CHANGES
        assert (stored.version, len(stored.history)) == (wanted, wanted), (
            "a change was lost: the version and the history must count every replace that returned True"
        )

    def test_race_for_one_receipt(
        self, make_store: MakeStore, race: Callable[..., list[object]]
    ) -> None:
        """Of concurrent `replace` of several payments with one receipt, one succeeds."""
        for turn in range(_ROUNDS):
            ordinals = range(turn * _WORKERS, (turn + 1) * _WORKERS)
            for n in ordinals:
                make_store().add(payment(n))
            ends = race(*(_receipted(n, f"NLJ7RT{turn}") for n in ordinals))
            assert ends.count(True) == 1, f"a receipt pays one payment; got {ends}"
            assert ends.count("receipt_number") == _WORKERS - 1, (
                f"the others get DuplicateTransaction('receipt_number'); got {ends}"
            )

    def test_race_to_claim(
        self, make_store: MakeStore, race: Callable[..., list[list[str]]]
    ) -> None:
        """If workers claim the same due payments in batches, each payment is claimed once."""
        store = make_store()
        for n in range(200):
            store.add(payment(n, due_at=START + n * TICK))
        shares = race(*[_claimer(OURS)] * _WORKERS)
        claimed = sorted(number for share in shares for number in share)
        assert len(claimed) == len(set(claimed)), "a payment was claimed by two workers at once"
        assert claimed == [number_of(n) for n in range(200)], "a due payment was claimed by nobody"

    def test_race_to_claim_for_two_accounts(
        self, make_store: MakeStore, race: Callable[..., list[list[str]]]
    ) -> None:
        """If workers claim for one account or for both, each payment is claimed once."""
        store, theirs = make_store(), frozenset({OTHER})
        teams = ([OURS, theirs] * 3, [OURS | theirs] * 6, [OURS, theirs, OURS | theirs] * 2)
        for turn, team in enumerate(teams):
            due = [
                payment(n, account=OTHER if n % 2 else "paybill 600000", due_at=START + n * TICK)
                for n in range(turn * _DUE, (turn + 1) * _DUE)
            ]
            for one in due:
                store.add(one)
            shares = race(*(_claimer(accounts) for accounts in team))
            claimed = [number for share in shares for number in share]
            assert len(claimed) == len(set(claimed)), "a payment was claimed by two workers at once"
            assert sorted(claimed) == [one.transaction_no for one in due], (
                "a due payment was claimed by nobody"
            )
            account_of = {one.transaction_no: one.account for one in due}
            for accounts, share in zip(team, shares, strict=True):
                assert {account_of[number] for number in share} <= accounts, (
                    "a worker claimed a payment of an account that is not its own"
                )

    def test_race_to_claim_and_change(
        self, make_store: MakeStore, race: Callable[..., list[list[str]]]
    ) -> None:
        """If one worker settles due payments while others claim them, no change is undone."""
        store = make_store()
        for turn in range(_ROUNDS):
            due = [
                payment(n, due_at=START + n * TICK) for n in range(turn * _DUE, (turn + 1) * _DUE)
            ]
            for one in due:
                store.add(one)
            changed, *shares = race(_settler(due), *[_claim_one_by_one] * _CLAIMERS)
            for number in changed:
                stored = store.get(number)
                assert stored is not None, "the payment is gone"
                assert (stored.result_code, stored.due_at) == ("0", None), (
                    "a claim overwrote a change: its replace returned True, but it is not there"
                )
            taken = changed + [number for share in shares for number in share]
            assert len(taken) == len(set(taken)), (
                "a payment was claimed after its due time was taken away, or changed after a claim "
                "by a replace that should have been late"
            )


# --- the actions of one worker -----------------------------------------------------------------------


def _adder(ordinal: int, **changes: str) -> Callable[[TransactionStore], str]:
    def add(store: TransactionStore) -> str:
        try:
            store.add(payment(ordinal, **changes))
        except DuplicateTransaction as error:
            return error.field
        return "stored"

    return add


def _replacer(ordinal: int, **changes: str) -> Callable[[TransactionStore], bool]:
    return lambda store: store.replace(payment(ordinal, **changes))


def _receipted(ordinal: int, receipt_number: str) -> Callable[[TransactionStore], object]:
    def replace(store: TransactionStore) -> object:
        try:
            return store.replace(payment(ordinal, receipt_number=receipt_number))
        except DuplicateTransaction as error:
            return error.field

    return replace


def _append_until_done(store: TransactionStore) -> None:
    entry = HistoryEntry(at=START, event="changed", state=TransactionState.CREATED)
    done = 0
    while done < _CHANGES:
        before = store.get(number_of(1))
        assert before is not None, "the payment is gone"
        done += store.replace(attrs.evolve(before, history=(*before.history, entry)))


def _claimer(accounts: frozenset[str]) -> Callable[[TransactionStore], list[str]]:
    def claim(store: TransactionStore) -> list[str]:
        mine: list[str] = []
        while batch := store.claim_due(START + LEASE, 7, LEASE, accounts):
            mine += [claimed.transaction_no for claimed in batch]
        return mine

    return claim


def _settler(due: list[Transaction]) -> Callable[[TransactionStore], list[str]]:
    # Each payment is written twice, so that the second write is certainly too late.
    after = [attrs.evolve(one, due_at=None, result_code="0") for one in due] * 2
    return lambda store: [one.transaction_no for one in after if store.replace(one)]


def _claim_one_by_one(store: TransactionStore) -> list[str]:
    shares = [store.claim_due(START + LEASE, 1, LEASE, OURS) for _ in range(_DUE)]
    return [claimed.transaction_no for share in shares for claimed in share]

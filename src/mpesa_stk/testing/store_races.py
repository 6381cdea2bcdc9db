"""The part of `StoreContract` that is about workers: what they claim, and who wins a race.

In a race each worker is a thread with a handle of its own, and all begin behind one barrier.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import attrs
import pytest

from mpesa_stk.errors import DuplicateTransaction
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.payments.transaction import HistoryEntry, Transaction, TransactionState
from mpesa_stk.testing.contract_values import (
    LEASE,
    OTHER,
    OURS,
    START,
    TICK,
    full_payment,
    number_of,
    payment,
)

__all__ = ["MakeStore", "StoreRaces", "one_of", "same"]

MakeStore = Callable[[], TransactionStore]
"""Opens another handle on the same payments."""

T = TypeVar("T")
_WORKERS = 8
_ROUNDS = 3
_CHANGES = 5
_CLAIMERS = 3
_DUE = 50
_PATIENCE = 120.0


class StoreRaces:
    """Exact claims, and one winner, whoever comes first; see `StoreContract`."""

    threads: bool = True
    many: int = 10_000

    def close_store(self, store: TransactionStore, /) -> None:
        """Let go of a handle, in the thread that opened it; see `StoreContract`."""

    # --- claim_due -------------------------------------------------------------------------------

    def test_due_at_its_exact_instant(self, store: TransactionStore) -> None:
        """Due exactly now is claimed; one microsecond later is not."""
        store.add(payment(1, due_at=START))
        store.add(payment(2, due_at=START + TICK))
        assert store.claim_due(START - TICK, 10, LEASE, OURS) == [], "nothing is due yet"
        claimed = one_of(store.claim_due(START, 10, LEASE, OURS))
        same(claimed, payment(1, due_at=START + LEASE, version=1))
        same(store.get(number_of(1)), claimed)
        same(store.get(number_of(2)), payment(2, due_at=START + TICK))

    def test_lease_ends_at_its_exact_instant(self, store: TransactionStore) -> None:
        """A microsecond before its end the claim holds; at its end the payment can be claimed."""
        lease = timedelta(seconds=7, microseconds=3)
        store.add(payment(1, due_at=START - LEASE))
        one_of(store.claim_due(START, 10, lease, OURS))
        assert store.claim_due(START + lease - TICK, 10, lease, OURS) == [], "the lease holds"
        again = one_of(store.claim_due(START + lease, 10, lease, OURS))
        same(again, payment(1, due_at=START + 2 * lease, version=2))

    def test_claim_makes_an_older_replace_late(self, store: TransactionStore) -> None:
        """A claim grows the version: who read the payment before it cannot overwrite the lease."""
        store.add(payment(1, due_at=START))
        store.claim_due(START, 10, LEASE, OURS)
        assert not store.replace(payment(1, due_at=None)), "the claim was a change"
        same(store.get(number_of(1)), payment(1, due_at=START + LEASE, version=1))

    def test_longest_due_comes_first(self, store: TransactionStore) -> None:
        """The order is that of the due times, not of adding or of numbers; the limit cuts it."""
        for ordinal in (4, 1, 5, 3, 2):
            store.add(payment(ordinal, due_at=START - ordinal * TICK))
        now = START + TICK
        shares = [store.claim_due(now, limit, LEASE, OURS) for limit in (0, 1, 3, 10, 10)]
        wanted = [[], [5], [4, 3, 2], [1], []]
        assert [[one.transaction_no for one in share] for share in shares] == [
            [number_of(ordinal) for ordinal in share] for share in wanted
        ], "a claim takes at most `limit` payments, the longest due first"

    def test_what_is_never_due_is_never_claimed(self, store: TransactionStore) -> None:
        """Payments without a due time, and those whose time was moved or taken away."""
        store.add(full_payment(1, due_at=None))
        store.add(payment(2, due_at=START))
        store.add(payment(3, due_at=START))
        assert store.replace(payment(2, due_at=None)), "nobody else wrote"
        assert store.replace(payment(3, due_at=START + LEASE + TICK)), "nobody else wrote"
        assert store.claim_due(START + LEASE, 10, LEASE, OURS) == [], "none of them is due"

    def test_many_payments_are_claimed_once_each(self, make_store: MakeStore) -> None:
        """In batches, through two handles, until none is left: each once, in order of due time."""
        handles = [make_store(), make_store()]
        for ordinal in range(self.many):
            handles[0].add(payment(ordinal, due_at=START + (ordinal * 7919 % self.many) * TICK))
        claimed: list[Transaction] = []
        while batch := handles[len(claimed) % 2].claim_due(START + LEASE, 501, 2 * LEASE, OURS):
            claimed += batch
        assert len({one.transaction_no for one in claimed}) == len(claimed) == self.many, (
            "each payment is claimed exactly once"
        )
        order = [int(one.transaction_no[-12:], 16) * 7919 % self.many for one in claimed]
        assert order == sorted(order), "batch after batch, the longest due come first"

    # --- accounts --------------------------------------------------------------------------------

    def test_claim_leaves_other_accounts_alone(self, store: TransactionStore) -> None:
        """Foreign payments that are due longer do not count towards the limit, and do not change."""
        foreign = [payment(n, account=OTHER, due_at=START - LEASE + n * TICK) for n in range(20)]
        mine = [payment(100 + n, due_at=START + n * TICK) for n in range(5)]
        for one in foreign + mine:
            store.add(one)
        claimed = store.claim_due(START + LEASE, 3, LEASE, OURS)
        assert [one.transaction_no for one in claimed] == [number_of(100 + n) for n in range(3)], (
            "a claim takes the longest due payments of the given accounts, up to the limit"
        )
        rest = store.claim_due(START + LEASE, 10, 2 * LEASE, OURS)
        assert [one.transaction_no for one in rest] == [number_of(103), number_of(104)], (
            "nothing but the given accounts' payments is claimed"
        )
        for one in foreign:
            same(store.get(one.transaction_no), one)

    def test_claim_for_no_account_takes_nothing(self, store: TransactionStore) -> None:
        """An empty set, and an account without payments, claim nothing."""
        store.add(payment(1, due_at=START))
        for accounts in (frozenset[str](), frozenset({"paybill 60000", "PAYBILL 600000"})):
            assert store.claim_due(START, 10, LEASE, accounts) == [], "no payment is of these"
        same(store.get(number_of(1)), payment(1, due_at=START))

    def test_claim_for_several_accounts_keeps_the_order(self, store: TransactionStore) -> None:
        """The longest due of all the given accounts come first, batch after batch."""
        names = ["paybill 600000", OTHER, "paybill 600002", "paybill 600003"]
        accounts = frozenset({*names[:3], "paybill 600009"})
        stored = [payment(n, account=names[n * 7 % 4], due_at=START - n * TICK) for n in range(40)]
        for one in stored:
            store.add(one)
        wanted = [one.transaction_no for one in reversed(stored) if one.account in accounts]
        batches = [store.claim_due(START + TICK, 7, LEASE, accounts) for _ in range(6)]
        claimed = [[one.transaction_no for one in batch] for batch in batches]
        assert claimed == [wanted[start : start + 7] for start in range(0, 42, 7)], (
            "each payment of the given accounts once, the longest due first, `limit` at a time"
        )

    def test_claim_for_hundreds_of_accounts(self, store: TransactionStore) -> None:
        """A set may be larger than what fits into one statement."""
        names = [f"paybill {number}" for number in range(600_000, 601_200)]
        for n in range(3):
            store.add(payment(n, account=names[n * 599], due_at=START + n * TICK))
        claimed = store.claim_due(START + LEASE, 2, LEASE, frozenset(names))
        assert [one.transaction_no for one in claimed] == [number_of(0), number_of(1)], (
            "the longest due of all accounts come first"
        )
        same(store.get(number_of(2)), payment(2, account=names[1198], due_at=START + 2 * TICK))

    # --- races -----------------------------------------------------------------------------------

    @pytest.fixture
    def race(self, make_store: MakeStore) -> Callable[..., list[Any]]:
        """Runs actions side by side, each with a handle of its own; returns what they return."""
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
        """Of concurrent `add` with one transaction_no, one succeeds and the others hear of it."""
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
        """Of concurrent `replace` of one version, one returns True, and what it wrote is stored."""
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
        """Workers that read, change and replace until they win: each change is there, once."""
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
        """Workers that claim the same due payments in batches: each one is claimed once."""
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
        """Workers of one account, of the other, and of both: each payment is claimed once."""
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
        """One worker settles due payments while others claim them: no claim undoes a change."""
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


# --- what one worker does ----------------------------------------------------------------------------


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
    # Each one is written twice: the second time is too late for sure.
    after = [attrs.evolve(one, due_at=None, result_code="0") for one in due] * 2
    return lambda store: [one.transaction_no for one in after if store.replace(one)]


def _claim_one_by_one(store: TransactionStore) -> list[str]:
    shares = [store.claim_due(START + LEASE, 1, LEASE, OURS) for _ in range(_DUE)]
    return [claimed.transaction_no for share in shares for claimed in share]


# --- what is compared --------------------------------------------------------------------------------


def one_of(claimed: list[Transaction]) -> Transaction:
    """The one payment that was claimed."""
    assert len(claimed) == 1, f"exactly one payment is due; claimed were {len(claimed)}"
    return claimed[0]


def same(found: Transaction | None, wanted: Transaction) -> None:
    """Equal in every field, of the same types, with moments in UTC."""
    assert found is not None, "the payment was not found"
    for name in attrs.fields_dict(Transaction):
        got, want = getattr(found, name), getattr(wanted, name)
        assert got == want, f"{name}: got {got!r} instead of {want!r}"
        assert type(got) is type(want), f"{name}: got {type(got)} instead of {type(want)}"
    moments = [found.created, found.updated, found.expires_at, found.due_at, found.paid_at]
    for moment in [*moments, *(entry.at for entry in found.history)]:
        assert moment is None or moment.utcoffset() == timedelta(0), f"{moment!r} is not in UTC"

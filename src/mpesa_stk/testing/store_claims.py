"""Tests of `StoreContract` about claims: exact instants, leases, order, accounts."""

from __future__ import annotations

from datetime import timedelta

from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.testing.contract_values import (
    LEASE,
    OTHER,
    OURS,
    START,
    TICK,
    MakeStore,
    full_payment,
    number_of,
    one_of,
    payment,
    same,
)

__all__ = ["StoreClaims"]


class StoreClaims:
    """Test that due payments are claimed once, in order, for their accounts.

    `StoreContract` includes these tests.
    """

    many: int = 10_000

    def test_due_at_its_exact_instant(self, store: TransactionStore) -> None:
        """A payment due exactly now is claimed, and one due a microsecond later is not."""
        store.add(payment(1, due_at=START))
        store.add(payment(2, due_at=START + TICK))
        assert store.claim_due(START - TICK, 10, LEASE, OURS) == [], "nothing is due yet"
        claimed = one_of(store.claim_due(START, 10, LEASE, OURS))
        same(claimed, payment(1, due_at=START + LEASE, version=1))
        same(store.get(number_of(1)), claimed)
        same(store.get(number_of(2)), payment(2, due_at=START + TICK))

    def test_lease_ends_at_its_exact_instant(self, store: TransactionStore) -> None:
        """A claim holds until a microsecond before its end. At its end, the payment is free."""
        lease = timedelta(seconds=7, microseconds=3)
        store.add(payment(1, due_at=START - LEASE))
        one_of(store.claim_due(START, 10, lease, OURS))
        assert store.claim_due(START + lease - TICK, 10, lease, OURS) == [], "the lease holds"
        again = one_of(store.claim_due(START + lease, 10, lease, OURS))
        same(again, payment(1, due_at=START + 2 * lease, version=2))

    def test_claim_makes_an_older_replace_late(self, store: TransactionStore) -> None:
        """A claim raises the version, so a writer that read the payment earlier loses."""
        store.add(payment(1, due_at=START))
        store.claim_due(START, 10, LEASE, OURS)
        assert not store.replace(payment(1, due_at=None)), "the claim was a change"
        same(store.get(number_of(1)), payment(1, due_at=START + LEASE, version=1))

    def test_longest_due_comes_first(self, store: TransactionStore) -> None:
        """Payments come in order of due time, not of adding or of number, up to the limit."""
        for ordinal in (4, 1, 5, 3, 2):
            store.add(payment(ordinal, due_at=START - ordinal * TICK))
        now = START + TICK
        shares = [store.claim_due(now, limit, LEASE, OURS) for limit in (0, 1, 3, 10, 10)]
        wanted = [[], [5], [4, 3, 2], [1], []]
        assert [[one.transaction_no for one in share] for share in shares] == [
            [number_of(ordinal) for ordinal in share] for share in wanted
        ], "a claim takes at most `limit` payments, the longest due first"

    def test_what_is_never_due_is_never_claimed(self, store: TransactionStore) -> None:
        """A payment is not claimed if it has no due time, or if its time was moved or removed."""
        store.add(full_payment(1, due_at=None))
        store.add(payment(2, due_at=START))
        store.add(payment(3, due_at=START))
        assert store.replace(payment(2, due_at=None)), "nobody else wrote"
        assert store.replace(payment(3, due_at=START + LEASE + TICK)), "nobody else wrote"
        assert store.claim_due(START + LEASE, 10, LEASE, OURS) == [], "none of them is due"

    def test_many_payments_are_claimed_once_each(self, make_store: MakeStore) -> None:
        """Two handles that claim in batches get each payment once, in order of due time."""
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
        """Payments of other accounts do not count towards the limit, and do not change."""
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
        """A claim for an empty set, or for an account without payments, returns no payment."""
        store.add(payment(1, due_at=START))
        for accounts in (frozenset[str](), frozenset({"paybill 60000", "PAYBILL 600000"})):
            assert store.claim_due(START, 10, LEASE, accounts) == [], "no payment is of these"
        same(store.get(number_of(1)), payment(1, due_at=START))

    def test_claim_for_several_accounts_keeps_the_order(self, store: TransactionStore) -> None:
        """Accounts with equally many payments give their longest due ones, batch after batch."""
        names = ["paybill 600000", OTHER, "paybill 600002", "paybill 600003"]
        accounts = frozenset({*names[:3], "paybill 600009"})
        stored = [payment(n, account=names[n * 7 % 4], due_at=START - n * TICK) for n in range(40)]
        for one in stored:
            store.add(one)
        wanted = [one.transaction_no for one in reversed(stored) if one.account in accounts]
        batches = [store.claim_due(START + TICK, 6, LEASE, accounts) for _ in range(6)]
        claimed = [[one.transaction_no for one in batch] for batch in batches]
        assert claimed == [wanted[start : start + 6] for start in range(0, 36, 6)], (
            "each payment of the given accounts once, the longest due first, `limit` at a time"
        )

    def test_accounts_take_turns(self, store: TransactionStore) -> None:
        """An account with many payments that are long due does not keep the others waiting."""
        names = ["paybill 600000", OTHER, "paybill 600002"]
        for n in range(20):
            store.add(payment(n, account=names[0], due_at=START - (100 - n) * TICK))
        for n in range(20, 23):
            store.add(payment(n, account=names[1], due_at=START - (50 - n) * TICK))
        store.add(payment(23, account=names[2], due_at=START))
        claims = [store.claim_due(START, limit, LEASE, frozenset(names)) for limit in (5, 5, 30)]
        assert [[one.transaction_no for one in claim] for claim in claims] == [
            [number_of(n) for n in (0, 20, 23, 1, 21)],
            [number_of(n) for n in (2, 22, 3, 4, 5)],
            [number_of(n) for n in range(6, 20)],
        ], "first the longest due of each account, then the second of each, up to the limit"

    def test_claim_for_hundreds_of_accounts(self, store: TransactionStore) -> None:
        """The set of accounts may be too large for one statement."""
        names = [f"paybill {number}" for number in range(600_000, 601_200)]
        for n in range(3):
            store.add(payment(n, account=names[n * 599], due_at=START + n * TICK))
        claimed = store.claim_due(START + LEASE, 2, LEASE, frozenset(names))
        assert [one.transaction_no for one in claimed] == [number_of(0), number_of(1)], (
            "the longest due of all accounts come first"
        )
        same(store.get(number_of(2)), payment(2, account=names[1198], due_at=START + 2 * TICK))

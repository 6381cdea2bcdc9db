"""Tests of `StoreContract` about orders: their attempts, and the places that only one attempt has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from mpesa_stk.errors import DuplicateTransaction
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.testing.contract_values import (
    OTHER,
    START,
    TICK,
    MakeStore,
    number_of,
    payment,
    same,
)

__all__ = ["StoreOrders"]

_ACCOUNT = "paybill 600000"
_WORKERS = 8
_ROUNDS = 3


class StoreOrders:
    """Test the attempts at orders. `StoreContract` includes these tests."""

    def test_attempts_are_all_of_one_order(self, store: TransactionStore) -> None:
        """They are those of the account and the order, the first created first."""
        for ordinal, order in ((3, "A"), (1, "A"), (2, "B"), (4, None)):
            store.add(payment(ordinal, order=order, created=START + ordinal * TICK))
        store.add(payment(5, order="A", account=OTHER))
        assert store.attempts(_ACCOUNT, "A") == [
            payment(ordinal, order="A", created=START + ordinal * TICK) for ordinal in (1, 3)
        ], "the attempts of account and order, the first created first"
        assert store.attempts(OTHER, "A") == [payment(5, order="A", account=OTHER)], (
            "an order of another account is another order"
        )
        assert store.attempts(_ACCOUNT, "C") == [], "there is no such order"

    @pytest.mark.parametrize("other", ["a", "A ", " A", "A\u0301"])
    def test_orders_are_compared_exactly(self, store: TransactionStore, other: str) -> None:
        """Orders that differ in case, space or accent are two orders, with a place each."""
        mine = payment(1, order="A", order_slot="live:A")
        theirs = payment(2, order=other, order_slot=f"live:{other}")
        store.add(mine)
        store.add(theirs)
        assert store.attempts(_ACCOUNT, "A") == [mine], f"{other!r} is not 'A'"
        assert store.attempts(_ACCOUNT, other) == [theirs], f"'A' is not {other!r}"

    def test_add_names_a_place_that_is_taken(self, store: TransactionStore) -> None:
        """One account gives a place to one payment. Another account has its own place of the same name."""
        store.add(payment(1, order="A", order_slot="live:A"))
        store.add(payment(2, order="A", order_slot="live:A", account=OTHER))
        with pytest.raises(DuplicateTransaction) as caught:
            store.add(payment(3, order="A", order_slot="live:A"))
        assert caught.value.field == "order_slot", "the place is taken in that account"
        assert store.get(number_of(3)) is None, "of a refused payment nothing is stored"
        for ordinal in (4, 5):
            store.add(payment(ordinal, order="A"))
            same(store.get(number_of(ordinal)), payment(ordinal, order="A"))

    def test_a_place_is_taken_and_given_back(self, store: TransactionStore) -> None:
        """`replace` takes a place that is free, refuses one that is taken, and gives it back."""
        store.add(payment(1, order="A", order_slot="live:A"))
        store.add(payment(2, order="A"))
        with pytest.raises(DuplicateTransaction) as caught:
            store.replace(payment(2, order="A", order_slot="live:A"))
        assert caught.value.field == "order_slot", "the place is taken"
        same(store.get(number_of(2)), payment(2, order="A"))
        assert store.replace(payment(1, order="A", order_slot="paid:A")), "that place is free"
        assert store.replace(payment(2, order="A", order_slot="live:A")), "this one was given back"
        assert store.replace(payment(1, order="A", version=1)), "a place may be given back"
        same(store.get(number_of(1)), payment(1, order="A", version=2))

    def test_race_for_one_place(
        self, make_store: MakeStore, race: Callable[..., list[str]]
    ) -> None:
        """Of concurrent `add` and `replace` for one place, one succeeds: one prompt is sent."""
        for turn in range(_ROUNDS):
            ordinals = range(turn * _WORKERS, (turn + 1) * _WORKERS)
            facts = {"order": f"A-{turn}", "order_slot": f"live:A-{turn}"}
            store = make_store()
            for ordinal in ordinals[: _WORKERS // 2]:
                store.add(payment(ordinal, order=facts["order"]))
            ends = race(
                *(_replacer(one, facts) for one in ordinals[: _WORKERS // 2]),
                *(_adder(one, facts) for one in ordinals[_WORKERS // 2 :]),
            )
            assert sorted(ends) == ["order_slot"] * (_WORKERS - 1) + ["stored"], (
                f"one worker takes the place, and the others get "
                f"DuplicateTransaction('order_slot'); got {ends}"
            )
            holders = [
                one.transaction_no
                for one in make_store().attempts(_ACCOUNT, facts["order"])
                if one.order_slot is not None
            ]
            assert holders == [number_of(ordinals[ends.index("stored")])], (
                "the payment that has the place is not the winner's"
            )


def _adder(ordinal: int, facts: dict[str, Any]) -> Callable[[TransactionStore], str]:
    return _writer(lambda store, new: store.add(new), payment(ordinal, **facts))


def _replacer(ordinal: int, facts: dict[str, Any]) -> Callable[[TransactionStore], str]:
    return _writer(lambda store, new: store.replace(new), attrs.evolve(payment(ordinal), **facts))


def _writer(
    write: Callable[[TransactionStore, Transaction], object], new: Transaction
) -> Callable[[TransactionStore], str]:
    """Return an action that writes a payment, and returns ``stored`` or the field that is taken."""

    def act(store: TransactionStore) -> str:
        try:
            write(store, new)
        except DuplicateTransaction as error:
            return error.field
        return "stored"

    return act

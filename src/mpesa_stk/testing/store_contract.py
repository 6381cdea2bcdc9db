"""`StoreContract`: the duties of every `TransactionStore`, as tests to inherit."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from mpesa_stk.errors import DuplicateTransaction
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
    kept_callback,
    number_of,
    one_of,
    payment,
    same,
)
from mpesa_stk.testing.store_callbacks import StoreCallbacks
from mpesa_stk.testing.store_claims import StoreClaims
from mpesa_stk.testing.store_orders import StoreOrders
from mpesa_stk.testing.store_races import StoreRaces

__all__ = ["MakeStore", "StoreContract"]

_UNIQUE = ("transaction_no", "idempotency_key", "checkout_request_id", "receipt_number")
_MAY_BE_NONE = (
    "idempotency_key",
    "prompt_reference",
    "order",
    "order_slot",
    "due_at",
    "merchant_request_id",
    "checkout_request_id",
    "response_description",
    "customer_message",
    "result_code",
    "result_desc",
    "receipt_number",
    "paid_at",
    "settled_by",
    "needs_review",
)


class StoreContract(StoreClaims, StoreCallbacks, StoreOrders, StoreRaces):
    """Test a `TransactionStore`.

    Inherit from this class, and override the fixture `make_store`. Name your class ``Test...``, so that
    pytest runs it. Every test is part of the contract: overriding one is not supported.

    Attributes:
        durable: Whether stored data outlives the handle that stored it. False skips the test that
            opens another handle.
        threads: Whether handles may be used side by side, in threads. False skips the races.
        many: Number of payments in the largest test.
    """

    durable: bool = True

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Return a function that opens ANOTHER handle on the same payments.

        There are no payments at first. The tests call that function in the thread that uses the handle.
        """
        raise NotImplementedError("override the fixture make_store")

    @pytest.fixture
    def store(self, make_store: MakeStore) -> TransactionStore:
        """Open one handle."""
        return make_store()

    # --- values --------------------------------------------------------------------------------

    @pytest.mark.parametrize("make", [full_payment, payment], ids=["full", "plain"])
    def test_get_returns_what_was_added(
        self, store: TransactionStore, make: Callable[[int], Transaction]
    ) -> None:
        """Every field comes back with the same value and type: text, amounts, moments, history."""
        store.add(make(1))
        same(store.get(number_of(1)), make(1))

    @pytest.mark.parametrize("amount", [1, 250_000, 16_777_217, 2**31 - 1])
    def test_amounts_are_exact(self, store: TransactionStore, amount: int) -> None:
        """Amounts are whole shillings, and come back exactly."""
        store.add(payment(1, amount=amount))
        same(store.get(number_of(1)), payment(1, amount=amount))

    @pytest.mark.parametrize("microsecond", [0, 1, 499_999, 500_000, 999_999])
    def test_moments_are_exact(self, store: TransactionStore, microsecond: int) -> None:
        """Moments are aware, in UTC, and exact to the microsecond."""
        moment = START.replace(microsecond=microsecond)
        names = ("created", "updated", "expires_at", "due_at", "paid_at")
        wanted = payment(1, **dict.fromkeys(names, moment))
        store.add(wanted)
        same(store.get(number_of(1)), wanted)

    @pytest.mark.parametrize("field", _MAY_BE_NONE)
    def test_none_is_none(self, store: TransactionStore, field: str) -> None:
        """A field that becomes None comes back as None, not as an empty text."""
        store.add(full_payment(1))
        wanted = full_payment(1, **{field: None})
        assert store.replace(wanted), "nobody else wrote: replace must return True"
        same(store.get(number_of(1)), attrs.evolve(wanted, version=wanted.version + 1))

    def test_empty_text_is_no_none(self, store: TransactionStore) -> None:
        """An empty text comes back as an empty text, not as None."""
        wanted = payment(1, description="", result_desc="", customer_message="")
        store.add(wanted)
        same(store.get(number_of(1)), wanted)

    def test_long_history_comes_back_in_order(self, store: TransactionStore) -> None:
        """A history of forty entries comes back whole, oldest first."""
        first = full_payment(1).history[0]
        entries = tuple(attrs.evolve(first, at=START + n * TICK, code=str(n)) for n in range(40))
        store.add(payment(1, history=entries))
        same(store.get(number_of(1)), payment(1, history=entries))

    def test_longest_values_are_whole(self, store: TransactionStore) -> None:
        """The longest key, ids and texts that the library accepts are not cut."""
        wanted = payment(
            1,
            idempotency_key="k" * 255,
            checkout_request_id="c" * 128,
            merchant_request_id="m" * 128,
            result_desc="\u20ac" * 200,
            customer_message="\U0001f600" * 200,
        )
        store.add(wanted)
        same(store.find(idempotency_key="k" * 255), wanted)
        assert store.find(idempotency_key="k" * 254) is None, "keys are compared to their end"

    # --- add, get, find --------------------------------------------------------------------------

    def test_what_is_not_there_is_none(self, store: TransactionStore) -> None:
        """A search for an unknown value returns None."""
        store.add(full_payment(1))
        assert store.get(number_of(2)) is None, "there is no such transaction_no"
        for field in (*_UNIQUE[1:], "reference"):
            assert store.find(**{field: "x"}) is None, f"no payment has this {field}"

    def test_payments_without_ids_do_not_collide(self, store: TransactionStore) -> None:
        """None never conflicts: many payments have no key, no checkout id and no receipt."""
        for ordinal in (1, 2, 3):
            store.add(payment(ordinal))
        same(store.get(number_of(3)), payment(3))

    @pytest.mark.parametrize("field", ["idempotency_key", "checkout_request_id", "receipt_number"])
    def test_find_by_each_value(self, store: TransactionStore, field: str) -> None:
        """`find` returns the one payment with that value among others."""
        for ordinal in (1, 2, 3):
            store.add(full_payment(ordinal))
        same(store.find(**{field: getattr(full_payment(2), field)}), full_payment(2))

    @pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
    def test_find_by_reference_takes_the_last_created(
        self, store: TransactionStore, order: tuple[int, ...]
    ) -> None:
        """Of payments with one reference, `find` returns the one created last, not added last."""
        for ordinal in order:
            store.add(payment(ordinal, created=START + ordinal * TICK))
        store.add(payment(4, reference="INV-2", created=START + LEASE))
        same(store.find(reference="INV-1"), payment(3, created=START + 3 * TICK))

    @pytest.mark.parametrize("field", [*_UNIQUE[1:], "reference"])
    @pytest.mark.parametrize(
        ("one", "other"),
        [("Ab-1", "aB-1"), ("Ab-1", "Ab-1 "), ("Ab-1", " Ab-1"), ("Ab-1", "A\u0301b-1")],
        ids=["case", "trailing space", "leading space", "accent"],
    )
    def test_values_are_compared_exactly(
        self, store: TransactionStore, field: str, one: str, other: str
    ) -> None:
        """Values that differ in case, space or accent are two values."""
        store.add(payment(1, **{field: one}))
        assert store.find(**{field: other}) is None, f"{field} {other!r} is not {one!r}"
        store.add(payment(2, **{field: other}))
        same(store.find(**{field: one}), payment(1, **{field: one}))
        same(store.find(**{field: other}), payment(2, **{field: other}))

    @pytest.mark.parametrize("field", _UNIQUE)
    def test_add_names_the_value_that_is_taken(self, store: TransactionStore, field: str) -> None:
        """DuplicateTransaction names the field, and the refused payment is not stored."""
        store.add(full_payment(1))
        twin = attrs.evolve(full_payment(2), **{field: getattr(full_payment(1), field)})
        with pytest.raises(DuplicateTransaction) as caught:
            store.add(twin)
        assert caught.value.field == field, "the error names the field that is taken"
        assert store.get(number_of(2)) is None, "of a refused payment nothing is stored"
        same(store.get(number_of(1)), full_payment(1))
        store.add(full_payment(3))
        same(store.get(number_of(3)), full_payment(3))

    # --- accounts --------------------------------------------------------------------------------

    def test_one_key_in_two_accounts(self, store: TransactionStore) -> None:
        """A key is unique in its account only, and with the account it finds that payment."""
        first = payment(1, idempotency_key="order-1", created=START + LEASE)
        second = payment(2, idempotency_key="order-1", account=OTHER)
        store.add(first)
        store.add(second)
        same(store.find(idempotency_key="order-1", account=first.account), first)
        same(store.find(idempotency_key="order-1", account=OTHER), second)
        assert store.find(idempotency_key="order-1", account="paybill 600002") is None, (
            "this account has no payment with that key"
        )
        same(store.find(idempotency_key="order-1"), first)
        with pytest.raises(DuplicateTransaction) as caught:
            store.add(payment(3, idempotency_key="order-1", account=OTHER))
        assert caught.value.field == "idempotency_key", "the key is taken in that account"

    @pytest.mark.parametrize("field", [*_UNIQUE[1:], "reference"])
    def test_find_of_one_account(self, store: TransactionStore, field: str) -> None:
        """`find` with `account` does not return payments of other accounts."""
        ours = payment(1, **{field: "x"})
        store.add(ours)
        if field == "reference":
            theirs = payment(2, reference="x", account=OTHER, created=START + LEASE)
            store.add(theirs)
            same(store.find(reference="x", account=OTHER), theirs)
        same(store.find(**{field: "x"}, account=ours.account), ours)
        for account in ("paybill 600009", "PAYBILL 600000"):
            assert store.find(**{field: "x"}, account=account) is None, (
                f"no payment of {account} has this {field}"
            )

    # --- replace ---------------------------------------------------------------------------------

    def test_replace_writes_every_field(self, store: TransactionStore) -> None:
        """`replace` changes every field, and raises the version by one, from any number."""
        store.add(payment(1, version=41))
        assert store.replace(full_payment(1, version=41)), "nobody else wrote: it must return True"
        same(store.get(number_of(1)), full_payment(1, version=42))
        same(store.find(receipt_number="NLJ7RT1"), full_payment(1, version=42))

    def test_replace_with_nothing_new_counts_too(self, store: TransactionStore) -> None:
        """The version grows even if no field changes, so a second writer loses."""
        store.add(payment(1))
        assert store.replace(payment(1)), "an equal payment is written as any other"
        assert not store.replace(payment(1)), "the version has grown: this writer is late"
        same(store.get(number_of(1)), payment(1, version=1))

    @pytest.mark.parametrize("version", [0, 2, 4, 5])
    def test_stale_replace_writes_nothing(self, store: TransactionStore, version: int) -> None:
        """With any version but the stored one, `replace` returns False and writes no field."""
        store.add(payment(1, version=3))
        assert not store.replace(full_payment(1, version=version)), "the version is not the stored"
        same(store.get(number_of(1)), payment(1, version=3))
        assert store.find(receipt_number="NLJ7RT1") is None, "a loser's receipt must not be found"

    def test_replace_of_an_unknown_number_is_false(self, store: TransactionStore) -> None:
        """A payment that was never added cannot be replaced, and `replace` does not add it."""
        assert not store.replace(payment(1)), "there is no such payment"
        assert store.get(number_of(1)) is None, "replace must not insert"

    @pytest.mark.parametrize("field", ["checkout_request_id", "receipt_number"])
    def test_replace_names_the_value_that_is_taken(
        self, store: TransactionStore, field: str
    ) -> None:
        """DuplicateTransaction names the field, and the stored payment does not change."""
        store.add(full_payment(1))
        store.add(payment(2))
        with pytest.raises(DuplicateTransaction) as caught:
            store.replace(payment(2, **{field: getattr(full_payment(1), field)}))
        assert caught.value.field == field, "the error names the field that is taken"
        same(store.get(number_of(2)), payment(2))
        assert store.replace(full_payment(2, version=0)), "the payment can still be written"

    # --- other handles ---------------------------------------------------------------------------

    def test_another_handle_sees_everything(self, make_store: MakeStore) -> None:
        """A second handle finds, changes and claims the payments that the first one stored."""
        if not self.durable:
            pytest.skip("durable = False: this store forgets with its handle")
        first = make_store()
        first.add(full_payment(1))
        first.add(payment(2, due_at=START))
        first.keep_callback(kept_callback(1))
        self.close_store(first)
        second = make_store()
        same(second.get(number_of(1)), full_payment(1))
        assert second.kept_callbacks(checkout_request_id="ws_CO_1") == [kept_callback(1)], (
            "a kept callback must outlive the handle that kept it"
        )
        one_of(second.claim_due(START, 10, LEASE, OURS))
        third = make_store()
        same(third.get(number_of(2)), payment(2, due_at=START + LEASE, version=1))

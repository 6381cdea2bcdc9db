"""`SearchContract`: the duties of a store that can search, as tests to inherit beside `StoreContract`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Protocol, cast

import attrs
import pytest

from mpesa_stk.errors import InvalidRequest
from mpesa_stk.payments.search import PaymentSearch, SearchableStore
from mpesa_stk.payments.state import FORGOTTEN_PHONE, Transaction, TransactionState
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.testing.contract_values import (
    OTHER,
    START,
    TICK,
    MakeStore,
    full_payment,
    number_of,
    payment,
    same,
)

__all__ = ["SearchContract", "SearchedStore"]

_OURS = "paybill 600000"
_DAY = timedelta(days=1)
_S = TransactionState
_FACTS: dict[str, dict[str, Any]] = {
    "phone_number": {"phone_number": "+254700000001"},
    "receipt_number": {"receipt_number": "NLJ7RT61SV"},
    "reference": {"reference": "INV-9"},
    "order": {"order": "oda-9"},
    "checkout_request_id": {"checkout_request_id": "ws_CO_9"},
    "state": {"state": _S.FAILED},
    "created_from": {"created": START + _DAY},
    "created_before": {"created": START - TICK},
    "needs_review": {"needs_review": "callback has another amount"},
    "not_forgotten": {},
}
"""What the one payment that a filter finds has, by the filter."""
_WANTED: dict[str, Any] = {
    **{name: facts.get(name) for name, facts in _FACTS.items()},
    "created_from": START + _DAY,
    "created_before": START,
    "needs_review": True,
    "not_forgotten": True,
}
_ELSE = {"not_forgotten": {"phone_number": FORGOTTEN_PHONE}}
_TEXTS = ("receipt_number", "reference", "order", "checkout_request_id")
_WRONG_CURSORS = ("", "x", "!!!", "WzEsMl0", "bnVsbA", "WzFd", "\ud800", "A" * 5000)


class SearchedStore(TransactionStore, SearchableStore, Protocol):
    """A `TransactionStore` that can search."""


class SearchContract:
    """Test a `SearchableStore`.

    Inherit from this class and from `StoreContract`, whose fixture `make_store` it uses.
    """

    @pytest.fixture
    def searched(self, make_store: MakeStore) -> SearchedStore:
        """Open one handle."""
        return cast("SearchedStore", make_store())

    # --- what is found -------------------------------------------------------------------------

    @pytest.mark.parametrize("name", _FACTS)
    def test_search_by_one_value(self, searched: SearchedStore, name: str) -> None:
        """A filter finds the payments that it describes, and no others."""
        wanted = payment(2, **_FACTS[name])
        for one in (payment(1, **_ELSE.get(name, {})), wanted, payment(3, **_ELSE.get(name, {}))):
            searched.add(one)
        assert _found(searched, **{name: _WANTED[name]}) == [wanted], f"the filter {name} is wrong"

    @pytest.mark.parametrize("left_out", ["", "account", *_FACTS])
    def test_all_filters_must_match(self, searched: SearchedStore, left_out: str) -> None:
        """With all filters, a payment is found only if it fits each of them."""
        facts: dict[str, Any] = {"account": OTHER}
        for name, more in _FACTS.items():
            facts |= {} if name == left_out else more
        facts |= {"created": START + _DAY}
        window = {"created_from": START + _DAY, "created_before": START + _DAY + TICK}
        if left_out in window:
            facts["created"] += TICK if left_out == "created_before" else -TICK
        if left_out == "account":
            facts["account"] = _OURS
        if left_out == "not_forgotten":
            facts["phone_number"] = FORGOTTEN_PHONE
        searched.add(payment(1, **facts))
        search = _WANTED | window | {"accounts": frozenset({OTHER})}
        if left_out == "not_forgotten":
            search["phone_number"] = None
        found = _found(searched, **search)
        assert len(found) == (left_out == ""), f"{left_out or 'no filter'} differs"

    def test_all_payments_are_found_whole(self, searched: SearchedStore) -> None:
        """Without a filter all payments are found, each with every field."""
        searched.add(payment(1))
        searched.add(full_payment(2))
        found = _found(searched)
        assert len(found) == len((payment(1), full_payment(2))), "without a filter all are found"
        same(found[0], full_payment(2))
        same(found[1], payment(1))

    @pytest.mark.parametrize("field", _TEXTS)
    @pytest.mark.parametrize("other", ["ab-1", "Ab-1 ", " Ab-1", "A\u0301b-1", "Ab-%", "Ab__", ""])
    def test_texts_are_searched_exactly(
        self, searched: SearchedStore, field: str, other: str
    ) -> None:
        """A text that differs in case, space or accent is not found, and % and _ are no wildcards."""
        searched.add(payment(1, **{field: "Ab-1"}))
        assert _found(searched, **{field: other}) == [], f"{other!r} is not 'Ab-1'"
        assert len(_found(searched, **{field: "Ab-1"})) == 1, "the text itself is found"

    @pytest.mark.parametrize("value", ["a\0b", "\ud800"])
    def test_a_text_that_cannot_be_stored_is_not_found(
        self, searched: SearchedStore, value: str
    ) -> None:
        """Such a text finds no payment. It is no failure of the store."""
        searched.add(payment(1))
        assert _found(searched, reference=value) == [], "no payment can have this reference"

    def test_accounts_limit_the_search(self, searched: SearchedStore) -> None:
        """Only payments of the accounts are found; of none, none; without accounts, all."""
        third = "paybill 600002"
        for ordinal, account in enumerate((_OURS, OTHER, third, _OURS)):
            searched.add(payment(ordinal, account=account, created=START + ordinal * TICK))
        for accounts, wanted in (
            ({_OURS}, [3, 0]),
            ({_OURS, third}, [3, 2, 0]),
            ({"PAYBILL 600000"}, []),
            (set(), []),
            (None, [3, 2, 1, 0]),
        ):
            chosen = None if accounts is None else frozenset(accounts)
            for more in ({}, {"phone_number": payment(1).phone_number}, {"state": _S.CREATED}):
                found = _numbers(_found(searched, accounts=chosen, **more))
                assert found == [number_of(one) for one in wanted], f"{accounts} with {more}"

    def test_changes_are_searched(self, searched: SearchedStore) -> None:
        """A search finds payments by what they are now."""
        searched.add(payment(1))
        changed = payment(1, state=_S.FAILED, needs_review="why", phone_number=FORGOTTEN_PHONE)
        assert searched.replace(changed), "nobody else wrote: replace must return True"
        assert _found(searched, state=_S.CREATED) == [], "it is not CREATED any more"
        assert _found(searched, not_forgotten=True) == [], "it was forgotten"
        stored = attrs.evolve(changed, version=1)
        assert _found(searched, state=_S.FAILED) == [stored], "it is FAILED now"
        assert _found(searched, needs_review=True) == [stored], "it needs a review now"

    # --- order and pages -------------------------------------------------------------------------

    def test_the_last_created_comes_first(self, searched: SearchedStore) -> None:
        """Payments come by `created`, the last first, and then by `transaction_no`, descending."""
        for ordinal, later in ((3, 1), (1, 2), (4, 1), (2, 0)):
            searched.add(payment(ordinal, created=START + later * TICK, needs_review="why"))
        wanted = [number_of(ordinal) for ordinal in (1, 4, 3, 2)]
        for more in _orders():
            assert _numbers(_found(searched, **more)) == wanted, f"the order with {more}"

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
    def test_pages_hold_each_payment_once(self, searched: SearchedStore, limit: int) -> None:
        """The pages together are all payments, also where several have one `created`."""
        places = (
            (0, _OURS),
            (1, _OURS),
            (1, OTHER),
            (1, _OURS),
            (1, _OURS),
            (2, OTHER),
            (2, _OURS),
        )
        for ordinal, (later, account) in enumerate(places):
            facts = {"account": account, "needs_review": "why"}
            searched.add(payment(ordinal, created=START + later * TICK, **facts))
        wanted = [number_of(ordinal) for ordinal in (6, 5, 4, 3, 2, 1, 0)]
        for more in _orders():
            pages = list(_pages(searched, limit, **more))
            assert [one for page in pages for one in page] == wanted, f"all pages with {more}"
            assert all(len(page) == limit for page in pages[:-1]), "only the last may be shorter"
            assert pages[-1], "the last page is not empty: next_cursor is None at the end"

    def test_pages_stay_while_payments_come_and_change(self, searched: SearchedStore) -> None:
        """New and changed payments move no others: none comes twice, none is left out."""
        for ordinal in range(6):
            searched.add(payment(ordinal, created=START + ordinal * TICK))
        first = searched.search(PaymentSearch(), cursor=None, limit=2)
        searched.add(payment(6, created=START + _DAY))
        searched.add(payment(7, created=START - _DAY))
        assert searched.replace(payment(5, created=START + 5 * TICK, state=_S.FAILED)), "unchanged"
        second = searched.search(PaymentSearch(), cursor=first.next_cursor, limit=2)
        third = searched.search(PaymentSearch(), cursor=second.next_cursor, limit=9)
        found = _numbers([*first.payments, *second.payments, *third.payments])
        wanted = [number_of(ordinal) for ordinal in (5, 4, 3, 2, 1, 0, 7)]
        assert found == wanted, "the pages are those of one search"
        assert third.next_cursor is None, "nothing follows"

    def test_a_cursor_needs_no_payment(self, searched: SearchedStore) -> None:
        """The payment after which a page begins may have changed so that it is not wanted any more."""
        for ordinal in range(3):
            searched.add(payment(ordinal, created=START + ordinal * TICK, needs_review="why"))
        first = searched.search(PaymentSearch(needs_review=True), cursor=None, limit=1)
        assert searched.replace(payment(2, created=START + 2 * TICK)), "nobody else wrote"
        rest = searched.search(PaymentSearch(needs_review=True), cursor=first.next_cursor, limit=9)
        assert _numbers([*rest.payments]) == [number_of(1), number_of(0)], "the rest follows"

    def test_a_limit_below_one_finds_none(self, searched: SearchedStore) -> None:
        """The page is empty, and it is the last."""
        searched.add(payment(1))
        for limit in (0, -1):
            page = searched.search(PaymentSearch(), cursor=None, limit=limit)
            assert (page.payments, page.next_cursor) == ((), None), f"limit {limit}"

    @pytest.mark.parametrize("cursor", _WRONG_CURSORS)
    def test_wrong_cursors_are_refused(self, searched: SearchedStore, cursor: str) -> None:
        """A text that no page gave is refused, and the error names the field."""
        searched.add(payment(1))
        with pytest.raises(InvalidRequest) as caught:
            searched.search(PaymentSearch(), cursor=cursor, limit=1)
        assert caught.value.field == "cursor", "the error names the cursor"


def _orders() -> Iterator[dict[str, Any]]:
    """Return filters that the payments of a test fit, and that stores may answer by different indexes."""
    plain = payment(1)
    yield {}
    yield {"accounts": frozenset({_OURS, OTHER})}
    yield {"phone_number": plain.phone_number}
    yield {"reference": plain.reference, "accounts": frozenset({_OURS, OTHER})}
    yield {"state": _S.CREATED, "created_from": START}
    yield {"needs_review": True, "accounts": frozenset({_OURS, OTHER})}
    yield {"needs_review": True, "reference": plain.reference}


def _found(store: SearchedStore, **search: Any) -> list[Transaction]:  # noqa: ANN401 - any field
    return list(store.search(PaymentSearch(**search), cursor=None, limit=100).payments)


def _pages(store: SearchedStore, limit: int, **search: Any) -> Iterator[list[str]]:  # noqa: ANN401 - as above
    cursor: str | None = None
    while True:
        page = store.search(PaymentSearch(**search), cursor=cursor, limit=limit)
        yield _numbers([*page.payments])
        cursor = page.next_cursor
        if cursor is None:
            return


def _numbers(payments: list[Transaction]) -> list[str]:
    return [one.transaction_no for one in payments]

"""Stores with one fault each in their searches, which `SearchContract` must find.

Not collected by itself: `tests/stores/test_contract.py` runs it in a process of its own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from mpesa_stk import MemoryTransactionStore, PaymentPage, PaymentSearch
from mpesa_stk.payments.search import page_of, place_after, place_of
from mpesa_stk.testing import SearchContract
from mpesa_stk.testing.contract_values import MakeStore

_TICK = timedelta(microseconds=1)
_ALL = 10_000


class TieStore(MemoryTransactionStore):
    """Its cursor is a moment only, so it leaves out payments that were created at that moment."""

    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """Search before the moment."""
        after = place_after(cursor)
        before = [one for one in (search.created_before, after and after[0]) if one is not None]
        earlier = attrs.evolve(search, created_before=min(before, default=None))
        return super().search(earlier, cursor=None, limit=limit)


class OffsetStore(MemoryTransactionStore):
    """Its pages begin at the place that the last payment has now, as an OFFSET would."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = 0

    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """Skip as many as were shown."""
        place_after(cursor)
        self._shown = self._shown if cursor else 0
        found = super().search(search, cursor=None, limit=_ALL).payments[self._shown :]
        self._shown += limit
        return page_of(found[: max(limit, 0) + 1], limit)


class CaselessSearchStore(MemoryTransactionStore):
    """Compares references as the default collations of MySQL do."""

    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """Ignore case."""
        wanted = search.reference
        if wanted is None:
            return super().search(search, cursor=cursor, limit=limit)
        rest, after = attrs.evolve(search, reference=None), place_after(cursor)
        found = [
            one
            for one in super().search(rest, cursor=None, limit=_ALL).payments
            if one.reference.lower() == wanted.lower() and (after is None or place_of(one) < after)
        ]
        return page_of(found, limit)


class InclusiveStore(MemoryTransactionStore):
    """Takes the end of a span of time for a part of it."""

    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """Add a microsecond."""
        end = search.created_before
        longer = attrs.evolve(search, created_before=None if end is None else end + _TICK)
        return super().search(longer, cursor=cursor, limit=limit)


class UnlimitedStore(MemoryTransactionStore):
    """Takes an empty set of accounts for all accounts."""

    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """Leave the condition out."""
        return super().search(
            attrs.evolve(search, accounts=search.accounts or None), cursor=cursor, limit=limit
        )


def of_search(kind: type[MemoryTransactionStore]) -> type[SearchContract]:
    """The contract of one kind of store."""

    class Contract(SearchContract):
        @pytest.fixture
        def make_store(self) -> MakeStore:
            """Always the same store."""
            store: Any = kind()
            return lambda: store

    return Contract


class TestSearching(of_search(MemoryTransactionStore)):  # type: ignore[misc] # noqa: D101 - named by what they test
    pass


class TestTies(of_search(TieStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestOffset(of_search(OffsetStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestCaselessSearch(of_search(CaselessSearchStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestInclusive(of_search(InclusiveStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestUnlimited(of_search(UnlimitedStore)):  # type: ignore[misc] # noqa: D101
    pass

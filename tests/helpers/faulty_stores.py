"""Stores with one fault each, which the contracts must find.

Not collected by itself: `tests/stores/test_contract.py` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from mpesa_stk import (
    DuplicateTransaction,
    KeptCallback,
    MemoryTokenStore,
    MemoryTransactionStore,
    NotSent,
    Token,
    Transaction,
)
from mpesa_stk.stores.memory import AsyncMemoryTransactionStore
from mpesa_stk.testing import (
    BlockingTransactionStore,
    EventLoopThread,
    StoreContract,
    TokenStoreContract,
)
from mpesa_stk.testing.contract_values import MakeStore
from mpesa_stk.testing.token_contract import MakeTokenStore


class LookingStore(MemoryTransactionStore):
    """Looks for what is due without taking it."""

    def _found(self, now: datetime, limit: int, accounts: frozenset[str]) -> list[Transaction]:
        due = [(one.due_at, one) for one in list(self._transactions.values()) if one.due_at]
        mine = [(at, one) for at, one in due if at <= now and one.account in accounts]
        before: Counter[str] = Counter()  # accounts take turns
        ranked = []
        for at, one in sorted(mine, key=lambda pair: pair[0]):
            ranked.append((before[one.account], at, one))
            before[one.account] += 1
        return [one for _, _, one in sorted(ranked, key=lambda rank: rank[:2])][:limit]


class RacyStore(LookingStore):
    """Checks, and then acts, as if nobody could come between: two threads are made to meet there."""

    def __init__(self) -> None:
        super().__init__()
        self._between = threading.Barrier(2)

    def _meet(self) -> None:
        """Wait for another thread that has checked, too, but has not acted."""
        if threading.current_thread() is not threading.main_thread():
            with contextlib.suppress(threading.BrokenBarrierError):
                self._between.wait(2.0)  # a busy machine may be slow to bring it
                return
            self._between.reset()

    def add(self, transaction: Transaction, /) -> None:
        """Insert."""
        if self.get(transaction.transaction_no) is not None:
            raise DuplicateTransaction("transaction_no")
        self._check_unique(transaction)
        self._meet()
        with self._lock():
            self._write(None, transaction)

    def replace(self, transaction: Transaction, /) -> bool:
        """Compare, then set."""
        before = self.get(transaction.transaction_no)
        if before is None or before.version != transaction.version:
            return False
        self._check_unique(transaction)
        self._meet()
        with self._lock():
            self._write(before, attrs.evolve(transaction, version=transaction.version + 1))
        return True

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Look, then take."""
        found = self._found(now, limit, accounts)
        if found:
            self._meet()
        with self._lock():
            return [self._write_lease(before, now + lease) for before in found]


class OverwritingStore(LookingStore):
    """Claims whole documents: reads them, and writes them back over what was changed meanwhile.

    Those who claim take turns. A change is made when a claim has read, and before it writes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._claims = threading.Lock()
        self._inside = threading.Barrier(2)

    def _meet(self) -> None:
        """Wait for the other side; where it does not come once, never again."""
        if threading.current_thread() is not threading.main_thread():
            with contextlib.suppress(threading.BrokenBarrierError):
                self._inside.wait(2.0)

    def replace(self, transaction: Transaction, /) -> bool:
        """Compare and set at once, while somebody claims."""
        self._meet()
        replaced = super().replace(transaction)
        self._meet()
        return replaced

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Read, and write later."""
        with self._claims:
            with self._lock():
                found = self._found(now, limit, accounts)
            for _ in range(2 if found else 0):  # until a change begins, and until it is made
                self._meet()
            with self._lock():
                return [self._write_lease(before, now + lease) for before in found]


class WholeSecondsStore(MemoryTransactionStore):
    """A column for moments without a fraction."""

    def add(self, transaction: Transaction, /) -> None:
        """Insert what is left of it."""
        super().add(attrs.evolve(transaction, created=transaction.created.replace(microsecond=0)))


class CaselessStore(MemoryTransactionStore):
    """A collation that takes capitals for small letters."""

    def add(self, transaction: Transaction, /) -> None:
        """Insert."""
        key = (transaction.idempotency_key or "-").lower()
        for other in list(self._transactions.values()):
            known = (other.idempotency_key or "").lower()
            if (known, other.account) == (key, transaction.account):
                raise DuplicateTransaction("idempotency_key")
        super().add(transaction)


class LateStore(MemoryTransactionStore):
    """Takes what is due before now, and not what is due now."""

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Claim a little late."""
        taken = super().claim_due(now - timedelta(microseconds=1), limit, lease, accounts)
        return [attrs.evolve(one, due_at=now + lease) for one in taken]


class GrabbingStore(MemoryTransactionStore):
    """Claims for every account, whatever accounts are given."""

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, _accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Claim what is due."""
        return super().claim_due(now, limit, lease, frozenset(self._due))


class FilteringStore(MemoryTransactionStore):
    """Claims for every account, and hands on what is of the given ones: the others are lost."""

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Claim what is due, then look whose it is."""
        taken = super().claim_due(now, limit, lease, frozenset(self._due))
        return [one for one in taken if one.account in accounts]


class OneKeyStore(MemoryTransactionStore):
    """Keys are unique, whosever they are, and looked up without the account."""

    def add(self, transaction: Transaction, /) -> None:
        """Insert."""
        for other in list(self._transactions.values()):
            if other.idempotency_key == transaction.idempotency_key is not None:
                raise DuplicateTransaction("idempotency_key")
        super().add(transaction)


class UpsertingStore(MemoryTransactionStore):
    """Writes whatever it is given."""

    def replace(self, transaction: Transaction, /) -> bool:
        """Write, and compare nothing."""
        before = self.get(transaction.transaction_no)
        if before is None:
            self.add(transaction)
            return True
        return super().replace(attrs.evolve(transaction, version=before.version))


class LastKeptStore(MemoryTransactionStore):
    """Writes a callback over the one with the same id."""

    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep the newest."""
        self.drop_callback(kept.callback_id)
        super().keep_callback(kept)


class KeptTwiceStore(MemoryTransactionStore):
    """A table of callbacks whose id is no key: the same one is kept again and again."""

    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep it under an id of its own."""
        super().keep_callback(
            attrs.evolve(kept, callback_id=f"{kept.callback_id} {len(self._kept)}")
        )

    def kept_callbacks(self, **names: Any) -> list[KeptCallback]:
        """Read, each with the id that it came with."""
        found = super().kept_callbacks(**names)
        return [attrs.evolve(kept, callback_id=kept.callback_id.split()[0]) for kept in found]

    def drop_callback(self, callback_id: str, /) -> None:
        """Drop all with that id."""
        for kept in [kept for kept in self._kept if kept.startswith(callback_id)]:
            super().drop_callback(kept)


class PurgingStore(MemoryTransactionStore):
    """Forgets what is old enough, as many as there are, and that of the very moment too."""

    def purge_callbacks(self, before: datetime, _limit: int, /) -> int:
        """Forget."""
        return super().purge_callbacks(before + timedelta(microseconds=1), 10_000)


class ForgetfulStore(MemoryTransactionStore):
    """Hands a kept callback out once."""

    def kept_callbacks(self, **names: Any) -> list[KeptCallback]:
        """Read, and drop."""
        found = super().kept_callbacks(**names)
        for kept in found:
            self.drop_callback(kept.callback_id)
        return found


def of_store(kind: type[MemoryTransactionStore]) -> type[StoreContract]:
    """The contract of one kind of store."""

    class Contract(StoreContract):
        durable = False
        many = 500

        @pytest.fixture
        def make_store(self) -> MakeStore:
            """Always the same store."""
            store = kind()
            return lambda: store

    return Contract


class TestFaultless(of_store(MemoryTransactionStore)):  # type: ignore[misc] # noqa: D101 - named by what they test
    pass


class TestRacy(of_store(RacyStore)):  # type: ignore[misc] # noqa: D101
    pass


class AsyncRacyStore(AsyncMemoryTransactionStore):
    """An asynchronous store that checks, lets other tasks run, and then acts."""

    def __init__(self) -> None:
        super().__init__()
        self._memory = LookingStore()
        self._store = self._memory

    async def add(self, transaction: Transaction, /) -> None:
        """Insert."""
        if self._memory.get(transaction.transaction_no) is not None:
            raise DuplicateTransaction("transaction_no")
        self._memory._check_unique(transaction)
        await asyncio.sleep(0.01)
        self._memory._write(None, transaction)

    async def replace(self, transaction: Transaction, /) -> bool:
        """Compare, then set."""
        before = self._memory.get(transaction.transaction_no)
        if before is None or before.version != transaction.version:
            return False
        self._memory._check_unique(transaction)
        await asyncio.sleep(0.01)
        after = attrs.evolve(transaction, version=transaction.version + 1)
        self._memory._write(before, after)
        return True

    async def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Look, then take."""
        found = self._memory._found(now, limit, accounts)
        await asyncio.sleep(0.01 if found else 0.0)
        return [self._memory._write_lease(before, now + lease) for before in found]


class TestAsyncRacy(StoreContract):
    """Its tasks race as threads do."""

    durable = False
    many = 500

    @pytest.fixture
    def make_store(self) -> Iterator[MakeStore]:
        """Always the same store."""
        with EventLoopThread() as loop:
            store = BlockingTransactionStore(AsyncRacyStore(), loop)
            yield lambda: store


class TestOverwriting(of_store(OverwritingStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestWholeSeconds(of_store(WholeSecondsStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestCaseless(of_store(CaselessStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestLate(of_store(LateStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestGrabbing(of_store(GrabbingStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestFiltering(of_store(FilteringStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestOneKey(of_store(OneKeyStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestUpserting(of_store(UpsertingStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestLastKept(of_store(LastKeptStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestKeptTwice(of_store(KeptTwiceStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestPurging(of_store(PurgingStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestForgetful(of_store(ForgetfulStore)):  # type: ignore[misc] # noqa: D101
    pass


# --- stores of tokens --------------------------------------------------------------------------------


class CarelessTokenStore(MemoryTokenStore):
    """Drops whatever is there."""

    def drop(self, app: str, token: Token, /) -> None:
        """Forget the newer token too."""
        kept = self.load(app)
        super().drop(app, kept if kept is not None else token)


class CrowdedTokenStore(MemoryTokenStore):
    """Lets everybody fetch at once: two workers are made to meet in the flight."""

    def __init__(self) -> None:
        super().__init__()
        self._inside = threading.Barrier(2)

    def single_flight(self, _app: str, _timeout: float, /) -> AbstractContextManager[object]:
        """Come in."""
        return contextlib.nullcontext()

    def load(self, app: str, /) -> Token | None:
        """Wait for another worker that is in the flight, too."""
        if threading.current_thread() is not threading.main_thread():
            with contextlib.suppress(threading.BrokenBarrierError):
                self._inside.wait(2.0)
        return super().load(app)


class StubbornTokenStore(MemoryTokenStore):
    """Gives a flight back that is another's: its lease is over, and it does not know."""

    def __init__(self) -> None:
        super().__init__()
        self._free = threading.Event()
        self._free.set()

    @contextlib.contextmanager
    def _stubborn(self, timeout: float) -> Iterator[None]:
        if not self._free.wait(min(timeout, 1.0)) and timeout < 1.0:
            raise NotSent("others are in the flight")
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def single_flight(self, _app: str, timeout: float, /) -> AbstractContextManager[object]:
        """Wait for a second, then go."""
        return self._stubborn(timeout)


class PatientTokenStore(MemoryTokenStore):
    """Waits for the flight, however long that takes."""

    def single_flight(self, app: str, _timeout: float, /) -> AbstractContextManager[object]:
        """Wait without an end."""
        return super().single_flight(app, float("inf"))


def of_token_store(kind: type[MemoryTokenStore]) -> type[TokenStoreContract]:
    """The contract of one kind of token store."""

    class Contract(TokenStoreContract):
        lease = 1.0 if kind is StubbornTokenStore else None

        @pytest.fixture
        def make_store(self) -> MakeTokenStore:
            """Always the same store."""
            store = kind()
            return lambda: store

    return Contract


class TestCareless(of_token_store(CarelessTokenStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestCrowded(of_token_store(CrowdedTokenStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestStubborn(of_token_store(StubbornTokenStore)):  # type: ignore[misc] # noqa: D101
    pass


class TestPatient(of_token_store(PatientTokenStore)):  # type: ignore[misc] # noqa: D101
    pass

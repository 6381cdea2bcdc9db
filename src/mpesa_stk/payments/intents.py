"""Store the intent of a checkout.

One caller wins it, for its key and for its order, and only that one pushes.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta

import attrs

from mpesa_stk.clock import AsyncClock
from mpesa_stk.errors import (
    DuplicateTransaction,
    IdempotencyConflict,
    MpesaError,
    StoreError,
)
from mpesa_stk.payments.events import KeyReused, OrderReleased, PushRefused
from mpesa_stk.payments.orders import differing, obstacle, was_prompted, way_for
from mpesa_stk.payments.recorder import MOST_RACES, Recorder
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.payments.transaction import apply


class Intents:
    """Stores intents, or finds the payment that answers a checkout instead."""

    def __init__(self, recorder: Recorder, /, *, longest_push: timedelta) -> None:
        self._recorder = recorder
        self._store = recorder.store
        self._clock: AsyncClock = recorder.clock
        self._longest_push = longest_push

    async def store(
        self, intent: Transaction, /, *, unresolved_ok: bool
    ) -> tuple[Transaction, bool]:
        """Store the intent, or find the payment that has its idempotency key or its order.

        Returns:
            The stored payment, and whether this call must push it.

        Raises:
            IdempotencyConflict: The key was used with another payload.
            OrderRefused: Another attempt at the order is in the way.
            StoreError: The store failed.
        """
        for _ in range(MOST_RACES):
            try:
                found = await self._live_attempt(intent, unresolved_ok=unresolved_ok)
                if found is not None:
                    return found, False
                await self._store.add(intent)
            except DuplicateTransaction as error:
                known = await self._with_key_of(intent)
                if known is None and error.field != "order_slot":
                    raise
            else:
                return await self._still_wanted(intent), True
            if known is None:
                continue  # another checkout of the order was first: look at its attempt
            again = await self._of_key(known, intent, unresolved_ok=unresolved_ok)
            if again is not None:
                return again
        raise StoreError("other checkouts of the order were first too many times")

    # --- orders -----------------------------------------------------------------------------------

    async def _live_attempt(
        self, intent: Transaction, *, unresolved_ok: bool
    ) -> Transaction | None:
        """Return the attempt that answers this checkout. None if the way is free for a new one."""
        if intent.order is None:
            return None
        attempts = await self._store.attempts(intent.account, intent.order)
        if any(_has_key_of(intent, attempt) for attempt in attempts):
            return None  # the payment of the key answers
        return await self._clear(intent, attempts, unresolved_ok=unresolved_ok)

    async def _clear(
        self, intent: Transaction, others: list[Transaction], *, unresolved_ok: bool
    ) -> Transaction | None:
        """Let attempts that have ended give their place back. Return the live one instead, if any."""
        way = way_for(intent, others, self._clock.now(), unresolved_ok=unresolved_ok)
        for attempt in way.ended:
            await self._recorder.record(attempt, OrderReleased())
        return way.live

    async def _still_wanted(self, ours: Transaction) -> Transaction:
        """Return our attempt, unless another one was paid or came to life while it was stored.

        Raises:
            OrderRefused: That other attempt is in the way. Ours is REJECTED, and was not pushed.
            StoreError: The store failed. Ours was not pushed.
        """
        if ours.order is None:
            return ours
        error: MpesaError | None
        try:
            error = obstacle(await self._others(ours))
        except StoreError as failure:
            failure.transaction_no = ours.transaction_no
            error = failure
        if error is None:
            return ours
        reason = type(error).__name__
        refused = PushRefused(code=None, reason=reason, expires_at=ours.expires_at)
        with contextlib.suppress(StoreError):  # otherwise it becomes UNCERTAIN when it is due
            await self._recorder.record(ours, refused)
        raise error

    async def _others(self, ours: Transaction) -> list[Transaction]:
        """Return the other attempts at the order of a payment."""
        attempts = await self._store.attempts(ours.account, str(ours.order))
        return [one for one in attempts if one.transaction_no != ours.transaction_no]

    # --- keys -------------------------------------------------------------------------------------

    async def _with_key_of(self, intent: Transaction) -> Transaction | None:
        """Return the payment that has the idempotency key of an intent, or None."""
        key = intent.idempotency_key
        if key is None:
            return None
        return await self._store.find(idempotency_key=key, account=intent.account)

    async def _of_key(
        self, known: Transaction, intent: Transaction, *, unresolved_ok: bool
    ) -> tuple[Transaction, bool] | None:
        """Answer a checkout from the payment of its key.

        Returns:
            The payment, and whether this call must push it. None if the order has changed meanwhile.
        """
        fields = differing(known, intent)
        if fields:
            raise IdempotencyConflict(fields)
        # If a callback came about the refused push, its prompt did appear, and may be paid.
        if known.state is not TransactionState.REJECTED or was_prompted(known):
            return known, False
        if known.order is not None:
            others = await self._others(known)
            live = await self._clear(intent, others, unresolved_ok=unresolved_ok)
            if live is not None:
                return live, False
        try:
            return await self._start_again(known, intent)
        except DuplicateTransaction:
            return None

    async def _start_again(
        self, rejected: Transaction, intent: Transaction
    ) -> tuple[Transaction, bool]:
        """Take a REJECTED payment for a new push, unless another worker takes it first.

        Returns:
            The payment as now stored, and whether this call must push it.
        """
        again = KeyReused(
            expires_at=intent.expires_at, due_at=self._clock.now() + self._longest_push
        )
        after = apply(rejected, again, self._clock.now())
        if await self._store.replace(after):
            ours = attrs.evolve(after, version=after.version + 1)
            return await self._still_wanted(ours), True
        return await self._recorder.stored(rejected.transaction_no), False


def _has_key_of(intent: Transaction, attempt: Transaction) -> bool:
    return intent.idempotency_key is not None and attempt.idempotency_key == intent.idempotency_key

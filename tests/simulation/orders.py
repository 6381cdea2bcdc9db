"""Orders of a world: which attempts are made, and what stood in the way of each prompt (invariant I6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import attrs

from mpesa_stk import Transaction, TransactionState, TransactionStore
from mpesa_stk.payments.events import Meaning


@attrs.frozen(kw_only=True)
class Attempt:
    """What a shop asks for with one key, as often as it likes.

    Attributes:
        account: The shortcode of the shop.
        key: The idempotency key, and the reference.
        amount: Whole shillings.
        order: What is paid, or None.
        at_risk: Whether the shop takes the risk of an attempt that nobody knows about.
    """

    account: str
    key: str
    amount: int
    order: str | None = None
    at_risk: bool = False


class _Way(Enum):
    FREE = "another prompt may go out"
    AT_RISK = "only at the shop's risk"
    BLOCKED = "no other prompt may go out"


class Witness:
    """Sees each write of a payment and each prompt, and notes second prompts of one order.

    A checkout looks at the attempts once more before it pushes. What stands in the way by then must stop
    it. What comes later cannot.
    """

    def __init__(self, store: TransactionStore, attempts: list[Attempt]) -> None:
        self._store = store
        self._attempts = attempts
        self._count = 0
        self._looked: dict[object, int] = {}
        self._in_the_way: dict[str, tuple[_Way, int]] = {}
        self.second_prompts: list[str] = []

    def saw(self, task: object, method: Callable[..., object], args: tuple[Any, ...]) -> None:
        """A method of the store has had its effect."""
        self._count += 1
        if method.__name__ == "attempts":
            self._looked[task] = self._count
        elif method.__name__ in ("add", "replace"):
            stored = self._store.get(args[0].transaction_no)
            if stored is not None:
                self._note(stored)

    def _note(self, stored: Transaction) -> None:
        was = self._in_the_way.get(stored.transaction_no, (_Way.FREE, 0))[0]
        now = _way_of(stored)
        if now != was:
            self._in_the_way[stored.transaction_no] = (now, self._count)

    def prompted(self, task: object, key: str) -> None:
        """A prompt appeared."""
        mine = next(each for each in self._attempts if each.key == key)
        if mine.order is None:
            return
        risky = any(each.at_risk for each in self._attempts if each.order == mine.order)
        for other in self._store.attempts(f"paybill {mine.account}", mine.order):
            way, since = self._in_the_way.get(other.transaction_no, (_Way.FREE, 0))
            if other.idempotency_key == key or since > self._looked[task]:
                continue
            if way is _Way.BLOCKED or (way is _Way.AT_RISK and not risky):
                self.second_prompts.append(
                    f"I6: {key} was prompted while {other.idempotency_key} was {other.state.value}"
                )

    def paid_twice(self) -> Iterator[str]:
        """Of several successes of one order, the first has its place, and the others are flagged."""
        for account, order in {(each.account, each.order) for each in self._attempts}:
            if order is None:
                continue
            attempts = self._store.attempts(f"paybill {account}", order)
            paid = [each for each in attempts if each.paid]
            flagged = [each for each in paid if _was_flagged(each)]
            if len(flagged) != max(len(paid) - 1, 0):
                yield f"I6: {order} was paid {len(paid)} times, and flagged {len(flagged)} times"
            if paid and sum(each.order_slot == f"paid:{order}" for each in paid) != 1:
                yield f"I6: no payment of {order} has the place of the paid one"


def _was_flagged(stored: Transaction) -> bool:
    """Whether a second success needs a review, or a person has seen it."""
    reviewed = "order paid twice" in (stored.needs_review or "")
    return stored.order_slot is None and (reviewed or any(each.by for each in stored.history))


def _way_of(stored: Transaction) -> _Way:
    """Whether another prompt may go out, as far as this attempt is concerned."""
    if stored.paid or not stored.settled:
        return _Way.BLOCKED
    final = any(entry.event == Meaning.NOT_PAID.value for entry in stored.history)
    unknown = stored.state is TransactionState.EXPIRED and not final
    return _Way.AT_RISK if unknown else _Way.FREE

"""Where a payment can stand. Pure."""

from __future__ import annotations

from enum import Enum

__all__ = ["TransactionState"]


class TransactionState(str, Enum):
    """Where a payment stands."""

    CREATED = "CREATED"
    """The intent is stored; nothing is known to be sent."""
    UNCERTAIN = "UNCERTAIN"
    """The push was sent and its answer is unknown."""
    PENDING = "PENDING"
    """Daraja accepted; waiting for the customer."""
    SUCCEEDED = "SUCCEEDED"
    """Paid."""
    FAILED = "FAILED"
    """Final refusal: cancelled, no funds, wrong PIN, unreachable ..."""
    REJECTED = "REJECTED"
    """It never reached the phone."""
    EXPIRED = "EXPIRED"
    """Nobody could tell in time; not a failure."""

    @property
    def settled(self) -> bool:
        """Whether the payment has an outcome to report."""
        return self not in _OPEN


_OPEN = frozenset({TransactionState.CREATED, TransactionState.UNCERTAIN, TransactionState.PENDING})

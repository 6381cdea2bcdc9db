"""Work in a database: what its failures mean, when it is done again, and the error that is left of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Generic, TypeVar

import attrs

from mpesa_stk.clock import Clock
from mpesa_stk.errors import StoreError
from mpesa_stk.hooks import log_trouble
from mpesa_stk.stores.sql_errors import code_of

__all__ = ["TRIES", "Done", "Failure", "Kind", "done", "was_rolled_back"]

T = TypeVar("T")

TRIES = 5
"""Most tries of work that the database rolls back."""
_PAUSE = 0.05
# Serialization failure and deadlock in PostgreSQL. Deadlock, and a row that changed since it was read, in
# MySQL and MariaDB. After each of them the transaction is rolled back.
_ROLLED_BACK = ("40001", "40P01", 1213, 1020)


class Kind(Enum):
    """Kinds of failure, by their effect on the data that should have been written."""

    NOT_REACHED = "no connection was had"
    ROLLED_BACK = "it was rolled back, and may be tried again"
    REFUSED = "a constraint refused it"
    UNSURE = "it may have been written"


@attrs.frozen(kw_only=True)
class Done(Generic[T]):
    """The work is done, with this result."""

    result: T


@attrs.frozen(kw_only=True)
class Failure:
    """The work failed. The error itself is not kept: it holds values of rows."""

    kind: Kind
    meaning: str


def was_rolled_back(error: Exception, /) -> bool:
    """Return whether the database rolled the transaction back because of other writers."""
    return code_of(error) in _ROLLED_BACK


def done(
    attempt: Callable[[], Done[T] | Failure],
    /,
    *,
    clock: Clock,
    jitter: Callable[[], float],
    refused: Callable[[], T | None] | None,
    unsure: Callable[[], T | None] | None,
) -> T:
    """Do some work, and return its result. If the database rolls it back, do it again.

    Args:
        attempt: Does the work once.
        clock: Waits between two tries.
        jitter: Returns a random number from 0 to 1, which varies the waits.
        refused: Called after a constraint violation. It returns a result, returns None to fail, or
            raises an error for the caller.
        unsure: Called if the commit may or may not have happened. It reads the rows again and
            returns the result, or None if they do not decide it.

    Raises:
        StoreError: The database failed.
    """
    tries = 0
    while True:
        outcome = attempt()
        if isinstance(outcome, Done):
            return outcome.result
        tries += 1
        if outcome.kind is not Kind.ROLLED_BACK or tries == TRIES:
            break
        clock.sleep(_PAUSE * tries * jitter())
    look = {Kind.REFUSED: refused, Kind.UNSURE: unsure}.get(outcome.kind)
    found = look() if look is not None else None
    if found is None:
        # Code that catches a StoreError logs only its class, since a host's store may have written its
        # text. So the meaning is logged here.
        log_trouble("database_failed", error=outcome.meaning)
        raise StoreError(f"the database failed: {outcome.meaning}")
    return found

"""Run the host's handlers, plain ones and asynchronous ones."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from mpesa_stk.payments.state import Transaction


def never() -> bool:
    """Return False: the batch is never asked to stop."""
    return False


def plain_handler(
    handler: Callable[[Transaction], object], /
) -> Callable[[Transaction], Awaitable[object]]:
    """Return a handler that runs a plain function.

    A call of an ``async def`` or generator function only makes an object. It raises TypeError for one.
    """

    async def run(transaction: Transaction) -> None:
        returned = handler(transaction)
        if inspect.iscoroutine(returned) or inspect.isgenerator(returned):
            returned.close()
            raise TypeError("the handler did not run: it must be a plain function")

    return run


def any_handler(
    handler: Callable[[Transaction], object], /
) -> Callable[[Transaction], Awaitable[object]]:
    """Return a handler that runs a plain function or an ``async def``."""

    async def run(transaction: Transaction) -> None:
        returned = handler(transaction)
        if inspect.isawaitable(returned):
            await returned
        elif inspect.isgenerator(returned) or inspect.isasyncgen(returned):
            raise TypeError("the handler did not run: it must not be a generator")

    return run

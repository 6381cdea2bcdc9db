"""Pulls Safaricom's records of the accounts of a command, within the budget of their apps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from mpesa_stk.errors import ConfigurationError, InvalidRequest, RateLimited
from mpesa_stk.faces import finish
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.payments import Payments
from mpesa_stk.reconcile.statement import Statement


def each_account(payments: Payments | Accounts, /) -> Iterator[Payments]:
    """Return the payments of each account, by its name.

    An account whose settings cannot be had is left out, so that the others go on. `process_due` says so.
    """
    if isinstance(payments, Payments):
        yield payments
        return
    for name in sorted(payments.names()):
        try:
            one = payments[name]
        except (InvalidRequest, ConfigurationError):
            continue
        yield one


def pull(
    payments: Payments, start: datetime, end: datetime, /, *, patience: float
) -> Statement | None:
    """Ask Daraja for the payments that reached an account, when the budget of its app allows it.

    Args:
        payments: The payments of the account.
        start: Begin of the period.
        end: End of the period.
        patience: Seconds to wait for the budget at most.

    Returns:
        The record, or None if the budget did not allow it in time.

    Raises:
        MpesaError: Daraja could not be asked.
    """
    budget, app, clock = payments.flow.parts.budget, payments.client.app, payments.clock
    ends = clock.monotonic() + patience
    while (wait := finish(budget.take(app, clock.now()))) > 0:
        if clock.monotonic() + wait > ends:
            return None
        clock.sleep(wait)
    try:
        return payments.client.pull(start, end)
    except RateLimited as error:
        finish(budget.throttled(app, clock.now(), error.retry_after or 0.0))
        raise

"""The one place where the shop's payments are made, and what happens when one settles."""

import functools
import logging

from mpesa_stk import PaymentEndpoints, Payments, StkClient, StkConfig, Transaction
from mpesa_stk.contrib.django.orm_store import DjangoTransactionStore

ORDERS = {"INV-001": 1500}  # what your tables say that each order costs
_LOGGER = logging.getLogger(__name__)


@functools.cache
def payments() -> Payments:
    """The shop's payments, from the environment variables."""
    return Payments(StkClient(StkConfig.from_env()), DjangoTransactionStore())


@functools.cache
def endpoints() -> PaymentEndpoints:
    """The payment endpoints.

    The price is the server's: a page that posts its own amount sells a laptop for one shilling.
    """
    return PaymentEndpoints(payments(), quote=ORDERS.get)


def deliver(transaction: Transaction) -> None:
    """Mark the order as paid, unless it already is. Told at least once of each outcome."""
    _LOGGER.warning("payment %s: %s", transaction.transaction_no, transaction.state.value)

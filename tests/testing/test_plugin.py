"""The pytest plugin for hosts, used as they use it."""

from __future__ import annotations

from mpesa_stk import Payments, StkClient, TransactionState
from mpesa_stk.testing import ManualClock, SimulatedDaraja, phones

pytest_plugins = ["mpesa_stk.testing.plugin"]


def test_the_fixtures_belong_together(
    manual_clock: ManualClock, daraja: SimulatedDaraja, stk_client: StkClient, payments: Payments
) -> None:
    """One clock, one Daraja, one client."""
    assert daraja.clock is payments.clock is manual_clock
    assert payments.client is stk_client
    assert stk_client.config is daraja.config


def test_a_payment_in_five_lines(daraja: SimulatedDaraja, payments: Payments) -> None:
    """The callbacks of ``daraja`` reach ``payments``."""
    transaction = payments.checkout(phone_number=phones.PAID, amount=100, reference="INV-1")
    daraja.run()
    stored = payments.store.get(transaction.transaction_no)
    assert stored is not None
    assert stored.state is TransactionState.SUCCEEDED

"""A made-up merchant, for the commands that simulate Daraja."""

from __future__ import annotations

import secrets

from mpesa_stk.config.account import PayBill
from mpesa_stk.config.environment import Environment
from mpesa_stk.config.settings import StkConfig

# No server listens there: the address is replaced as soon as the simulator has a port.
_NOWHERE = "http://127.0.0.1:9"


def fresh_merchant() -> StkConfig:
    """The settings of a new merchant, with random secrets."""
    return StkConfig(
        consumer_key=secrets.token_hex(16),
        consumer_secret=secrets.token_hex(16),
        passkey=secrets.token_hex(32),
        account=PayBill("600000"),
        callback_url="https://shop.example.co.ke/payments/callback",
        callback_secrets=(secrets.token_hex(16),),
        environment=Environment.at(_NOWHERE, name="simulator"),
    )

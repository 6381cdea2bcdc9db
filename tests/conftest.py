"""Settings of the whole suite: property tests draw the same examples on every run; servers; signals."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

# As a store's author does: a failed assert of the contracts shows its values.
pytest.register_assert_rewrite(
    "mpesa_stk.testing.contract_values",
    "mpesa_stk.testing.store_callbacks",
    "mpesa_stk.testing.store_claims",
    "mpesa_stk.testing.store_contract",
    "mpesa_stk.testing.store_races",
    "mpesa_stk.testing.token_contract",
)
pytest_plugins = ["certificates", "databases"]

# `nohup` and some CI start the suite with these ignored; child processes would inherit that, too.
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

settings.register_profile(
    "mpesa-stk",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of the code
)
settings.load_profile("mpesa-stk")

from __future__ import annotations

import time
from datetime import timedelta

from mpesa_stk import Clock, SystemClock


def test_the_system_clock_tells_aware_utc() -> None:
    """Payments are stored with moments that mean the same everywhere."""
    clock: Clock = SystemClock()
    now = clock.now()
    assert now.utcoffset() == timedelta(0)
    assert abs(now.timestamp() - time.time()) < 60


def test_the_system_clock_grows() -> None:
    """Deadlines are measured by a clock that no administrator sets back."""
    clock: Clock = SystemClock()
    first = clock.monotonic()
    clock.sleep(0.0)
    assert clock.monotonic() >= first

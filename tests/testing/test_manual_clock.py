from __future__ import annotations

from datetime import timedelta

from mpesa_stk import Clock
from mpesa_stk.testing import ManualClock


def test_the_manual_clock_is_a_clock() -> None:
    """Sleeping moves it and takes no time."""
    clock = ManualClock()
    as_clock: Clock = clock
    before = clock.now()
    as_clock.sleep(3600.0)
    assert clock.now() - before == timedelta(hours=1)
    assert clock.slept == [3600.0]

"""When something happens next: every number of a payment's schedule, in one place. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

__all__ = [
    "ASK_AGAIN_AFTER",
    "CALLBACK_RETENTION",
    "EXPIRE_AFTER",
    "FIRST_QUERY",
    "KEEP_ASKING",
    "LONGEST_RETRY_AFTER",
    "PROMPT_LIVES",
    "PURGE_EVERY",
    "REPORT_LEASE",
    "SLOWEST_QUERY",
    "WRITE_AGAIN_AFTER",
    "pause_before_query",
    "pause_before_report",
]

EXPIRE_AFTER = timedelta(minutes=15)
"""How long an open payment is followed. A prompt lives about a minute (docs/daraja.md, section 6)."""
PROMPT_LIVES = timedelta(minutes=5)
"""No prompt lives longer: the longest that is reported is three minutes (docs/daraja.md, section 6)."""
FIRST_QUERY = 20.0
"""Seconds after which an open payment is asked about for the first time (docs/daraja.md, section 0)."""
SLOWEST_QUERY = 300.0
"""Most seconds between two looks at an open payment that has not expired."""
_SLOWEST_LATE_QUERY = 3600.0
ASK_AGAIN_AFTER = timedelta(seconds=10)
"""A page asks Daraja about one payment no more often than this, however many pages ask."""
KEEP_ASKING = timedelta(hours=24)
"""How long after its expiry a payment is kept open while every query about it fails."""
LONGEST_RETRY_AFTER = 3600.0
"""Most seconds that Daraja's own wish to be left alone is followed."""
REPORT_LEASE = timedelta(seconds=100)
"""How long a report may take before another worker may make it."""
_FIRST_REDELIVERY = 30.0
_SLOWEST_REDELIVERY = 3600.0
WRITE_AGAIN_AFTER = (0.1, 0.5, 2.0, 5.0)
"""Seconds between the tries to write what came of a push, while the store fails."""
CALLBACK_RETENTION = timedelta(days=90)
"""How long kept callbacks are kept, unless the host says otherwise."""
PURGE_EVERY = 3600.0
"""Seconds between two looks for kept callbacks that are too old."""


def pause_before_query(now: datetime, expires_at: datetime, /) -> float:
    """Seconds until an open payment is asked about again: half of its age.

    The age counts from when it was pushed, which for a payment that was tried again is later than
    `created`. If the clock was set back, the age is negative; its size counts, so that a payment from
    the future is not asked about every few seconds.
    """
    age = abs((now - (expires_at - EXPIRE_AFTER)).total_seconds())
    slowest = _SLOWEST_LATE_QUERY if now >= expires_at else SLOWEST_QUERY
    return min(max(age / 2, FIRST_QUERY), slowest)


def pause_before_report(failures: int, /) -> float:
    """Seconds until a report is tried again that failed so many times in a row before."""
    return float(min(_FIRST_REDELIVERY * 2.0**failures, _SLOWEST_REDELIVERY))

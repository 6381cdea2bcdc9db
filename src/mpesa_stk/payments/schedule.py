"""Define when something happens next: all numbers of the schedule. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from mpesa_stk.daraja.protocol import NAIROBI

EXPIRE_AFTER = timedelta(minutes=15)
"""How long after its push an open payment expires.

A prompt lives about a minute (docs/daraja.md, section 6).
"""
PROMPT_LIVES = timedelta(minutes=5)
"""The longest life of a prompt. Reports say at most three minutes (docs/daraja.md, section 6)."""
FIRST_QUERY = 20.0
"""Seconds from the push to the first status query (docs/daraja.md, section 0)."""
SLOWEST_QUERY = 300.0
"""The most seconds between two status queries before the payment's expiry."""
_SLOWEST_LATE_QUERY = 3600.0
ASK_AGAIN_AFTER = timedelta(seconds=10)
"""The least time between two status queries of pages about one payment, however many pages ask."""
KEEP_ASKING = timedelta(hours=24)
"""How long after its expiry a payment is kept open while every query about it fails."""
LONGEST_RETRY_AFTER = 3600.0
"""The most seconds that Daraja's ``Retry-After`` is obeyed."""
LEASE_MARGIN = 30.0
"""Seconds that a claim lasts longer than its batch and one exchange with Daraja."""
LEAST_QUERY = 5.0
"""Seconds that a query of a batch has at least, also if the batch is about to end."""
LONGEST_PAUSE = 2.0
"""Most seconds that a batch pauses between two queries."""
REPORT_LEASE = timedelta(seconds=100)
"""How long a report may take before another worker may make it."""
_SOONEST_LOOK = 0.25
_LATEST_LOOK = 2.0
_FIRST_REDELIVERY = 30.0
_SLOWEST_REDELIVERY = 3600.0
WRITE_AGAIN_AFTER = (0.1, 0.5, 2.0, 5.0)
"""Seconds between the attempts to store the answer to a push, while the store fails."""
CALLBACK_RETENTION = timedelta(days=90)
"""How long kept callbacks are stored, unless the host passes another `callback_retention`."""
PURGE_EVERY = 3600.0
"""Seconds between two purges of kept callbacks that are too old."""


def pause_before_query(now: datetime, expires_at: datetime, /) -> float:
    """Return the seconds until the next query: half of the age, within limits.

    The age counts from the last push. If a payment was pushed again, that is later than `created`. If
    the clock was set back, the age is negative. Then its absolute value counts, so that a payment from
    the future is not asked about every few seconds.
    """
    age = abs((now - (expires_at - EXPIRE_AFTER)).total_seconds())
    slowest = _SLOWEST_LATE_QUERY if now >= expires_at else SLOWEST_QUERY
    return min(max(age / 2, FIRST_QUERY), slowest)


def pause_before_report(failures: int, /) -> float:
    """Return the seconds until the next attempt at a report.

    Args:
        failures: How often the report failed in a row before the present failure.
    """
    return float(min(_FIRST_REDELIVERY * 2.0**failures, _SLOWEST_REDELIVERY))


def pause_before_look(waited: float, /) -> float:
    """Return the seconds until somebody who waits for a payment looks into the store again.

    Args:
        waited: Seconds of waiting so far. The pause is a tenth of it, within limits.
    """
    return min(max(waited / 10, _SOONEST_LOOK), _LATEST_LOOK)


# --- Safaricom's records -------------------------------------------------------------------------------

LOOKS = (
    timedelta(minutes=3),
    timedelta(minutes=15),
    timedelta(hours=2),
    timedelta(hours=24),
    timedelta(hours=47),
)
"""How long after its push a payment without outcome is looked for in Safaricom's records.

The first two find a payment while the customer waits. The last one is an hour before the records end.
"""
RECORDS_REACH = timedelta(hours=48)
"""How far back Safaricom's Pull Transactions reach."""
DAY_CLOSES_AFTER = timedelta(minutes=30)
"""How long after midnight in Nairobi the day before is closed: its last payments must be recorded."""
LEAST_PULL_PAUSE = 60.0
"""The least seconds between two pulls of an account by a worker."""


def is_to_be_looked_for(pushed: datetime, /, *, since: datetime | None, now: datetime) -> bool:
    """Return whether it is time to look for a payment in Safaricom's records.

    Args:
        pushed: When the payment was pushed.
        since: When its account was last looked at. None if it never was.
        now: The time.
    """
    age = now - pushed
    if age > RECORDS_REACH:
        return False
    looked_at = timedelta(0) if since is None else since - pushed
    return any(looked_at < look <= age for look in LOOKS)


def closed_day(now: datetime, /) -> datetime:
    """Return the first moment of the last day in Nairobi that is closed, aware UTC."""
    here = (now - DAY_CLOSES_AFTER).astimezone(NAIROBI)
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - timedelta(days=1)).astimezone(timezone.utc)

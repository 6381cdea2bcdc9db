"""Days and ages as arguments of commands, in East Africa Time. Pure."""

from __future__ import annotations

import argparse
import calendar
import re
from datetime import date, datetime, time, timedelta

import attrs

from mpesa_stk.daraja.protocol import NAIROBI

_match_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_match_age = re.compile(r"([1-9][0-9]{0,3})([dmy])").fullmatch
_MONTHS = 12


def day(text: str, /) -> date:
    """Read a day such as ``2026-11-23``, as an argparse type."""
    try:
        if _match_day(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError("must be a day such as 2026-11-23")


def start_of(first: date, /) -> datetime:
    """Return the first moment of a day in Nairobi."""
    return datetime.combine(first, time(), tzinfo=NAIROBI)


def end_of(last: date, /) -> datetime:
    """Return the first moment after a day in Nairobi."""
    return start_of(last) + timedelta(days=1)


@attrs.frozen
class Age:
    """An age such as ``3y``.

    Attributes:
        count: How many units.
        unit: ``d``, ``m`` or ``y``: days, months or years of the calendar.
    """

    count: int
    unit: str

    def before(self, now: datetime, /) -> datetime:
        """Return the moment that was this long ago.

        Raises:
            ValueError: There is no such moment in the calendar.
        """
        here = now.astimezone(NAIROBI)
        if self.unit == "d":
            return here - timedelta(days=self.count)
        months = self.count if self.unit == "m" else self.count * _MONTHS
        year, month = divmod(here.year * _MONTHS + here.month - 1 - months, _MONTHS)
        # The 31st of a month of 30 days, and 29 February of most years, are the last day of the month.
        last = calendar.monthrange(year, month + 1)[1]
        return here.replace(year=year, month=month + 1, day=min(here.day, last))


def age(text: str, /) -> Age:
    """Read an age such as ``90d``, ``18m`` or ``3y``, as an argparse type."""
    found = _match_age(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            "must be a number of days, months or years, such as 90d, 18m or 3y"
        )
    return Age(int(found[1]), found[2])

"""Outages of the simulated Daraja: spans of time in which no callback is delivered. Pure."""

from __future__ import annotations

from datetime import datetime

import attrs

from mpesa_stk.clock import Clock

_MOST_OUTAGES = 100


@attrs.frozen(kw_only=True)
class Outage:
    """A span of time in which no callback is delivered. The lost ones do not come later.

    Attributes:
        begins: Its first moment, aware.
        ends: The moment after its last one, aware, or None if its end is not known yet.

    Raises:
        ValueError: A time has no zone, or the end is not after the begin.
    """

    begins: datetime
    ends: datetime | None = None

    def __attrs_post_init__(self) -> None:
        if any(time is not None and time.tzinfo is None for time in (self.begins, self.ends)):
            raise ValueError("the times of an outage must be aware")
        if self.ends is not None and self.ends <= self.begins:
            raise ValueError("an outage must end after it begins")

    def covers(self, moment: datetime, /) -> bool:
        """Whether a moment is in it."""
        return self.begins <= moment and (self.ends is None or moment < self.ends)


class Outages:
    """The outages of one Daraja. It keeps the last 100."""

    def __init__(self, clock: Clock, /) -> None:
        self._clock = clock
        self._all: list[Outage] = []

    def all(self) -> tuple[Outage, ...]:
        """The kept outages, in the order in which they were added."""
        return tuple(self._all)

    def current(self) -> Outage | None:
        """The outage of this moment, or None."""
        return self.at(self._clock.now())

    def at(self, moment: datetime, /) -> Outage | None:
        """The outage of a moment, or None."""
        return next((outage for outage in self._all if outage.covers(moment)), None)

    def add(self, begins: datetime | None, ends: datetime | None, /) -> Outage:
        """Add an outage. Without a begin it begins now.

        Raises:
            ValueError: A time has no zone, or the end is not after the begin.
        """
        outage = Outage(begins=begins or self._clock.now(), ends=ends)
        self._all = [*self._all, outage][-_MOST_OUTAGES:]
        return outage

    def end(self) -> None:
        """End the outage of this moment, and forget the ones to come."""
        now = self._clock.now()
        self._all = [
            attrs.evolve(outage, ends=now) if outage.covers(now) else outage
            for outage in self._all
            if outage.begins < now
        ]

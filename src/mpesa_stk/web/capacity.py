"""A limit on requests answered at the same time, so that callbacks never wait for the others.

A checkout holds its thread until Daraja answers, for minutes at worst. If the limit is reached, a further
request is refused at once.
"""

from __future__ import annotations

import threading


class Capacity:
    """A number of places. Taking one never waits. Safe to share between threads."""

    def __init__(self, places: int, /) -> None:
        """Make the places.

        Raises:
            ValueError: `places` is below 1.
        """
        if places < 1:
            raise ValueError("at_once: must be at least 1")
        self._free = threading.BoundedSemaphore(places)

    def take(self) -> bool:
        """Take a place. Return False if all are taken."""
        return self._free.acquire(blocking=False)

    def give_back(self) -> None:
        """Give a place back."""
        self._free.release()

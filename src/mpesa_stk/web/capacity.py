"""How many requests are answered at the same time, so that callbacks never wait behind the rest.

A checkout holds its thread while Daraja is asked, for minutes at worst. A request that is one too many
is told so at once.
"""

from __future__ import annotations

import threading

__all__ = ["Capacity"]


class Capacity:
    """A number of places, which are taken without waiting.

    Safe to share between threads.
    """

    def __init__(self, places: int, /) -> None:
        """Make the places.

        Raises:
            ValueError: There is none.
        """
        if places < 1:
            raise ValueError("at_once: must be at least 1")
        self._free = threading.BoundedSemaphore(places)

    def take(self) -> bool:
        """Take a place; False if none is free."""
        return self._free.acquire(blocking=False)

    def give_back(self) -> None:
        """Give a place back."""
        self._free.release()

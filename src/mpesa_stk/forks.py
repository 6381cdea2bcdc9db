"""`PerProcess`: a value that a forked child does not share. A leaf.

A fork copies sockets and locks. Two processes that use one TLS connection destroy each other's requests, or
get each other's answers. A lock that another thread held at the fork is never released in the child.

`PerProcess` compares the process's id at each use, which costs less than a tenth of a microsecond.
`os.register_at_fork` would need state in the module, cannot be undone when an object is gone, and misses
forks that C code makes without Python's knowledge.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value that each process makes for itself. Call it to get this process's value.

    The child never uses the parent's value and only drops its reference to it. There is no lock here, since
    another thread could hold it at the fork. Single operations on a dict are atomic, and they are enough.
    """

    def __init__(self, make: Callable[[], T], /, *, first: T | None = None) -> None:
        """Make this process's value.

        Args:
            make: Makes the value of a process. If several threads of a new child call it at once, one of
                the values is used.
            first: The value of this process, if there is one already.
        """
        self._make = make
        self._made = {os.getpid(): make() if first is None else first}

    def __call__(self) -> T:
        """Return this process's value."""
        pid = os.getpid()
        try:
            return self._made[pid]
        except KeyError:
            pass
        mine = self._made.setdefault(pid, self._make())
        for other in list(self._made):
            if other != pid:
                self._made.pop(other, None)
        return mine

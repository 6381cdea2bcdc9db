"""What no process may share with its parent: a child that was forked makes its own. A leaf.

A fork copies sockets and locks. Two processes that use one TLS connection destroy each other's requests,
or get each other's answers, and a lock that another thread held at that moment is never given back.

The process's id is compared at each use, which costs less than a tenth of a microsecond.
`os.register_at_fork` would need state of the module, could never be undone for an object that is gone, and
misses forks that C code makes without telling Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["PerProcess"]

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value that each process has for itself. Call it to get this process's own.

    The parent's value is not used again in the child, only let go. No lock guards this, since another
    thread could have held it at the fork: single operations on a dict are atomic.
    """

    def __init__(self, make: Callable[[], T], /, *, first: T | None = None) -> None:
        """Make this process's value.

        Args:
            make: Makes the value of a process. Several threads of a new child may call it at once; one
                of the values is taken.
            first: The value of this process, if there is one already.
        """
        self._make = make
        self._made = {os.getpid(): make() if first is None else first}

    def __call__(self) -> T:
        """This process's value."""
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

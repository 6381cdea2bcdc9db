"""One flow, two faces: run an awaiting flow without an event loop. A leaf.

Code that waits is written once, as ``async def``. The asynchronous classes await it. The synchronous ones
give it awaited forms of their parts, which never suspend, and run it to its end with `finish`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def finish(flow: Coroutine[Any, Any, T], /) -> T:
    """Run a flow whose parts never suspend, and return its result.

    Raises:
        RuntimeError: A part suspended. It is asynchronous, and was given to a synchronous class.
        BaseException: The flow raised it.
    """
    try:
        flow.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    flow.close()
    raise RuntimeError("a part of a synchronous class suspended: use the asynchronous class")


class Call(Protocol):
    """Calls a synchronous function for a flow: here, or in a thread."""

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function, and return its result."""
        ...


async def call_here(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the function in this thread. It never suspends."""
    return function(*args, **kwargs)

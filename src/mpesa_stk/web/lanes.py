"""How an event loop answers requests: in threads, or in tasks. It imports asyncio.

Callbacks have one lane and all other requests have another, so neither waits for the other. If a lane is
full, a further request is refused at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mpesa_stk.web.capacity import Capacity
from mpesa_stk.web.messages import TOO_BUSY, WebRequest, WebResponse

# A callback takes milliseconds. Each one in its lane holds 64 KiB at most, so all hold 16 MiB at most.
_CALLBACKS = 256
_CALLBACK_THREADS = 8


class ThreadLanes:
    """Runs a function from request to answer in threads, never on the event loop.

    The threads start when they are needed, and end with the lanes. They are not those of the event loop's
    default executor, so requests do not wait for other work of the application.
    """

    def __init__(
        self,
        handle: Callable[[WebRequest], WebResponse],
        /,
        *,
        is_callback: Callable[[str], bool],
        at_once: int,
    ) -> None:
        """Make the lanes.

        Args:
            handle: Answers a request.
            is_callback: Returns whether a path is the path of a callback.
            at_once: Largest number of other requests that are answered at the same time.
        """
        self._is_callback = is_callback
        self._callbacks = _Threads(handle, threads=_CALLBACK_THREADS, places=_CALLBACKS)
        self._rest = _Threads(handle, threads=at_once, places=at_once)

    async def answer(self, request: WebRequest, /) -> WebResponse:
        """Answer one request."""
        lane = self._callbacks if self._is_callback(request.path) else self._rest
        return await lane.run(request)


class _Threads:
    """Threads for one kind of request, and a limit on requests in progress."""

    def __init__(
        self, handle: Callable[[WebRequest], WebResponse], *, threads: int, places: int
    ) -> None:
        self._handle = handle
        self._pool = ThreadPoolExecutor(threads, "mpesa-stk-web")
        self._capacity = Capacity(places)

    async def run(self, request: WebRequest) -> WebResponse:
        if not self._capacity.take():
            return TOO_BUSY
        future = self._pool.submit(self._handle, request)
        # The place is free when the answer is ready, not when the client has gone, since the thread is busy
        # until then.
        future.add_done_callback(lambda _: self._capacity.give_back())
        # Shielded: if the client hangs up, a request that waits for a thread is answered nevertheless.
        return await asyncio.shield(asyncio.wrap_future(future))


class TaskLanes:
    """Awaits a flow from request to answer, each in a separate task.

    The task runs to its end even if the one that waits for it is cancelled, as some servers and middleware
    do if the client hangs up. A checkout that is cut off after its push has left would not store Daraja's
    answer. Then the payment could not be asked about, because its CheckoutRequestID would be lost. A
    callback that is cut off may not come again.
    """

    def __init__(
        self,
        answer: Callable[[WebRequest], Coroutine[Any, Any, WebResponse]],
        /,
        *,
        is_callback: Callable[[str], bool],
        at_once: int,
    ) -> None:
        """Make the lanes.

        Args:
            answer: Answers a request.
            is_callback: Returns whether a path is the path of a callback.
            at_once: Largest number of other requests that are answered at the same time.
        """
        self._answer = answer
        self._is_callback = is_callback
        self._callbacks = Capacity(_CALLBACKS)
        self._rest = Capacity(at_once)
        # The event loop itself keeps only weak references to its tasks.
        self._tasks: set[asyncio.Task[WebResponse]] = set()

    async def answer(self, request: WebRequest, /) -> WebResponse:
        """Answer one request."""
        capacity = self._callbacks if self._is_callback(request.path) else self._rest
        if not capacity.take():
            return TOO_BUSY
        task = asyncio.get_running_loop().create_task(self._answer(request))
        self._tasks.add(task)

        def end(_: object) -> None:
            # As in `_Threads`: the place is free when the work has ended.
            self._tasks.discard(task)
            capacity.give_back()

        task.add_done_callback(end)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until the requests in progress are answered."""
        while self._tasks:
            await asyncio.wait(self._tasks)

"""The endpoints as an ASGI 3 application: the synchronous core runs in threads, never on the loop.

Callbacks and other requests have separate threads, so neither waits for the other. They also do not wait
for other work of the application in the event loop's default executor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.privacy import clear_locals
from mpesa_stk.web.capacity import Capacity
from mpesa_stk.web.messages import MAX_FIELDS, TOO_BUSY, TOO_MANY_FIELDS, WebRequest, WebResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handle = Callable[[WebRequest], WebResponse]

# A callback takes milliseconds. Each one that waits for a thread holds 64 KiB, so all hold 16 MiB at most.
_CALLBACK_THREADS = 8
_CALLBACKS = 256


class AsgiApp:
    """Turn an ASGI HTTP scope into a `WebRequest`, and send its answer.

    The threads start when they are needed, and end with the application.
    """

    def __init__(
        self, handle: Handle, /, *, is_callback: Callable[[str], bool], at_once: int
    ) -> None:
        """Make the application.

        Args:
            handle: Answers a request.
            is_callback: Returns whether a path is the path of a callback.
            at_once: Largest number of other requests that are answered at the same time.
        """
        self._is_callback = is_callback
        self._callbacks = _Lane(handle, threads=_CALLBACK_THREADS, places=_CALLBACKS)
        self._rest = _Lane(handle, threads=at_once, places=at_once)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's start and stop."""
        try:
            await self._serve(scope, receive, send)
        except BaseException as error:
            # `hides_locals` does the same for functions that are not async.
            clear_locals(error)
            del scope
            raise

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await _send(await self._answer(scope, receive), send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted, this answers 403
        else:
            raise ValueError("only HTTP is served here")

    async def _answer(self, scope: Message, receive: Receive) -> WebResponse:
        if len(scope["headers"]) > MAX_FIELDS:
            return TOO_MANY_FIELDS
        request = WebRequest(
            method=scope["method"],
            path=scope["path"],
            query=scope.get("query_string", b"").decode("latin-1"),
            headers=_joined(scope["headers"]),
            body=await _read_body(receive),
            remote_addr=(scope.get("client") or (None,))[0],
        )
        lane = self._callbacks if self._is_callback(request.path) else self._rest
        return await lane.run(request)


class _Lane:
    """Threads for one kind of request, and a limit on requests in progress."""

    def __init__(self, handle: Handle, *, threads: int, places: int) -> None:
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
        return await asyncio.wrap_future(future)


def _joined(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Join header fields that have the same name, as RFC 9110 says."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: ",".join(parts) for name, parts in values.items()}


async def _read_body(receive: Receive) -> bytes:
    """Read the body, and stop when it exceeds the limit."""
    body = bytearray()
    more = True
    while more and len(body) <= MAX_BODY:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


async def _send(response: WebResponse, send: Send) -> None:
    fields = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers.items()
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": fields})
    await send({"type": "http.response.body", "body": response.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

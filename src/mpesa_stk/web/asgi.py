"""The endpoints as an ASGI 3 application: the synchronous core runs in threads, never on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mpesa_stk.daraja.http import MAX_BODY
from mpesa_stk.web.http import WebRequest, WebResponse

__all__ = ["AsgiApp"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiApp:
    """Turns an ASGI HTTP scope into a `WebRequest` and the answer back."""

    def __init__(self, handle: Callable[[WebRequest], WebResponse], /) -> None:
        self._handle = handle

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's start and stop."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError("only HTTP is served here")
        request = WebRequest(
            method=scope["method"],
            path=scope["path"],
            headers=_headers(scope),
            body=await _read_body(receive),
            remote_addr=(scope.get("client") or (None,))[0],
        )
        response = await asyncio.to_thread(self._handle, request)
        fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in response.headers.items()
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": fields})
        await send({"type": "http.response.body", "body": response.body})


def _headers(scope: Message) -> dict[str, str]:
    """The header fields; a field that comes more than once is joined, as RFC 9110 says."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        fields[name] = f"{fields[name]},{value}" if name in fields else value
    return fields


async def _read_body(receive: Receive) -> bytes:
    """The body; reading ends where it is larger than what is taken."""
    body = bytearray()
    more = True
    while more and len(body) <= MAX_BODY:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

"""The endpoints as an ASGI 3 application: it reads requests and sends answers, on the event loop.

`lanes.py` makes the answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.privacy import clear_locals
from mpesa_stk.web.messages import MAX_FIELDS, TOO_MANY_FIELDS, WebRequest, WebResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = Callable[[WebRequest], Awaitable[WebResponse]]
Drain = Callable[[], Awaitable[None]]


class AsgiApp:
    """Turn an ASGI HTTP scope into a `WebRequest`, and send its answer."""

    def __init__(self, answer: Answer, /, *, drain: Drain | None = None) -> None:
        """Make the application.

        Args:
            answer: Answers a request.
            drain: Waits for the requests in progress when the server stops.
        """
        self._answer = answer
        self._drain = drain

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's start and stop."""
        try:
            await self._serve(scope, receive, send)
        except BaseException as error:
            # `hides_locals` would hide the signature: uvicorn takes what it can call without arguments for
            # a factory.
            clear_locals(error)
            del scope
            raise

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await _send(await self._answered(scope, receive), send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted, this answers 403
        else:
            raise ValueError("only HTTP is served here")

    async def _answered(self, scope: Message, receive: Receive) -> WebResponse:
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
        return await self._answer(request)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown" and self._drain is not None:
                await self._drain()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


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

"""The least of HTTP over asyncio's streams: one request on each connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import attrs

LOOPBACK = "127.0.0.1"


@attrs.frozen
class Answered:
    """An answer and its time. The status is 0 if there was none in time."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


async def ask(
    port: int,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    within: float = 120.0,
) -> Answered:
    """Send a request to a server on this machine, GET if it has no body, and read the whole answer."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    fields: Mapping[str, str] = {}
    status, content = 0, b""
    try:
        exchange = _exchange(port, target, body, headers or {})
        status, fields, content = await asyncio.wait_for(exchange, within)
    except (asyncio.TimeoutError, OSError):
        pass
    return Answered(status, fields, content, loop.time() - started)


async def _exchange(
    port: int, target: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        fields = {"Host": f"{LOOPBACK}:{port}", "Connection": "close", **headers}
        if body is not None:
            fields |= {"Content-Length": str(len(body))}
        lines = [f"{'GET' if body is None else 'POST'} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        head, _, content = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    if not head:
        raise ConnectionResetError("no answer")
    first, *rest = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ") for line in rest]
    return int(first.split(" ")[1]), {name.lower(): value for name, _, value in pairs}, content

"""Connections of an event loop, which speak HTTP with the protocol and the parser of aiohttp.

A request is written in one piece, by one call that does not wait. Everything before that call is
connecting: finding the name, TCP, the tunnel of a proxy, TLS. An error in it raises `NeverLeft`, with the
reason of its step, and proves that no byte of the request left. An error after it raises `OutcomeUnknown`.

aiohttp's own session gives less proof: it writes in a separate task, sends some requests again, and may
read an answer that the server sent unasked. Only this file imports aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import selectors
import socket
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from typing import Any, cast

import certifi

from mpesa_stk.daraja.exchange import MAX_BODY, HttpResponse
from mpesa_stk.daraja.outgoing import Peer, Way
from mpesa_stk.daraja.sending import (
    BROKEN,
    CLOSED,
    NO_ANSWER,
    NO_CERTIFICATES,
    NO_SUCH_PROXY,
    THROUGH_PROXY,
    TLS,
    TO_ORIGIN,
    TO_PROXY,
    TOO_LARGE,
    IdleConnections,
    NeverLeft,
    decompressed,
    refused_by_proxy,
    why_not_trusted,
)
from mpesa_stk.errors import OutcomeUnknown

try:
    import aiohappyeyeballs
    from aiohttp import ClientError
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http import HttpProcessingError
except ImportError as error:
    raise ImportError(
        "AioHttpTransport needs the package aiohttp: pip install 'mpesa-stk-client[async]'"
    ) from error

# Python 3.10 has no asyncio.timeout. There aiohttp brings the package from which Python took it.
_timeout: Any = (
    getattr(asyncio, "timeout", None) or importlib.import_module("async_timeout").timeout
)
_TIMED_OUT = (TimeoutError, asyncio.TimeoutError)  # they are the same since Python 3.11
_FAILED = (OSError, UnicodeError, ClientError, HttpProcessingError)
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)

# Seconds until the next address of a name is tried beside the one before (RFC 8305).
_NEXT_ADDRESS = 0.25

# An answer may have so many times the bytes of its body, with headers and the size lines of its chunks.
_ROOM = 16


class Connection(ResponseHandler):
    """A connection that carries one exchange at a time."""

    _room = _ROOM * MAX_BODY

    def is_quiet(self) -> bool:
        """Return whether the connection is open, and no bytes arrived since its last answer.

        The event loop may not have seen it yet: the end of the connection, or an answer sent unasked.
        """
        if self.transport is None or not self.is_connected() or self.should_close:
            return False
        with _Selector() as selector:
            selector.register(self.transport.get_extra_info("socket"), selectors.EVENT_READ)
            return not selector.select(0)

    async def ask(self, request: bytes, *, most: int = MAX_BODY) -> tuple[int, Any, Any]:
        """Write a request at once, and return the status, the headers and the body of the answer.

        Raises:
            NeverLeft: The connection is closed already.
        """
        if self.transport is None or self.transport.is_closing():
            raise NeverLeft(CLOSED)
        self._room = _ROOM * most
        self.set_response_params(read_until_eof=True, auto_decompress=False)
        self.transport.write(request)
        while True:
            message, body = await self.read()
            if message.code >= HTTPStatus.OK:  # the answer may be announced, as with 100 Continue
                return message.code, message.headers, body

    def data_received(self, data: bytes) -> None:
        """Read the bytes that arrived, unless the answer is endless."""
        self._room -= len(data)
        if self._room >= 0:
            super().data_received(data)
        else:
            self._abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that the other side, or we, ended the connection."""
        if self.transport is not None:
            self.transport.close()  # Python 3.10 warns if the TLS of a lost connection is not closed
        super().connection_lost(exc)

    def close(self) -> None:
        """Close the connection at once: a farewell in TLS would wait for the other side."""
        self._abort()
        super().close()

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Connections:
    """The connections of one event loop."""

    def __init__(self, monotonic: Callable[[], float], ca_bundle: str | None) -> None:
        """Begin with none.

        Args:
            monotonic: The clock by which a connection's idle time is measured.
            ca_bundle: PEM file of the trusted CA certificates, in place of those that requests uses.
        """
        self._idle: defaultdict[Way, IdleConnections[Connection]] = defaultdict(
            lambda: IdleConnections(monotonic)
        )
        self._ca_bundle = ca_bundle
        self._context: ssl.SSLContext | None = None
        self._end = self._at_the_end()

    async def begin(self) -> None:
        """Arrange that the connections are closed before the event loop is.

        `asyncio.run`, and a function that ends a loop as it does, closes the generators still open.
        """
        await self._end.__anext__()

    async def _at_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.close()

    async def close(self) -> None:
        """Close idle connections."""
        for idle in self._idle.values():
            while (connection := idle.take()) is not None:
                connection.close()
        await asyncio.sleep(0)  # the loop closes their sockets now

    def keep(self, way: Way, connection: Connection) -> None:
        """Keep a connection for the next exchange."""
        self._idle[way].add(connection)

    async def take(self, way: Way, *, within: float) -> Connection:
        """Return a connection that is as good as new, or a new one.

        Raises:
            NeverLeft: No connection came about.
        """
        while (connection := self._idle[way].take()) is not None:
            if connection.is_quiet():
                return connection
            connection.close()
        return await self._connect(way, within)

    async def exchange(
        self,
        way: Way,
        connection: Connection,
        request: bytes,
        *,
        within: float,
        most: int = MAX_BODY,
    ) -> HttpResponse:
        """Send a request and read the answer.

        Raises:
            NeverLeft: The connection was closed before.
            OutcomeUnknown: The exchange failed in any other way.
        """
        complete = False
        try:
            async with _timeout(within):
                status, headers, content = await connection.ask(request, most=most)
                body = b""
                while len(body) <= most and not content.at_eof():
                    body += await content.readany()
            complete = len(body) <= most and not connection.should_close
        except _TIMED_OUT:
            reason = NO_ANSWER
        except _FAILED:
            reason = BROKEN
        else:
            fields = {name.lower(): value for name, value in headers.items()}
            if len(body) <= most:
                body = decompressed(body, fields.get("content-encoding", ""), most=most)
            if len(body) <= most:
                return HttpResponse(status=status, headers=fields, body=body)
            reason = TOO_LARGE
        finally:
            # A task that is cancelled comes here too.
            if complete:
                self.keep(way, connection)
            else:
                connection.close()
        raise OutcomeUnknown(reason)

    async def _connect(self, way: Way, within: float) -> Connection:
        """Make a connection, step by step."""
        first = way.proxy or way.origin
        step = TO_ORIGIN if way.proxy is None else TO_PROXY
        context = self._trusting() if first.tls or way.origin.tls else None
        with contextlib.ExitStack() as undo:
            try:
                async with _timeout(within):
                    sock = await _connected(first)
                    step = TLS
                    connection = await _wrapped(sock, first, context)
                    undo.callback(connection.close)
                    if way.tunnel is not None:
                        step = THROUGH_PROXY
                        await _open_tunnel(connection, way.tunnel)
                        step = TLS
                        connection = await _secured(connection, way.origin, context)
                    undo.pop_all()
                    return connection
            except ssl.SSLCertVerificationError as error:
                reason = why_not_trusted(error.verify_code)
            except _TIMED_OUT:
                reason = step.timed_out
            except _FAILED:
                reason = step.failed
            raise NeverLeft(reason)

    def _trusting(self) -> ssl.SSLContext:
        """Return the TLS settings, which are read once.

        The default CA certificates are those of `RequestsTransport`, so that both trust the same servers.
        """
        if self._context is None:
            with contextlib.suppress(OSError):
                self._context = ssl.create_default_context(
                    cafile=self._ca_bundle or certifi.where()
                )
                self._context.set_alpn_protocols(["http/1.1"])
        if self._context is None:
            raise NeverLeft(NO_CERTIFICATES)
        return self._context


async def _connected(peer: Peer) -> socket.socket:
    """Find a host by its name, and connect to the first of its addresses that answers."""
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    return await aiohappyeyeballs.start_connection(
        addresses, happy_eyeballs_delay=_NEXT_ADDRESS, interleave=1, loop=loop
    )


async def _wrapped(sock: socket.socket, peer: Peer, context: ssl.SSLContext | None) -> Connection:
    """Make a connection of a socket, with TLS if the peer speaks it."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(loop),
        sock=sock,
        ssl=context if peer.tls else None,
        server_hostname=peer.host if peer.tls else None,
    )
    return connection


async def _open_tunnel(connection: Connection, request: bytes) -> None:
    """Let a proxy connect to the origin."""
    status, _, _ = await connection.ask(request)
    if status != HTTPStatus.OK:
        raise NeverLeft(refused_by_proxy(status))


async def _secured(
    connection: Connection, peer: Peer, context: ssl.SSLContext | None
) -> Connection:
    """Begin TLS in a tunnel."""
    loop = asyncio.get_running_loop()
    secured = Connection(loop)
    try:
        transport = await loop.start_tls(
            cast("asyncio.Transport", connection.transport),
            secured,
            cast("ssl.SSLContext", context),
            server_hostname=peer.host,
        )
    except TypeError:  # TLS in a tunnel that is TLS too needs Python 3.11
        raise NeverLeft(NO_SUCH_PROXY) from None
    if transport is None:
        raise ConnectionResetError
    secured.connection_made(transport)
    return secured

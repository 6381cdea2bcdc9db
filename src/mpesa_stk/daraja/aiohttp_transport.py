"""Carry requests over HTTP in an event loop, with aiohttp.

`AioHttpTransport` makes the promises of `RequestsTransport`. The table of verdicts in `transport` holds for
both, with the same reasons. There are three differences: an answer that is cut in its headers is "unknown"
here, the file of CA certificates is read once, and SOCKS proxies cannot be used.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mpesa_stk.daraja.exchange import HttpRequest, HttpResponse
from mpesa_stk.daraja.outgoing import Way, find_way, write
from mpesa_stk.daraja.sending import TOO_LATE, NeverLeft, own_headers
from mpesa_stk.errors import NotSent
from mpesa_stk.forks import PerProcess
from mpesa_stk.privacy import hides_locals

if TYPE_CHECKING:
    from mpesa_stk.daraja.aiohttp_connections import Connections


class AioHttpTransport:
    """An `AsyncTransport` over aiohttp.

    It is safe to share between tasks, event loops and threads, and keeps as many connections as tasks use
    at a time. Each event loop has its connections, which are closed when `asyncio.run` ends the
    loop. A forked process does not use its parent's connections.
    """

    @hides_locals
    def __init__(
        self,
        *,
        proxies: Mapping[str, str] | None = None,
        ca_bundle: str | None = None,
        user_agent: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a transport.

        Args:
            proxies: Proxy URL by scheme, with ``http`` or ``https`` proxies.
            ca_bundle: PEM file of the trusted CA certificates, in place of those that requests brings.
            user_agent: Your own product token, added after ours.
            monotonic: The clock by which a connection's idle time is measured.

        Raises:
            ImportError: aiohttp is not installed.
        """
        # Here and not above, so that the class can be imported without aiohttp.
        from mpesa_stk.daraja.aiohttp_connections import Connections  # noqa: PLC0415

        self._make = functools.partial(Connections, monotonic, ca_bundle)
        self._loops: PerProcess[dict[asyncio.AbstractEventLoop, Connections]] = PerProcess(dict)
        self._ways: dict[tuple[str, str], Way] = {}
        self._proxies = dict(proxies or {})
        self._headers = own_headers(user_agent)

    @hides_locals
    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send a request once and read the answer, both within its total timeout.

        If the awaiting task is cancelled, the request may have left. Its connection is closed.

        Raises:
            NotSent: The request provably never left this machine.
            OutcomeUnknown: The exchange failed in any other way.
        """
        started = time.monotonic()
        try:
            connections = await self._connections()
            way = self._way(request.url)
            written = write(request, way)
            connection = await connections.take(
                way, within=min(request.connect_timeout, request.total_timeout)
            )
            taken = time.monotonic() - started
            if taken <= min(request.total_timeout, request.leave_within):
                left = request.total_timeout - taken
                return await connections.exchange(
                    way, connection, written, within=left, most=request.max_body
                )
            connections.keep(way, connection)
            reason = TOO_LATE
        except NeverLeft as error:
            reason = error.reason
        # Raised outside of the handler, whose error leads to frames that hold the request.
        raise NotSent(reason)

    async def close(self) -> None:
        """Close the idle connections of the running event loop."""
        connections = self._loops().get(asyncio.get_running_loop())
        if connections is not None:
            await connections.close()

    async def _connections(self) -> Connections:
        """Return the connections of the running event loop."""
        loops = self._loops()
        loop = asyncio.get_running_loop()
        if loop not in loops:
            for other in list(loops):
                if other.is_closed():
                    loops.pop(other, None)
            loops[loop] = self._make()
            await loops[loop].begin()
        return loops[loop]

    def _way(self, url: str) -> Way:
        """Return the way to a URL's origin. It is kept, because proxies never change."""
        origin = urlsplit(url)[:2]
        if origin not in self._ways:
            self._ways[origin] = find_way(url, proxies=self._proxies, headers=self._headers)
        return self._ways[origin]

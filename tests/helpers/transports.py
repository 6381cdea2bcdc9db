"""The transports of the package behind one face, so that one test shows the behaviour of both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeAlias, TypeVar

import pytest
import requests

from mpesa_stk import AioHttpTransport, HttpRequest, HttpResponse, RequestsTransport, Transport

__all__ = ["InLoop", "InTurns", "MakeTransport", "make_transport"]

PATIENCE = 30.0
MakeTransport: TypeAlias = Callable[..., Transport]
T = TypeVar("T")


class InLoop:
    """An `AioHttpTransport` as a `Transport`; its event loop runs in a thread until `end`.

    It takes the arguments of `AioHttpTransport`.
    """

    def __init__(self, **options: Any) -> None:
        self.transport = AioHttpTransport(**options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns or raises in the event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send a request in the event loop."""
        return self.run(self.transport.send(request))

    def close(self) -> None:
        """Close idle connections."""
        self.run(self.transport.close())

    def end(self) -> None:
        """End the event loop, as `asyncio.run` does."""
        self.run(self._loop.shutdown_asyncgens())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


class InTurns:
    """An `AioHttpTransport` as a `Transport` that can be forked: its loop runs only while it sends.

    Each process has a loop. A child keeps its parent's, since closing it would reach into the parent.
    """

    def __init__(self, **options: Any) -> None:
        self._transport = AioHttpTransport(**options)
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        pid = os.getpid()
        if pid not in self._loops:
            self._loops[pid] = asyncio.new_event_loop()
        return self._loops[pid].run_until_complete(coroutine)

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send a request."""
        return self._run(self._transport.send(request))

    def close(self) -> None:
        """Close idle connections, and this process's loop."""
        self._run(self._transport.close())
        self._loops.pop(os.getpid()).close()


@pytest.fixture(params=["requests", "aiohttp"])
def make_transport(request: pytest.FixtureRequest) -> Iterator[MakeTransport]:
    """Makes a transport of the kind that the parameter names, and ends it after the test.

    The kind ``session`` is a `RequestsTransport` with a session of the host's.
    """
    with contextlib.ExitStack() as ends:

        def make(**options: Any) -> Transport:
            if request.param == "aiohttp":
                in_loop = InLoop(**options)
                ends.callback(in_loop.end)
                return in_loop
            session = requests.Session() if request.param == "session" else None
            transport = RequestsTransport(session=session, **options)
            ends.callback(transport.close)
            return transport

        yield make

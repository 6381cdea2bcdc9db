"""What `AsyncStkClient.push` costs over kept-alive connections, beside a plain post with httpx."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import aiohttp
import httpx
import pytest

from measure import Line, Scoreboard, in_words, profile, ratio, take_turns
from mpesa_stk import AioHttpTransport, AsyncStkClient, HttpRequest
from push_server import PUSH_BODY
from support import loopback_config

LIMIT = 0.50
AT_ONCE = 100
LEAST_RATE = 6.0
_IN_TURN = 20
_HEADERS = {"Authorization": "Bearer c9SQxWWhmdVRlyh0zh8gZDTkubVF"}

Send: TypeAlias = Callable[[], Awaitable[str]]


class _Senders:
    """Four ways to send one push, in one event loop: each returns the CheckoutRequestID."""

    def __init__(self, origin: str) -> None:
        self._url = f"{origin}/floor"
        self._client = AsyncStkClient(loopback_config(origin))
        self._transport = AioHttpTransport()
        self._httpx = httpx.AsyncClient()
        self._aiohttp = aiohttp.ClientSession()
        self._request = HttpRequest(
            method="POST",
            url=self._url,
            headers={**_HEADERS, "Content-Type": "application/json"},
            body=json.dumps(PUSH_BODY).encode(),
            connect_timeout=10.0,
            total_timeout=45.0,
        )

    async def push(self) -> str:
        """Ours."""
        pushed = await self._client.push(phone_number="0718643064", amount=100, reference="INV-1")
        return pushed.checkout_request_id

    async def transport(self) -> str:
        """The part of it that sends."""
        answer = await self._transport.send(self._request)
        return str(json.loads(answer.body)["CheckoutRequestID"])

    async def post_httpx(self) -> str:
        """The floor."""
        answer = await self._httpx.post(self._url, json=PUSH_BODY, headers=_HEADERS)
        return str(answer.json()["CheckoutRequestID"])

    async def post_aiohttp(self) -> str:
        """The session of aiohttp."""
        async with self._aiohttp.post(self._url, json=PUSH_BODY, headers=_HEADERS) as answer:
            return str((await answer.json())["CheckoutRequestID"])

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()
        await self._transport.close()
        await self._httpx.aclose()
        await self._aiohttp.close()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop of all senders."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _one_after_the_other(send: Send) -> None:
    for _ in range(_IN_TURN):
        await send()


async def _all_at_once(send: Send) -> None:
    await asyncio.gather(*(send() for _ in range(AT_ONCE)))


@pytest.fixture
def senders(loop: asyncio.AbstractEventLoop, server: str) -> Iterator[_Senders]:
    """The senders, which have sent once."""

    async def make() -> _Senders:
        made = _Senders(server)
        for send in (made.push, made.transport, made.post_httpx, made.post_aiohttp):
            assert await send() == "ws_CO_191220191020363925"
        return made

    senders = loop.run_until_complete(make())
    yield senders
    loop.run_until_complete(senders.close())


def _calls(
    senders: _Senders,
    loop: asyncio.AbstractEventLoop,
    how: Callable[[Send], Any],
) -> list[Callable[[], object]]:
    def call(send: Send) -> Callable[[], object]:
        return lambda: loop.run_until_complete(how(send))

    order = (senders.push, senders.post_httpx, senders.transport, senders.post_aiohttp)
    return [call(send) for send in order]


def test_one_push_at_a_time(
    benchmark: Any, scoreboard: Scoreboard, senders: _Senders, loop: asyncio.AbstractEventLoop
) -> None:
    """A push is quicker than a plain post of the same body, although it checks everything."""
    push, *others = _calls(senders, loop, _one_after_the_other)
    ours, floor, transport, bare = take_turns(benchmark, push, *others, rounds=100)
    found = ratio(ours, floor)
    unit = 1e6 / _IN_TURN
    notes = [
        in_words(ours, floor, unit=unit),
        f"AioHttpTransport alone: {in_words(transport, floor, unit=unit)}",
        f"aiohttp.ClientSession: {in_words(bare, floor, unit=unit)}",
    ]
    if found > LIMIT:
        notes += profile(push, calls=25)
    scoreboard.lines.append(
        Line(
            budget=f"AsyncStkClient.push: at most {LIMIT} x httpx.AsyncClient.post(json=...).json()",
            measured=f"{found:.3f}",
            met=found <= LIMIT,
            notes=tuple(notes),
        )
    )


def test_many_pushes_at_a_time(
    benchmark: Any, scoreboard: Scoreboard, senders: _Senders, loop: asyncio.AbstractEventLoop
) -> None:
    """Tasks that push together share the event loop better than those that post with httpx."""
    push, *others = _calls(senders, loop, _all_at_once)
    ours, floor, transport, bare = take_turns(benchmark, push, *others, rounds=20)
    found = 1 / ratio(ours, floor)
    rates = [
        f"{name}: {AT_ONCE / times.quartile:,.0f} a second, {floor.quartile / times.quartile:.1f} x"
        for name, times in (
            ("AsyncStkClient.push", ours),
            ("httpx.AsyncClient.post", floor),
            ("AioHttpTransport alone", transport),
            ("aiohttp.ClientSession", bare),
        )
    ]
    scoreboard.lines.append(
        Line(
            budget=f"{AT_ONCE} pushes at a time: at least {LEAST_RATE:.0f} x the rate of httpx",
            measured=f"{found:.1f}",
            met=found >= LEAST_RATE,
            notes=tuple(rates),
        )
    )

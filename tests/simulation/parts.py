"""The parts of one process, on either face: each stops before and after its work, and can fail there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, ParamSpec, TypeVar

from tests.simulation.scheduler import Died, Directive, Step, pause

from mpesa_stk import (
    HttpRequest,
    HttpResponse,
    MemoryTokenStore,
    NotSent,
    OutcomeUnknown,
    StoreError,
    Token,
)
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.daraja.tokens import not_in_time
from mpesa_stk.faces import finish
from mpesa_stk.testing import ManualClock

P = ParamSpec("P")
T = TypeVar("T")
_FLIGHT_LEASE = 30.0


def _ignore(_method: object, _args: object) -> None:
    """Nobody watches."""


class Process:
    """One process of a shop. When it dies, its parts do nothing any more.

    Attributes:
        saw: Called when a method of the store has had its effect.
    """

    def __init__(self, name: str, clock: ManualClock) -> None:
        self.name = name
        self.clock = clock
        self.dead = False
        self.saw: Callable[[Callable[..., object], tuple[Any, ...]], None] = _ignore

    def check(self) -> None:
        """Raise `Died` in a dead process."""
        if self.dead:
            raise Died

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of a store. It may fail before its effect, or after it."""
        name = function.__name__
        self.check()
        if await pause(Step("store", f"before {name}")) is Directive.FAIL:
            raise StoreError("the store is in trouble")
        self.check()
        done = function(*args, **kwargs)
        self.saw(function, args)
        if await pause(Step("store", f"after {name}")) is Directive.FAIL:
            raise StoreError("the store is in trouble")
        self.check()
        return done


class Clock(AwaitedClock):
    """The world's clock, as a process sleeps by it."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.clock)
        self._process = process

    async def sleep(self, seconds: float, /) -> None:
        """Stop until the world's time is there."""
        self._process.check()
        await pause(Step("sleep", f"{seconds:.1f} s", self.monotonic() + seconds))
        self._process.check()


class Line:
    """The network between a process and Daraja."""

    def __init__(
        self, process: Process, answer: Callable[[HttpRequest], tuple[HttpResponse, float]]
    ) -> None:
        self._process = process
        self._answer = answer

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send a request. It may not leave, and its answer may be lost."""
        name = "token" if request.method == "GET" else request.url.rstrip("/").rpartition("/")[2]
        self._process.check()
        if await pause(Step("send", name)) is Directive.FAIL:
            raise NotSent("no connection could be made")
        self._process.check()
        response, arrives = self._answer(request)
        if await pause(Step("answer", name, arrives)) is Directive.FAIL:
            raise OutcomeUnknown("no complete answer in time")
        self._process.check()
        return response

    async def close(self) -> None:
        """Nothing is open."""


class Flights:
    """The flights of a shared token store: who fetches, until when."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[object, float]] = {}


class Tokens:
    """A shared token store, as one process sees it."""

    def __init__(self, process: Process, store: MemoryTokenStore, flights: Flights) -> None:
        self._process = process
        self._store = store
        self._flights = flights

    async def load(self, app: str, /) -> Token | None:
        """The kept token."""
        return await self._process.call(self._store.load, app)

    async def save(self, app: str, token: Token, /) -> None:
        """Keep a token."""
        await self._process.call(self._store.save, app, token)

    async def drop(self, app: str, token: Token, /) -> None:
        """Forget a token."""
        await self._process.call(self._store.drop, app, token)

    def single_flight(self, app: str, timeout: float, /) -> AbstractAsyncContextManager[object]:
        """Wait for the flight by the world's clock."""
        return self._flight(app, timeout)

    @asynccontextmanager
    async def _flight(self, app: str, timeout: float) -> AsyncIterator[None]:
        clock, me = Clock(self._process), object()
        ends = clock.monotonic() + timeout
        while self._flights.held.get(app, (me, 0.0))[1] > clock.monotonic():
            if clock.monotonic() >= ends:
                raise not_in_time()
            await clock.sleep(0.5)
        self._flights.held[app] = (me, clock.monotonic() + _FLIGHT_LEASE)
        try:
            yield
        finally:
            if not self._process.dead and self._flights.held.get(app, (None, 0))[0] is me:
                del self._flights.held[app]


class Synchronous:
    """The synchronous form of a part: its steps stop a greenlet in place of a coroutine."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        if name == "single_flight":
            return lambda *given: _entered(method(*given))
        if name in ("now", "monotonic"):
            return method
        return lambda *args, **kwargs: finish(method(*args, **kwargs))


@contextmanager
def _entered(flight: AbstractAsyncContextManager[object]) -> Iterator[None]:
    finish(flight.__aenter__())
    try:
        yield
    finally:
        finish(flight.__aexit__(None, None, None))

"""A scripted Daraja as a `Transport`: the tests say what it answers and read what it was asked."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import both_faces
from mpesa_stk import AsyncStkClient, HttpRequest, HttpResponse, StkClient
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.daraja.retry import RetryPolicy
from support import TOKEN, ManualClock, accepted, make_config

Answer = HttpResponse | Exception | Callable[[], HttpResponse]
P = ParamSpec("P")
T = TypeVar("T")

_POOL = ThreadPoolExecutor(64, "daraja")


def answer(body: object, status: int = 200) -> HttpResponse:
    """An HTTP answer with a JSON body, or with these very bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=status, headers={"content-type": "application/json"}, body=raw)


def refusal(code: str, message: str, status: int) -> HttpResponse:
    """Daraja's no."""
    return answer({"requestId": "r-1", "errorCode": code, "errorMessage": message}, status)


def result(checkout_request_id: str, code: str, description: str = "x") -> HttpResponse:
    """The status query's answer."""
    return answer(
        {
            "ResponseCode": "0",
            "ResponseDescription": "The service request has been accepted successsfully",
            "MerchantRequestID": "29115-34620561-1",
            "CheckoutRequestID": checkout_request_id,
            "ResultCode": code,
            "ResultDesc": description,
        }
    )


class ScriptedDaraja:
    """Answers pushes and queries from two scripts; accepts every push once the script is used up."""

    def __init__(self) -> None:
        self.push_script: deque[Answer] = deque()
        self.query_script: deque[Answer] = deque()
        self.pushes: list[dict[str, Any]] = []
        self.queries: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request."""
        if request.method == "GET":
            return answer({"access_token": TOKEN, "expires_in": "3599"})
        body = json.loads(request.body or b"")
        with self._lock:
            if "CheckoutRequestID" in body:
                self.queries.append(body)
                planned = self.query_script.popleft()
            else:
                self.pushes.append(body)
                number = f"ws_CO_231120260900{len(self.pushes):05}"
                planned = (
                    self.push_script.popleft() if self.push_script else answer(accepted(number))
                )
        if isinstance(planned, Exception):
            raise planned
        return planned if isinstance(planned, HttpResponse) else planned()

    def close(self) -> None:
        """Nothing is open."""

    @property
    def callback_url(self) -> str:
        """Where the last push wants its callback."""
        url: str = self.pushes[-1]["CallBackURL"]
        return url

    @property
    def token(self) -> str:
        """The signed token of the last push's callback URL."""
        return self.callback_url.rstrip("/").rpartition("/")[2]


def make_client(daraja: ScriptedDaraja, clock: ManualClock, **settings: Any) -> StkClient:
    """A client of the scripted Daraja, of the face that is tested, without jitter."""
    client: StkClient = both_faces.make_client(
        make_config(**settings),
        transport=daraja,
        clock=clock,
        retry=RetryPolicy(jitter=lambda: 0.5),
    )
    return client


async def call_in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a thread, while the event loop does other work."""
    call = functools.partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_POOL, call)


class ThreadedTransport:
    """The scripted Daraja as an `AsyncTransport`. A slow answer holds up no event loop."""

    def __init__(self, daraja: ScriptedDaraja) -> None:
        self._daraja = daraja

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request."""
        return await call_in_thread(self._daraja.send, request)

    async def close(self) -> None:
        """Nothing is open."""


def make_async_client(
    daraja: ScriptedDaraja, clock: ManualClock, **settings: Any
) -> AsyncStkClient:
    """An asynchronous client of the scripted Daraja, whose requests run in threads, without jitter."""
    return AsyncStkClient(
        make_config(**settings),
        transport=ThreadedTransport(daraja),
        clock=AwaitedClock(clock),
        retry=RetryPolicy(jitter=lambda: 0.5),
    )

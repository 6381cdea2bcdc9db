"""The endpoints as WSGI and ASGI applications: under a validator, and under real servers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import attrs
import pytest
import uvicorn
import waitress

from daraja_double import answer, call_in_thread, refusal
from example_shops import ADAPTERS, load
from mpesa_stk import (
    CallbackGuard,
    HttpResponse,
    MemoryTransactionStore,
    Transaction,
    TransactionState,
    WebRequest,
    WebResponse,
)
from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.web.asgi import AsgiApp
from mpesa_stk.web.lanes import TaskLanes, ThreadLanes
from mpesa_stk.web.messages import MAX_FIELDS, json_response
from support import accepted, callback
from web_cases import (
    ACCEPTED,
    CASES,
    CUSTOMER,
    HOST,
    PAYLOAD,
    AsyncShop,
    Shop,
    body_of,
    error_of,
)

PATIENCE = 30.0
AT_ONCE = 16  # as the endpoints have it where nobody says otherwise
STRANGERS = 40
JSON = {"Content-Type": "application/json"}
Message = MutableMapping[str, Any]


LOCAL: dict[str, Any] = {"allowed_callback_networks": ("127.0.0.0/8",)}
"""The settings of a shop whose callbacks come from this machine."""


# --- WSGI, under the validator -----------------------------------------------------------------------


def wsgi_environ(request: WebRequest, **changes: Any) -> dict[str, Any]:
    """The environ that a server makes of a request."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "PATH_INFO": request.path,
        "REMOTE_ADDR": request.remote_addr or "",
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.input": io.BytesIO(request.body),
    }
    for name, value in request.headers.items():
        prefix = "" if name == "content-type" else "HTTP_"
        environ[prefix + name.upper().replace("-", "_")] = value
    environ |= changes
    setup_testing_defaults(environ)
    return environ


def through_wsgi(shop: Shop, request: WebRequest, **changes: Any) -> WebResponse:
    """Call the WSGI application with a validator around it."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None, /
    ) -> Callable[[bytes], object]:
        assert exc_info is None
        started.append((status, headers))
        return io.BytesIO().write

    answered = validator(shop.endpoints.wsgi)(wsgi_environ(request, **changes), start_response)
    with contextlib.closing(answered):  # type: ignore[type-var]  # the validator's iterators close
        body = b"".join(answered)
    ((status, headers),) = started
    return WebResponse(int(status.partition(" ")[0]), dict(headers), body)


@pytest.mark.parametrize("name", CASES)
def test_wsgi_answers_each_case(name: str) -> None:
    """The shared list of cases through the WSGI application, and no complaint of the validator."""
    shop = Shop()
    CASES[name](shop, lambda request: through_wsgi(shop, request))


def test_wsgi_takes_the_mount_point_for_part_of_the_path() -> None:
    """Mounted anywhere, the prefix is met by SCRIPT_NAME and PATH_INFO together."""
    shop = Shop()
    mounted = {"SCRIPT_NAME": "/payments", "PATH_INFO": "/checkout/"}
    assert through_wsgi(shop, shop.checkout(), **mounted).status == 200


@pytest.mark.parametrize("length", ["", "-5", "\u0665", "9" * 5000])
def test_wsgi_reads_nothing_without_a_length(length: str) -> None:
    """Without a length that is one, an input may have no end: it is not read."""
    shop = Shop()
    body = io.BytesIO(json.dumps(PAYLOAD).encode())
    environ = wsgi_environ(shop.checkout(), **{"CONTENT_LENGTH": length, "wsgi.input": body})
    statuses: list[str] = []
    shop.endpoints.wsgi(environ, lambda status, _headers: statuses.append(status))
    assert statuses == ["400 Bad Request"]
    assert body.tell() == 0


def test_wsgi_reads_to_the_end_where_the_server_knows_it() -> None:
    """A chunked body that the server terminates is read without a length."""
    shop = Shop()
    terminated = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}
    environ = wsgi_environ(shop.checkout(), **terminated)
    statuses: list[str] = []
    shop.endpoints.wsgi(environ, lambda status, _headers: statuses.append(status))
    assert statuses == ["200 OK"]


def test_wsgi_reads_one_byte_more_than_is_taken() -> None:
    """Of a large body no more is read than shows that it is too large."""
    shop = Shop()
    body = io.BytesIO(b" " * 200_000)
    large = {"CONTENT_LENGTH": "200000", "wsgi.input": body}
    statuses: list[str] = []
    environ = wsgi_environ(shop.checkout(), **large)
    shop.endpoints.wsgi(environ, lambda status, _headers: statuses.append(status))
    assert statuses[0].startswith("413 ")
    assert body.tell() == MAX_BODY + 1


def test_wsgi_without_a_peer_refuses_callbacks() -> None:
    """Over a Unix socket no address is known, so no callback is let through."""
    shop = Shop()
    body_of(through_wsgi(shop, shop.checkout()))
    assert through_wsgi(shop, shop.called_back(), REMOTE_ADDR="").status == 403


# --- ASGI, called by hand ----------------------------------------------------------------------------


def asgi_scope(request: WebRequest) -> Message:
    """The scope that a server makes of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "method": request.method,
        "path": request.path,
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in request.headers.items()
        ],
        "client": None if request.remote_addr is None else (request.remote_addr, 4711),
    }


def asgi_call(shop: Shop, scope: Message, incoming: list[Message]) -> list[Message]:
    """What the application sends for these messages; it must not ask for more of them."""
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(0)
        return incoming.pop(0)

    async def send(message: Message) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    asyncio.run(shop.endpoints.asgi(scope, receive, send))
    return sent


def chunk(body: bytes, *, more: bool = False) -> Message:
    """A part of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


def response_of(sent: list[Message]) -> WebResponse:
    """The answer that two messages make."""
    start, body = sent
    assert start["type"] == "http.response.start"
    assert body["type"] == "http.response.body"
    assert all(name == name.lower() for name, _ in start["headers"])
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return WebResponse(start["status"], headers, body["body"])


@pytest.mark.usefixtures("face")
@pytest.mark.parametrize("name", CASES)
def test_asgi_answers_each_case(name: str) -> None:
    """The shared list of cases through the ASGI application, each body in two parts."""
    shop = Shop()

    def send(request: WebRequest) -> WebResponse:
        parts = [chunk(request.body[:10], more=True), chunk(request.body[10:])]
        return response_of(asgi_call(shop, asgi_scope(request), parts))

    CASES[name](shop, send)


@pytest.mark.usefixtures("face")
def test_asgi_reads_no_more_than_shows_that_a_body_is_too_large() -> None:
    """Of a body without end, reading stops with the part that makes it too large."""
    shop = Shop()
    parts = [chunk(b" " * 40_000, more=True) for _ in range(5)]
    assert response_of(asgi_call(shop, asgi_scope(shop.checkout()), parts)).status == 413
    assert len(parts) == 3


@pytest.mark.usefixtures("face")
def test_asgi_ends_reading_when_the_client_is_gone() -> None:
    """A request that is cut short is no checkout."""
    shop = Shop()
    parts: list[Message] = [chunk(b'{"phone_number": ', more=True), {"type": "http.disconnect"}]
    assert response_of(asgi_call(shop, asgi_scope(shop.checkout()), parts)).status == 400
    assert parts == []


@pytest.mark.usefixtures("face")
def test_asgi_without_a_peer_refuses_callbacks() -> None:
    """Over a Unix socket no address is known, so no callback is let through."""
    shop = Shop()
    body_of(shop.handle(shop.checkout()))
    request = shop.called_back()
    scope = asgi_scope(request)
    scope["client"] = None
    assert response_of(asgi_call(shop, scope, [chunk(request.body)])).status == 403
    del scope["client"]
    assert response_of(asgi_call(shop, scope, [chunk(request.body)])).status == 403


@pytest.mark.usefixtures("face")
def test_asgi_joins_a_field_that_comes_twice() -> None:
    """Two X-Forwarded-For lines are one list, in their order."""
    shop = Shop()
    body_of(shop.handle(shop.checkout()))
    request = shop.called_back(peer="10.0.0.2")
    scope = asgi_scope(request)
    safaricom, customer = b"196.201.214.200", CUSTOMER.encode()
    scope["headers"] += [(b"x-forwarded-for", safaricom), (b"X-Forwarded-For", customer)]
    assert response_of(asgi_call(shop, scope, [chunk(request.body)])).status == 403
    scope["headers"][-2:] = [(b"x-forwarded-for", customer), (b"X-Forwarded-For", safaricom)]
    assert response_of(asgi_call(shop, scope, [chunk(request.body)])).status == 200


@pytest.mark.usefixtures("face")
def test_asgi_takes_part_in_start_and_stop() -> None:
    """Both lifespan messages are answered, and the second one ends it."""
    incoming: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    assert asgi_call(Shop(), {"type": "lifespan"}, incoming) == [
        {"type": "lifespan.startup.complete"},
        {"type": "lifespan.shutdown.complete"},
    ]


@pytest.mark.usefixtures("face")
def test_asgi_serves_http_only() -> None:
    """A WebSocket is refused before it is accepted; of other scopes the specification is silent."""
    assert asgi_call(Shop(), {"type": "websocket"}, []) == [{"type": "websocket.close"}]
    with pytest.raises(ValueError, match="only HTTP"):
        asgi_call(Shop(), {"type": "telepathy"}, [])


@pytest.mark.usefixtures("face")
def test_asgi_takes_a_hundred_fields_and_no_more() -> None:
    """A request with more is refused unread: neither its body nor its fields are looked at."""
    shop = Shop()
    request = shop.checkout()
    scope = asgi_scope(request)
    scope["headers"] += [(b"x", b"y")] * (MAX_FIELDS - len(scope["headers"]))
    assert response_of(asgi_call(shop, scope, [chunk(request.body)])).status == 200
    scope["headers"] += [(b"x", b"y")] * 18_000
    refused = response_of(asgi_call(shop, scope, []))
    assert error_of(refused, 431) == ("too_many_fields", None)
    assert len(shop.daraja.pushes) == 1


def test_wsgi_takes_a_hundred_fields_and_no_more() -> None:
    """The endpoints themselves bound what an adapter hands them, of the callback too."""
    shop = Shop()
    body_of(shop.handle(shop.checkout()))
    for request in (shop.checkout(), shop.called_back()):
        headers = dict(request.headers) | {f"x-{number}": "y" for number in range(MAX_FIELDS)}
        refused = through_wsgi(shop, attrs.evolve(request, headers=headers))
        assert error_of(refused, 431) == ("too_many_fields", None)


async def asked_by_hand(app: AsgiApp, path: str) -> int:
    """The status of one request that needs no server."""
    sent: list[Message] = []

    async def receive() -> Message:
        return chunk(b"")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


class Held:
    """An application whose requests are held until `go`; the semaphore counts those begun."""

    def __init__(self, lanes: type[ThreadLanes | TaskLanes]) -> None:
        self.begun, self.go = threading.Semaphore(0), threading.Event()
        rules: dict[str, Any] = {"is_callback": lambda path: path == "/cb", "at_once": 1}
        if lanes is TaskLanes:
            self.lanes: ThreadLanes | TaskLanes = TaskLanes(self._hold_in_thread, **rules)
        else:
            self.lanes = ThreadLanes(self._hold, **rules)
        self.app = AsgiApp(self.lanes.answer)

    def _hold(self, _: WebRequest) -> WebResponse:
        self.begun.release()
        assert self.go.wait(PATIENCE)
        return json_response(200, {})

    async def _hold_in_thread(self, request: WebRequest) -> WebResponse:
        return await call_in_thread(self._hold, request)


@pytest.mark.parametrize("lanes", [ThreadLanes, TaskLanes])
def test_asgi_lets_a_bounded_number_of_callbacks_wait(
    lanes: type[ThreadLanes | TaskLanes],
) -> None:
    """256 callbacks are answered or wait; the next one is told at once, and others are not kept out."""
    held = Held(lanes)
    app = held.app

    async def flood() -> None:
        waiting = [asyncio.create_task(asked_by_hand(app, "/cb")) for _ in range(256)]
        await asyncio.sleep(0)
        assert await asked_by_hand(app, "/cb") == 503
        other = asyncio.create_task(asked_by_hand(app, "/"))
        await asyncio.sleep(0)
        held.go.set()
        assert await other == 200
        assert set(await asyncio.gather(*waiting)) == {200}
        assert await asked_by_hand(app, "/cb") == 200

    asyncio.run(flood())


@pytest.mark.parametrize("lanes", [ThreadLanes, TaskLanes])
def test_asgi_counts_a_request_whose_client_is_gone(
    lanes: type[ThreadLanes | TaskLanes],
) -> None:
    """The work goes on although nobody waits, so its place is free only when it ends."""
    held = Held(lanes)
    app = held.app

    async def give_up() -> None:
        gone = asyncio.create_task(asked_by_hand(app, "/"))
        assert await asyncio.to_thread(held.begun.acquire, timeout=PATIENCE)
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
        assert await asked_by_hand(app, "/") == 503
        held.go.set()

    asyncio.run(give_up())


@pytest.mark.parametrize("lanes", [ThreadLanes, TaskLanes])
def test_asgi_answers_a_callback_that_waits_although_its_client_is_gone(
    lanes: type[ThreadLanes | TaskLanes],
) -> None:
    """Daraja may not post it again, so it is handled as soon as there is a thread."""
    held = Held(lanes)
    clients = 12  # more than there are threads for callbacks

    async def give_up() -> None:
        gone = [asyncio.create_task(asked_by_hand(held.app, "/cb")) for _ in range(clients)]
        assert await asyncio.to_thread(held.begun.acquire, timeout=PATIENCE)
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        held.go.set()
        for _ in range(clients - 1):
            assert await asyncio.to_thread(held.begun.acquire, timeout=PATIENCE)

    asyncio.run(give_up())


# --- real servers ------------------------------------------------------------------------------------


class AsgiServer(uvicorn.Server):
    """A uvicorn that says when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self.ready.set()


@contextlib.contextmanager
def uvicorn_serving(shop: Shop, app: Any = None) -> Iterator[int]:
    """The port of a real ASGI server on loopback; it demands that the lifespan works."""
    config = uvicorn.Config(
        app or shop.endpoints.asgi, host="127.0.0.1", port=0, log_config=None, lifespan="on"
    )
    server = AsgiServer(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.ready.wait(PATIENCE)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert server.lifespan.should_exit is False  # neither start nor stop failed


@contextlib.contextmanager
def waitress_serving(shop: Shop, app: Any = None, **options: Any) -> Iterator[int]:
    """The port of a real WSGI server on loopback, which ends with nothing left open."""
    sockets: dict[int, Any] = {}
    server = waitress.create_server(
        app or shop.endpoints.wsgi,
        map=sockets,
        host="127.0.0.1",
        port=0,
        threads=AT_ONCE + 4,
        **options,
    )
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            server.asyncore.loop(timeout=PATIENCE, map=sockets, count=1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.effective_port
    finally:
        stopping.set()
        server.pull_trigger()
        thread.join(PATIENCE)
        server.task_dispatcher.shutdown()
        server.asyncore.close_all(sockets)
    assert not thread.is_alive()


Serving = Callable[[Shop], contextlib.AbstractContextManager[int]]
SERVERS: dict[str, tuple[type[Shop], Serving]] = {
    "uvicorn": (Shop, uvicorn_serving),
    "uvicorn, awaited": (AsyncShop, uvicorn_serving),
    "waitress": (Shop, waitress_serving),
}


def posted(port: int, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    """Post to a server, on a connection of its own."""
    fields = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    ) as connection:
        connection.request("POST", path, body, fields)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.mark.parametrize("name", SERVERS)
def test_a_payment_through_a_real_server(name: str) -> None:
    """Checkout, callback and query over HTTP; a chunked body, and a large one."""
    shop_type, serving = SERVERS[name]
    shop = shop_type(**LOCAL)
    with serving(shop) as port:
        body = json.dumps(PAYLOAD).encode()
        status, pushed = posted(port, "/payments/checkout/", body)
        assert (status, pushed["CheckoutRequestID"]) == (200, shop.checkout_id)
        called_back = callback(checkout_request_id=shop.checkout_id)
        path = f"/payments/callback/{shop.daraja.token}/"
        assert posted(port, path, iter([called_back[:30], called_back[30:]])) == (200, ACCEPTED)
        status, asked = posted(
            port, "/payments/query/", json.dumps({"transaction_no": "x"}).encode()
        )
        assert (status, asked["error"]["code"]) == (404, "unknown_payment")
        status, refused = posted(port, "/payments/checkout/", b" " * 70_000)
        assert (status, refused["error"]["code"]) == (413, "body_too_large")
        status, refused = posted(port, "/payments/checkout/", body, Origin="https://evil.example")
        assert (status, refused["error"]["code"]) == (403, "cross_site")
    assert shop.settled == ["succeeded"]


@pytest.mark.parametrize("name", SERVERS)
def test_a_slow_push_holds_up_nobody_else(name: str) -> None:
    """Two pushes that wait for each other, and a callback between them, are served side by side."""
    shop_type, serving = SERVERS[name]
    shop = shop_type(**LOCAL)
    together = threading.Barrier(3)

    def push_of(number: int) -> Callable[[], HttpResponse]:
        def push() -> HttpResponse:
            together.wait(PATIENCE)  # both pushes are in flight
            together.wait(PATIENCE)  # the callback was answered meanwhile
            return answer(accepted(f"ws_CO_slow_{number}"))

        return push

    shop.daraja.push_script.extend([push_of(1), push_of(2)])
    body = json.dumps(PAYLOAD).encode()
    with serving(shop) as port, ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(posted, port, "/payments/checkout/", body) for _ in range(2)]
        together.wait(PATIENCE)
        path = f"/payments/callback/{shop.daraja.token}/"
        paid = callback(checkout_request_id="ws_CO_unknown", code=1032)
        assert posted(port, path, paid) == (200, ACCEPTED)
        together.wait(PATIENCE)
        assert [future.result(PATIENCE)[0] for future in slow] == [200, 200]


class SlowLookups(MemoryTransactionStore):
    """A store in which one payment takes long to be found."""

    def __init__(self, look: Callable[[], object]) -> None:
        super().__init__()
        self._look = look

    def get(self, transaction_no: str, /) -> Transaction | None:
        """Find a payment."""
        if transaction_no == "slow":
            self._look()
        return super().get(transaction_no)


@attrs.frozen
class Mount:
    """A way to serve the endpoints, and how many checkouts and queries it takes at once."""

    shop: type[Shop]
    serving: Serving
    places: int = AT_ONCE
    options: Mapping[str, Any] = attrs.field(factory=dict)


MOUNTED = {
    "asgi": Mount(Shop, uvicorn_serving),
    "asgi, awaited": Mount(AsyncShop, uvicorn_serving, options={"at_once": AT_ONCE}),
    "wsgi": Mount(Shop, waitress_serving),
    "fastapi": Mount(
        AsyncShop,
        lambda shop: uvicorn_serving(shop, load(ADAPTERS["fastapi"]).create_app(shop.endpoints)),
        places=STRANGERS,
    ),
    "flask": Mount(
        Shop,
        lambda shop: waitress_serving(shop, load(ADAPTERS["flask"]).create_app(shop.endpoints)),
    ),
}


@pytest.mark.parametrize("asked", ["checkout", "query"])
@pytest.mark.parametrize("mounted", MOUNTED)
def test_callbacks_do_not_wait_behind_strangers(mounted: str, asked: str) -> None:
    """40 slow requests: as many as fit are answered, the rest is told so, a callback passes them all."""
    begun, go = threading.Semaphore(0), threading.Event()

    def hold() -> HttpResponse:
        begun.release()
        assert go.wait(PATIENCE)
        return refusal("400.002.02", "Bad Request - x", 400)

    mount = MOUNTED[mounted]
    shop = mount.shop(SlowLookups(hold), **LOCAL, **mount.options)
    body_of(shop.handle(shop.checkout()))
    paid, token = callback(checkout_request_id=shop.checkout_id), shop.daraja.token
    shop.daraja.push_script.extend([hold] * STRANGERS)
    payload = PAYLOAD if asked == "checkout" else {"transaction_no": "slow"}
    body = json.dumps(payload).encode()
    with mount.serving(shop) as port, ThreadPoolExecutor(STRANGERS) as pool:
        try:
            jobs = [
                pool.submit(posted, port, f"/payments/{asked}/", body) for _ in range(STRANGERS)
            ]
            assert all(begun.acquire(timeout=PATIENCE) for _ in range(mount.places))
            ended = as_completed(jobs, timeout=PATIENCE)
            too_many = [next(ended).result(0) for _ in range(STRANGERS - mount.places)]
            assert posted(port, f"/payments/callback/{token}/", paid) == (200, ACCEPTED)
            assert shop.settled == ["succeeded"]
        finally:
            go.set()
        answered = [job.result(0) for job in ended]
    refused = [(status, said["error"]["code"]) for status, said in too_many]
    assert refused == [(503, "too_busy")] * (STRANGERS - mount.places)
    expected = (502, "DarajaError") if asked == "checkout" else (404, "unknown_payment")
    assert [(status, said["error"]["code"]) for status, said in answered] == [
        expected
    ] * mount.places


@pytest.mark.usefixtures("face")
def test_one_request_too_many_is_told_when_to_come_back() -> None:
    """503 with Retry-After; callbacks go on; the place is free again when the first one ends."""
    shop = Shop(at_once=1)
    body_of(shop.handle(shop.checkout()))
    meanwhile: list[WebResponse] = []

    def look() -> HttpResponse:
        meanwhile.append(shop.handle(shop.checkout()))
        meanwhile.append(shop.handle(shop.post("query", {"transaction_no": "x"})))
        meanwhile.append(shop.handle(called_back))
        return refusal("400.002.02", "Bad Request - x", 400)

    called_back = shop.called_back()
    shop.daraja.push_script.append(look)
    assert shop.handle(shop.checkout()).status == 502
    *refused, callback_answer = meanwhile
    for response in refused:
        assert error_of(response, 503) == ("too_busy", None)
        assert response.headers["Retry-After"] == "2"
    assert body_of(callback_answer) == ACCEPTED
    body_of(shop.handle(shop.checkout()))


@pytest.mark.usefixtures("face")
@pytest.mark.parametrize("at_once", [0, -1])
def test_some_requests_must_be_answered(at_once: int) -> None:
    """A number that would refuse every request is refused when the endpoints are made."""
    with pytest.raises(ValueError, match="at_once"):
        Shop(at_once=at_once)


def test_waitress_removes_forwarded_headers_unless_told_otherwise() -> None:
    """By default the server itself hides the proxy's word; kept, it reaches the guard."""
    for options, status in (({}, 403), ({"clear_untrusted_proxy_headers": False}, 200)):
        shop = Shop(guard=CallbackGuard(trusted_proxies=("127.0.0.1",)))
        body_of(shop.endpoints.handle(shop.checkout()))
        request = shop.called_back()
        with waitress_serving(shop, **options) as port:
            answered = posted(
                port, request.path, request.body, Host=HOST, X_Forwarded_For="196.201.214.200"
            )
        assert answered[0] == status


def test_uvicorn_names_the_client_itself() -> None:
    """Its own trust in proxies on this machine puts the client in the peer's place."""
    shop = Shop(guard=CallbackGuard())
    body_of(shop.endpoints.handle(shop.checkout()))
    request = shop.called_back()
    with uvicorn_serving(shop) as port:
        for chain, status in (
            (f"196.201.214.200, {CUSTOMER}", 403),
            (f"{CUSTOMER}, 196.201.214.200", 200),
        ):
            answered = posted(port, request.path, request.body, X_Forwarded_For=chain)
            assert answered[0] == status


# --- the load test -----------------------------------------------------------------------------------

PAYMENTS, DELIVERIES, WORKERS = 500, 4, 32


def deliveries_by_worker(shop: Shop) -> list[list[tuple[str, bytes]]]:
    """Each payment's callback four times: to three workers that race, and to one that goes backwards."""
    groups = WORKERS // DELIVERIES
    shared: list[list[tuple[str, bytes]]] = [[] for _ in range(groups)]
    for number in range(PAYMENTS):
        shop.payments.checkout(phone_number="0718643064", amount=100, reference=f"INV-{number}")
        body = callback(checkout_request_id=shop.checkout_id, receipt=f"NLJ{number:07}")
        shared[number % groups].append((f"/payments/callback/{shop.daraja.token}/", body))
    for group in shared:
        random.Random(7).shuffle(group)
    return [
        group if worker < DELIVERIES - 1 else group[::-1]
        for group in shared
        for worker in range(DELIVERIES)
    ]


def test_two_thousand_concurrent_callbacks_settle_each_payment_once() -> None:
    """Duplicates at the same moment included: each payment settles once, and nothing is a 5xx."""
    shop = Shop(**LOCAL)
    lists = deliveries_by_worker(shop)
    start = threading.Barrier(WORKERS)

    def deliver(port: int, callbacks: list[tuple[str, bytes]]) -> list[tuple[int, bytes]]:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        ) as connection:
            start.wait(PATIENCE)
            answers = []
            for path, body in callbacks:
                connection.request("POST", path, body, JSON)
                response = connection.getresponse()
                answers.append((response.status, response.read()))
            return answers

    with waitress_serving(shop) as port, ThreadPoolExecutor(WORKERS) as pool:
        jobs = [pool.submit(deliver, port, callbacks) for callbacks in lists]
        answers = [answered for job in jobs for answered in job.result(120)]
    assert len(answers) == PAYMENTS * DELIVERIES == 2000
    assert {(status, json.dumps(json.loads(body))) for status, body in answers} == {
        (200, json.dumps(ACCEPTED))
    }
    assert shop.settled == ["succeeded"] * PAYMENTS
    outcomes = [event.outcome for event in shop.events if event.kind == "callback"]
    assert outcomes.count("settled") == PAYMENTS
    assert outcomes.count("repeated") == PAYMENTS * (DELIVERIES - 1)
    for number in range(PAYMENTS):
        transaction = shop.store.find(reference=f"INV-{number}")
        assert transaction is not None
        assert transaction.state is TransactionState.SUCCEEDED
        assert transaction.needs_review is None
        assert transaction.receipt_number == f"NLJ{number:07}"
        assert [entry.event for entry in transaction.history].count("callback: paid, proven") == 1

"""What outlives the workers of the crash tests: Daraja, its network, the shop's address, and the time.

Daraja is the simulator over loopback HTTP. Pushes pass a gateway that counts them, callbacks arrive in an
inbox, and the test says what becomes of each. Imports the simulator and `support`.
"""

from __future__ import annotations

import http.client
import json
import queue
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from urllib.parse import urlsplit

import attrs

from mpesa_stk import HttpResponse, StkClient
from mpesa_stk.simulator import Scenario, SimulatorServer
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest
from support import ManualClock, loopback_config, make_config

__all__ = ["Arrival", "Prompt", "World"]

PATIENCE = 10.0
_VERDICT = 4.0  # the simulator hangs up after 5


@attrs.frozen(kw_only=True)
class Prompt:
    """A prompt that Daraja opened.

    Attributes:
        callback_url: As the push gave it.
        checkout_request_id: Daraja's id.
    """

    callback_url: str
    checkout_request_id: str


@attrs.frozen(kw_only=True)
class Arrival:
    """A callback that reached the shop's address.

    Attributes:
        body: Its body.
        token: The last segment of its path; None where URLs are not signed.
        verdict: Takes the status that Daraja is answered.
    """

    body: bytes
    token: str | None
    verdict: queue.Queue[int] = attrs.Factory(queue.Queue)


class World:
    """Daraja and the way to it, for one payment after another.

    Attributes:
        clock: The time for everybody.
        prompts: The prompts opened since `begin`.
        pushes: How many pushes arrived at Daraja since then.
        refused: How many of them it refused.
        on_accepted: Called after Daraja accepted a push and before its answer goes out.
    """

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.prompts: list[Prompt] = []
        self.pushes = 0
        self.refused = 0
        self.on_accepted: Callable[[], None] | None = None
        self._payment = 0
        self._inbox: queue.Queue[Arrival] = queue.Queue()
        self._stack = ExitStack()
        self._daraja = SimulatorServer(make_config(), clock=self.clock)
        self._gateway = HttpServer(self._forward)
        self._shop = HttpServer(self._receive)
        self._path = urlsplit(self._daraja.environment.push_url).path
        self.environment = attrs.evolve(
            self._daraja.environment, push_url=f"{self._gateway.origin}{self._path}"
        )

    def __enter__(self) -> World:  # noqa: PYI034 - typing.Self needs Python 3.11
        for server in (self._shop, self._daraja, self._gateway):
            self._stack.enter_context(server)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    # --- what the tests do with it ----------------------------------------------------------------

    def begin(self, scenario: Scenario) -> int:
        """Forget the payment before; the number of the new one."""
        self._payment += 1
        self.prompts, self.pushes, self.refused, self.on_accepted = [], 0, 0, None
        self._inbox = queue.Queue()
        self._daraja.play(scenario)
        return self._payment

    @property
    def callback_url(self) -> str:
        """Where callbacks about the payment are posted."""
        return f"{self._shop.origin}/callback/{self._payment}"

    def arrival(self) -> Arrival:
        """Wait for the next callback, which is due by the clock."""
        self._daraja.advance(0.0)  # wakes it: its clock was moved
        return self._inbox.get(timeout=PATIENCE)

    def occupy(self, phone_number: str) -> None:
        """Open a prompt of another shop's on a phone."""
        url = f"{self._shop.origin}/another"
        config = loopback_config(self._daraja.origin, callback_url=url)
        with StkClient(config, clock=self.clock) as client:
            client.push(phone_number=phone_number, amount=1, reference="OTHER")

    # --- servers ------------------------------------------------------------------------------------

    def _forward(self, request: WebRequest) -> HttpResponse:
        """Carry a push to Daraja, and count it."""
        self.pushes += 1
        kept = {name: request.headers[name] for name in ("authorization", "content-type")}
        response = self._request(
            self._daraja.origin, request.method, self._path, kept, request.body
        )
        answer = json.loads(response.body)
        if "CheckoutRequestID" not in answer:
            self.refused += 1
            return response
        url, number = json.loads(request.body)["CallBackURL"], answer["CheckoutRequestID"]
        self.prompts.append(Prompt(callback_url=url, checkout_request_id=number))
        if self.on_accepted is not None:
            self.on_accepted()
        return response

    def _receive(self, request: WebRequest) -> HttpResponse:
        """Put a callback into the inbox, and wait for what the test makes of it."""
        place = urlsplit(self.callback_url).path
        status = 404
        if request.path.rstrip("/") == place or request.path.startswith(f"{place}/"):
            token = request.path[len(place) :].strip("/") or None
            arrival = Arrival(body=request.body, token=token)
            self._inbox.put(arrival)
            status = arrival.verdict.get(timeout=_VERDICT)
        return HttpResponse(status=status, headers={}, body=b"")

    @staticmethod
    def _request(
        origin: str, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> HttpResponse:
        connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=PATIENCE)
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            fields.pop("content-length", None)
            return HttpResponse(status=answer.status, headers=fields, body=answer.read())
        finally:
            connection.close()

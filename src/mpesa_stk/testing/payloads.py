"""Canned payloads by name: Daraja's answers and callbacks, as bytes.

The simulated Daraja makes them, so that each text exists once.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from mpesa_stk.daraja import protocol
from mpesa_stk.daraja.exchange import HttpResponse
from mpesa_stk.daraja.models import PushRequest
from mpesa_stk.simulator.faults import FAULTS
from mpesa_stk.simulator.scenarios import OUTCOMES, Pending, Scenario, Shape
from mpesa_stk.testing.daraja import SimulatedDaraja

_AMOUNT = 100
_SHAPES = tuple(shape.value for shape in Shape if shape is not Shape.PLAIN)

PAYLOADS: tuple[str, ...] = (
    "token",
    "push-accepted",
    *(f"query-{name}" for name in OUTCOMES),
    *(f"query-pending-{pending.value}" for pending in Pending),
    "query-unknown-id",
    *(f"error-{name}" for name, fault in FAULTS.items() if fault.answer is not None),
    *(f"callback-{name}" for name in (*OUTCOMES, *_SHAPES)),
)
"""The names of the canned payloads."""


@attrs.frozen(kw_only=True)
class Payload:
    """An answer or a callback of Daraja.

    Attributes:
        status: HTTP status of an answer, or None for a callback.
        headers: Header fields of an answer.
        body: The bytes.
    """

    status: int | None
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """The parsed JSON of the body.

        Raises:
            ValueError: The body is not JSON, such as the page of a firewall.
        """
        return json.loads(self.body)


def payload(name: str, /) -> Payload:
    """Return a canned payload. The same name always gives the same bytes.

    Args:
        name: A name of `PAYLOADS`. All of them are about one payment of 100 shillings.

    Raises:
        KeyError: `PAYLOADS` has no such name.
    """
    if name not in PAYLOADS:
        raise KeyError(name)
    kind, _, detail = name.partition("-")
    if kind == "callback":
        return Payload(status=None, headers={}, body=_callback(detail))
    if kind == "error":
        exchange = _Exchange(Scenario(push_fault=detail))
        answer = exchange.pushed
    elif kind == "query":
        answer = _query(detail)
    else:
        exchange = _Exchange(Scenario())
        answer = exchange.token if kind == "token" else exchange.pushed
    return Payload(status=answer.status, headers=dict(answer.headers), body=answer.body)


class _Exchange:
    """A token and a push, with Daraja's answers."""

    def __init__(self, scenario: Scenario) -> None:
        self.daraja = SimulatedDaraja(scenario=scenario)
        self.config = self.daraja.config
        self.callbacks: list[bytes] = []
        self.daraja.deliver_to(lambda _, body: self.callbacks.append(body))
        self.token = self.daraja.send(protocol.build_token(self.config))
        self.bearer = protocol.read_token(self.token, sent_at=0.0)
        request = PushRequest.checked(
            phone_number="254718643064",
            amount=_AMOUNT,
            reference="INV-001",
            description="",
            callback_url=self.config.callback_url,
            max_amount=self.config.max_amount,
        )
        self.pushed = self.daraja.send(
            protocol.build_push(
                self.config, request, token=self.bearer, moment=self.daraja.clock.now()
            )
        )

    def query(self, checkout_request_id: str) -> HttpResponse:
        """Return the answer to a status query."""
        request = protocol.build_query(
            self.config,
            checkout_request_id,
            token=self.bearer,
            moment=self.daraja.clock.now(),
        )
        return self.daraja.send(request)


def _query(detail: str) -> HttpResponse:
    """Answer a query about an outcome, a pending prompt or an unknown id."""
    if detail == "unknown-id":
        return _Exchange(Scenario()).query("ws_CO_1")
    pending = detail.partition("pending-")[2]
    scenario = Scenario(pending=pending) if pending else Scenario(outcome=detail, answer_after=0.0)
    exchange = _Exchange(scenario)
    return exchange.query(protocol.read_push(exchange.pushed).checkout_request_id)


def _callback(detail: str) -> bytes:
    """Return the callback of an outcome, or of a paid prompt in another form."""
    exchange = _Exchange(Scenario(shape=detail) if detail in _SHAPES else Scenario(outcome=detail))
    exchange.daraja.run()
    return exchange.callbacks[0]

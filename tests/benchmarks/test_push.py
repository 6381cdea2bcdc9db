"""What `StkClient.push` costs over a kept-alive connection, beside a plain post with requests."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import requests

from measure import Line, Scoreboard, in_words, profile, ratio, take_turns
from mpesa_stk import StkClient
from push_server import PUSH_BODY
from support import loopback_config

LIMIT = 0.60


class _BareSocket:
    """The same exchange with nothing around it: a request in one piece, an answer of known length."""

    def __init__(self, origin: str) -> None:
        where = urlsplit(origin)
        body = json.dumps(PUSH_BODY)
        head = (
            f"POST /floor HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = f"{head}{body}".encode()
        self._socket = socket.create_connection((where.hostname or "", where.port or 80), timeout=5)
        self._length = len(self._exchange())

    def __call__(self) -> None:
        answer = self._exchange()
        while len(answer) < self._length:
            answer += self._socket.recv(65_536)

    def _exchange(self) -> bytes:
        self._socket.sendall(self._request)
        return self._socket.recv(65_536)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def test_push(benchmark: Any, scoreboard: Scoreboard, server: str) -> None:
    """A push is quicker than a plain post of the same body, although it checks everything."""
    headers = {"Authorization": "Bearer c9SQxWWhmdVRlyh0zh8gZDTkubVF"}
    with requests.Session() as session, StkClient(loopback_config(server)) as client:

        def push() -> str:
            answer = client.push(phone_number="0718643064", amount=100, reference="INV-1")
            return answer.checkout_request_id

        def post() -> str:
            answer = session.post(f"{server}/floor", json=PUSH_BODY, headers=headers).json()
            return str(answer["CheckoutRequestID"])

        assert push() == post() == "ws_CO_191220191020363925"
        bare = _BareSocket(server)
        ours, floor, exchange = take_turns(
            benchmark, push, post, bare, rounds=400, calls=5, warmup=20
        )
        bare.close()
        found = ratio(ours, floor)
        shared = exchange.quartile
        alone = (ours.quartile - shared) / (floor.quartile - shared)
        notes = [
            in_words(ours, floor),
            f"the same exchange over a bare socket: {shared * 1e6:.1f} us, part of both times",
            f"ratio with that subtracted from both: {alone:.3f}",
        ]
        if found > LIMIT:
            notes += profile(push, calls=500)
    scoreboard.lines.append(
        Line(
            budget=f"StkClient.push: at most {LIMIT} x requests.Session().post(json=...).json()",
            measured=f"{found:.3f}",
            met=found <= LIMIT,
            notes=tuple(notes),
        )
    )

"""Requests in the habits of other people's clients, over plain sockets: all are paid.

The bodies are written here. The names are of those whose habits they are; some of these clients
themselves run in `test_foreign_clients.py`.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs
import pytest

from mpesa_stk.simulator import Scenario, SimulatorServer
from support import CONSUMER_KEY, CONSUMER_SECRET, PASSKEY, START, ManualClock, make_config

PATIENCE = 10.0
SHORTCODE = "600000"
PHONE = "254718643064"
TOKEN = "/oauth/v1/generate?grant_type=client_credentials"
PUSH = "/mpesa/stkpush/v1/processrequest"
QUERY = "/mpesa/stkpushquery/v1/query"
UTC = "Timestamp is 3 h behind East Africa Time, which most guides ask for"
REFERENCE = "AccountReference has 17 characters; Daraja's page asks for 12 at most"
DESCRIPTION = "TransactionDesc has 20 characters; Daraja's page asks for 13 at most"


@attrs.frozen(kw_only=True)
class Habit:
    """How a client writes its requests.

    Attributes:
        zone: Hours that its clock is ahead of UTC.
        fields: What its push has instead of, or beside, what the pages of Daraja ask for.
        headers: Header fields that it sends beside its token and the length.
        written: Whether it writes its numbers as texts.
        advised: What the journal says of its push.
    """

    zone: float = 0
    fields: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {"Content-Type": "application/json"}
    written: bool = True
    advised: tuple[str, ...] = (UTC,)


HABITS = {
    "mpesa-api (npm)": Habit(
        fields={
            "TransactionType": "CustomerPayBillOnline ",
            "AccountReference": "Invoice 2026-0001",
            "TransactionDesc": "Lipa na Mpesa Online",
        },
        written=False,
        advised=("TransactionType has blanks around it", UTC, REFERENCE, DESCRIPTION),
    ),
    "mpesa-node (npm)": Habit(
        fields={"TransactionDesc": "Lipa na mpesa online"}, advised=(UTC, DESCRIPTION)
    ),
    "mpesakit": Habit(
        fields={"Passkey": PASSKEY, "BusinessShortCode": 600000, "Amount": 100},
        advised=("Passkey is no field of this request", UTC),
    ),
    "mpesa-wrapper": Habit(
        headers={"content-type": "application/json", "X-Idempotency-Key": "a" * 64}
    ),
    "django-daraja": Habit(
        fields={"AccountReference": "Invoice 2026-0001"},
        headers={"Content-type": "application/json"},
        advised=(UTC, REFERENCE),
    ),
    "python-daraja, as JSON": Habit(
        zone=3,
        fields={"Timestamp": int},
        written=False,
        advised=("Timestamp is a number; Daraja's page shows a string",),
    ),
    "a host in New York": Habit(
        zone=-5, advised=("Timestamp is 8 h behind East Africa Time, which most guides ask for",)
    ),
    "a host on Kiritimati": Habit(
        zone=14, advised=("Timestamp is 11 h ahead of East Africa Time, which most guides ask for",)
    ),
    "a form of PHP": Habit(
        zone=3,
        fields={"Amount": "100.00", "PhoneNumber": f"{PHONE} ", "Remark": "x"},
        headers={"Content-Type": "application/json;charset=UTF-8"},
        advised=(
            "Remark is no field of this request",
            "PhoneNumber has blanks around it",
            "Amount has decimal places; Daraja's page asks for a whole number",
        ),
    ),
    "the pages of Daraja": Habit(zone=3, advised=()),
}
"""Who writes how."""


class Client:
    """A client of Daraja's with a habit."""

    def __init__(self, daraja: SimulatorServer, habit: Habit, framing: str) -> None:
        parts = urlsplit(daraja.origin)
        self._address = str(parts.hostname), parts.port or 0
        self._habit = habit
        self._framing = framing
        self._connection: socket.socket | None = None

    def credentials(self) -> dict[str, Any]:
        """Shortcode, timestamp and password, by its clock."""
        timestamp = f"{START + timedelta(hours=self._habit.zone):%Y%m%d%H%M%S}"
        plain = f"{SHORTCODE}{PASSKEY}{timestamp}"
        return {
            "BusinessShortCode": SHORTCODE if self._habit.written else int(SHORTCODE),
            "Password": base64.b64encode(plain.encode()).decode(),
            "Timestamp": int(timestamp) if "Timestamp" in self._habit.fields else timestamp,
        }

    def push(self) -> tuple[int, Any]:
        """Ask for 100 shillings."""
        number = str if self._habit.written else int
        fields = {name: value for name, value in self._habit.fields.items() if name != "Timestamp"}
        body = {
            **self.credentials(),
            "TransactionType": "CustomerPayBillOnline",
            "Amount": number("100"),
            "PartyA": number(PHONE),
            "PartyB": number(SHORTCODE),
            "PhoneNumber": number(PHONE),
            "CallBackURL": "https://shop.example.co.ke/callback",
            "AccountReference": "INV-1",
            "TransactionDesc": "Shoes",
        }
        return self.post(PUSH, json.dumps(body | fields).encode())

    def query(self, checkout_request_id: str) -> tuple[int, Any]:
        """Ask what became of it."""
        body = {**self.credentials(), "CheckoutRequestID": checkout_request_id}
        return self.post(QUERY, json.dumps(body).encode())

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """Post a body with a fresh token."""
        basic = base64.b64encode(f"{CONSUMER_KEY}:{CONSUMER_SECRET}".encode()).decode()
        _, issued = self.send("GET", TOKEN, {"Authorization": f"Basic {basic}"}, b"")
        headers = {"Authorization": f"Bearer {issued['access_token']}", **self._habit.headers}
        return self.send("POST", path, headers, body)

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """One exchange; status and JSON."""
        version = "1.0" if self._framing.startswith("HTTP/1.0") else "1.1"
        head = f"{method} {path} HTTP/{version}\r\nHost: sandbox.safaricom.co.ke\r\n"
        if self._framing == "chunked" and body:
            headers = headers | {"Transfer-Encoding": "chunked"}
            half = len(body) // 2
            pieces = (body[:half], body[half:], b"")
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        elif body:
            headers = headers | {"Content-Length": str(len(body))}
        if self._framing == "HTTP/1.0, kept":
            headers = headers | {"Connection": "keep-alive"}
        if self._connection is None:
            self._connection = socket.create_connection(self._address, PATIENCE)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._connection.sendall(f"{head}{lines}\r\n".encode() + body)
        answer = http.client.HTTPResponse(self._connection)
        answer.begin()
        told = answer.status, json.loads(answer.read())
        if answer.will_close:
            self.close()
        return told

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@pytest.mark.parametrize("framing", ["length", "chunked", "HTTP/1.0", "HTTP/1.0, kept"])
@pytest.mark.parametrize("name", HABITS)
def test_a_payment_in_the_habits_of_a_client(name: str, framing: str) -> None:
    """Token, push and query are answered as ever; what is advised is in the journal, the passkey is not."""
    habit = HABITS[name]
    scenario = Scenario(answer_after=0.0)
    with (
        SimulatorServer(make_config(), scenario=scenario, clock=ManualClock()) as daraja,
        closing(Client(daraja, habit, framing)) as client,
    ):
        status, pushed = client.push()
        assert (status, pushed["ResponseCode"]) == (200, "0")
        status, asked = client.query(pushed["CheckoutRequestID"])
        assert (status, asked["ResultCode"]) == (200, "0")
        (prompt,) = daraja.prompts
        journal = daraja.journal.entries()

    assert (prompt.phone_number, prompt.amount) == (PHONE, 100)
    assert [entry.advice for entry in journal if entry.kind == "push"] == [habit.advised]
    assert not any(PASSKEY in entry.asked for entry in journal)


REFUSALS: dict[str, tuple[Callable[[dict[str, Any]], bytes], tuple[int, str]]] = {
    "a form under the name of JSON": (
        lambda body: urlencode(body).encode(),
        (400, "Invalid Request Payload"),
    ),
    "the time asked twice": (
        lambda body: json.dumps(body | {"Timestamp": "20261123090001"}).encode(),
        (500, "Wrong credentials"),
    ),
    "no description": (
        lambda body: json.dumps(body | {"TransactionDesc": None}).encode(),
        (400, "Bad Request - Invalid Remarks"),
    ),
}
"""What Daraja refuses of clients too."""


@pytest.mark.parametrize("name", REFUSALS)
def test_what_daraja_refuses_of_clients_is_refused(name: str) -> None:
    """Leniency ends where Daraja's does."""
    write, (status, text) = REFUSALS[name]
    with (
        SimulatorServer(make_config(), clock=ManualClock()) as daraja,
        closing(Client(daraja, HABITS["the pages of Daraja"], "length")) as client,
    ):
        body = client.credentials() | {
            "TransactionType": "CustomerPayBillOnline",
            "Amount": 1,
            "PartyA": PHONE,
            "PartyB": SHORTCODE,
            "PhoneNumber": PHONE,
            "CallBackURL": "https://shop.example.co.ke/callback",
            "AccountReference": "INV-1",
            "TransactionDesc": "Shoes",
        }
        refused = client.post(PUSH, write(body))

    assert (refused[0], refused[1]["errorMessage"]) == (status, text)

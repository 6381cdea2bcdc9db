"""The least that can answer a push: raw sockets, keep-alive, canned bodies.

Run as a script, it prints its port and serves until it is killed. ``/counts`` tells how often each path
was asked for, so that a benchmark can say how many requests were sent.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter

PUSH_BODY = {
    "BusinessShortCode": 600000,
    "Password": "x" * 112,
    "Timestamp": "20261123090000",
    "TransactionType": "CustomerPayBillOnline",
    "Amount": 100,
    "PartyA": 254718643064,
    "PartyB": 600000,
    "PhoneNumber": 254718643064,
    "CallBackURL": "https://shop.example.co.ke/payments/callback",
    "AccountReference": "INV-1",
    "TransactionDesc": "Payment",
}
"""What a push to it holds, for the floors."""

_TOKEN = {"access_token": "c9SQxWWhmdVRlyh0zh8gZDTkubVF", "expires_in": "3599"}
_ACCEPTED = {
    "MerchantRequestID": "29115-34620561-1",
    "CheckoutRequestID": "ws_CO_191220191020363925",
    "ResponseCode": "0",
    "ResponseDescription": "Success. Request accepted for processing",
    "CustomerMessage": "Success. Request accepted for processing",
}
_BACKLOG = 128


def _answer(payload: object) -> bytes:
    body = json.dumps(payload).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_ANSWERS = {"oauth": _answer(_TOKEN), "mpesa": _answer(_ACCEPTED), "floor": _answer(_ACCEPTED)}


class _Server:
    def __init__(self, think: float) -> None:
        self._think = think
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Take connections until the process ends, each in a thread of its own."""
        with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
            print(listener.getsockname()[1], flush=True)
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        """Answer one request after the other on one connection."""
        received = b""
        with connection:
            while True:
                while b"\r\n\r\n" not in received:
                    chunk = connection.recv(65_536)
                    if not chunk:
                        return
                    received += chunk
                head, _, received = received.partition(b"\r\n\r\n")
                length = _content_length(head)
                while len(received) < length:
                    received += connection.recv(65_536)
                received = received[length:]
                connection.sendall(self._reply(head))

    def _reply(self, head: bytes) -> bytes:
        name = head.split(b" ", 2)[1].split(b"/")[1].decode()
        if name == "counts":
            return _answer(self._counts)
        with self._lock:
            self._counts[name] += 1
        if self._think:
            time.sleep(self._think)
        return _ANSWERS[name]


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


if __name__ == "__main__":
    _Server(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0).serve()

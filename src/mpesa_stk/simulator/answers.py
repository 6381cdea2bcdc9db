"""Answers that are more than an `HttpResponse`: streams, and answers that do not arrive whole. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from mpesa_stk.daraja.http import HttpResponse
from mpesa_stk.simulator.faults import Manner

__all__ = ["CLIENT", "Sent", "Stream"]

CLIENT = ":client"
"""Among the header fields, what is no field: the client's address. The server sets it, no client can."""


@attrs.frozen(kw_only=True)
class Sent:
    """An answer, and how it travels.

    Attributes:
        response: The answer.
        manner: How it travels.
    """

    response: HttpResponse
    manner: Manner


@attrs.frozen(kw_only=True)
class Stream:
    """An answer with status 200 that is sent bit by bit, until it ends or nobody listens.

    Attributes:
        headers: Header fields.
        chunks: The bits. An empty one sends nothing: a stream that waits gives one every second or so,
            because only then its end, the client's and the server's are noticed.
    """

    headers: Mapping[str, str]
    chunks: Iterator[bytes] = attrs.field(repr=False)

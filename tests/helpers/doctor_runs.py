"""Runs of ``mpesa-stk doctor``, and the Darajas and shops that it meets in them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daraja_double import answer, refusal
from mpesa_stk import HttpRequest, HttpResponse, cli
from mpesa_stk.commands.context import Context
from mpesa_stk.web.messages import WebRequest
from support import (
    CALLBACK_SECRET,
    CALLBACK_URL,
    CANARIES,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PASSKEY,
    START,
    TOKEN,
    ManualClock,
)

VARIABLES = {
    "consumer_key": CONSUMER_KEY,
    "consumer_secret": CONSUMER_SECRET,
    "shortcode": "600000",
    "pass_key": PASSKEY,
    "c2b_callback": CALLBACK_URL,
    "callback_secret": CALLBACK_SECRET,
    "mpesa_environment": "production",
}
# What the made-up id is answered where the credentials are good.
UNKNOWN_ID = refusal("400.002.02", "Bad Request - Invalid CheckoutRequestID", 400)


def diagnosed(
    environ: Mapping[str, str], *options: str, **given: Any
) -> tuple[int, list[dict[str, str]]]:
    """The doctor's exit code and findings; no secret is in them."""
    out = io.StringIO()
    given.setdefault("folder", Path(__file__).parent)  # there is no .env in it
    context = Context(environ=environ, stdout=out, **given)
    code = cli.main(["doctor", "--json", *options], context=context)
    assert not any(canary in out.getvalue() for canary in CANARIES)
    told = json.loads(out.getvalue())
    levels = [finding["level"] for finding in told["findings"]]
    assert told["problems"] == levels.count("problem")
    assert told["warnings"] == levels.count("warning")
    assert code == (1 if told["problems"] else 0)
    for finding in told["findings"]:
        assert (finding["remedy"] == "") == (finding["level"] == "ok")
    return code, told["findings"]


def troubles(findings: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Level and subject of all that is not well."""
    return [(found["level"], found["check"]) for found in findings if found["level"] != "ok"]


def text_of(findings: list[dict[str, str]], check: str) -> str:
    """What is said of one subject, last."""
    return [found["text"] for found in findings if found["check"] == check][-1]


def offline(**changes: str) -> list[dict[str, str]]:
    """The findings about settings."""
    return diagnosed(VARIABLES | changes, "--offline")[1]


class Shop:
    """A callback endpoint that answers GETs with one status and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 405
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []

    def __call__(  # noqa: D102 - as the class says
        self, request: WebRequest
    ) -> HttpResponse:
        self.asked.append((request.method, request.path, request.headers))
        moved = {"location": "/elsewhere"} if 300 <= self.status < 400 else {}
        return HttpResponse(status=self.status, headers=moved, body=b"")


class Wire:
    """A transport with one answer for each kind of request."""

    def __init__(self, *, token: Any, query: Any, date: str, callback: Any) -> None:
        self._answers = {"oauth": token, "query": query, "callback": callback}
        self._date = date
        self.asked: list[HttpRequest] = []

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer by what is asked; a push has no answer here."""
        self.asked.append(request)
        [planned] = [what for part, what in self._answers.items() if part in request.url]
        if isinstance(planned, Exception):
            raise planned
        headers = {**planned.headers, "date": self._date}
        return HttpResponse(status=planned.status, headers=headers, body=planned.body)

    def close(self) -> None:
        """Nothing is open."""


def daraja(**changes: Any) -> dict[str, Any]:
    """What the doctor is given to meet a good production, but for the changes."""
    planned: dict[str, Any] = {
        "token": answer({"access_token": TOKEN, "expires_in": "3599"}),
        "query": UNKNOWN_ID,
        "date": f"{START:%a, %d %b %Y %H:%M:%S} GMT",
        "callback": answer(b"", 405),
    }
    return {"transport": Wire(**(planned | changes)), "resolve": lambda _: ["41.90.0.1"]}


def prescribed(clock: ManualClock | None = None, **changes: Any) -> list[dict[str, str]]:
    """The findings with that production."""
    return diagnosed(VARIABLES, clock=clock or ManualClock(), **daraja(**changes))[1]

"""The simulator's control interface: JSON in, JSON out, under ``/_sim/``, and the page. Pure.

Total: whatever bytes arrive, an answer below 500 comes back. Who is let in is in `access`.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Protocol
from urllib.parse import parse_qs, unquote

import attrs

from mpesa_stk.daraja.http import HttpResponse
from mpesa_stk.simulator.access import (
    HEADERS,
    Refused,
    check_access,
    check_content_type,
    policy_of,
)
from mpesa_stk.simulator.answers import Stream
from mpesa_stk.simulator.endpoints import Step
from mpesa_stk.simulator.engine import PIN, DarajaEngine
from mpesa_stk.simulator.faults import FAULTS, MOST_SECONDS, Fault, Manner
from mpesa_stk.simulator.journal import Entry
from mpesa_stk.simulator.outcomes import OUTCOMES
from mpesa_stk.simulator.prompts import Prompt
from mpesa_stk.simulator.scenarios import SCENARIOS
from mpesa_stk.simulator.views import (
    BadField,
    entry_view,
    is_number,
    known_name,
    object_from,
    only_field,
    prompt_view,
    scenario_from,
    scenario_view,
    time_view,
)

__all__ = ["Control", "Steered"]

_STEPS: Mapping[str, Step] = {"token": "token", "push": "push", "query": "query"}
_MOST_FAULTS = 100
_MOST_PROMPTS = 200
_NUMBER = re.compile(r"[0-9]{1,15}")
_PIN = re.compile(r"[0-9]{4}")
_PROMPT = r"/_sim/prompts/([^/]+)"


class Steered(Protocol):
    """What the control interface steers, with its lock held."""

    @property
    def engine(self) -> DarajaEngine:
        """The simulated Daraja; another one after `reset`."""
        ...

    @property
    def business(self) -> str:
        """Who is paid, such as ``paybill 174379``."""
        ...

    def now(self) -> datetime:
        """The moment that its clock shows."""
        ...

    def advance(self, seconds: float, /) -> None:
        """Put the clock forward; raises ValueError where it cannot."""
        ...

    def reset(self) -> None:
        """Forget all."""
        ...


_Handler = Callable[..., "HttpResponse | Stream"]


class Control:
    """Answers what is asked of ``/_sim/``, ``/`` and ``/favicon.ico``."""

    def __init__(
        self,
        daraja: Steered,
        /,
        *,
        host: str,
        page: Callable[[], bytes],
        events: Callable[[], Iterator[bytes]],
    ) -> None:
        """Make one.

        Args:
            daraja: What is steered.
            host: The address that the server was told to listen on.
            page: Gives the page.
            events: Begins a stream of server-sent events.
        """
        self._daraja = daraja
        self._host = host
        self._page = page
        self._events = events
        # Method, address, what answers it: with the parts of the address, or with the body's object too.
        self._gets: tuple[tuple[re.Pattern[str], _Handler], ...] = (
            (re.compile(r"/"), self._get_page),
            (re.compile(r"/favicon\.ico"), self._get_icon),
            (re.compile(r"/_sim/state"), self._get_state),
            (re.compile(r"/_sim/log"), self._get_log),
            (re.compile(r"/_sim/events"), self._get_events),
            (re.compile(_PROMPT), self._get_prompt),
        )
        self._posts: tuple[tuple[re.Pattern[str], _Handler], ...] = (
            (re.compile(f"{_PROMPT}/answer"), self._post_answer),
            (re.compile(r"/_sim/scenario"), self._post_scenario),
            (re.compile(r"/_sim/faults"), self._post_faults),
            (re.compile(r"/_sim/clock"), self._post_clock),
            (re.compile(r"/_sim/tokens/revoke"), self._post_revoke),
            (re.compile(r"/_sim/reset"), self._post_reset),
        )

    @staticmethod
    def is_for(target: str, /) -> bool:
        """Whether a request is one for the control interface, by its target."""
        path = target.partition("?")[0]
        return path in ("/", "/favicon.ico", "/_sim") or path.startswith("/_sim/")

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, /
    ) -> HttpResponse | Stream:
        """Answer one request.

        Args:
            method: HTTP method.
            target: Path and query.
            headers: Header fields, names in lower case.
            body: Body.
        """
        path, _, query = target.partition("?")
        try:
            check_access(headers, listening_on=self._host)
            return self._route(method, path, query, headers, body)
        except BadField as bad:
            refused = Refused(400, "bad-field", f"{bad.field} {bad.rule}", bad.field)
        except Refused as error:
            refused = error
        told = {"code": refused.code, "message": refused.message, "field": refused.field}
        return _json({"error": told}, refused.status)

    def _route(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> HttpResponse | Stream:
        get, gets = _found(self._gets, path)
        post, posts = _found(self._posts, path)
        if get is not None and method == "GET":
            return get(*gets, query)
        if post is not None and method == "POST":
            check_content_type(headers)
            return post(*posts, object_from(body))
        if get is None and post is None:
            raise Refused(404, "not-found", "there is nothing at this address")
        allowed = "GET" if post is None else "POST"
        raise Refused(405, "method-not-allowed", f"only {allowed} is allowed here")

    # --- what is shown -------------------------------------------------------------------------------

    def _get_page(self, _query: str) -> HttpResponse:
        page = self._page()
        headers = {
            **HEADERS,
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": policy_of(page),
        }
        return HttpResponse(status=200, headers=headers, body=page)

    def _get_icon(self, _query: str) -> HttpResponse:
        return HttpResponse(status=204, headers={}, body=b"")

    def _get_state(self, _query: str) -> HttpResponse:
        daraja, engine = self._daraja, self._daraja.engine
        about: dict[str | None, list[Entry]] = defaultdict(list)
        for entry in engine.journal.entries():
            if entry.kind == "callback":
                about[entry.checkout_request_id].append(entry)
        return _json(
            {
                "now": time_view(daraja.now()),
                "business": daraja.business,
                "pin": PIN,
                "scenario": scenario_view(daraja.engine.scenario),
                "scenarios": list(SCENARIOS),
                "outcomes": list(OUTCOMES),
                "faults": list(FAULTS),
                "last": engine.journal.last,
                "prompts": [
                    prompt_view(
                        prompt,
                        is_open=engine.is_open(prompt),
                        callbacks=about[prompt.checkout_request_id],
                    )
                    for prompt in engine.prompts()[-_MOST_PROMPTS:]
                ],
            }
        )

    def _get_log(self, query: str) -> HttpResponse:
        after = parse_qs(query).get("after", ["0"])[-1]
        if not _NUMBER.fullmatch(after):
            raise BadField("after", "must be a whole number, 0 or more")
        journal = self._daraja.engine.journal
        shown = [
            entry_view(entry) | {"checkout_request_id": entry.checkout_request_id}
            for entry in journal.entries(after=int(after))
        ]
        return _json({"entries": shown, "last": journal.last})

    def _get_events(self, _query: str) -> Stream:
        headers = {**HEADERS, "content-type": "text/event-stream"}
        return Stream(headers=headers, chunks=self._events())

    def _get_prompt(self, checkout_request_id: str, _query: str) -> HttpResponse:
        prompt = self._prompt(checkout_request_id)
        timeline = self._daraja.engine.journal.timeline(checkout_request_id)
        return _json(
            {
                "prompt": self._view(prompt),
                "timeline": [entry_view(entry) for entry in timeline],
            }
        )

    def _prompt(self, checkout_request_id: str) -> Prompt:
        for prompt in self._daraja.engine.prompts():
            if prompt.checkout_request_id == checkout_request_id:
                return prompt
        raise Refused(404, "unknown-prompt", "no prompt has this id")

    def _view(self, prompt: Prompt) -> dict[str, object]:
        timeline = self._daraja.engine.journal.timeline(prompt.checkout_request_id)
        callbacks = [entry for entry in timeline if entry.kind == "callback"]
        return prompt_view(prompt, is_open=self._daraja.engine.is_open(prompt), callbacks=callbacks)

    # --- what is done --------------------------------------------------------------------------------

    def _post_answer(self, checkout_request_id: str, asked: Mapping[str, object]) -> HttpResponse:
        self._prompt(checkout_request_id)
        name, value = only_field(asked, "pin", "outcome")
        if name == "pin":
            if not isinstance(value, str) or not _PIN.fullmatch(value):
                raise BadField("pin", "must be a string of four digits")
            done = self._daraja.engine.enter_pin(checkout_request_id, value)
        else:
            done = self._daraja.engine.decide(
                checkout_request_id, known_name("outcome", value, OUTCOMES)
            )
        if not done:
            raise Refused(409, "not-open", "the prompt was answered already, or ran out")
        return _json({"prompt": self._view(self._prompt(checkout_request_id))})

    def _post_scenario(self, asked: Mapping[str, object]) -> HttpResponse:
        name, value = only_field(asked, "name", "scenario")
        if name == "name":
            self._daraja.engine.scenario = SCENARIOS[known_name("name", value, SCENARIOS)]
        else:
            self._daraja.engine.scenario = scenario_from(value)
        return _json({"scenario": scenario_view(self._daraja.engine.scenario)})

    def _post_faults(self, asked: Mapping[str, object]) -> HttpResponse:
        if set(asked) - {"seconds"} != {"step", "faults"}:
            raise BadField("step and faults", "must be given, and nothing else but seconds")
        step = known_name("step", asked["step"], _STEPS)
        faults = asked["faults"]
        if not isinstance(faults, list) or not 1 <= len(faults) <= _MOST_FAULTS:
            raise BadField("faults", f"must be a list of 1 to {_MOST_FAULTS} names")
        names = [known_name("faults", fault, FAULTS) for fault in faults]
        self._daraja.engine.next(_STEPS[step], *_faults(names, asked.get("seconds")))
        return _json({"step": step, "scripted": len(names)})

    def _post_clock(self, asked: Mapping[str, object]) -> HttpResponse:
        _, seconds = only_field(asked, "advance")
        if not is_number(seconds, 0, float("inf")):
            raise BadField("advance", "must be a number of seconds, 0 or more")
        try:
            self._daraja.advance(float(str(seconds)))
        except ValueError as error:
            raise BadField("advance", str(error)) from None
        return _json({"now": time_view(self._daraja.now())})

    def _post_revoke(self, asked: Mapping[str, object]) -> HttpResponse:
        _check_empty(asked)
        self._daraja.engine.revoke_tokens()
        return _json({})

    def _post_reset(self, asked: Mapping[str, object]) -> HttpResponse:
        _check_empty(asked)
        self._daraja.reset()
        return _json({})


def _found(
    routes: tuple[tuple[re.Pattern[str], _Handler], ...], path: str
) -> tuple[_Handler | None, list[str]]:
    """What answers a path, and the path's parts."""
    for pattern, handler in routes:
        match = pattern.fullmatch(path)
        if match:
            return handler, [unquote(part) for part in match.groups()]
    return None, []


def _faults(names: list[str], seconds: object) -> list[Fault]:
    """Faults by name; those that are slow are as late as asked."""
    faults = [FAULTS[name] for name in names]
    if seconds is None:
        return faults
    if not is_number(seconds, 0, MOST_SECONDS):
        raise BadField("seconds", f"must be a number of seconds from 0 to {MOST_SECONDS:g}")
    return [
        attrs.evolve(fault, seconds=float(str(seconds))) if fault.manner is Manner.SLOW else fault
        for fault in faults
    ]


def _check_empty(asked: Mapping[str, object]) -> None:
    for name in asked:
        raise BadField(name, "is not needed here: the object must be empty")


def _json(payload: Mapping[str, object], status: int = 200) -> HttpResponse:
    return HttpResponse(
        status=status,
        headers={**HEADERS, "content-type": "application/json"},
        body=json.dumps(payload).encode(),
    )

"""The simulator's control interface under ``/_sim/``, and the page. Pure.

Any bytes get an answer below 500. The access rules are in `access`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import get_args
from urllib.parse import parse_qs, unquote

import attrs

from mpesa_stk.simulator.access import (
    HEADERS,
    JSON_HEADERS,
    Refused,
    bad_field,
    check_access,
    check_content_type,
    policy_of,
)
from mpesa_stk.simulator.control_ledger import LedgerControl
from mpesa_stk.simulator.delivery import Stream
from mpesa_stk.simulator.faults import FAULTS, MOST_SECONDS, DeliveryFault, Fault
from mpesa_stk.simulator.incoming import Step
from mpesa_stk.simulator.journal import Entry
from mpesa_stk.simulator.prompts import Prompt
from mpesa_stk.simulator.scenarios import OUTCOMES, PIN, SCENARIOS
from mpesa_stk.simulator.simulation import FURTHEST, Simulation
from mpesa_stk.simulator.views import (
    entry_view,
    known_name,
    number_in,
    object_from,
    only_field,
    prompt_view,
    scenario_from,
    scenario_view,
    time_view,
)
from mpesa_stk.web.messages import WebRequest, WebResponse, error_response, json_response

_STEPS: Mapping[str, Step] = {step: step for step in get_args(Step)}
_MOST_FAULTS = 100
_MOST_PROMPTS = 200
_NUMBER = re.compile(r"[0-9]{1,15}")
_PIN = re.compile(r"[0-9]{4}")
_PROMPT = r"/_sim/prompts/([^/]+)"

_Handler = Callable[..., "WebResponse | Stream"]


class Control:
    """Answer requests for ``/_sim/``, ``/`` and ``/favicon.ico``."""

    def __init__(
        self,
        daraja: Simulation,
        /,
        *,
        host: str,
        now: Callable[[], datetime],
        page: Callable[[], bytes],
        events: Callable[[], Iterator[bytes]],
    ) -> None:
        """Make a control interface.

        Args:
            daraja: The simulated Daraja.
            host: Address that the server listens on.
            now: Returns the time of the simulated Daraja.
            page: Returns the page.
            events: Begins a stream of server-sent events.
        """
        self._daraja = daraja
        self._host = host
        self._now = now
        self._page = page
        self._events = events
        self._ledger = LedgerControl(daraja)
        # Path and handler. A handler gets the groups of the path, and the query or the body's object.
        self._gets: tuple[tuple[re.Pattern[str], _Handler], ...] = (
            (re.compile(r"/"), self._get_page),
            (re.compile(r"/favicon\.ico"), self._get_icon),
            (re.compile(r"/_sim/state"), self._get_state),
            (re.compile(r"/_sim/log"), self._get_log),
            (re.compile(r"/_sim/events"), self._get_events),
            (re.compile(_PROMPT), self._get_prompt),
            *self._ledger.gets,
        )
        self._posts: tuple[tuple[re.Pattern[str], _Handler], ...] = (
            (re.compile(f"{_PROMPT}/answer"), self._post_answer),
            (re.compile(r"/_sim/scenario"), self._post_scenario),
            (re.compile(r"/_sim/faults"), self._post_faults),
            (re.compile(r"/_sim/clock"), self._post_clock),
            (re.compile(r"/_sim/tokens/revoke"), self._post_revoke),
            (re.compile(r"/_sim/reset"), self._post_reset),
            *self._ledger.posts,
        )

    @staticmethod
    def is_for(path: str, /) -> bool:
        """Whether a path belongs to the control interface."""
        return path in ("/", "/favicon.ico", "/_sim") or path.startswith("/_sim/")

    def answer(self, request: WebRequest, /) -> WebResponse | Stream:
        """Answer one request."""
        try:
            check_access(request.headers, listening_on=self._host)
            return self._route(request)
        except Refused as error:
            return error_response(
                error.status, error.code, error.message, error.field, **JSON_HEADERS
            )

    def _route(self, request: WebRequest) -> WebResponse | Stream:
        get, gets = _found(self._gets, request.path)
        post, posts = _found(self._posts, request.path)
        if get is not None and request.method == "GET":
            return get(*gets, request.query)
        if post is not None and request.method == "POST":
            check_content_type(request.headers)
            return post(*posts, object_from(request.body))
        if get is None and post is None:
            raise Refused(404, "not-found", "there is nothing at this address")
        allowed = "GET" if post is None else "POST"
        raise Refused(405, "method-not-allowed", f"only {allowed} is allowed here")

    # --- GET -----------------------------------------------------------------------------------------

    def _get_page(self, _query: str) -> WebResponse:
        page = self._page()
        headers = {
            **HEADERS,
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": policy_of(page),
        }
        return WebResponse(200, headers, page)

    def _get_icon(self, _query: str) -> WebResponse:
        return WebResponse(204, {}, b"")

    def _get_state(self, _query: str) -> WebResponse:
        daraja = self._daraja
        about: dict[str | None, list[Entry]] = defaultdict(list)
        for entry in daraja.journal.entries():
            if entry.kind == "callback":
                about[entry.checkout_request_id].append(entry)
        return _json(
            {
                "now": time_view(self._now()),
                "business": daraja.business,
                "pin": PIN,
                "scenario": scenario_view(daraja.scenario),
                "scenarios": list(SCENARIOS),
                "outcomes": list(OUTCOMES),
                "faults": list(FAULTS),
                "last": daraja.journal.last,
                "prompts": [
                    prompt_view(
                        prompt,
                        is_open=daraja.is_open(prompt),
                        callbacks=about[prompt.checkout_request_id],
                    )
                    for prompt in daraja.prompts[-_MOST_PROMPTS:]
                ],
                **self._ledger.state(),
            }
        )

    def _get_log(self, query: str) -> WebResponse:
        after = parse_qs(query).get("after", ["0"])[-1]
        if not _NUMBER.fullmatch(after):
            raise bad_field("after", "must be a whole number, 0 or more")
        journal = self._daraja.journal
        shown = [
            entry_view(entry) | {"checkout_request_id": entry.checkout_request_id}
            for entry in journal.entries(after=int(after))
        ]
        return _json({"entries": shown, "last": journal.last})

    def _get_events(self, _query: str) -> Stream:
        headers = {**HEADERS, "Content-Type": "text/event-stream"}
        return Stream(headers=headers, chunks=self._events())

    def _get_prompt(self, checkout_request_id: str, _query: str) -> WebResponse:
        prompt = self._prompt(checkout_request_id)
        timeline = self._daraja.journal.timeline(checkout_request_id)
        return _json(
            {
                "prompt": self._view(prompt),
                "timeline": [entry_view(entry) for entry in timeline],
            }
        )

    def _prompt(self, checkout_request_id: str) -> Prompt:
        for prompt in self._daraja.prompts:
            if prompt.checkout_request_id == checkout_request_id:
                return prompt
        raise Refused(404, "unknown-prompt", "no prompt has this id")

    def _view(self, prompt: Prompt) -> dict[str, object]:
        timeline = self._daraja.journal.timeline(prompt.checkout_request_id)
        callbacks = [entry for entry in timeline if entry.kind == "callback"]
        return prompt_view(prompt, is_open=self._daraja.is_open(prompt), callbacks=callbacks)

    # --- POST ----------------------------------------------------------------------------------------

    def _post_answer(self, checkout_request_id: str, asked: Mapping[str, object]) -> WebResponse:
        self._prompt(checkout_request_id)
        name, value = only_field(asked, "pin", "outcome")
        if name == "pin" and not (isinstance(value, str) and _PIN.fullmatch(value)):
            raise bad_field("pin", "must be a string of four digits")
        try:
            if name == "pin":
                self._daraja.enter_pin(checkout_request_id, str(value))
            else:
                answer = known_name("outcome", value, OUTCOMES)
                self._daraja.decide(checkout_request_id, answer)
        except LookupError:
            message = "the prompt was answered already, or ran out"
            raise Refused(409, "not-open", message) from None
        return _json({"prompt": self._view(self._prompt(checkout_request_id))})

    def _post_scenario(self, asked: Mapping[str, object]) -> WebResponse:
        name, value = only_field(asked, "name", "scenario")
        if name == "name":
            self._daraja.play(known_name("name", value, SCENARIOS))
        else:
            self._daraja.play(scenario_from(value))
        return _json({"scenario": scenario_view(self._daraja.scenario)})

    def _post_faults(self, asked: Mapping[str, object]) -> WebResponse:
        if set(asked) - {"seconds"} != {"step", "faults"}:
            raise bad_field("step and faults", "must be given, and nothing else but seconds")
        step = known_name("step", asked["step"], _STEPS)
        faults = asked["faults"]
        if not isinstance(faults, list) or not 1 <= len(faults) <= _MOST_FAULTS:
            raise bad_field("faults", f"must be a list of 1 to {_MOST_FAULTS} names")
        names = [known_name("faults", fault, FAULTS) for fault in faults]
        self._daraja.next(_STEPS[step], *_faults(names, asked.get("seconds")))
        return _json({"step": step, "scripted": len(names)})

    def _post_clock(self, asked: Mapping[str, object]) -> WebResponse:
        seconds = number_in(only_field(asked, "advance")[1], 0, FURTHEST)
        if seconds is None:
            raise bad_field("advance", f"must be a number of seconds from 0 to {FURTHEST:.0f}")
        try:
            self._daraja.advance(seconds)
        except ValueError as error:
            raise bad_field("advance", str(error)) from None
        return _json({"now": time_view(self._now())})

    def _post_revoke(self, asked: Mapping[str, object]) -> WebResponse:
        _check_empty(asked)
        self._daraja.revoke_tokens()
        return _json({})

    def _post_reset(self, asked: Mapping[str, object]) -> WebResponse:
        _check_empty(asked)
        self._daraja.reset()
        return _json({})


def _found(
    routes: tuple[tuple[re.Pattern[str], _Handler], ...], path: str
) -> tuple[_Handler | None, list[str]]:
    """The handler of a path, and the groups of the path."""
    for pattern, handler in routes:
        match = pattern.fullmatch(path)
        if match:
            return handler, [unquote(part) for part in match.groups()]
    return None, []


def _faults(names: list[str], seconds: object) -> list[Fault]:
    """Faults by name, the slow ones with the given delay."""
    faults = [FAULTS[name] for name in names]
    if seconds is None:
        return faults
    delay = number_in(seconds, 0, MOST_SECONDS)
    if delay is None:
        raise bad_field("seconds", f"must be a number of seconds from 0 to {MOST_SECONDS:g}")
    return [
        attrs.evolve(fault, seconds=delay) if fault.delivery is DeliveryFault.SLOW else fault
        for fault in faults
    ]


def _check_empty(asked: Mapping[str, object]) -> None:
    for name in asked:
        raise bad_field(name, "is not needed here: the object must be empty")


def _json(payload: Mapping[str, object]) -> WebResponse:
    return json_response(200, payload, **JSON_HEADERS)

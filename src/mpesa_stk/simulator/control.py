"""The simulator's control interface under ``/_sim/``, and the page. Pure.

Any bytes get an answer below 500. The access rules are in `access`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import get_args
from urllib.parse import parse_qs, unquote

import attrs

from mpesa_stk.simulator.access import (
    HEADERS,
    JSON_HEADERS,
    POLICY,
    Refused,
    bad_field,
    check_access,
    check_content_type,
)
from mpesa_stk.simulator.control_ledger import LedgerControl
from mpesa_stk.simulator.control_prompts import PromptControl
from mpesa_stk.simulator.delivery import Stream
from mpesa_stk.simulator.faults import FAULTS, MOST_SECONDS, DeliveryFault, Fault
from mpesa_stk.simulator.incoming import Step
from mpesa_stk.simulator.scenarios import OUTCOMES, PIN, SCENARIOS, TEST_PHONES
from mpesa_stk.simulator.simulation import FURTHEST, Simulation
from mpesa_stk.simulator.views import (
    entry_view,
    groups_view,
    known_name,
    number_in,
    object_from,
    only_field,
    refusal_view,
    scenario_from,
    scenario_view,
    time_view,
)
from mpesa_stk.simulator.words import FAULT_WORDS, OUTCOME_WORDS, SCENARIO_WORDS, STEP_WORDS
from mpesa_stk.web.messages import WebRequest, WebResponse, error_response, json_response

_STEPS: Mapping[str, Step] = {step: step for step in get_args(Step)}
_MOST_FAULTS = 100
_NUMBER = re.compile(r"[0-9]{1,15}")
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}

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
        page: Callable[[str], bytes | None],
        events: Callable[[], Iterator[bytes]],
    ) -> None:
        """Make a control interface.

        Args:
            daraja: The simulated Daraja.
            host: Address that the server listens on.
            now: Returns the time of the simulated Daraja.
            page: Returns a file of the page by its name, or None.
            events: Begins a stream of server-sent events.
        """
        self._daraja = daraja
        self._host = host
        self._now = now
        self._page = page
        self._events = events
        self._prompts = PromptControl(daraja, now=now)
        self._ledger = LedgerControl(daraja)
        # Path and handler. A handler gets the groups of the path, and the query or the body's object.
        self._gets: tuple[tuple[re.Pattern[str], _Handler], ...] = (
            (re.compile(r"/"), self._get_page),
            (re.compile(r"/favicon\.ico"), self._get_icon),
            (re.compile(r"/_sim/page/([a-z]+\.(?:css|js))"), self._get_file),
            (re.compile(r"/_sim/state"), self._get_state),
            (re.compile(r"/_sim/names"), self._get_names),
            (re.compile(r"/_sim/log"), self._get_log),
            (re.compile(r"/_sim/events"), self._get_events),
            *self._prompts.gets,
            *self._ledger.gets,
        )
        self._posts: tuple[tuple[re.Pattern[str], _Handler], ...] = (
            (re.compile(r"/_sim/scenario"), self._post_scenario),
            (re.compile(r"/_sim/faults"), self._post_faults),
            (re.compile(r"/_sim/faults/clear"), self._post_clear),
            (re.compile(r"/_sim/clock"), self._post_clock),
            (re.compile(r"/_sim/tokens/revoke"), self._post_revoke),
            (re.compile(r"/_sim/reset"), self._post_reset),
            *self._prompts.posts,
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
        return self._get_file("page.html", "")

    def _get_file(self, name: str, _query: str) -> WebResponse:
        content = self._page(name)
        if content is None:
            raise Refused(404, "not-found", "the page has no such file")
        headers = {
            **HEADERS,
            "Content-Type": f"{_KINDS[name.rpartition('.')[2]]}; charset=utf-8",
            "Content-Security-Policy": POLICY,
        }
        return WebResponse(200, headers, content)

    def _get_icon(self, _query: str) -> WebResponse:
        return WebResponse(204, {}, b"")

    def _get_state(self, _query: str) -> WebResponse:
        daraja = self._daraja
        return _json(
            {
                "now": time_view(self._now()),
                "business": daraja.business,
                "pin": PIN,
                "scenario": scenario_view(daraja.scenario),
                "scenario_name": daraja.scenario_name,
                "scripted": daraja.scripted,
                "scenarios": list(SCENARIOS),
                "outcomes": list(OUTCOMES),
                "faults": list(FAULTS),
                "last": daraja.journal.last,
                "refusal": refusal_view(daraja.journal.entries()),
                "prompts": self._prompts.newest(),
                **self._ledger.state(),
            }
        )

    def _get_names(self, _query: str) -> WebResponse:
        return _json(
            {
                "scenarios": groups_view(SCENARIO_WORDS, TEST_PHONES),
                "faults": groups_view(FAULT_WORDS),
                "outcomes": groups_view({"": OUTCOME_WORDS}),
                "steps": groups_view({"": STEP_WORDS}),
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

    # --- POST ----------------------------------------------------------------------------------------

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

    def _post_clear(self, asked: Mapping[str, object]) -> WebResponse:
        _check_empty(asked)
        self._daraja.clear_scripts()
        return _json({})

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

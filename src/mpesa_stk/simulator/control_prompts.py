"""The control interface for the prompts: the list, one prompt with its story, its answer. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from urllib.parse import parse_qs

import attrs

from mpesa_stk.daraja.results import explain
from mpesa_stk.simulator.access import JSON_HEADERS, Refused, bad_field
from mpesa_stk.simulator.callback_state import CallbackState, callback_state
from mpesa_stk.simulator.journal import Entry
from mpesa_stk.simulator.prompt_search import KINDS, Found, search
from mpesa_stk.simulator.prompts import Prompt
from mpesa_stk.simulator.scenarios import OUTCOMES
from mpesa_stk.simulator.simulation import Simulation
from mpesa_stk.simulator.views import entry_view, known_name, only_field, prompt_view
from mpesa_stk.web.messages import WebResponse, json_response

MOST_PROMPTS = 200
"""Largest number of prompts in one answer."""
_USUAL = "50"
_COUNT = re.compile(r"[0-9]{1,3}")
_PIN = re.compile(r"[0-9]{4}")
_PROMPT = r"/_sim/prompts/([^/]+)"

Routes = tuple[tuple[re.Pattern[str], Callable[..., WebResponse]], ...]


@attrs.frozen(kw_only=True)
class _Look:
    """A prompt with the facts that a view shows."""

    prompt: Prompt
    is_open: bool
    callbacks: list[Entry]
    state: CallbackState

    def view(self) -> dict[str, object]:
        """The prompt as JSON."""
        return prompt_view(
            self.prompt, is_open=self.is_open, callbacks=self.callbacks, state=self.state
        )


class PromptControl:
    """Answer requests about the prompts.

    Attributes:
        gets: Path and handler of each GET. A handler gets the groups of the path, and the query.
        posts: The same of each POST. A handler gets the groups, and the object of the body.
    """

    def __init__(self, daraja: Simulation, /, *, now: Callable[[], datetime]) -> None:
        """Make the control interface of a simulated Daraja.

        Args:
            daraja: The simulated Daraja.
            now: Returns its time.
        """
        self._daraja = daraja
        self._now = now
        self.gets: Routes = (
            (re.compile(r"/_sim/prompts"), self._get_list),
            (re.compile(_PROMPT), self._get_prompt),
        )
        self.posts: Routes = ((re.compile(f"{_PROMPT}/answer"), self._post_answer),)

    def newest(self) -> list[dict[str, object]]:
        """The newest prompts, oldest first."""
        return self._views(self._daraja.prompts[-MOST_PROMPTS:])

    # --- GET -----------------------------------------------------------------------------------------

    def _get_list(self, query: str) -> WebResponse:
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        for name in asked:
            if name not in ("find", "show", "most"):
                raise bad_field(name, "is not known here: find, show and most are")
        show = known_name("show", asked.get("show", "all"), KINDS)
        most = asked.get("most", _USUAL)
        if not _COUNT.fullmatch(most) or not 1 <= int(most) <= MOST_PROMPTS:
            raise bad_field("most", f"must be a number from 1 to {MOST_PROMPTS}")
        found = search(self._found(), asked.get("find", ""))
        return _json(
            {
                "prompts": self._views(found[show][: int(most)]),
                "counts": {kind: len(prompts) for kind, prompts in found.items()},
            }
        )

    def _found(self) -> list[Found]:
        """All kept prompts, newest first."""
        callbacks = self._callbacks()
        failed = {
            name for name, entries in callbacks.items() if not any(entry.taken for entry in entries)
        }
        return [
            Found(
                prompt=prompt,
                is_open=self._daraja.is_open(prompt),
                undelivered=prompt.checkout_request_id in failed,
            )
            for prompt in reversed(self._daraja.prompts)
        ]

    def _callbacks(self) -> Mapping[str | None, list[Entry]]:
        """The journal's entries of callbacks, oldest first, by the id of their prompt."""
        about: dict[str | None, list[Entry]] = defaultdict(list)
        for entry in self._daraja.journal.entries():
            if entry.kind == "callback":
                about[entry.checkout_request_id].append(entry)
        return about

    def _looks(self, prompts: Iterable[Prompt], /) -> Iterator[_Look]:
        """Each prompt with the facts about its callback."""
        about = self._callbacks()
        to_come = self._daraja.callbacks_to_come
        now, forgot_until = self._now(), self._daraja.journal.forgot_until
        for prompt in prompts:
            is_open = self._daraja.is_open(prompt)
            callbacks = about.get(prompt.checkout_request_id, [])
            state = callback_state(
                prompt,
                is_open=is_open,
                callbacks=callbacks,
                next_at=to_come.get(prompt.checkout_request_id),
                now=now,
                forgot_until=forgot_until,
            )
            yield _Look(prompt=prompt, is_open=is_open, callbacks=callbacks, state=state)

    def _views(self, prompts: Iterable[Prompt], /) -> list[dict[str, object]]:
        return [look.view() for look in self._looks(prompts)]

    def _get_prompt(self, checkout_request_id: str, _query: str) -> WebResponse:
        (look,) = self._looks([self._prompt(checkout_request_id)])
        timeline = self._daraja.journal.timeline(checkout_request_id)
        trouble = look.state.trouble
        return _json(
            {
                "prompt": look.view(),
                "advice": [] if trouble is None else list(trouble.advice),
                "messages": None if look.is_open else _messages(look.prompt),
                "timeline": [entry_view(entry) for entry in timeline],
            }
        )

    def _prompt(self, checkout_request_id: str) -> Prompt:
        for prompt in self._daraja.prompts:
            if prompt.checkout_request_id == checkout_request_id:
                return prompt
        raise Refused(404, "unknown-prompt", "no prompt has this id")

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
        (view,) = self._views([self._prompt(checkout_request_id)])
        return _json({"prompt": view})


def _messages(prompt: Prompt) -> dict[str, str]:
    """Texts for the customer about the outcome, by language."""
    result = explain(prompt.outcome.code)
    return {"en": result.message("en"), "sw": result.message("sw")}


def _json(payload: Mapping[str, object]) -> WebResponse:
    return json_response(200, payload, **JSON_HEADERS)

"""The prompts of the simulated Daraja, and the schedule of their ends and callbacks. Pure."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from datetime import datetime, timedelta

import attrs

from mpesa_stk.clock import Clock
from mpesa_stk.privacy import masked_id_repr
from mpesa_stk.simulator.prompts import CallbackDelivery, Prompt, callback_body, checkout_id
from mpesa_stk.simulator.scenarios import OUTCOMES, PROMPT_LIFE

_AGAIN_AFTER = 10.0
_MOST_PROMPTS = 10_000


@attrs.frozen(kw_only=True)
class Ended:
    """A prompt was answered, or ran out.

    Attributes:
        checkout_request_id: Id of the prompt.
        answer: The way in which it ended: a name of `OUTCOMES`.
    """

    checkout_request_id: str = attrs.field(repr=masked_id_repr)
    answer: str


class PromptSchedule:
    """Keep the prompts, and the schedule of their ends and callbacks.

    It keeps 10,000 prompts and then forgets the ones that ended first. A prompt is kept for at least a
    minute after its end, so that no id is used twice, and as long as a callback of it is scheduled.
    """

    def __init__(
        self, clock: Clock, /, *, callback_tries: int, shop_clock: Clock | None = None
    ) -> None:
        self._clock = clock
        self._shop_clock = shop_clock or clock
        self._callback_tries = callback_tries
        self._prompts: dict[str, Prompt] = {}
        self._last: dict[str, str] = {}
        self._schedule: list[tuple[float, int, CallbackDelivery | Ended]] = []
        self._scheduled = 0
        self._to_come: Counter[str] = Counter()
        self._over: deque[str] = deque()
        self._queried: set[str] = set()
        self._endings: list[tuple[float, int, str]] = []

    # --- prompts ---------------------------------------------------------------------------------

    def all(self) -> list[Prompt]:
        """The kept prompts, oldest first."""
        return list(self._prompts.values())

    def get(self, checkout_request_id: str, /) -> Prompt | None:
        """A prompt, open or ended."""
        return self._prompts.get(checkout_request_id)

    def is_open(self, prompt: Prompt, /) -> bool:
        """Whether the prompt still waits for its customer."""
        return prompt.ends_at > self._clock.monotonic()

    def is_busy(self, phone_number: str, /) -> bool:
        """Whether a prompt is open on a phone."""
        last = self._last.get(phone_number)
        return last is not None and self.is_open(self._prompts[last])

    def is_first_query(self, checkout_request_id: str, /) -> bool:
        """Whether this method is called for a prompt for the first time."""
        first = checkout_request_id not in self._queried
        self._queried.add(checkout_request_id)
        return first

    def free_id(self, phone_number: str, /) -> str:
        """A CheckoutRequestID that no kept prompt has."""
        moment = self._clock.now()
        while (free := checkout_id(moment, phone_number)) in self._prompts:
            moment += timedelta(milliseconds=1)
        return free

    def ring(self, prompt: Prompt, /) -> list[CallbackDelivery]:
        """Add a prompt, and return the callbacks that come before the answer to its push."""
        self._make_room()
        self._prompts[prompt.checkout_request_id] = prompt
        self._last[prompt.phone_number] = prompt.checkout_request_id
        if not prompt.scenario.callback_first:
            self._plan(prompt, self._deliveries(prompt))
            return []
        self._plan(prompt, [])
        return self._deliveries(prompt)

    def decide(self, checkout_request_id: str, answer: str, /) -> None:
        """Let the customer answer an open prompt now.

        Raises:
            KeyError: `OUTCOMES` has no such answer.
            LookupError: No open prompt has this id.
        """
        if answer not in OUTCOMES:
            raise KeyError(answer)
        prompt = self.get(checkout_request_id)
        if prompt is None or not self.is_open(prompt):
            raise LookupError("no open prompt has this CheckoutRequestID")
        now = self._clock.monotonic()
        self._unplan(prompt.checkout_request_id)
        ended = attrs.evolve(prompt, answer=answer, ends=self._clock.now(), ends_at=now)
        self._prompts[prompt.checkout_request_id] = ended
        self._plan(ended, self._deliveries(ended))

    def take_ended(self) -> list[Prompt]:
        """Return the prompts that ended since the last call, in the order of their ends."""
        ended = []
        while self._endings and self._endings[0][0] <= self._clock.monotonic():
            ends_at, _, checkout_request_id = heapq.heappop(self._endings)
            prompt = self._prompts.get(checkout_request_id)
            # The entry of a prompt that was answered earlier is out of date.
            if prompt is not None and prompt.ends_at == ends_at:
                ended.append(prompt)
        return ended

    def _make_room(self) -> None:
        """Forget the oldest ended prompts until there is room for one more."""
        long_over = self._clock.monotonic() - PROMPT_LIFE
        while len(self._prompts) >= _MOST_PROMPTS and self._over:
            prompt = self._prompts.get(self._over[0])
            if prompt is not None and prompt.ends_at > long_over:
                return
            self._over.popleft()
            # A prompt whose callback is tried again is over later, and is added to `_over` again.
            if prompt is not None and not self._to_come[prompt.checkout_request_id]:
                self._forget(prompt)

    def _forget(self, prompt: Prompt) -> None:
        del self._prompts[prompt.checkout_request_id]
        self._queried.discard(prompt.checkout_request_id)
        if self._last.get(prompt.phone_number) == prompt.checkout_request_id:
            del self._last[prompt.phone_number]

    def _deliveries(self, prompt: Prompt) -> list[CallbackDelivery]:
        """The callbacks of a prompt."""
        delivery = CallbackDelivery(
            checkout_request_id=prompt.checkout_request_id,
            due_at=prompt.ends_at + prompt.scenario.callback_after,
            url=prompt.callback_url,
            body=callback_body(prompt),
            tries_left=self._callback_tries - 1,
            requester=prompt.requester,
        )
        return [delivery] * prompt.scenario.callbacks

    def _plan(self, prompt: Prompt, deliveries: list[CallbackDelivery]) -> None:
        """Schedule the end of a prompt and its callbacks."""
        ended = Ended(checkout_request_id=prompt.checkout_request_id, answer=prompt.answer)
        self._put(prompt.ends_at, ended)
        ending = (prompt.ends_at, self._scheduled, prompt.checkout_request_id)
        heapq.heappush(self._endings, ending)
        for delivery in deliveries:
            self._put(delivery.due_at, delivery)

    # --- the schedule ------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """The monotonic second of the next end or callback, or None."""
        return self._schedule[0][0] if self._schedule else None

    def callbacks_to_come(self) -> dict[str, datetime]:
        """The time of the next callback of each prompt that has one to come."""
        soonest: dict[str, float] = {}
        for due, _, item in self._schedule:
            if isinstance(item, CallbackDelivery):
                name = item.checkout_request_id
                soonest[name] = min(due, soonest.get(name, due))
        started = self._clock.now() - timedelta(seconds=self._clock.monotonic())
        return {name: started + timedelta(seconds=due) for name, due in soonest.items()}

    def take_due(self) -> CallbackDelivery | Ended | None:
        """Remove and return the earliest end or callback, or None if it is not due yet."""
        due = self.next_due()
        if due is None or due > self._clock.monotonic():
            return None
        item = heapq.heappop(self._schedule)[2]
        self._to_come[item.checkout_request_id] -= 1
        if not self._to_come[item.checkout_request_id]:
            del self._to_come[item.checkout_request_id]
            self._over.append(item.checkout_request_id)
        return self._not_from_the_future(item)

    def _not_from_the_future(self, item: CallbackDelivery | Ended) -> CallbackDelivery | Ended:
        """Date a callback back if the simulator's clock is ahead of the shop's."""
        prompt = self._prompts.get(item.checkout_request_id)
        now = self._shop_clock.now()
        if isinstance(item, Ended) or prompt is None or prompt.ends <= now:
            return item
        return attrs.evolve(item, body=callback_body(attrs.evolve(prompt, ends=now)))

    def try_again(self, delivery: CallbackDelivery, /) -> None:
        """Schedule a callback again, if tries are left."""
        if delivery.tries_left > 0:
            due = self._clock.monotonic() + _AGAIN_AFTER
            again = attrs.evolve(delivery, due_at=due, tries_left=delivery.tries_left - 1)
            self._put(due, again)

    def _put(self, due: float, item: CallbackDelivery | Ended) -> None:
        self._scheduled += 1
        self._to_come[item.checkout_request_id] += 1
        heapq.heappush(self._schedule, (due, self._scheduled, item))

    def _unplan(self, checkout_request_id: str) -> None:
        del self._to_come[checkout_request_id]
        self._schedule = [
            entry for entry in self._schedule if entry[2].checkout_request_id != checkout_request_id
        ]
        heapq.heapify(self._schedule)

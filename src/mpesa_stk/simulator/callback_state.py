"""The state of a prompt's callback: delivered, on its way, or not. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import attrs

from mpesa_stk.simulator.callback_trouble import Trouble, trouble_of
from mpesa_stk.simulator.journal import Entry
from mpesa_stk.simulator.prompts import Prompt

StateName = Literal["open", "due", "sent", "delivered", "failed", "none", "forgotten"]


@attrs.frozen(kw_only=True)
class CallbackState:
    """The state of a prompt's callback.

    Attributes:
        name: ``open``: the prompt is open. ``due``: the callback comes at a later time. ``sent``: it is
            on its way. ``delivered``: your application took it. ``failed``: it did not. ``none``: the
            scenario has no callback. ``forgotten``: the journal no longer has it.
        times: Number of times that it was delivered or, if it failed, tried.
        next_at: Time of the next callback, or None.
        trouble: The reason why it failed, or None.
    """

    name: StateName
    times: int = 0
    next_at: datetime | None = None
    trouble: Trouble | None = None


def callback_state(
    prompt: Prompt,
    /,
    *,
    is_open: bool,
    callbacks: Iterable[Entry],
    next_at: datetime | None,
    now: datetime,
    forgot_until: datetime | None,
) -> CallbackState:
    """Find the state of a prompt's callback.

    Args:
        prompt: The prompt.
        is_open: Whether it still waits for its customer.
        callbacks: The journal's entries of its callbacks, oldest first.
        next_at: Time of its next callback, or None.
        now: The time.
        forgot_until: The time before which the journal has forgotten callbacks, or None.
    """
    tried = list(callbacks)
    delivered = sum(entry.taken for entry in tried)
    if delivered:
        return CallbackState(name="delivered", times=delivered, next_at=next_at)
    if tried:
        last = tried[-1]
        trouble = trouble_of(
            status=last.status,
            note=last.note,
            url=prompt.callback_url,
            answered=last.answered,
        )
        return CallbackState(name="failed", times=len(tried), next_at=next_at, trouble=trouble)
    if is_open:
        return CallbackState(name="open")
    if prompt.scenario.callbacks == 0:
        return CallbackState(name="none")
    if next_at is not None and next_at > now:
        return CallbackState(name="due", next_at=next_at)
    if next_at is None and forgot_until is not None and prompt.ends <= forgot_until:
        return CallbackState(name="forgotten")
    return CallbackState(name="sent")

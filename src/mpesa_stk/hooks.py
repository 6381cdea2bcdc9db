"""Report events to the host, through hooks and the log. A leaf.

Each event is one frozen record, which the hooks and the log get. A record holds ids, codes and durations.
It never holds a secret or an unmasked phone number. CheckoutRequestIDs end in the payer's digits, so a
record holds them masked.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Literal, Protocol

import attrs

from mpesa_stk.privacy import visible

_LOGGER = logging.getLogger("mpesa_stk")

EventKind = Literal[
    "token",
    "push",
    "query",
    "pull",
    "pull_registration",
    "callback",
    "settled",
    "claim",
    "refusal",
    "alarm",
    "records",
]
_TROUBLE = frozenset(
    {
        "error",
        "unknown",
        "refused",
        "not_sent",
        "rate_limited",
        "kept",
        "callbacks_stopped",
        "differ",
    }
)


@attrs.frozen(kw_only=True)
class Event:
    """An event, for metrics, traces and logs. A field that does not apply is None.

    Attributes:
        kind: ``token``, ``push``, ``query``, ``pull`` (one page), ``pull_registration``, ``callback``,
            ``settled``, ``claim``, ``refusal``, ``alarm`` or ``records``.
        outcome: A constant word: ``ok``, ``refused``, ``unknown``, ``error``, ``paid`` ...
        duration: Seconds that the step took, if it waited for an answer.
        code: Daraja's result or error code. For a claim, the receipt, masked.
        error: Class name of the error.
        http_status: Status of Daraja's answer, if it was not a plain success.
        transaction_no: The payment, if it is known.
        merchant_request_id: Daraja's id of the request.
        checkout_request_id: Daraja's id of the prompt, masked.
        endpoint: ``checkout``, ``query``, ``claim`` or ``callback``, for a refusal.
        reason: The reason of a refusal, as a constant text.
        client_address: The address that sent the refused request, as far as it is known.
    """

    kind: EventKind
    outcome: str
    duration: float | None = None
    code: str | None = None
    error: str | None = None
    http_status: int | None = None
    transaction_no: str | None = None
    merchant_request_id: str | None = None
    checkout_request_id: str | None = None
    endpoint: str | None = None
    reason: str | None = None
    client_address: str | None = None


class Hook(Protocol):
    """Receives each event, in the thread in which the event happened."""

    def __call__(self, event: Event, /) -> None:
        """Handle an event. An error raised here is logged and does not affect the payment."""
        ...


class Notifier:
    """Logs each event under a constant name and hands it to the hooks."""

    def __init__(self, hooks: tuple[Hook, ...]) -> None:
        self._hooks = hooks

    def __call__(self, event: Event, /) -> None:
        """Write an event to the log and pass it to every hook. It raises no `Exception`."""
        level = logging.WARNING if event.outcome in _TROUBLE else logging.INFO
        if _LOGGER.isEnabledFor(level):
            fields = attrs.asdict(event, filter=lambda _attribute, value: value is not None)
            _log(level, fields.pop("kind"), fields)
        for hook in self._hooks:
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001 - no error of a hook may reach a payment
                # Logged without text and traceback, which could hold the host's data.
                _log(
                    logging.ERROR,
                    "hook_failed",
                    {"kind": event.kind, "error": type(error).__name__},
                )


def log_trouble(
    name: str, /, *, cause: BaseException | None = None, **fields: str | int | None
) -> None:
    """Log a failure that is not an event.

    Args:
        name: A constant word.
        cause: An error of the host's own code, to be logged with its traceback.
        fields: Allow-listed fields, by name.
    """
    _log(logging.ERROR, name, fields, cause=cause)


def _log(
    level: int, name: str, fields: Mapping[str, object], *, cause: BaseException | None = None
) -> None:
    """Write one line to the log.

    Errors of the host's filters and handlers are dropped, to protect the payment.
    """
    text = " ".join(f"{key}={visible(value)}" for key, value in fields.items())
    extra = {"mpesa_stk": {"name": name, **fields}}
    with contextlib.suppress(Exception):
        _LOGGER.log(level, "mpesa_stk.%s %s", name, text, extra=extra, exc_info=cause)

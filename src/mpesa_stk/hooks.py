"""What the package tells its host: one frozen record an event, to hooks and to the log.

A leaf. A record holds ids, codes and durations; never a phone number in clear, never a secret.
CheckoutRequestIDs end in the payer's digits, so records carry them masked.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Literal, Protocol

import attrs

from mpesa_stk.privacy import visible

__all__ = ["Event", "Hook", "Notifier"]

_LOGGER = logging.getLogger("mpesa_stk")

EventKind = Literal["token", "push", "query", "callback", "settled", "refusal"]
_TROUBLE = frozenset({"error", "unknown", "refused", "not_sent", "rate_limited", "kept"})


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened, for metrics, traces and logs.

    Attributes:
        kind: ``token``, ``push``, ``query``, ``callback``, ``settled`` or ``refusal``.
        outcome: A constant word: ``ok``, ``refused``, ``unknown``, ``error``, ``paid`` ...
        duration: Seconds it took, where something was waited for.
        code: Daraja's result or error code, where there was one.
        error: Class name of the error, where there was one.
        http_status: Status of Daraja's answer, where it was not a plain success.
        transaction_no: The payment, where it is known.
        merchant_request_id: Daraja's id of the request.
        checkout_request_id: Daraja's id of the prompt, masked.
        endpoint: ``checkout``, ``query`` or ``callback``, of a refusal.
        reason: Why a request was refused: a constant text.
        client_address: Who sent the refused request, as far as it is known.
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
    """Receives each event, in the thread in which it happened."""

    def __call__(self, event: Event, /) -> None:
        """Take note of an event. What it raises is logged and changes no payment."""
        ...


class Notifier:
    """Logs each event under a constant name and hands it to the hooks."""

    def __init__(self, hooks: tuple[Hook, ...]) -> None:
        self._hooks = hooks

    def __call__(self, event: Event, /) -> None:
        """Tell the log and every hook; never raises."""
        level = logging.WARNING if event.outcome in _TROUBLE else logging.INFO
        if _LOGGER.isEnabledFor(level):
            fields = attrs.asdict(event, filter=lambda _attribute, value: value is not None)
            _log(level, fields.pop("kind"), fields)
        for hook in self._hooks:
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001 - a hook may raise anything, and none of it may reach a payment
                # Without its text or traceback, which could hold what the host's hook knows.
                _log(
                    logging.ERROR,
                    "hook_failed",
                    {"kind": event.kind, "error": type(error).__name__},
                )


def log_trouble(
    name: str, /, *, cause: BaseException | None = None, **fields: str | int | None
) -> None:
    """Log trouble that is no event of its own.

    Args:
        name: A constant word.
        cause: An error of the host's own code, to be logged with its traceback.
        fields: Allow-listed fields, by name.
    """
    _log(logging.ERROR, name, fields, cause=cause)


def _log(
    level: int, name: str, fields: Mapping[str, object], *, cause: BaseException | None = None
) -> None:
    """Write one line; a host's filters and handlers may raise, and none of it may reach a payment."""
    text = " ".join(f"{key}={visible(value)}" for key, value in fields.items())
    extra = {"mpesa_stk": {"name": name, **fields}}
    with contextlib.suppress(Exception):
        _LOGGER.log(level, "mpesa_stk.%s %s", name, text, extra=extra, exc_info=cause)

"""Renders an error as hosts do: with its traceback, and the locals of each frame."""

from __future__ import annotations

import json
from typing import Any

import sentry_sdk
from django.views.debug import ExceptionReporter
from rich.traceback import Traceback
from sentry_sdk.envelope import Envelope
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.transport import Transport
from structlog.tracebacks import ExceptionDictTransformer

from example_shops import set_up_django

__all__ = ["shown_by_all"]


class _Collected(Transport):
    """Keeps what would be sent to Sentry."""

    def __init__(self, _options: Any = None) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """Take one event."""
        self.events.append(envelope.get_event())


def by_sentry(error: BaseException) -> str:
    """The event of sentry-sdk, without its scrubber, which hides a few names."""
    collected = _Collected()
    client = sentry_sdk.Client(
        dsn="https://key@sentry.invalid/1",
        transport=collected,
        default_integrations=False,
        event_scrubber=EventScrubber(denylist=[], pii_denylist=[]),
    )
    with sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        scope.capture_exception(error)
    (event,) = collected.events
    return json.dumps(event, default=str)


def by_structlog(error: BaseException) -> str:
    """The dict of structlog, with locals of any length."""
    transform = ExceptionDictTransformer(
        show_locals=True, locals_max_length=10_000, locals_max_string=100_000, max_frames=200
    )
    return json.dumps(transform((type(error), error, error.__traceback__)))


def by_rich(error: BaseException) -> str:
    """All that rich prints, apart from the source lines, which take most of the time."""
    trace = Traceback.extract(
        type(error),
        error,
        error.__traceback__,
        show_locals=True,
        locals_max_length=10_000,
        locals_max_string=100_000,
    )
    return repr(trace)


def by_django(error: BaseException) -> str:
    """Django's page for a server error, in the Django shop."""
    set_up_django()
    reporter = ExceptionReporter(None, type(error), error, error.__traceback__)
    return str(reporter.get_traceback_html())


def shown_by_all(error: BaseException) -> dict[str, str]:
    """What each of them shows of an error, by the name of the renderer."""
    return {
        "sentry-sdk": by_sentry(error),
        "structlog": by_structlog(error),
        "rich": by_rich(error),
        "Django": by_django(error),
    }

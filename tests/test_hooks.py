"""What the host is told: constant names, one line, nothing secret, and never at a payment's cost."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import attrs
import pytest

from mpesa_stk import Event
from mpesa_stk.hooks import Notifier, log_trouble

LOGGER = logging.getLogger("mpesa_stk")


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Logging is on, down to the least important line."""
    with caplog.at_level(logging.DEBUG, logger="mpesa_stk"):
        yield


def fail(event: Event) -> None:
    """A hook that fails, and gives away what it knows."""
    raise RuntimeError(f"the database password is hunter2, at {event.kind}")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, with levels."""
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_an_event_is_logged_and_told_to_every_hook(caplog: pytest.LogCaptureFixture) -> None:
    """The same record goes to the log, by name and as structured data, and to the hooks in order."""
    event = Event(kind="push", outcome="ok", code="0", merchant_request_id="29115-1")
    seen: list[tuple[str, Event]] = []

    Notifier(
        (lambda given: seen.append(("first", given)), lambda given: seen.append(("last", given)))
    )(event)

    assert seen == [("first", event), ("last", event)]
    assert lines(caplog) == [
        "INFO mpesa_stk.push outcome=ok code=0 merchant_request_id=29115-1",
    ]
    assert vars(caplog.records[0])["mpesa_stk"] == {
        "name": "push",
        "outcome": "ok",
        "code": "0",
        "merchant_request_id": "29115-1",
    }


@pytest.mark.parametrize(
    ("outcome", "level"),
    [("ok", "INFO"), ("paid", "INFO"), ("unknown", "WARNING"), ("refused", "WARNING")],
)
def test_trouble_is_a_warning(caplog: pytest.LogCaptureFixture, outcome: str, level: str) -> None:
    """A host that logs from WARNING on hears of what may need a person."""
    Notifier(())(Event(kind="query", outcome=outcome))

    assert lines(caplog) == [f"{level} mpesa_stk.query outcome={outcome}"]


def test_events_cannot_be_changed() -> None:
    """No hook can change what the next one gets."""
    event = Event(kind="push", outcome="ok")

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.outcome = "refused"  # type: ignore[misc]


def test_a_raising_hook_is_logged_without_what_it_knows(caplog: pytest.LogCaptureFixture) -> None:
    """Its class is named, its text and traceback are not, and the next hook is called."""
    seen: list[Event] = []
    event = Event(kind="push", outcome="ok")

    Notifier((fail, seen.append))(event)

    assert seen == [event]
    assert lines(caplog)[1:] == ["ERROR mpesa_stk.hook_failed kind=push error=RuntimeError"]
    assert caplog.records[1].exc_info is None
    assert "hunter2" not in caplog.text


def test_a_hook_may_still_be_interrupted() -> None:
    """Ctrl-C is no failure of the hook."""

    def interrupted(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Notifier((interrupted,))(Event(kind="push", outcome="ok"))


def test_nothing_is_formatted_for_a_log_that_is_off(caplog: pytest.LogCaptureFixture) -> None:
    """Where nobody listens, hooks still do."""
    seen: list[Event] = []
    with caplog.at_level(logging.ERROR, logger="mpesa_stk"):
        Notifier((seen.append,))(Event(kind="push", outcome="ok"))

    assert len(seen) == 1
    assert caplog.records == []


class Broken(logging.Filter):
    """A filter of the host's that fails."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Fail on each record."""
        raise RuntimeError(record.name)


def test_broken_logging_changes_nothing() -> None:
    """A filter or handler that raises must not hide what became of a push."""
    seen: list[Event] = []
    broken = Broken()
    LOGGER.addFilter(broken)
    try:
        Notifier((fail, seen.append))(Event(kind="push", outcome="ok"))
        log_trouble("due_failed", error="ValueError")
    finally:
        LOGGER.removeFilter(broken)

    assert len(seen) == 1


def test_a_line_stays_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """What Daraja sends as ids and codes cannot forge a log line or fill the disk."""
    forged = "1\r\nINFO mpesa_stk.settled outcome=paid" + "x" * 500
    Notifier(())(Event(kind="query", outcome="unknown", code=forged))

    (line,) = lines(caplog)
    assert line.startswith(
        "WARNING mpesa_stk.query outcome=unknown code=1_INFO_mpesa_stk.settled_outcome=paidxx"
    )
    assert len(line) < 200


def test_trouble_that_is_no_event(caplog: pytest.LogCaptureFixture) -> None:
    """The same form: a constant name, and fields by name."""
    log_trouble("report_failed", transaction_no="t-1", tries=3, error=None)

    assert lines(caplog) == ["ERROR mpesa_stk.report_failed transaction_no=t-1 tries=3 error=None"]
    assert vars(caplog.records[0])["mpesa_stk"] == {
        "name": "report_failed",
        "transaction_no": "t-1",
        "tries": 3,
        "error": None,
    }

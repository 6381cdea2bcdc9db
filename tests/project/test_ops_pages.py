"""docs/how-to for operators: the code of the pages does what they say, and their numbers are the code's."""

from __future__ import annotations

import json
import logging
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sentry_sdk
import sqlalchemy
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
from sentry_sdk.transport import Transport
from werkzeug.test import Client as WsgiClient

from mpesa_stk import MAX_BODY, Hook, NotSent, Payments, cli
from mpesa_stk.payments.checkout import _longest_push
from mpesa_stk.stores.sql import SqlTransactionStore
from mpesa_stk.testing import SimulatedDaraja, phones
from mpesa_stk.web import endpoints, lanes
from page_blocks import HOW_TO, block, blocks, defined
from support import make_config

DEFAULT_TIMEOUT = make_config().total_timeout
LONGEST = int(_longest_push(DEFAULT_TIMEOUT).total_seconds())
PHONE = "0718643064"


def shop_with(hook: Hook) -> tuple[SimulatedDaraja, Payments]:
    """A shop whose client and payments have one hook."""
    daraja = SimulatedDaraja()
    return daraja, daraja.payments(client=daraja.client(hooks=(hook,)), hooks=(hook,))


def sell(daraja: SimulatedDaraja, payments: Payments) -> None:
    """One paid payment, one lost push, and one request that never left."""
    payments.checkout(phone_number=phones.PAID, amount=100, reference="INV-1")
    daraja.run()
    payments.checkout(phone_number=phones.DROPPED, amount=100, reference="INV-2")


# --- metrics -----------------------------------------------------------------------------------------


def test_prometheus_counts_what_happened() -> None:
    """The hook of the page, in a real registry: kinds, outcomes and durations."""
    registry = CollectorRegistry()
    daraja, payments = shop_with(
        defined(HOW_TO / "metrics.md", "shop/metrics.py")["measured"](registry)
    )
    sell(daraja, payments)

    def count(kind: str, outcome: str) -> float | None:
        labels = {"kind": kind, "outcome": outcome}
        return registry.get_sample_value("mpesa_stk_events_total", labels)

    assert count("push", "ok") == count("push", "unknown") == 1
    assert count("callback", "settled") == count("settled", "succeeded") == 1
    assert registry.get_sample_value("mpesa_stk_seconds_count", {"kind": "push"}) == 2
    assert PHONE[1:] not in str(list(registry.collect()))


def test_every_series_of_the_page_has_labels_that_exist() -> None:
    """The kinds and outcomes in PromQL are those of the page of events."""
    events = (HOW_TO / "events.md").read_text("utf-8")
    text = (HOW_TO / "metrics.md").read_text("utf-8")
    words = re.findall(r'(?:kind|outcome)=~?"([^"]+)"', text)
    assert len(words) >= 8
    for word in re.split(r"\\?\|", "|".join(words)):
        assert f"`{word}`" in events


def test_opentelemetry_gets_counts_and_spans() -> None:
    """The hook of the page, with the real SDK: a span for each exchange, an error on the lost one."""
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    meter = MeterProvider(metric_readers=[reader]).get_meter("shop")
    tracer = tracing.get_tracer("shop")
    daraja, payments = shop_with(
        defined(HOW_TO / "metrics.md", "shop/telemetry.py")["traced"](meter, tracer)
    )
    with tracer.start_as_current_span("a request") as request:
        sell(daraja, payments)

    spans: list[Any] = list(exporter.get_finished_spans())
    assert [span.name for span in spans] == [
        "mpesa_stk token",
        "mpesa_stk push",
        "mpesa_stk push",
        "a request",
    ]
    assert all(span.parent.span_id == request.get_span_context().span_id for span in spans[:3])
    assert [span.status.description for span in spans[:3]] == [None, None, "OutcomeUnknown"]
    collected: Any = reader.get_metrics_data()
    (resource,) = collected.resource_metrics
    (scope,) = resource.scope_metrics
    found = {
        (point.attributes["kind"], point.attributes["outcome"]): point.value
        for metric in scope.metrics
        if metric.name == "mpesa_stk.events"
        for point in metric.data.data_points
    }
    assert found["push", "ok"] == found["push", "unknown"] == found["settled", "succeeded"] == 1


# --- Sentry ------------------------------------------------------------------------------------------


class Collected(Transport):
    """Keeps what would be sent to Sentry."""

    sent: list[Any]

    def __init__(self, _options: Any = None) -> None:
        super().__init__()
        self.sent = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """Take what is sent."""
        self.sent.extend(item.payload.json for item in envelope.items)


@pytest.fixture
def sentry() -> Iterator[Collected]:
    """Sentry, started as the page says; afterwards it is off again."""
    collected = Collected()
    before = sentry_sdk.get_global_scope().client
    start = defined(HOW_TO / "sentry.md", "shop/errors.py")["report_to"]
    start("https://key@sentry.invalid/1", transport=collected, default_integrations=False)
    yield collected
    sentry_sdk.get_global_scope().set_client(before)


def test_sentry_gets_the_error_and_no_payer(sentry: Collected) -> None:
    """A view that fails in the middle of a callback and of a checkout."""
    token = "6f9619ff-8b86-4011-b42d-00c04fc964ff.0123456789abcdef0123456789abcdef"
    private = [PHONE, "254718643064", "+254 718-643 064", token, "ws_CO_23112026090000123718643064"]

    def view(environ: Any, _start: Any) -> list[bytes]:
        phone_number = PHONE
        sentry_sdk.add_breadcrumb(message=f"asked {private[2]}", data={"id": private[4]})
        raise NotSent(f"no connection for {phone_number}: {environ['PATH_INFO']}")

    client = WsgiClient(SentryWsgiMiddleware(view))
    with pytest.raises(NotSent):
        client.post(f"/payments/callback/{token}/", json={"phone_number": "254718643064"})

    (event,) = [sent for sent in sentry.sent if sent and "exception" in sent]
    shown = json.dumps(event)
    assert event["exception"]["values"][0]["type"] == "NotSent"
    assert "/payments/callback/***/" in shown
    assert [text for text in private if text in shown] == []
    assert "vars" not in shown
    assert "data" not in event["request"]


# --- Celery and PostgreSQL ---------------------------------------------------------------------------


def test_celery_does_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task of the page settles and reports a payment, and beat starts that task."""
    pytest.importorskip("celery", reason="Celery is not installed")
    daraja = SimulatedDaraja()
    payments = daraja.payments()
    told: list[str] = []
    shop = types.ModuleType("shop.payments")
    shop.payments = lambda: payments  # type: ignore[attr-defined]
    shop.deliver = lambda payment: told.append(payment.state.value)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", types.ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.payments", shop)
    names = defined(HOW_TO / "celery.md", "shop/tasks.py")

    payments.checkout(phone_number=phones.PAID, amount=100, reference="INV-1")
    daraja.run()
    names["process_due"].apply(throw=True)

    assert told == ["SUCCEEDED"]
    (entry,) = names["app"].conf.beat_schedule.values()
    assert entry["task"] in names["app"].tasks


def test_postgresql_needs_no_more_than_the_page_grants(postgres_url: str) -> None:
    """The owner makes the tables by the page's command, and a payment goes through as the other user."""
    page = HOW_TO / "postgresql.md"
    superuser = sqlalchemy.make_url(postgres_url)
    roles = {"shop_owner", "shop"}
    statements = blocks(page, "sql")[0]
    connection = psycopg.connect(
        superuser.set(drivername="postgresql").render_as_string(hide_password=False),
        autocommit=True,
    )
    with connection:
        connection.execute(statements.encode())
        try:
            owner = superuser.set(username="shop_owner").render_as_string(hide_password=False)
            assert cli.main(["database", "upgrade", "--database", owner]) == 0
            engine = sqlalchemy.create_engine(superuser.set(username="shop"))
            daraja = SimulatedDaraja()
            store = SqlTransactionStore(engine)
            payments = daraja.payments(store)
            order = payments.checkout(phone_number=phones.PAID, amount=100, reference="INV-1")
            daraja.run()
            assert payments.process_due(on_settled=lambda _: None).reported == 1
            assert store.get(order.transaction_no) is not None
            with (
                pytest.raises(sqlalchemy.exc.ProgrammingError),
                engine.begin() as denied,
            ):
                denied.execute(sqlalchemy.text("DROP TABLE mpesa_stk_transactions"))
            engine.dispose()
        finally:
            for role in roles:
                connection.execute(f"DROP OWNED BY {role} CASCADE".encode())
                connection.execute(f"DROP ROLE {role}".encode())


# --- numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "pattern", "number"),
    [
        ("gunicorn.md", r"^threads = (\d+)$", endpoints._THREADS_AT_ONCE + lanes._CALLBACK_THREADS),
        ("gunicorn.md", r"^graceful_timeout = (\d+)$", LONGEST),
        ("gunicorn.md", r"`threads` \| 24 \| (\d+) checkouts", endpoints._THREADS_AT_ONCE),
        ("gunicorn.md", r"`at_once` \+ (\d+)\.", lanes._CALLBACK_THREADS),
        ("uvicorn.md", r"--timeout-graceful-shutdown (\d+) --", LONGEST),
        ("uvicorn.md", r"answers (\d+) checkouts", endpoints._TASKS_AT_ONCE),
        ("uvicorn.md", r"it has (\d+) threads", endpoints._THREADS_AT_ONCE),
        ("uvicorn.md", r"and (\d+) for callbacks", lanes._CALLBACK_THREADS),
        ("nginx.md", r"proxy_read_timeout (\d+)s;", LONGEST),
        ("nginx.md", r"`total_timeout` \((\d+) s\) for one exchange", DEFAULT_TIMEOUT),
        ("nginx.md", r"client_max_body_size (\d+)k;", MAX_BODY // 1024),
        ("systemd.md", r"wait\]\(gunicorn.md\) of (\d+) s", LONGEST),
        ("systemd.md", r"`total_timeout` \((\d+) s\)", DEFAULT_TIMEOUT),
    ],
)
def test_the_numbers_of_a_page_are_those_of_the_code(
    page: str, pattern: str, number: float
) -> None:
    """Threads and time-outs, computed from the code."""
    found = re.findall(pattern, (HOW_TO / page).read_text("utf-8"), flags=re.MULTILINE)
    assert found, "the page does not say it"
    assert {int(text) for text in found} == {int(number)}


def test_systemd_waits_longer_than_the_server() -> None:
    """The unit of the shop gives the server more time than a push takes."""
    unit = block(HOW_TO / "systemd.md", "ini", "/etc/systemd/system/shop.service")
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, flags=re.MULTILINE)
    assert int(seconds) > LONGEST


# --- access logs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("GET %s", "/payments/callback/no.tag/"), ()])
def test_the_filter_for_a_logger_masks_tokens(arguments: tuple[str, ...]) -> None:
    """Also for other loggers than uvicorn's, and for lines without arguments."""
    masks = defined(HOW_TO / "uvicorn.md", "logs.py")["WithoutTokens"]()
    text, values = (arguments[0], arguments[1:]) if arguments else ("started", None)
    record = logging.LogRecord("django.server", logging.INFO, __file__, 1, text, values, None)
    assert masks.filter(record)
    assert record.getMessage() == ("GET /payments/callback/***/" if arguments else "started")


def pages_of_servers() -> list[Path]:
    """The pages that the page of access logs leads to."""
    text = (HOW_TO / "access-logs.md").read_text("utf-8")
    return [HOW_TO / name for name in re.findall(r"\]\((\w+\.md)(?:#[\w-]+)?\)", text)]


def test_the_page_of_access_logs_leads_to_each_server() -> None:
    """Each of them has a pattern for the path of callbacks."""
    for page in pages_of_servers():
        assert "/callback/)" in page.read_text("utf-8")

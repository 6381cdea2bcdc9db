"""The admin of the Django shop, its users, and payments of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.test import Client, override_settings

from example_shops import django_database, django_module, set_up_django
from mpesa_stk import HistoryEntry, KeptCallback, Transaction, TransactionState
from support import START, make_transaction

__all__ = ["PHONE", "admin_client", "admin_host", "fill", "in_review", "new_store"]

PHONE = "+254718643064"


@contextmanager
def admin_host(path: Path, **more: Any) -> Iterator[None]:
    """The Django shop with a second site of the admin, and its tables in an SQLite file."""
    set_up_django()
    hosts = ["testserver", "127.0.0.1"]
    with (
        override_settings(ROOT_URLCONF="admin_urls", ALLOWED_HOSTS=hosts, **more),
        django_database(path),
    ):
        yield


def admin_client(*permissions: str, name: str = "amina", superuser: bool = False) -> Client:
    """A browser in which a member of the staff with these permissions is logged in."""
    auth = django_module("django.contrib.auth.models")
    user = auth.User.objects.create(username=name, is_staff=True, is_superuser=superuser)
    user.user_permissions.set(auth.Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def new_store() -> Any:
    """The store of the host."""
    return django_module("mpesa_stk.contrib.django.orm_store").DjangoTransactionStore()


def _entry(at: datetime, event: str, state: TransactionState, code: str | None = None) -> Any:
    return HistoryEntry(at=at, event=event, state=state, code=code)


def paid(number: int, created: datetime, **changes: Any) -> Transaction:
    """A payment that was asked for, and paid 20 seconds later."""
    seconds = timedelta(seconds=1)
    history = (
        _entry(created + seconds, "push accepted", TransactionState.PENDING),
        _entry(created + 20 * seconds, "callback: paid, proven", TransactionState.SUCCEEDED, "0"),
        _entry(created + 25 * seconds, "reported", TransactionState.SUCCEEDED),
    )
    facts: dict[str, Any] = {
        "transaction_no": f"00000000-0000-4000-8000-{number:012}",
        "state": TransactionState.SUCCEEDED,
        "created": created,
        "updated": created + 25 * seconds,
        "expires_at": created + 900 * seconds,
        "due_at": None,
        "phone_number": PHONE,
        "reference": f"INV-{number}",
        "order": f"order-{number}",
        "merchant_request_id": f"29115-{number}",
        "checkout_request_id": f"ws_CO_23112026090000{number:03}718643064",
        "result_code": "0",
        "receipt_number": f"SKN7RT61S{number}",
        "paid_at": created + 18 * seconds,
        "settled_by": "callback",
        "reported": True,
        "history": history,
    }
    return make_transaction(**(facts | changes))


def in_review(number: int, created: datetime, **changes: Any) -> Transaction:
    """A payment that was given up, and needs a person."""
    history = (
        _entry(created, "push outcome lost", TransactionState.UNCERTAIN, "HTTP 503"),
        _entry(created + timedelta(minutes=15), "time is up", TransactionState.EXPIRED),
    )
    facts = {
        "state": TransactionState.EXPIRED,
        "result_code": None,
        "receipt_number": None,
        "checkout_request_id": None,
        "merchant_request_id": None,
        "paid_at": None,
        "settled_by": "time",
        "needs_review": "the push's outcome was never learnt",
        "history": history,
    }
    return paid(number, created, **(facts | changes))


def fill(store: Any) -> None:
    """Store a day of a small shop."""
    minutes = timedelta(minutes=1)
    for number, amount in enumerate([1500, 12_500, 240, 99], start=1):
        store.add(paid(number, START + number * 7 * minutes, amount=amount))
    store.add(in_review(5, START + 41 * minutes, amount=2_450))
    store.add(
        paid(
            6,
            START + 55 * minutes,
            state=TransactionState.FAILED,
            result_code="1032",
            result_desc="Request canceled by user.",
            receipt_number=None,
            paid_at=None,
            history=(
                _entry(START + 55 * minutes, "push accepted", TransactionState.PENDING),
                _entry(START + 56 * minutes, "callback: not paid", TransactionState.FAILED, "1032"),
            ),
        )
    )
    store.keep_callback(
        KeptCallback(
            callback_id="c" * 64,
            body=b'{"Body": {"PhoneNumber": 254718643064}}',
            reason="no payment has this checkout_request_id yet",
            received=START + 58 * minutes,
            checkout_request_id="ws_CO_231120260900009718643064",
            transaction_no="00000000-0000-4000-8000-000000000005",
        )
    )

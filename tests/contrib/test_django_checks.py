"""The system checks: each one finds its mistake, says what to do, and is quiet about a good project."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import connection
from django.test import override_settings

from django_host import CREDENTIALS, running
from mpesa_stk.contrib.django import checks
from web_cases import HOST

LIVE = {
    **CREDENTIALS,
    "mpesa_environment": "production",
    "quote": "django_host.quote",
    "cache": "shared",
    "callback_secret": "k7Vw2nQx9LmZp4Rt",
}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "shared": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "shared"},
    "dummy": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
}
GOOD: dict[str, Any] = {"MPESA_STK": LIVE, "CACHES": CACHES}


def found(*, database: dict[str, Any] | None = None, **settings: Any) -> list[CheckMessage]:
    """What both kinds of checks say about a project that is good except for these settings."""
    with running(**(GOOD | settings)), pytest.MonkeyPatch.context() as patch:
        for name, value in (database or {}).items():
            patch.setitem(connection.settings_dict, name, value)
        return [*checks.check_project(), *checks.check_deployment()]


def given(**changes: Any) -> dict[str, Any]:
    """The good settings of the payments, with other values. None removes one."""
    changed = LIVE | changes
    return {"MPESA_STK": {name: value for name, value in changed.items() if value is not None}}


def database(**changes: Any) -> dict[str, Any]:
    """The good database, with other values."""
    return {"database": changes}


WRONG: dict[str, dict[str, Any]] = {
    "E001": given(mpesa_max_amount="many"),
    "W001": {"MPESA_STK": {}},
    "E004": {"MPESA_STK": {}},
    "E002": database(AUTOCOMMIT=False),
    "E003": {"MPESA_STK": {"simulate": True}},
    "W002": given(quote=None),
    "W003": {"ROOT_URLCONF": "django_host_without_payments"},
    "W004": given(c2b_callback=f"https://{HOST}/pay/callback/"),
    "W005": {"ALLOWED_HOSTS": ["www.example.co.ke"]},
    "W006": {"MIDDLEWARE": []},
    "W007": database(ATOMIC_REQUESTS=True),
    "W008": given(cache=None),
    "W009": database(NAME=":memory:"),
    "W010": {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")},
    "W011": {"SECURE_SSL_REDIRECT": True, **given(trusted_proxies="10.0.0.0/8")},
    "E021": given(callback_secret=None),
    "W024": given(allowed_callback_networks="0.0.0.0/0"),
    "W025": given(mpesa_query_check_url="https://daraja.example.co.ke/query"),
    "W026": given(pass_key="short"),
    "W027": given(mpesa_environment="sandbox"),
}


def test_a_good_project_is_left_in_peace() -> None:
    """Neither kind of checks says anything."""
    assert found() == []


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_found(name: str) -> None:
    """The check with that id speaks, at that level, and its hint says what to do."""
    messages = {str(message.id): message for message in found(**WRONG[name])}
    message = messages[f"mpesa_stk.{name}"]
    assert message.is_serious() is name.startswith("E")
    assert message.hint
    assert str(message.msg).endswith(".")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (given(cache="default"), "W008"),
        (given(cache="dummy"), "W008"),
        (database(NAME="file:shop?mode=memory&cache=shared"), "W009"),
        ({"USE_X_FORWARDED_HOST": True}, "W010"),
        (given(c2b_callback=f"https://{HOST}/payments/checkout/"), "W004"),
        (given(c2b_callback=f"https://{HOST}/tail/payments/callback/"), "W004"),
        (given(callback_secret=None, mpesa_environment="sandbox"), "W021"),
        (given(trusted_proxies="10.0.0.0/8", c2b_callback="https://a.onrender.com/"), "W004"),
        (given(c2b_callback="https://a.onrender.com/payments/callback/"), "W023"),
        (given(c2b_callback=f"https://{HOST}/mpesa/callback/"), "W022"),
        (given(consumer_key="two words"), "E001"),
        (given(qoute="django_host.quote"), "E001"),
    ],
)
def test_other_forms_of_a_mistake(settings: dict[str, Any], name: str) -> None:
    """The same checks find them."""
    assert f"mpesa_stk.{name}" in {message.id for message in found(**settings)}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (given(cache=None, limits="mpesa_stk.NoLimits"), "W008"),
        (given(cache="default", limits="mpesa_stk.NoLimits"), "W008"),
        ({"USE_X_FORWARDED_HOST": True, **given(trusted_proxies="10.0.0.0/8")}, "W010"),
        (
            {
                "SECURE_SSL_REDIRECT": True,
                "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
                **given(trusted_proxies="10.0.0.0/8"),
            },
            "W011",
        ),
        ({"ROOT_URLCONF": "django_host_without_payments"}, "W002"),
        (given(c2b_callback=f"https://{HOST}/payments/callback"), "W004"),
    ],
)
def test_what_is_no_mistake(settings: dict[str, Any], name: str) -> None:
    """A check is quiet as soon as its hint is followed."""
    assert f"mpesa_stk.{name}" not in {message.id for message in found(**settings)}


def test_simulated_payments_are_fine_in_development() -> None:
    """A developer with DEBUG on, and a test runner that turns it off, see no error."""
    for debug in (True, False):
        with running(DEBUG=debug, MPESA_STK={"simulate": True, "quote": "django_host.quote"}):
            assert checks.check_project() == []


def test_a_project_without_urls_is_no_crash() -> None:
    """A project that only runs the worker has no URLs at all."""
    with running(**GOOD), override_settings():
        from django.conf import settings  # noqa: PLC0415 - as overridden here

        del settings.ROOT_URLCONF
        assert [message.id for message in checks.check_project()] == ["mpesa_stk.W003"]


def test_a_prefix_of_the_script_belongs_to_the_address() -> None:
    """Where the project is mounted under a path, the callback URL has that path."""
    from django.urls import set_script_prefix  # noqa: PLC0415 - of the project

    try:
        set_script_prefix("/tail/")
        good = found(**given(c2b_callback=f"https://{HOST}/tail/payments/callback/"))
        wrong = found()
    finally:
        set_script_prefix("/")
    assert good == []
    assert [message.id for message in wrong] == ["mpesa_stk.W004"]


def test_django_runs_the_checks() -> None:
    """``manage.py check`` and ``check --deploy`` run them by their tag."""
    with running(**(GOOD | {"MIDDLEWARE": []})):
        ids = {message.id for message in run_checks(tags=[checks.TAG])}
    with running(**(GOOD | {"ALLOWED_HOSTS": []})):
        deployed = run_checks(tags=[checks.TAG], include_deployment_checks=True)
    assert ids == {"mpesa_stk.W006"}
    assert {message.id for message in deployed} == {"mpesa_stk.W005"}

"""The settings of a Django project, and the payments that each process makes from them once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from django.views.debug import SafeExceptionReporterFilter

from django_host import CREDENTIALS, quote, running
from mpesa_stk import (
    Accounts,
    AsyncAccounts,
    AsyncPayments,
    CallbackGuard,
    ConfigurationError,
    MemoryLimits,
    NoLimits,
    Payments,
    StkConfig,
)
from mpesa_stk.contrib import django as app
from mpesa_stk.contrib.django import runtime
from mpesa_stk.contrib.django.cache_limits import CacheLimits
from mpesa_stk.contrib.django.host_settings import HostSettings, is_unset, read_settings
from mpesa_stk.contrib.django.orm_budget import DjangoQueryBudget
from mpesa_stk.contrib.django.parts import Parts
from mpesa_stk.payments.budget import UnlimitedQueryBudget
from mpesa_stk.testing import SimulatedDaraja

ENVIRON = {name.upper(): text for name, text in CREDENTIALS.items()}
ACCOUNTS = {
    "fees": {"shortcode": "600000", "pass_key": "b" * 64},
    "lunch": {"shortcode": "600001", "pass_key": "c" * 64},
}


@pytest.fixture(autouse=True)
def _project() -> Iterator[None]:
    """The settings of a project."""
    with running():
        yield


def read(given: object, **environ: str) -> HostSettings:
    """Read a dict, and an environment."""
    with override_settings(MPESA_STK=given):
        return read_settings(environ)


def problems_of(given: object, **environ: str) -> dict[str, str]:
    """What is wrong with a dict, by setting."""
    with pytest.raises(ConfigurationError) as caught:
        read(given, **environ)
    return dict(caught.value.problems)


def limits_of_tests() -> NoLimits:
    """Make limits, as a setting may name a function that does."""
    return NoLimits()


def guard_of(config: StkConfig) -> CallbackGuard:
    """Make a guard."""
    return CallbackGuard.from_config(config)


class AwaitedLimits:
    """Limits that only an event loop can use."""

    async def take(self, _name: str, _key: str) -> float:
        """Allow it."""
        return 0.0


# --- the dict ----------------------------------------------------------------------------------------


def test_the_environment_is_enough() -> None:
    """Without a dict, the variables are those of `StkConfig.from_env`."""
    with override_settings():
        from django.conf import settings  # noqa: PLC0415 - as overridden here

        del settings.MPESA_STK
        (config,) = read_settings(ENVIRON).configs
    assert str(config.account) == "paybill 600000"


def test_the_dict_counts_more_than_the_environment() -> None:
    """What the dict lacks comes from the environment, and None in the dict counts as missing."""
    given = {"SHORTCODE": 600777, "consumer_key": None, "trusted_proxies": ("10.0.0.0/8",)}
    (config,) = read(given, **ENVIRON).configs
    assert str(config.account) == "paybill 600777"
    assert config.trusted_proxies == ("10.0.0.0/8",)
    assert config.consumer_key == "a-consumer-key"


def test_a_path_may_be_given_as_one(tmp_path: Path) -> None:
    """`BASE_DIR / "ca.pem"` is a usual value in Django's settings."""
    assert problems_of({**CREDENTIALS, "mpesa_ca_bundle": tmp_path / "ca.pem"}) == {
        "mpesa_ca_bundle": "cannot be read: No such file or directory"
    }


def test_one_error_names_every_wrong_key() -> None:
    """Unknown keys, near misses, wrong types, missing and unusable values come in one error."""
    given = {
        "consumer_key": "a-key",
        "passkey": "a",
        "qoute": "shop.quote",
        "zebra": 1,
        "SHORTCODE": 600000,
        "shortcode": "600000",
        "c2b_callback": "http://shop.example.co.ke/",
        "callback_secret": {"a": "dict"},
        "database": "elsewhere",
        "cache": "elsewhere",
        "quote": "no.such.module.quote",
        "authorize": "django_host.PRICES",
        "limits": AwaitedLimits(),
        "hooks": "django_host.quote",
        "simulate": "yes",
    }
    assert problems_of(given) == {
        "passkey": "is not a setting: did you mean pass_key?",
        "qoute": "is not a setting: did you mean quote?",
        "zebra": "is not a setting",
        "shortcode": "is set twice",
        "callback_secret": "must be a text, a whole number or a list of texts",
        "consumer_secret": "is not set",
        "pass_key": "is not set",
        "c2b_callback": "must be https",
        "database": "must be an alias in DATABASES",
        "cache": "must be an alias in CACHES",
        "quote": "cannot be imported: ModuleNotFoundError: No module named 'no'",
        "authorize": "must name a function",
        "limits": "must name limits with plain methods, or a function that makes them",
        "hooks": "must be a list of dotted paths",
        "simulate": "must be True or False",
    }


@pytest.mark.parametrize("given", ["consumer_key=a", {1: "a"}])
def test_what_is_no_dict_is_refused(given: object) -> None:
    """The error names the setting itself."""
    assert problems_of(given) == {"MPESA_STK": "must be a dict whose keys are texts"}


def test_no_credentials_at_all_can_be_told_from_some() -> None:
    """A machine that only builds or tests has none, and that is no mistake."""
    with pytest.raises(ConfigurationError) as none:
        read({})
    with pytest.raises(ConfigurationError) as some:
        read({"consumer_key": "a-key"})
    assert is_unset(none.value)
    assert not is_unset(some.value)


def test_djangos_own_keys_are_read() -> None:
    """Each is a dotted path, or the thing itself."""
    given = {
        **CREDENTIALS,
        "quote": "django_host.quote",
        "guard": CallbackGuard(),
        "limits": limits_of_tests,
        "hooks": ["django_host.quote"],
        "database": "default",
        "cache": "default",
    }
    host = read(given)
    assert host.quote is quote
    assert isinstance(host.limits, NoLimits)
    assert host.hooks == (quote,)
    assert (host.database, host.cache, host.several) == ("default", "default", False)
    assert read({**CREDENTIALS, "guard": guard_of}).guard is guard_of


def test_djangos_debug_page_hides_the_secrets() -> None:
    """Django knows by their names that it must not show the credentials."""
    shown = SafeExceptionReporterFilter().get_safe_settings()["MPESA_STK"]
    secrets = ("consumer_key", "consumer_secret", "pass_key", "callback_secret")
    assert {name: shown[name] for name in secrets} == dict.fromkeys(secrets, "*" * 20)


# --- several accounts --------------------------------------------------------------------------------


def test_a_dict_for_each_account() -> None:
    """An account takes what its dict lacks from the dict around it."""
    shared = {name: CREDENTIALS[name] for name in CREDENTIALS if name != "shortcode"}
    host = read({**shared, "accounts": ACCOUNTS})
    assert host.several
    assert [str(config.account) for config in host.configs] == ["paybill 600000", "paybill 600001"]
    assert host.configs[1].passkey == "c" * 64


def test_wrong_accounts_are_named_with_their_label() -> None:
    """The error says in which dict the mistake is."""
    shared = {name: CREDENTIALS[name] for name in CREDENTIALS if name != "shortcode"}
    wrong = {"fees": ACCOUNTS["fees"], "lunch": {"pass_key": "c" * 64, "color": "red"}}
    assert problems_of({**shared, "accounts": wrong}) == {
        "lunch.color": "is not a setting",
        "lunch.shortcode": "is not set",
    }
    assert problems_of({**shared, "accounts": ["fees"]}) == {
        "accounts": "must be a dict with a dict for each account"
    }


def test_a_file_of_accounts_lies_in_the_projects_folder(tmp_path: Path) -> None:
    """A relative path begins at BASE_DIR. Prefixes work everywhere."""
    with override_settings(BASE_DIR=tmp_path):
        wrong = problems_of({**CREDENTIALS, "mpesa_accounts": "accounts.toml"})
    assert set(wrong) == {"mpesa_accounts"}
    prefixed = {"FEES_SHORTCODE": "600000", "LUNCH_SHORTCODE": "600001", **ENVIRON}
    host = read({"mpesa_accounts": "FEES,LUNCH"}, **prefixed)
    assert host.several
    assert len(host.configs) == 2


# --- simulate ----------------------------------------------------------------------------------------


def test_simulate_needs_no_credentials() -> None:
    """It plays the test merchant, whatever credentials are set, and calls back to runserver."""
    real = {**CREDENTIALS, "mpesa_environment": "production", "mpesa_max_amount": 5}
    with override_settings(DEBUG=True):
        host = read({**real, "simulate": True}, **ENVIRON)
    (config,) = host.configs
    assert config.environment.push_url == "http://127.0.0.1:8090/mpesa/stkpush/v1/processrequest"
    assert config.callback_url == "http://127.0.0.1:8000/payments/callback/"
    assert config.consumer_key == "simulated-consumer-key"
    assert config.max_amount == 5
    assert config.callback_secrets


def test_simulate_takes_other_addresses() -> None:
    """Ports may be taken by other programs."""
    given = {"simulate": True, "simulate_port": 9001, "simulate_shop": "http://localhost:8001/"}
    with override_settings(DEBUG=True):
        (config,) = read(given).configs
        wrong = problems_of(
            {"simulate": True, "simulate_port": 0, "simulate_shop": "https://shop.example.co.ke"}
        )
    assert config.environment.query_url.startswith("http://127.0.0.1:9001/")
    assert config.callback_url == "http://localhost:8001/payments/callback/"
    assert set(wrong) == {"simulate_port", "simulate_shop"}


def test_simulate_is_for_development() -> None:
    """With DEBUG off, an order would count as paid without money."""
    assert problems_of({"simulate": True}) == {
        "simulate": "is for development: with DEBUG off, orders would count as paid without money"
    }
    with override_settings(DEBUG=True):
        assert problems_of({"simulate": True, "accounts": ACCOUNTS}) == {
            "simulate": "plays one account: leave out accounts beside it"
        }
    assert read({**CREDENTIALS, "simulate": False}).simulated is None


# --- the payments of a process -----------------------------------------------------------------------


def test_payments_are_made_once() -> None:
    """All threads of a process share one object, and its token."""
    with ThreadPoolExecutor(8) as pool:
        made = {id(one) for one in pool.map(lambda _: app.payments(), range(32))}
    assert made == {id(app.payments())}
    assert isinstance(app.payments(), Payments)
    assert app.endpoints() is app.endpoints()
    assert app.endpoints().payments is app.payments()


def test_a_forked_child_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child uses no connection and no lock of its parent."""
    before = app.payments()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert app.payments() is not before


def test_an_overridden_setting_makes_them_anew() -> None:
    """A test that overrides settings needs no other step."""
    before = app.payments()
    with override_settings(MPESA_STK={**CREDENTIALS, "shortcode": "600002"}):
        other = app.payments()
        assert isinstance(other, Payments)
        assert other.account == "paybill 600002"
    with override_settings(LANGUAGE_CODE="sw"):
        same = app.payments()
        assert app.payments() is same
    assert app.payments() is not before
    runtime.reset()
    runtime.reset()  # nothing was made, so nothing is closed


def test_each_event_loop_has_its_own() -> None:
    """The tasks of one event loop share one object. Another loop has another one."""

    async def twice() -> tuple[Any, Any]:
        return app.async_payments(), app.async_payments()

    first, again = asyncio.run(twice())
    other, _ = asyncio.run(twice())
    assert isinstance(first, AsyncPayments)
    assert first is again
    assert other is not first


def test_several_accounts_make_accounts() -> None:
    """The same names give `Accounts` and `AsyncAccounts`, and reset closes them."""
    shared = {name: CREDENTIALS[name] for name in CREDENTIALS if name != "shortcode"}

    async def made() -> object:
        return app.async_payments()

    with override_settings(MPESA_STK={**shared, "accounts": ACCOUNTS}):
        accounts = app.payments()
        assert isinstance(accounts, Accounts)
        assert accounts.names() == {"paybill 600000", "paybill 600001"}
        assert isinstance(asyncio.run(made()), AsyncAccounts)


def test_all_processes_share_token_and_budget() -> None:
    """The token and the budget of queries are in the database, except with a simulator."""
    payments = app.payments()
    assert isinstance(payments, Payments)
    assert isinstance(Parts(runtime.host_settings())._budget, DjangoQueryBudget)
    with override_settings(DEBUG=True, MPESA_STK={"simulate": True}):
        assert isinstance(Parts(runtime.host_settings())._budget, UnlimitedQueryBudget)


def test_many_processes_fetch_one_token(tmp_path: Path) -> None:
    """Each process has payments for itself, and finds the token of the others in the database."""
    daraja = SimulatedDaraja()

    def process() -> Parts:
        """The parts of another process."""
        return Parts(HostSettings(configs=(daraja.config,)), transport=daraja, clock=daraja.clock)

    with running(tmp_path):
        for number in range(3):
            shop = process().payments()
            assert isinstance(shop, Payments)
            phone = f"071864306{number}"
            shop.checkout(phone_number=phone, amount=1, reference=f"INV-{number}")
    steps = [entry.kind for entry in daraja.journal.entries()]
    assert steps.count("token") == 1
    assert steps.count("push") == 3


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, MemoryLimits),
        ({"cache": "default"}, CacheLimits),
        ({"limits": limits_of_tests}, NoLimits),
        ({"simulate": True}, NoLimits),
    ],
)
def test_limits_are_those_of_the_settings(given: dict[str, Any], kind: type) -> None:
    """In this process, in a cache, the host's own, or none with a simulator."""
    with override_settings(DEBUG=True, MPESA_STK={**CREDENTIALS, **given}):
        parts = Parts(read_settings())
        assert isinstance(parts._limits, kind)
        loop = parts.async_limits()
        assert (loop is parts._limits) is (kind is not CacheLimits)


def test_the_database_is_the_named_one_or_that_of_the_routers() -> None:
    """Whoever only looks at the tables needs no credentials."""
    app.payments()
    assert runtime.alias() == "default"
    for given in ({**CREDENTIALS, "database": "default"}, {"DATABASE": "default"}, {}):
        with override_settings(MPESA_STK=given):
            assert runtime.alias() == "default"


def test_aiohttp_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the views use Django's threads."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert runtime.async_endpoints() is None


def test_public_names() -> None:
    """Each public name can be loaded, and no other one."""
    assert all(callable(getattr(app, name)) for name in app.__all__)
    assert set(app._LATER) == set(app.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'payment'"):
        app.payment  # noqa: B018 - a misspelling

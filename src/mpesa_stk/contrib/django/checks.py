"""System checks: what is wrong or missing in a project, as ``manage.py check`` and ``--deploy`` say it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 - Django's name
from django.db import connections

from mpesa_stk.commands.doctor_settings import REMEDIES, check_refusal, check_settings
from mpesa_stk.contrib.django import deployment
from mpesa_stk.contrib.django.host_settings import (
    NEEDS_DEBUG,
    SETTING,
    HostSettings,
    is_unset,
    read_settings,
)
from mpesa_stk.contrib.django.models import Payment
from mpesa_stk.contrib.django.mounting import callback_path
from mpesa_stk.contrib.django.orm_database import alias_of
from mpesa_stk.errors import ConfigurationError

__all__ = ["TAG", "check_deployment", "check_project", "found_in_settings", "register_checks"]

TAG = "mpesa_stk"
_OF_ACCOUNTS = {
    "callback_secret": 21,
    "c2b_callback": 22,
    "trusted_proxies": 23,
    "allowed_callback_networks": 24,
    "mpesa_environment": 25,
    "pass_key": 26,
    "shortcode": 27,
}
_CORRECT = (
    "Correct the setting. The page about Django in the documentation has a table of all of them."
)
_CSRF = "django.middleware.csrf.CsrfViewMiddleware"


def register_checks() -> None:
    """Let Django run these checks."""
    register(check_project, TAG)
    register(check_deployment, TAG, deploy=True)


def check_project(**_given: object) -> list[CheckMessage]:
    """Check what matters on every machine."""
    host, messages = found_in_settings()
    if host is not None:
        messages += _of_endpoints(host)
    return messages


def check_deployment(**_given: object) -> list[CheckMessage]:
    """Check what matters if customers pay."""
    try:
        host = _read()
    except ConfigurationError as error:
        return list(_of_refusal(error, live=True))
    return [*deployment.found(host), *_of_accounts(host)]


def found_in_settings() -> tuple[HostSettings | None, list[CheckMessage]]:
    """Read the settings. Return them, or None and what is wrong with them.

    It is only a warning if they hold no credentials at all, as on a machine that only builds or tests.
    """
    try:
        return _read(), []
    except ConfigurationError as error:
        if is_unset(error):
            text = "The payments have no credentials, so no customer can pay."
            hint = (
                f"Set them in {SETTING} or in the environment. To try it without any: "
                f'{SETTING} = {{"simulate": True}}'
            )
            return None, [Warning(text, hint=hint, id="mpesa_stk.W001")]
        return None, list(_of_refusal(error, live=False))


def _read() -> HostSettings:
    """Read the settings, without the warnings that the checks give themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_settings()


def _of_refusal(error: ConfigurationError, *, live: bool) -> Iterator[CheckMessage]:
    """Yield each setting that cannot work.

    Without `live`, only what is wrong on every machine. Django's test runner turns DEBUG off.
    """
    if live:
        needs_debug = [name for name, rule in error.problems if rule == NEEDS_DEBUG]
        if needs_debug:
            hint = f'Remove "simulate" from {SETTING}, and set the credentials of your account.'
            text = "Payments are simulated: orders would count as paid without money."
            yield Error(text, hint=hint, id="mpesa_stk.E003")
        if is_unset(error):
            hint = f"Set them in {SETTING} or in the environment."
            yield Error("The payments have no credentials.", hint=hint, id="mpesa_stk.E004")
        return
    for finding in check_refusal(error):
        if finding.text != NEEDS_DEBUG:
            known = finding.check.rpartition(".")[2] in REMEDIES
            remedy = f"{finding.remedy[:1].upper()}{finding.remedy[1:]}."
            text = f"{SETTING}: {finding.check} {finding.text}."
            yield Error(text, hint=remedy if known else _CORRECT, id="mpesa_stk.E001")


def _of_endpoints(host: HostSettings) -> Iterator[CheckMessage]:
    """Yield what is wrong with the way to the endpoints, and with the database behind them."""
    alias = alias_of(Payment, host.database)
    database = connections[alias].settings_dict
    if not database["AUTOCOMMIT"]:
        yield Error(
            f"The database {alias!r} has AUTOCOMMIT off, so a payment would not be stored before its push.",
            hint=f"Remove AUTOCOMMIT, or name another alias as {SETTING}['database'].",
            id="mpesa_stk.E002",
        )
    if database["ATOMIC_REQUESTS"]:
        yield Warning(
            f"The database {alias!r} has ATOMIC_REQUESTS on: a view of yours that checks out is refused, "
            "because its transaction could be rolled back after the customer was asked.",
            hint="Decorate such views with @transaction.non_atomic_requests. The endpoints need nothing.",
            id="mpesa_stk.W007",
        )
    if callback_path() is None:
        yield Warning(
            "The URLs do not include the payment endpoints, so Daraja's callbacks find no page.",
            hint='Add path("payments/", include("mpesa_stk.contrib.django.urls")) to your URLs.',
            id="mpesa_stk.W003",
        )
        return
    if host.quote is None:
        yield Warning(
            "Nothing says what an order costs, so whoever reaches the checkout decides what he pays.",
            hint=f"Name a function as {SETTING}['quote']: it gets the order and returns its price.",
            id="mpesa_stk.W002",
        )
    yield from _of_callback_urls(config.callback_url for config in host.configs)
    if _CSRF not in settings.MIDDLEWARE:
        yield Warning(
            "The CSRF middleware is missing: pages of other sites could start checkouts in old browsers.",
            hint=f"Add {_CSRF!r} to MIDDLEWARE.",
            id="mpesa_stk.W006",
        )


def _of_callback_urls(urls: Iterable[str]) -> Iterator[CheckMessage]:
    for url in dict.fromkeys(urls):
        if not deployment.leads_to_callback(url):
            yield Warning(
                f"{url} is the address of the callbacks, and its path is not that of the endpoint, "
                f"which is {callback_path()}.",
                hint="Correct c2b_callback. If a proxy changes paths, silence this check.",
                id="mpesa_stk.W004",
            )


def _of_accounts(host: HostSettings) -> Iterator[CheckMessage]:
    """Yield what `doctor` finds in the settings of each account, without a request."""
    for config in host.configs:
        for finding in check_settings(config):
            if finding.level != "ok":
                number = _OF_ACCOUNTS.get(finding.check, 20)
                is_problem = finding.level == "problem"
                kind, letter = (Error, "E") if is_problem else (Warning, "W")
                yield kind(
                    f"{config.account}: {finding.check} {finding.text}.",
                    hint=f"{finding.remedy[:1].upper()}{finding.remedy[1:]}.",
                    id=f"mpesa_stk.{letter}{number:03}",
                )

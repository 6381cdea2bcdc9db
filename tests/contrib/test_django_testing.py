"""The tools for tests of Django hosts: a mixin for Django's test runner, a fixture for pytest-django."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import unittest
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

import django_host_tests
from django_host import running
from mpesa_stk import InvalidRequest, Payments, SubscriberBusy
from mpesa_stk.contrib.django import payments, process_due
from mpesa_stk.contrib.django.testing import simulated_daraja
from mpesa_stk.testing import SimulatedDaraja
from support import ROOT

pytest_plugins = ["mpesa_stk.contrib.django.pytest_plugin"]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[None]:
    """The fixture of pytest-django by this name, in this process."""
    with running(tmp_path):
        yield


def outcome_of(*classes: type[unittest.TestCase]) -> unittest.TestResult:
    """Run the tests of classes."""
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return unittest.TestSuite(map(load, classes)).run(unittest.TestResult())


def test_mixin_simulates_daraja_in_djangos_test_runner(tmp_path: Path) -> None:
    """All tests of the hosts pass, and the project has no credentials."""
    with running(tmp_path, MPESA_STK={}):
        outcome = outcome_of(django_host_tests.PaymentTests, django_host_tests.CancelledTests)
    assert outcome.testsRun == 3
    assert outcome.errors == outcome.failures == []


def test_the_error_says_how_to_mount_the_endpoints(tmp_path: Path) -> None:
    """Callbacks go through the project's URLs, so they must be there."""
    with running(tmp_path, ROOT_URLCONF="django_host_without_payments"):
        ((_, text),) = outcome_of(django_host_tests.BrokenTests).errors
        with pytest.raises(ImproperlyConfigured), simulated_daraja():
            raise AssertionError
    assert 'add path("payments/", include("mpesa_stk.contrib.django.urls"))' in text


def test_an_error_of_the_projects_callback_page_fails_the_test(tmp_path: Path) -> None:
    """A callback that the project answers with an exception is not lost silently."""

    def refuse(_config: object) -> None:
        raise InvalidRequest("guard", "is broken")

    def pay() -> None:
        with simulated_daraja() as daraja:
            daraja.client().push(phone_number="0718643064", amount=1, reference="A")
            daraja.run()

    with running(tmp_path, MPESA_STK={"guard": refuse}), pytest.raises(InvalidRequest):
        pay()


def test_a_scenario_may_be_given(tmp_path: Path) -> None:
    """The same names as on the simulator's page."""
    with running(tmp_path), simulated_daraja(scenario="subscriber-locked"):
        shop = payments()
        assert isinstance(shop, Payments)
        with pytest.raises(SubscriberBusy):
            shop.checkout(phone_number="0718643064", amount=1, reference="A")


@pytest.mark.usefixtures("db")
def test_fixture_plays_the_customers(mpesa_daraja: SimulatedDaraja) -> None:
    """They answer when the test says so."""
    shop = payments()
    assert isinstance(shop, Payments)
    asked = shop.checkout(phone_number="0718643064", amount=1, reference="A")
    mpesa_daraja.run()
    assert process_due().reported == 1
    after = shop.get(asked.transaction_no)
    assert after is not None
    assert after.paid


HOST_TEST = '''
    """A host's test with pytest-django."""

    from mpesa_stk.contrib.django import payments, process_due

    pytest_plugins = ["mpesa_stk.contrib.django.pytest_plugin"]


    def test_payment(mpesa_daraja, client):
        body = {"phone_number": "0718643064", "amount": 100, "reference": "INV-1"}
        answer = client.post("/payments/checkout/", body, content_type="application/json")
        mpesa_daraja.run()
        assert process_due().reported == 1
        assert payments().get(answer.json()["transaction_no"]).paid
'''
HOST_SETTINGS = '''
    """The settings of a host."""

    SECRET_KEY = "a-key"
    ROOT_URLCONF = "host_urls"
    USE_TZ = True
    INSTALLED_APPS = ["mpesa_stk.contrib.django"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
'''
HOST_URLS = '''
    """The URLs of a host."""

    from django.urls import include, path

    urlpatterns = [path("payments/", include("mpesa_stk.contrib.django.urls"))]
'''


def test_fixture_simulates_daraja_in_pytest_django(tmp_path: Path) -> None:
    """It needs no more than its name in the arguments, in a process that has the host's settings."""
    for name, text in (
        ("test_host", HOST_TEST),
        ("host_settings", HOST_SETTINGS),
        ("host_urls", HOST_URLS),
    ):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "pytest_django.plugin", "--ds=host_settings"]
    done = subprocess.run(  # noqa: S603 - our own arguments
        [*command, "-W", "error", "--rootdir", str(tmp_path), "test_host.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # the others take seconds
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert ROOT not in tmp_path.parents

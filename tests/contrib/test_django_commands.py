"""The commands of ``manage.py``: those of ``mpesa-stk`` on the payments of the project."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import requests
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.test import override_settings

from django_host import CREDENTIALS, running
from mpesa_stk import Payments, Transaction
from mpesa_stk.contrib.django import payments
from mpesa_stk.contrib.django.models import Payment
from mpesa_stk.contrib.django.project_command import ProjectCommand
from mpesa_stk.contrib.django.signals import payment_settled
from mpesa_stk.contrib.django.testing import simulated_daraja
from mpesa_stk.testing import SimulatedDaraja
from processes import free_port


@pytest.fixture(name="daraja")
def _daraja(tmp_path: Path) -> Iterator[SimulatedDaraja]:
    """A project over a simulated Daraja."""
    with running(tmp_path), simulated_daraja() as daraja:
        yield daraja


@pytest.fixture(name="told")
def _told() -> Iterator[list[Transaction]]:
    """What a receiver of the host is told. It ends the command that runs."""
    told: list[Transaction] = []

    def take(*, transaction: Transaction, **_given: object) -> None:
        told.append(transaction)
        signal.raise_signal(signal.SIGTERM)

    payment_settled.connect(take)
    yield told
    payment_settled.disconnect(take)


def manage(*arguments: str, code: int = 0) -> str:
    """Run ``manage.py`` with arguments, and return what it printed."""
    output = StringIO()
    ends = pytest.raises(SystemExit) if code else contextlib.nullcontext()
    with ends as caught:
        call_command(*arguments, stdout=output)
    assert caught is None or caught.value.code == code, output.getvalue()
    return output.getvalue()


def asked() -> Transaction:
    """Ask for 100 shillings."""
    shop = payments()
    assert isinstance(shop, Payments)
    return shop.checkout(phone_number="0718643064", amount=100, reference="INV-1", order="INV-1")


class QuietRequests(WSGIRequestHandler):  # type: ignore[misc]  # Django has no types
    """The requests of runserver, without its log."""

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def pay_as_a_browser(shop: str, port: int) -> None:
    """When the simulator listens, open the page of the shop and press its button."""
    pause = threading.Event()
    for _ in range(400):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            break
        pause.wait(0.02)
    browser = requests.Session()
    browser.get(shop, timeout=10)
    token = {"X-CSRFToken": browser.cookies["csrftoken"]}
    body = {"phone_number": "0718643064", "amount": 100, "reference": "INV-1"}
    answer = browser.post(f"{shop}/payments/checkout/", json=body, headers=token, timeout=10)
    answer.raise_for_status()


# --- mpesa_worker ------------------------------------------------------------------------------------


def test_worker_sends_the_signals_until_a_signal_stops_it(
    daraja: SimulatedDaraja, told: list[Transaction], capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM ends it after the payment in hand."""
    asked()
    daraja.run()
    assert "reported 1" in manage("mpesa_worker")
    assert [one.reference for one in told] == ["INV-1"]
    assert "SIGTERM" in capsys.readouterr().err


def test_worker_once_is_for_cron(daraja: SimulatedDaraja, told: list[Transaction]) -> None:
    """It does what is due now, and prints a line only if there was something."""
    assert manage("mpesa_worker", "--once") == ""
    asked()
    daraja.run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "raise_signal", lambda _number: None)
        assert manage("mpesa_worker", "--once") == "claimed 1, reported 1\n"
    assert len(told) == 1


def test_worker_names_every_setting_that_cannot_work(capsys: pytest.CaptureFixture[str]) -> None:
    """It ends at once, and names the command that says what to do."""
    with running(MPESA_STK={}):
        manage("mpesa_worker", code=2)
    printed = capsys.readouterr().err
    assert "manage.py mpesa_worker: consumer_key: is not set" in printed
    assert "`manage.py mpesa_doctor` says what to do" in printed


@pytest.mark.usefixtures("daraja")
def test_worker_refuses_options_that_do_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    """The advice names the project's own command."""
    manage("mpesa_worker", "--once", "--pull", "15m", code=2)
    assert "`manage.py mpesa_reconcile --pull --apply`" in capsys.readouterr().err


# --- the desk ----------------------------------------------------------------------------------------


def test_payments_are_those_of_the_project(daraja: SimulatedDaraja) -> None:
    """List, show and resolve work on the project's database, and ask for no other one."""
    number = asked().transaction_no
    daraja.run()
    assert "INV-1" in manage("mpesa_payments", "list")
    assert "SUCCEEDED" in manage("mpesa_payments", "show", number)
    Payment.objects.update(needs_review="order paid twice", in_review=True)
    printed = manage("mpesa_payments", "reviews", code=1)
    assert "manage.py mpesa_payments resolve" in printed
    manage("mpesa_payments", "resolve", number, "--note", "given back", "--by", "Asha", "--yes")
    assert manage("mpesa_payments", "reviews") == ""


def test_payments_need_no_credentials(tmp_path: Path) -> None:
    """A machine that only looks at payments knows the database, and no secret."""
    for given in ({}, {"DATABASE": "default"}):
        with running(tmp_path, MPESA_STK=given):
            assert "INV-1" not in manage("mpesa_payments", "list")


# --- mpesa_reconcile ---------------------------------------------------------------------------------


def test_reconcile_asks_daraja_for_the_records(daraja: SimulatedDaraja) -> None:
    """A payment whose callback was lost is found there, and is paid with ``--apply``."""
    daraja.register_for_pulls(daraja.config.account)
    daraja.play("callback-lost")
    number = asked().transaction_no
    daraja.run()
    daraja.clock.advance(600)
    facts = json.loads(manage("mpesa_reconcile", "--pull", "--json", "--apply"))
    assert facts["records"][0]["applied"]
    assert Payment.objects.get(pk=number).state == "SUCCEEDED"


# --- mpesa_doctor ------------------------------------------------------------------------------------


def test_doctor_says_what_to_do_about_the_settings() -> None:
    """Without credentials it repeats what the system checks say."""
    with running(MPESA_STK={"shortcode": "600000"}):
        printed = manage("mpesa_doctor", "--offline", code=1)
    assert "problem  mpesa_stk.E001: MPESA_STK: consumer_key is not set." in printed
    with running(MPESA_STK={}):
        assert "mpesa_stk.E004" in manage("mpesa_doctor", code=1)


def test_doctor_looks_at_the_deployment_and_asks_daraja(
    daraja: SimulatedDaraja, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs the checks for a deployment, and then asks Daraja."""
    monkeypatch.setattr(ProjectCommand, "transport", daraja)
    with override_settings(MPESA_STK={**CREDENTIALS, "quote": "django_host.quote"}):
        facts = json.loads(manage("mpesa_doctor", "--json", code=1))
        offline = json.loads(manage("mpesa_doctor", "--json", "--offline"))
    assert "mpesa_stk.W008" in {finding["check"] for finding in facts["findings"]}
    assert "token" in {finding["check"] for finding in facts["findings"]}
    assert "token" not in {finding["check"] for finding in offline["findings"]}


# --- mpesa_simulate ----------------------------------------------------------------------------------


def test_simulate_needs_the_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the shop would ask another Daraja."""
    with running():
        manage("mpesa_simulate", code=2)
    assert '"simulate": True' in capsys.readouterr().err


def test_simulate_is_daraja_and_does_the_due_work(
    tmp_path: Path, told: list[Transaction], capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside runserver it is all that a developer needs: the payment is asked for, paid and reported."""
    port = free_port()
    with ThreadedWSGIServer(("127.0.0.1", 0), QuietRequests) as server:
        shop = f"http://127.0.0.1:{server.server_address[1]}"
        given = {"simulate": True, "simulate_port": port, "simulate_shop": shop}
        with running(tmp_path, DEBUG=True, ALLOWED_HOSTS=[], MPESA_STK=given):
            server.set_app(get_wsgi_application())
            threads = [
                threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True),
                threading.Thread(target=pay_as_a_browser, args=(shop, port), daemon=True),
            ]
            for thread in threads:
                thread.start()
            printed = manage("mpesa_simulate", "--scenario", "callback-first")
            server.shutdown()
            for thread in threads:
                thread.join(10)
    assert f"The customer's phone is at http://127.0.0.1:{port}/" in printed
    assert f"Callbacks go to {shop}/payments/callback/" in printed
    assert [one.paid for one in told] == [True]
    assert "no money moves" in capsys.readouterr().err


def test_simulate_says_that_its_port_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another one may be running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = {"simulate": True, "simulate_port": taken.getsockname()[1]}
        with running(tmp_path, DEBUG=True, MPESA_STK=given):
            manage("mpesa_simulate", code=1)
    assert "manage.py mpesa_simulate: cannot listen on 127.0.0.1" in capsys.readouterr().err

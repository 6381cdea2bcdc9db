"""The tutorials, typed to the letter in an empty folder: a paid order, and its row.

They install packages from the index, so they run if MPESA_STK_FIRST_MINUTES=1 is set, as `.ci/run` does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import attrs
import pytest
import requests

from support import ROOT
from tutorials import Step, Terminal, alone, steps_of

pytestmark = pytest.mark.slow

TUTORIAL = ROOT / "docs" / "tutorial"
PAGES = ("django.md", "fastapi.md", "flask.md")
MOST_LINES = 12
ADMIN = "http://127.0.0.1:8000/admin"
T = TypeVar("T")
ORDER = "http://127.0.0.1:8000/orders/INV-001"
PATIENCE = 30.0
# Neither the settings of this process nor its packages, but the way to the index.
KEPT = re.compile(r"HOME|LANG|LC_ALL|TMPDIR|PIP_\w+|SSL_CERT_\w+|\w+_proxy", re.IGNORECASE)
asked_for = pytest.mark.skipif(
    os.environ.get("MPESA_STK_FIRST_MINUTES") != "1",
    reason="installs from the index; MPESA_STK_FIRST_MINUTES=1 asks for it",
)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of this project, in which the tutorials' pip finds it."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*pip, str(ROOT)], check=True, timeout=200)  # noqa: S603 - our own interpreter
    return folder


@pytest.fixture
def terminal(tmp_path: Path, wheels: Path) -> Iterator[Terminal]:
    """A shell in an empty folder, on a machine that has only Python."""
    environ = {name: text for name, text in os.environ.items() if KEPT.fullmatch(name)}
    environ |= {
        "PATH": f"{Path(sys._base_executable).parent}:/usr/bin:/bin",  # type: ignore[attr-defined]
        "PIP_FIND_LINKS": f"{wheels} {os.environ.get('PIP_FIND_LINKS', '')}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_CACHE_DIR": "1",
        "PYTHONUNBUFFERED": "1",
    }
    terminal = Terminal(tmp_path, environ)
    yield terminal
    terminal.close()


@attrs.define
class Reader:
    """Whoever follows a tutorial: he types its lines, and buys when the shop runs."""

    terminal: Terminal
    in_admin: bool
    seconds: float = 0.0
    seen: str = ""

    def follow(self, page: str) -> str:
        """Do all steps, and give the receipt that the page of the shop shows."""
        receipt = ""
        started = time.monotonic()
        steps = steps_of(TUTORIAL / page)
        runs = next(number for number, step in enumerate(steps) if _runs_the_shop(step))
        for step in steps[:runs]:
            self.terminal.do(step)
        self.seconds = time.monotonic() - started
        with alone():
            started = time.monotonic()
            self.terminal.do(steps[runs])
            admin = Admin() if self.in_admin else None
            receipt = buy()
            self.seen = "".join(self.terminal.do(step) for step in steps[runs + 1 :])
            if admin is not None:
                self.seen = admin.payments()
            self.seconds += time.monotonic() - started
        return receipt


def _runs_the_shop(step: Step) -> bool:
    return any("8000" in line or "runserver" in line for line in step.lines)


class Admin:
    """The admin of the Django shop, in which the first order is added."""

    def __init__(self) -> None:
        self._session = requests.Session()
        until(lambda: self._session.get(f"{ADMIN}/login/", timeout=5))
        self._post("/login/", username="admin", password="only-for-this-tutorial", next="/admin/")
        assert "was added successfully" in self._post(
            "/orders/order/add/", number="INV-001", price="1500"
        )

    def _post(self, path: str, **fields: str) -> str:
        self._session.get(f"{ADMIN}{path}", timeout=10)
        fields["csrfmiddlewaretoken"] = self._session.cookies["csrftoken"]
        return self._session.post(f"{ADMIN}{path}", data=fields, timeout=10).text

    def payments(self) -> str:
        """The first payment, as its page shows it."""
        rows = self._session.get(f"{ADMIN}/mpesa_stk/payment/", timeout=10).text
        link = rows.partition('href="/admin/mpesa_stk/payment/')[2].partition('"')[0]
        return self._session.get(f"{ADMIN}/mpesa_stk/payment/{link}", timeout=10).text


def buy() -> str:
    """Fill in the form of the shop's page, wait for the page to say more, and give the receipt."""
    session = requests.Session()
    page = until(lambda: session.get(ORDER, timeout=5))
    form = {"phone_number": "0712 345 678"}
    if "csrfmiddlewaretoken" in page.text:
        form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
    waiting = session.post(ORDER, data=form, timeout=20)
    assert "Please answer the M-Pesa prompt on your phone" in waiting.text
    assert 'http-equiv="refresh"' in waiting.text

    def paid() -> str:
        text = session.get(ORDER, timeout=5).text
        return text.partition("Receipt ")[2][:10]

    return until(paid)


def until(look: Callable[[], T]) -> T:
    """Look until there is something to see."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if found := look():
                return found
        except requests.ConnectionError:
            pass
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_is_short(page: str) -> None:
    """At most twelve lines are typed, and the files are shown whole."""
    lines = [line for step in steps_of(TUTORIAL / page) for line in step.lines]
    assert 8 <= len(lines) <= MOST_LINES


@asked_for
@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_ends_with_a_paid_order(
    page: str, terminal: Terminal, record_property: Callable[[str, object], None]
) -> None:
    """From an empty folder to a paid order, and its payment in the admin or at the command line."""
    reader = Reader(terminal, in_admin=page == "django.md")
    receipt = reader.follow(page)
    record_property("seconds", round(reader.seconds))
    print(f"{page}: {reader.seconds:.0f} s")  # noqa: T201 - shown by pytest -s
    assert receipt in reader.seen
    assert "SUCCEEDED" in reader.seen

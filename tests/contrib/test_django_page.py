"""The page about Django: its tables are whole, and the project of its blocks passes its own tests."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from django_host import running
from mpesa_stk.contrib import django as app
from mpesa_stk.contrib.django import checks, deployment, host_settings, signals
from support import ROOT

PAGE = (ROOT / "docs" / "how-to" / "django.md").read_text(encoding="utf-8")
PACKAGE = Path(app.__file__).parent
SETTINGS = '''
"""The settings that `startproject` writes, as far as they matter here."""

SECRET_KEY = "a-key"
DEBUG = True
ROOT_URLCONF = "urls"
USE_TZ = True
INSTALLED_APPS = []
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
'''
URLS = '''
"""The URLs that `startproject` writes, and the view of the page."""

from django.urls import path

from kiosk import views

urlpatterns = [path("orders/<int:pk>/pay/", views.pay)]
'''
MORE_TESTS = '''

class ViewTests(SimulatedDarajaMixin, TestCase):
    """Tests of the view of the page."""

    def test_the_view_asks_once(self):
        """The second press is told that a prompt is open, and a wrong number is an error."""
        order = Order.objects.create(price=100)
        answer = self.client.post(f"/orders/{order.pk}/pay/", {"phone": "0718643064"})
        assert answer.content == b"PENDING: look at your phone", answer.content
        again = self.client.post(f"/orders/{order.pk}/pay/", {"phone": "0718643065"})
        assert again.status_code == 409
        assert self.client.post(f"/orders/{order.pk}/pay/", {"phone": "1"}).status_code == 502
'''


def cells(pattern: str) -> list[str]:
    """The first cells of the rows that match."""
    return re.findall(rf"^\| {pattern} \|", PAGE, flags=re.MULTILINE)


def test_the_table_has_every_key() -> None:
    """The keys of the Django app, in the order in which a reader needs them."""
    table = PAGE[PAGE.index("## Settings") : PAGE.index("### Several accounts")]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == sorted(
        host_settings.OWN
    )


def test_the_tables_have_every_check() -> None:
    """Each id that a check can have, and no other one."""
    sources = "".join(map(inspect.getsource, (checks, deployment)))
    ids = set(re.findall(r"mpesa_stk\.[EW]\d{3}", sources))
    listed = {
        name.removeprefix("`").removesuffix("`") for name in cells(r"(`mpesa_stk\.[EW]\d{3}`)")
    }
    assert listed == ids
    assert "`mpesa_stk.E020` to `E027`, `W020` to `W027`" in PAGE
    numbers = "".join(f", {number} `{name}`" for name, number in checks._OF_ACCOUNTS.items())
    assert f"about an account: {numbers[2:]}, 20 another one" in PAGE


def test_the_tables_have_every_command_name_and_signal() -> None:
    """A reader finds each of them on this page."""
    files = (PACKAGE / "management" / "commands").glob("mpesa_*.py")
    assert set(cells(r"`manage\.py (\w+)`")) == {path.stem for path in files}
    assert set(cells(r"`(payment_\w+)`")) == {
        name for name in signals.__all__ if name.startswith("payment_")
    }
    assert {name for name in app.__all__ if f"`{name}(" not in PAGE} == set()


def blocks() -> dict[str, str]:
    """The files of the page's project by their names, which are in their first lines."""
    found = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    return dict(found)


def test_the_project_of_the_page_passes_its_tests(tmp_path: Path) -> None:
    """It is made of the page's blocks and of what `startproject` writes."""
    files = blocks()
    files["settings.py"] = SETTINGS + files["settings.py"]
    files["urls.py"] = URLS + files["urls.py"]
    files["kiosk/tests.py"] += MORE_TESTS
    files["kiosk/__init__.py"] = ""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    manage = [sys.executable, "-W", "error", "-m", "django", "test", "-v0"]
    done = subprocess.run(  # noqa: S603 - our own arguments
        [*manage, "--settings=settings", f"--pythonpath={tmp_path}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Ran 2 tests", done.stderr), done.stderr


def test_a_project_as_on_the_page_has_no_warnings() -> None:
    """In development the checks are quiet about the settings of the page."""
    with running(DEBUG=True, MPESA_STK={"simulate": True, "quote": "django_host.quote"}):
        assert checks.check_project() == []


@pytest.mark.parametrize("name", ["settings.py", "urls.py", "kiosk/tests.py"])
def test_the_page_has_the_files_of_a_project(name: str) -> None:
    """A block that loses its first line would no longer be tested."""
    assert name in blocks()

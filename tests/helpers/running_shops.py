"""The example shops as their READMEs run them: processes beside a simulated Daraja."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from example_shops import EXAMPLES
from mpesa_stk.commands.simulate import settings_of
from mpesa_stk.simulator import SimulatorServer
from processes import ended, free_port

PATIENCE = 30.0
OWNER = "owner"
"""The name and the password of the owner of the Django shop."""
_MODULE = [sys.executable, "-m"]
# What each shop's README runs beside the simulator; the first one is the web server.
_DJANGO = {
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "DJANGO_SECRET_KEY": "of-the-tests" * 5,
    "DJANGO_SUPERUSER_USERNAME": OWNER,
    "DJANGO_SUPERUSER_PASSWORD": OWNER,
    "DJANGO_SUPERUSER_EMAIL": "owner@shop.example",
    "PYTHONPATH": ".",
}
_FIRST = (("migrate",), ("createsuperuser", "--noinput"))
COMMANDS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "flask": (
        ("flask", "--app", "app", "run", "--port", "{port}"),
        ("mpesa_stk", "worker", "--payments", "orders:payments", "--handler", "orders:mark_paid"),
    ),
    "fastapi": (
        ("uvicorn", "--factory", "app:create_app", "--port", "{port}", "--no-proxy-headers"),
    ),
    "django": (
        ("django", "runserver", "--noreload", "--insecure", "{port}"),
        ("django", "mpesa_worker"),
    ),
}


@contextlib.contextmanager
def running(name: str, daraja: SimulatorServer, folder: Path) -> Iterator[str]:
    """Run a copy of a shop in a folder, and give its address when it answers."""
    port = free_port()
    shop = folder / name
    shutil.copytree(EXAMPLES / f"{name}_shop", shop)
    settings = settings_of(daraja.environment, known=True)
    settings["C2B_CALLBACK"] = f"http://127.0.0.1:{port}/payments/callback"
    environ = os.environ | settings | _DJANGO | {"SHOP_DATABASE": str(shop / "shop.sqlite3")}
    log = folder / f"{name}.log"
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("w"))
        for first in _FIRST if name == "django" else ():
            subprocess.run(  # noqa: S603 - the same
                [*_MODULE, "django", *first],
                cwd=shop,
                env=environ,
                stdout=out,
                check=True,
                timeout=60,
            )
        for number, command in enumerate(COMMANDS[name]):
            filled = [word.format(port=port) for word in command]
            process = subprocess.Popen(  # noqa: S603 - our own examples
                [*_MODULE, *filled], cwd=shop, env=environ, stdout=out, stderr=out, text=True
            )
            stack.enter_context(ended(process))
            if number == 0:
                _wait_for(port, process, log)
        yield f"http://127.0.0.1:{port}"


def _wait_for(port: int, process: subprocess.Popen[str], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
    raise AssertionError(log.read_text(encoding="utf-8"))

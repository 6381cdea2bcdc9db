"""The example projects of the documentation, as the tests reach them: each one as a `Send`."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.db.backends.signals import connection_created
from django.test import Client

from mpesa_stk import PaymentEndpoints, WebRequest, WebResponse
from support import ROOT
from web_cases import HOST, Send

EXAMPLES = ROOT / "docs" / "examples"
DJANGO_SHOP = EXAMPLES / "django_shop"
ADAPTERS = {
    "flask": EXAMPLES / "flask_shop" / "app.py",
    "fastapi": EXAMPLES / "fastapi_shop" / "app.py",
}
# The shops of this process keep their orders here, unless a test names another file.
_FOLDER = tempfile.mkdtemp(prefix="shop-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
os.environ.setdefault("SHOP_DATABASE", str(Path(_FOLDER) / "shop.sqlite3"))

_MIGRATED: list[bytes] = []
"""A file with Django's tables, once the migrations made one: they need a second each time."""


def load(path: Path) -> Any:
    """The module of a file, with fresh modules from its folder, since the shops name theirs alike."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    beside = {file.stem for file in path.parent.glob("*.py")}
    hidden = {name: sys.modules.pop(name) for name in beside & set(sys.modules)}
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
        for name in beside & set(sys.modules):
            del sys.modules[name]
        sys.modules.update(hidden)
    return module


# --- Flask -------------------------------------------------------------------------------------------


def through_flask(endpoints: PaymentEndpoints) -> Send:
    """Requests go through the Flask shop."""
    client = load(ADAPTERS["flask"]).create_app(endpoints).test_client()

    def send(request: WebRequest) -> WebResponse:
        answer = client.open(
            request.path,
            method=request.method,
            headers=dict(request.headers),
            data=request.body,
            environ_overrides={"REMOTE_ADDR": request.remote_addr},
        )
        return WebResponse(answer.status_code, dict(answer.headers), answer.data)

    return send


# --- FastAPI -----------------------------------------------------------------------------------------

Fields = list[tuple[bytes, bytes]]


async def call_asgi(
    app: Any,
    request: WebRequest,
    *,
    fields: Fields | None = None,
    body: Iterable[bytes] = (),
    state: Mapping[str, Any] | None = None,
) -> WebResponse:
    """One request to an ASGI application; with other fields, a body in parts, the lifespan's state."""
    parts = iter(body or [request.body])
    part: bytes | None = next(parts)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": request.method,
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": fields or [(n.encode(), v.encode()) for n, v in request.headers.items()],
        "client": (request.remote_addr, 50_000),
        "server": (HOST, 80),
        "state": dict(state or {}),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        nonlocal part
        if part is None:  # the client does not hang up
            await asyncio.get_running_loop().create_future()
        now, part = part, next(parts, None)
        return {"type": "http.request", "body": now, "more_body": part is not None}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return WebResponse(start["status"], headers, b"".join(m.get("body", b"") for m in rest))


def through_fastapi(endpoints: PaymentEndpoints) -> Send:
    """Requests go through the FastAPI shop, each on an event loop of its own."""
    app = load(ADAPTERS["fastapi"]).create_app(endpoints)
    return lambda request: asyncio.run(call_asgi(app, request))


# --- Django ------------------------------------------------------------------------------------------


def set_up_django() -> None:
    """Give this process the settings of the Django shop, once. Its children do not inherit them."""
    if not settings.configured:
        sys.path.insert(0, str(DJANGO_SHOP))
        variables = {
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "DJANGO_SECRET_KEY": "of-the-tests" * 5,  # with a key it is no development
        }
        os.environ.update(variables)
        django.setup()
        for name in variables:
            del os.environ[name]
        connection_created.connect(_wait_for_no_disk)


def django_module(name: str) -> Any:
    """A module of the Django shop."""
    set_up_django()
    return importlib.import_module(name)


def _wait_for_no_disk(connection: Any, **_given: object) -> None:
    """A test may lose its file in a power cut."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous = OFF")


@contextmanager
def django_database(path: Path) -> Iterator[None]:
    """The Django shop's tables in a file, for all threads; no connection stays open."""
    set_up_django()
    connections.close_all()
    connections.settings["default"]["NAME"] = str(path)
    try:
        if _MIGRATED:
            path.write_bytes(_MIGRATED[0])
        else:
            call_command("migrate", verbosity=0)
            _MIGRATED.append(path.read_bytes())
        yield
    finally:
        connections.close_all()


def django_answer(client: Client, request: WebRequest, **headers: str) -> WebResponse:
    """One request through Django's test client."""
    answer = client.generic(
        request.method,
        request.path,
        request.body,
        headers={**request.headers, **headers},
        REMOTE_ADDR=request.remote_addr,
    )
    return WebResponse(answer.status_code, dict(answer.headers), answer.content)

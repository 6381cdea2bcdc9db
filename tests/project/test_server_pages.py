"""docs/how-to of servers: the files of the pages, in the real servers.

nginx and systemd-analyze are used where the machine has them. With MPESA_STK_REQUIRE_NGINX=1 a missing
nginx is a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from mpesa_stk import HttpResponse
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest
from page_blocks import HOW_TO, block, blocks
from processes import ended, free_port

TOKEN = "6f9619ff-8b86-4011-b42d-00c04fc964ff.0123456789abcdef0123456789abcdef"
PATIENCE = 30.0
SHOP = """
from mpesa_stk import PaymentEndpoints
from mpesa_stk.testing import SimulatedDaraja

endpoints = PaymentEndpoints(SimulatedDaraja().payments())
wsgi, asgi = endpoints.wsgi, endpoints.asgi
"""
ORIGIN = re.compile(r"https?://127\.0\.0\.1:[1-9]\d*")


class Server:
    """A server that runs: its lines, as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def wait_for(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """The first further line with that pattern."""
        while True:
            if found := pattern.search(self._lines.get(timeout=PATIENCE)):
                return found

    def read_to_the_end(self) -> None:
        """Wait until the process has closed its output."""
        self._reader.join(PATIENCE)


@contextlib.contextmanager
def running(*command: str, folder: Path) -> Iterator[Server]:
    """Run a server in a folder until the end of the block."""
    with subprocess.Popen(  # noqa: S603 - servers of the development requirements, and nginx
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        server = Server(process)
        with ended(process):
            yield server
            process.terminate()  # gunicorn ends its workers
            server.read_to_the_end()
        server.read_to_the_end()


def module(name: str, *arguments: str, folder: Path) -> contextlib.AbstractContextManager[Server]:
    """Run a server of Python's over a shop."""
    (folder / "shop.py").write_text(SHOP)
    return running(sys.executable, "-m", name, *arguments, folder=folder)


def post_callback(origin: str, **headers: str) -> int:
    """Post a callback that no payment of the shop has, and return the status."""
    url = f"{origin}/payments/callback/{TOKEN}/"
    return requests.post(url, json={}, headers=headers, timeout=PATIENCE).status_code


def masked(server: Server) -> str:
    """The line of the access log about the callback."""
    line = server.wait_for(re.compile(r".*POST /payments/callback.*"))[0]
    assert TOKEN not in line
    assert "/payments/callback/***/" in line
    return line


@pytest.mark.slow
def test_gunicorn_with_the_page_s_file(tmp_path: Path) -> None:
    """It starts with threads, answers a callback, and writes its path without the token."""
    page = HOW_TO / "gunicorn.md"
    (tmp_path / "gunicorn.conf.py").write_text(block(page, "python", "gunicorn.conf.py"))
    (called,) = [line for line in blocks(page, "sh") if line.startswith("gunicorn ")]
    options = called.split()[1:-1]
    arguments = [*options, "--bind", "127.0.0.1:0", "shop:wsgi"]
    with module("gunicorn", *arguments, folder=tmp_path) as server:
        origin = server.wait_for(ORIGIN)[0]
        server.wait_for(re.compile("Using worker: gthread"))
        assert post_callback(origin) == 403
        assert "403" in masked(server)


@pytest.mark.slow
def test_uvicorn_with_the_page_s_files(tmp_path: Path) -> None:
    """It starts with all options of the page, and writes the path of a callback without the token."""
    page = HOW_TO / "uvicorn.md"
    (tmp_path / "logs.py").write_text(block(page, "python", "logs.py"))
    (log_config,) = blocks(page, "json")
    assert json.loads(log_config)["loggers"].keys() == {
        "uvicorn.access",
        "uvicorn.error",
        "mpesa_stk",
    }
    (tmp_path / "logging.json").write_text(log_config)
    (called,) = [line for line in blocks(page, "sh") if line.startswith("uvicorn ")]
    _, factory, _, *options = called.split()
    assert factory == "--factory"
    options[options.index("--port") + 1] = "0"
    options[options.index("--workers") + 1] = "1"  # several say no port
    with module("uvicorn", "shop:asgi", *options, folder=tmp_path) as server:
        origin = server.wait_for(ORIGIN)[0]
        assert post_callback(origin) == 403
        assert "403" in masked(server)


# --- nginx -------------------------------------------------------------------------------------------


@pytest.fixture
def nginx() -> str:
    """The program."""
    found = shutil.which("nginx")
    if found is None:
        if os.environ.get("MPESA_STK_REQUIRE_NGINX") == "1":
            pytest.fail("MPESA_STK_REQUIRE_NGINX is set, and there is no nginx")
        pytest.skip("needs nginx")
    return found


def configured(folder: Path, *, port: int, upstream: str) -> Path:
    """The page's file in a whole configuration, without TLS, on other ports and in a folder."""
    page = block(HOW_TO / "nginx.md", "nginx", "/etc/nginx/conf.d/shop.conf")
    page = page.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    page = re.sub(r"^ *ssl_certificate.*\n", "", page, flags=re.MULTILINE)
    page = page.replace("server 127.0.0.1:8000;", f"server {upstream};")
    page = page.replace("/var/log/nginx/shop.log", str(folder / "access.log"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr notice;\n"
        f"events {{}}\nhttp {{\n{paths}{page}}}\n"
    )
    return file


@pytest.mark.slow
def test_nginx_with_the_page_s_file(nginx: str, tmp_path: Path) -> None:
    """The file is valid, the client's address is nginx's word, and the log has no token."""
    seen: list[WebRequest] = []

    def take(request: WebRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse(status=403, headers={}, body=b"{}")

    port = free_port()
    with HttpServer(take) as shop:
        file = configured(tmp_path, port=port, upstream=shop.origin.removeprefix("http://"))
        arguments = [nginx, "-e", "stderr", "-p", str(tmp_path), "-c", str(file)]
        subprocess.run([*arguments, "-t"], check=True, timeout=PATIENCE, capture_output=True)  # noqa: S603
        with running(*arguments, folder=tmp_path) as server:
            server.wait_for(re.compile("using the|start worker|getrlimit"))
            headers = {"X-Forwarded-For": "196.201.212.69", "Host": "shop.example.co.ke"}
            assert post_callback(f"http://127.0.0.1:{port}", **headers) == 403
            server.process.send_signal(signal.SIGQUIT)  # after it has written its log
            server.process.wait(PATIENCE)

    (request,) = seen
    fields = {name.lower(): value for name, value in request.headers.items()}
    assert request.path == f"/payments/callback/{TOKEN}/"
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["host"] == "shop.example.co.ke"
    log = (tmp_path / "access.log").read_text()
    assert '"POST /payments/callback/***" 403' in log
    assert TOKEN not in log


# --- systemd -----------------------------------------------------------------------------------------


def units() -> dict[str, str]:
    """The units of the page, by their names."""
    found = blocks(HOW_TO / "systemd.md", "ini")
    return {Path(unit.partition("\n")[0][2:]).name: unit for unit in found}


def test_units_run_what_this_package_has() -> None:
    """Four units, and each service names the file of settings and its user."""
    assert sorted(units()) == [
        "shop-close.service",
        "shop-close.timer",
        "shop-worker.service",
        "shop.service",
    ]
    for name, unit in units().items():
        if name.endswith(".service"):
            assert "EnvironmentFile=/etc/shop/daraja.env" in unit
            assert "User=shop" in unit


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds no fault in them."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("needs systemd-analyze")
    for name, unit in units().items():
        # The programs of the page are not on this machine.
        (tmp_path / name).write_text(re.sub(r"/srv/shop/\.venv/bin/[\w-]+", "/bin/true", unit))
    files = [str(tmp_path / name) for name in units()]
    checked = subprocess.run(  # noqa: S603 - of the system
        [verify, "verify", *files], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert checked.returncode == 0, checked.stderr
    ours = [line for line in checked.stderr.splitlines() if str(tmp_path) in line]
    assert ours == []

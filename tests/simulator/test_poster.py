"""One callback is posted: what arrives, and what is told of each way in which it can fail."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from loopback import Server, answer, closed_port, drip, hang_up, head, reset, say, stay_silent
from mpesa_stk.simulator.poster import Posted, _exchange, post_callback

BODY = b'{"Body": {}}'


def test_a_callback_arrives_as_it_is() -> None:
    """One POST of JSON, to the very path and query; the answer comes back."""
    with Server(answer(200, b'{"ResultCode": 0}')) as server:
        posted = post_callback(f"{server.origin}/pay/callback?shop=1", BODY)

    (received,) = server.received
    assert (received.method, received.target) == ("POST", "/pay/callback?shop=1")
    assert received.body == BODY
    assert received.headers["content-type"] == "application/json;charset=UTF-8"
    assert posted == Posted(status=200, body=b'{"ResultCode": 0}')
    assert posted.taken


@pytest.mark.parametrize(
    ("status", "taken"), [(199, False), (204, True), (299, True), (500, False)]
)
def test_only_a_2xx_takes_it(status: int, taken: bool) -> None:  # noqa: FBT001 - a table's column
    """What Daraja counts as delivered."""
    assert Posted(status=status).taken is taken
    assert not Posted(error="nobody listens there").taken


def test_a_redirect_is_not_followed() -> None:
    """It is told where it leads, and nobody goes there."""
    with Server(answer(307, location="/elsewhere")) as server:
        posted = post_callback(server.origin, BODY)

    assert (posted.status, posted.location, posted.taken) == (307, "/elsewhere", False)
    assert [received.target for received in server.received] == ["/"]


def test_a_long_answer_is_cut() -> None:
    """The first 8 KiB tell enough."""
    with Server(answer(200, b"x" * 20_000)) as server:
        assert post_callback(server.origin, BODY).body == b"x" * 8192


def test_an_answer_that_breaks_off_still_has_its_status() -> None:
    """The status came: that is the answer."""
    with Server(say(head(200, content_length=10) + b"half")) as server:
        assert post_callback(server.origin, BODY) == Posted(status=200, body=b"half")
    with Server(say(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")) as server:
        assert post_callback(server.origin, BODY) == Posted(status=201)


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (hang_up, "it hung up without an answer"),
        (reset, "it hung up without an answer"),
        (say(b"SSH-2.0-OpenSSH\r\n"), "its answer is not HTTP"),
    ],
)
def test_it_tells_why_there_is_no_answer(act: object, error: str) -> None:
    """In a few words, without the address."""
    with Server(act) as server:  # type: ignore[arg-type]  # a table's column
        assert post_callback(server.origin, BODY) == Posted(error=error)


def test_nobody_listens() -> None:
    """A port without a server is told as such."""
    with closed_port() as origin:
        assert post_callback(origin, BODY) == Posted(error="nobody listens there")


@pytest.mark.parametrize("act", [stay_silent, drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")])
def test_the_time_is_for_the_whole_exchange(act: object) -> None:
    """Silence ends it, and so does a receiver that sends a byte now and then."""
    started = time.monotonic()
    with Server(act) as server:  # type: ignore[arg-type]  # a table's column
        posted = post_callback(server.origin, BODY, timeout=0.2)
        elapsed = time.monotonic() - started

    assert posted == Posted(error="no answer within 0.2 s", timed_out=True)
    assert elapsed < 5.0


def test_a_connection_that_comes_too_late_is_not_used() -> None:
    """When the time was spent on connecting, nothing is sent any more."""
    with Server(answer(200)) as server:
        parts = urlsplit(server.origin)
        connection = http.client.HTTPConnection(parts.netloc, timeout=5.0)
        over = threading.Event()
        over.set()
        with pytest.raises(TimeoutError):
            _exchange(connection, parts, BODY, over)
        connection.close()

    assert server.received == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop",
        "ftp://127.0.0.1/",
        "http:///callback",
        "http://[::1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:port/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\u00fc",
        f"http://{'a' * 64}.example/",
    ],
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    """Nothing is raised, whatever the address."""
    assert post_callback(url, BODY, timeout=0.5) == Posted(error="its address cannot be used")


# --- TLS ---------------------------------------------------------------------------------------------


def test_a_server_without_tls_is_told() -> None:
    """An https address of a plain server."""

    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10.0)
        server = threading.Thread(target=greet)
        server.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        assert post_callback(url, BODY) == Posted(error="TLS failed")
        server.join(10.0)


def test_certificates_are_verified(tmp_path: Path) -> None:
    """A server that cannot prove who it is gets nothing."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=test"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603 - our own arguments
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Server(answer(200), tls=context) as server:
        assert post_callback(server.origin, BODY).error == "its certificate is not trusted"

    assert server.received == []

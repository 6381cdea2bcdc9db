"""Post one callback as Daraja does: once, and without following a redirect (docs/daraja.md, section 6)."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from urllib.parse import SplitResult, urlsplit

import attrs

from mpesa_stk.config.urls import host_of

CALLBACK_TIMEOUT = 5.0
"""Seconds that a receiver has to answer (docs/daraja.md, section 6)."""
_MOST_READ = 8192

# Words for each error. The first match counts. An address is a secret of the payment, so it is left out.
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionRefusedError, "nobody listens there"),
    (socket.gaierror, "its host name is not known"),
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "TLS failed"),
    (ConnectionError, "it hung up without an answer"),
    (OSError, "it cannot be reached"),
    (http.client.HTTPException, "its answer is not HTTP"),
    (ValueError, "its address cannot be used"),
)


@attrs.frozen(kw_only=True)
class Posted:
    """The answer to a callback, or the reason why there is no answer.

    Attributes:
        status: HTTP status of the answer, or None.
        body: The first 8 KiB of the answer's body, or the part that arrived.
        location: Target of a redirect, or empty.
        error: The reason why there is no answer, in a few words and without the address. It is empty if
            there is an answer.
        timed_out: Whether the time ended before the answer: the receiver may have taken the callback.
    """

    status: int | None = None
    body: bytes = attrs.field(default=b"", repr=False)
    location: str = attrs.field(default="", repr=False)
    error: str = ""
    timed_out: bool = False

    @property
    def taken(self) -> bool:
        """Whether the receiver took the callback: it answered with a 2xx."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - HTTP's success


def post_callback(url: str, body: bytes, /, *, timeout: float = CALLBACK_TIMEOUT) -> Posted:
    """Post a callback, once. Proxies are not used, certificates are verified.

    Args:
        url: Address, http or https.
        body: Body.
        timeout: Seconds for the whole exchange, after the host's name is resolved.

    Returns:
        The answer, or the reason why there is no answer. No error is raised.
    """
    if not host_of(url):
        return Posted(error="its address cannot be used")
    parts = urlsplit(url)
    try:
        connection = _connection(parts, timeout)
    except OSError as error:  # this machine's own certificates cannot be read
        return Posted(error=_words_for(error))
    over = threading.Event()
    watchdog = threading.Timer(timeout, _hang_up, (connection, over))
    watchdog.daemon = True
    watchdog.start()
    try:
        return _exchange(connection, parts, body, over)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if over.is_set() or isinstance(error, TimeoutError):
            return Posted(error=f"no answer within {timeout:g} s", timed_out=True)
        return Posted(error=_words_for(error))
    finally:
        watchdog.cancel()
        watchdog.join()
        connection.close()


def _words_for(error: Exception) -> str:
    return next(words for kind, words in _WORDS if isinstance(error, kind))


def _connection(parts: SplitResult, timeout: float) -> http.client.HTTPConnection:
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=context)
    return http.client.HTTPConnection(parts.netloc, timeout=timeout)


def _hang_up(connection: http.client.HTTPConnection, over: threading.Event) -> None:
    """End an exchange that takes too long: the socket's own time-out only limits each read."""
    over.set()
    with contextlib.suppress(OSError, AttributeError):  # closed, or not yet connected
        connection.sock.shutdown(socket.SHUT_RDWR)


def _exchange(
    connection: http.client.HTTPConnection, parts: SplitResult, body: bytes, over: threading.Event
) -> Posted:
    connection.connect()
    _check_time(over)  # there was no socket to hang up on while it connected
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    headers = {"Content-Type": "application/json;charset=UTF-8", "Connection": "close"}
    connection.request("POST", target, body=body, headers=headers)
    answer = connection.getresponse()
    _check_time(over)  # a head that is cut off reads like a whole one
    text = b""
    with contextlib.suppress(OSError, http.client.HTTPException):
        text = answer.read(_MOST_READ)
    return Posted(status=answer.status, body=text, location=answer.getheader("location", ""))


def _check_time(over: threading.Event) -> None:
    if over.is_set():
        raise TimeoutError

"""Carry requests over HTTP with requests.

"Not sent" needs proof. Our own connections give it: they write a request in one piece, and `connections`
raises `NeverLeft` if anything fails before that piece is handed to the socket.

    =======================================  =============================================  =======
    what happened                            reason                                         verdict
    =======================================  =============================================  =======
    refused, or name not found               no connection could be made                    NotSent
    connecting timed out                     connecting timed out                           NotSent
    the proxy cannot be reached              no connection to the proxy could be made       NotSent
    the proxy answered CONNECT with 407 ...  the proxy refused to connect, with status 407  NotSent
    the proxy hung up, or was too slow       connecting through the proxy failed            NotSent
    certificate of an unknown authority      the server's certificate is not trusted        NotSent
    certificate for another name             the server's certificate is for another host   NotSent
    certificate out of date                  ... is not valid at this time                  NotSent
    reset, or no TLS, in the handshake       the TLS handshake failed                       NotSent
    silence in the handshake                 the TLS handshake timed out                    NotSent
    connected too late to send it            connecting took too long to send it in time    NotSent
    CA bundle missing or damaged             the file of CA certificates cannot be used     NotSent
    server read, then closed or reset        the connection failed ...                      unknown
    server read, then hung                   no complete answer in time                     unknown
    answer cut short                         the connection failed ...                      unknown
    anything else                                                                           unknown
    =======================================  =============================================  =======

A session that the host supplies makes its connections itself and gives less proof. With it, only
urllib3's `MaxRetryError` with `NewConnectionError` or `ConnectTimeoutError` as its reason is "not sent".
The exception classes of requests do not prove it. With such a session, a failed TLS handshake or a failing
proxy is "unknown".

The transport bypasses the work that a session does for each request. So it follows no redirects (a 307
would send a POST twice) and keeps no cookies. It does not use the proxies of the process environment, or
``.netrc``, which replaces a bearer header.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from urllib3 import Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ReadTimeoutError,
)

from mpesa_stk.daraja.connections import Limits
from mpesa_stk.daraja.exchange import HttpRequest, HttpResponse
from mpesa_stk.daraja.sending import (
    BROKEN,
    NO_ANSWER,
    TO_ORIGIN,
    TOO_LARGE,
    NeverLeft,
    decompressed,
    own_headers,
)
from mpesa_stk.daraja.session import OwnSession
from mpesa_stk.errors import ConfigurationError, NotSent, OutcomeUnknown, TransportError
from mpesa_stk.forks import PerProcess
from mpesa_stk.privacy import hides_locals


class RequestsTransport:
    """A `Transport` over requests.

    It is safe to share between threads, and keeps as many connections as threads use at a time. A forked
    process does not use its parent's connections.
    """

    @hides_locals
    def __init__(
        self,
        *,
        session: requests.Session | None = None,
        proxies: Mapping[str, str] | None = None,
        ca_bundle: str | None = None,
        user_agent: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a transport.

        Args:
            session: A session that you made, for its adapters, certificates and proxies. Its cookies,
                auth, hooks and headers are not used. Its adapters set the limits on idle connections and
                on slow answers, and they must not retry. After a fork, each `HTTPAdapter` gets new pools
                in the child. Adapters of other classes must do that themselves.
            proxies: Proxy URL by scheme.
            ca_bundle: PEM file of the trusted CA certificates, in place of those that requests brings.
            user_agent: Your own product token, added after ours.
            monotonic: The clock by which a connection's idle time is measured.

        Raises:
            ConfigurationError: An adapter of the session retries.
        """
        self._limits = Limits()
        make: Callable[[], requests.Session] = functools.partial(
            OwnSession, monotonic, self._limits
        )
        if session is not None:
            _refuse_retries(session)
            make = functools.partial(_with_new_pools, session)
        self._session = PerProcess(make, first=session)
        self._hooks = [] if session is None else [_forget_redirect]
        self._proxies = dict(proxies if proxies is not None else self._session().proxies)
        self._ca_bundle = ca_bundle
        self._headers = own_headers(user_agent)

    @hides_locals
    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send a request once and read the answer, both within its total timeout.

        Raises:
            NotSent: The request provably never left this machine.
            OutcomeUnknown: The exchange failed in any other way.
        """
        session = self._session()
        timeout = Timeout(connect=request.connect_timeout, total=request.total_timeout)
        self._limits.leave_by = time.monotonic() + min(request.total_timeout, request.leave_within)
        failure: TransportError
        try:
            answer = session.send(
                self._prepared(request),
                allow_redirects=False,
                stream=True,
                timeout=timeout,  # type: ignore[arg-type]  # urllib3's own type is passed through
                verify=self._ca_bundle or (True if session.verify is None else session.verify),
                cert=session.cert,
                proxies=self._proxies,
            )
            body = _read_body(getattr(answer, "unread", answer.raw), most=request.max_body)
        except NeverLeft as error:
            failure = NotSent(error.reason)
        except (requests.RequestException, HTTPError, OSError) as error:
            failure = _verdict(error)
        except _TooLargeError:
            failure = OutcomeUnknown(TOO_LARGE)
        else:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return HttpResponse(status=answer.status_code, headers=headers, body=body)
        # Raised outside of the handler: the error of requests holds the request, and so our secrets.
        raise failure

    def close(self) -> None:
        """Close idle connections."""
        self._session().close()

    def _prepared(self, request: HttpRequest) -> PreparedRequest:
        """Build the request for requests, without merging the session's settings into it."""
        prepared = PreparedRequest()
        prepared.method = request.method
        prepared.url = request.url
        prepared.body = request.body
        prepared.hooks = {"response": self._hooks}
        headers = {**request.headers, **self._headers}
        if request.body is not None:
            headers["Content-Length"] = str(len(request.body))
        prepared.headers = headers  # type: ignore[assignment]  # adapters need no more of it
        return prepared


def _forget_redirect(answer: requests.Response, **_kwargs: Any) -> None:
    """Hide a redirect from a session.

    The session would read its whole body, even if it must not follow it.
    """
    if answer.is_redirect:
        del answer.headers["location"]


def _refuse_retries(session: requests.Session) -> None:
    """Refuse a session that could push twice.

    urllib3 sends a request again after some errors, even if retries are off for POST. One such error is a
    TLS error in the middle of the answer.
    """
    for adapter in session.adapters.values():
        if isinstance(adapter, HTTPAdapter) and adapter.max_retries.total not in (0, False):
            rule = "its adapters must not retry, because a push would be sent twice"
            raise ConfigurationError((("session", rule),))


def _with_new_pools(session: requests.Session) -> requests.Session:
    """Give a host's session new pools in a forked process.

    Then the session does not use the connections of the parent.
    """
    for adapter in session.adapters.values():
        if isinstance(adapter, HTTPAdapter):
            # This resets the adapter to the state of a fresh copy, which has no pools.
            adapter.__setstate__(adapter.__getstate__())  # type: ignore[attr-defined]
    return session


def _verdict(error: Exception) -> TransportError:
    """Return `NotSent` if the request provably never left, else `OutcomeUnknown`.

    Only a session that the host supplied can give `NotSent` here. For our own session, `NeverLeft` was
    handled before.
    """
    wrapped = error.args[0] if error.args else None
    if isinstance(wrapped, MaxRetryError):
        if isinstance(wrapped.reason, NewConnectionError):
            return NotSent(TO_ORIGIN.failed)
        if isinstance(wrapped.reason, ConnectTimeoutError):
            return NotSent(TO_ORIGIN.timed_out)
    if isinstance(error, (requests.Timeout, ReadTimeoutError, TimeoutError)):
        return OutcomeUnknown(NO_ANSWER)
    return OutcomeUnknown(BROKEN)


# --- bodies, bounded ---------------------------------------------------------------------------------


class _TooLargeError(Exception):
    pass


def _read_body(raw: Any, *, most: int) -> bytes:
    """Read at most so many bytes, before and after decompression.

    urllib3 puts the connection back when all is read. One with unread bytes must not be used again.
    """
    body = b""
    raw.enforce_content_length = True  # off by default in urllib3 1.26
    try:
        while not raw.closed:
            chunk = raw.read(most + 1 - len(body), decode_content=False)
            if not chunk:
                break
            body += chunk
            if len(body) > most:
                raise _TooLargeError  # noqa: TRY301 - the connection must be closed for this error too
    except BaseException:
        raw.close()
        raise
    body = decompressed(body, raw.headers.get("content-encoding", ""), most=most)
    if len(body) > most:
        raise _TooLargeError
    return body

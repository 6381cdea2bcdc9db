"""Carries requests over HTTP. The only file that imports requests (and urllib3 beneath it).

"Not sent" needs proof. Our own connections give it: `connections` raises `NeverLeft` if anything fails
before the request, which is written in one piece, is handed to the socket.

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

A session of the host's has connections of its own, and gives less proof. There, only urllib3's
`MaxRetryError` with `NewConnectionError` or `ConnectTimeoutError` as its reason is "not sent"; requests'
own classes do not tell it. A failed TLS handshake, or a failing proxy, is "unknown" there.

Off by construction, because a session's per-request work is bypassed: redirects (a 307 would send a
POST twice), cookies, ``.netrc`` (it replaces a bearer header), proxies of the process environment.
"""

from __future__ import annotations

import functools
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.models import PreparedRequest
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ReadTimeoutError,
)

from mpesa_stk.daraja.connections import NO_CERTIFICATES, Limits, NeverLeft, pool_classes
from mpesa_stk.daraja.http import MAX_BODY, HttpRequest, HttpResponse
from mpesa_stk.errors import ConfigurationError, NotSent, OutcomeUnknown, TransportError
from mpesa_stk.forks import PerProcess
from mpesa_stk.privacy import hides_locals

__all__ = ["RequestsTransport"]


class RequestsTransport:
    """A `Transport` over requests.

    Safe to share between threads; it keeps as many connections as threads use at a time. A process that
    was forked uses none of its parent's connections.
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
            session: A session of your own, for its adapters, certificates and proxies. Its cookies,
                auth, hooks and headers are not used, and the limits on idle connections and on slow
                answers are those of its adapters. They must not retry. After a fork, each
                `HTTPAdapter` gets new pools in the child; others must see to that themselves.
            proxies: Proxy URL by scheme.
            ca_bundle: File of the CA certificates that are trusted, in PEM form, in place of those
                that requests brings.
            user_agent: Your own product token, added after ours.
            monotonic: The clock by which a connection's idle time is measured.

        Raises:
            ConfigurationError: An adapter of the session retries.
        """
        self._limits = Limits()
        make: Callable[[], requests.Session] = functools.partial(_Session, monotonic, self._limits)
        if session is not None:
            _refuse_retries(session)
            make = functools.partial(_with_new_pools, session)
        self._session = PerProcess(make, first=session)
        self._hooks = [] if session is None else [_forget_redirect]
        self._proxies = dict(proxies if proxies is not None else self._session().proxies)
        self._ca_bundle = ca_bundle
        self._agent = f"mpesa-stk/{version('mpesa-stk-client')} {user_agent}".rstrip()

    @hides_locals
    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send a request once and read the answer, both within the request's total timeout.

        Raises:
            NotSent: It provably never left this machine.
            OutcomeUnknown: Anything else went wrong.
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
            body = _read_body(answer.raw)
        except NeverLeft as error:
            failure = NotSent(error.reason)
        except (requests.RequestException, HTTPError, OSError) as error:
            failure = _verdict(error)
        except _TooLargeError:
            failure = OutcomeUnknown(f"the answer is larger than {MAX_BODY} bytes")
        else:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return HttpResponse(status=answer.status_code, headers=headers, body=body)
        # Raised outside of the handler: the library's error holds the request, and so our secrets.
        raise failure

    def close(self) -> None:
        """Close idle connections."""
        self._session().close()

    def _prepared(self, request: HttpRequest) -> PreparedRequest:
        """The request as requests wants it, without its per-call merging of settings."""
        prepared = PreparedRequest()
        prepared.method = request.method
        prepared.url = request.url
        prepared.body = request.body
        prepared.hooks = {"response": self._hooks}
        prepared.headers = CaseInsensitiveDict(
            request.headers,
            **{
                "User-Agent": self._agent,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
        )
        if request.body is not None:
            prepared.headers["Content-Length"] = str(len(request.body))
        return prepared


def _forget_redirect(answer: requests.Response, **_kwargs: Any) -> None:
    """Make a session see no redirect: even where it follows none, it reads its whole body."""
    if answer.is_redirect:
        del answer.headers["location"]


def _refuse_retries(session: requests.Session) -> None:
    """Refuse a session that could push twice.

    urllib3 sends a request again after some errors even if it is told not to do so for POST, such as after
    one of TLS in the middle of the answer.
    """
    for adapter in session.adapters.values():
        if isinstance(adapter, HTTPAdapter) and adapter.max_retries.total not in (0, False):
            rule = "its adapters must not retry, because a push would be sent twice"
            raise ConfigurationError((("session", rule),))


def _with_new_pools(session: requests.Session) -> requests.Session:
    """A host's session in a new process: no connection of the parent's is used again."""
    for adapter in session.adapters.values():
        if isinstance(adapter, HTTPAdapter):
            # As a copy of it would begin: with no pool.
            adapter.__setstate__(adapter.__getstate__())  # type: ignore[attr-defined]
    return session


def _verdict(error: Exception) -> TransportError:
    """Whether a request of a host's session provably never left; unknown for one of ours."""
    wrapped = error.args[0] if error.args else None
    if isinstance(wrapped, MaxRetryError):
        if isinstance(wrapped.reason, NewConnectionError):
            return NotSent("no connection could be made")
        if isinstance(wrapped.reason, ConnectTimeoutError):
            return NotSent("connecting timed out")
    if isinstance(error, (requests.Timeout, ReadTimeoutError, TimeoutError)):
        return OutcomeUnknown("no complete answer in time")
    return OutcomeUnknown("the connection failed before the answer was complete")


# --- bodies, bounded ---------------------------------------------------------------------------------


class _TooLargeError(Exception):
    pass


def _read_body(raw: Any) -> bytes:
    """Read at most `MAX_BODY` bytes, before and after decompression.

    urllib3 puts the connection back when all is read; one with unread bytes must not be used again.
    """
    body = b""
    raw.enforce_content_length = True  # urllib3 1.26 does not by itself
    try:
        while not raw.closed:
            chunk = raw.read(MAX_BODY + 1 - len(body), decode_content=False)
            if not chunk:
                break
            body += chunk
            if len(body) > MAX_BODY:
                raise _TooLargeError  # noqa: TRY301 - the connection must be closed for it too
    except BaseException:
        raw.close()
        raise
    if raw.headers.get("content-encoding", "").lower() in ("gzip", "deflate"):
        body = _inflate(body)
    if len(body) > MAX_BODY:
        raise _TooLargeError
    return body


def _inflate(body: bytes) -> bytes:
    """Decompress what a server compressed unasked, and never more than one byte too many."""
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, MAX_BODY + 1)
    except zlib.error:
        return body  # not what its header says: the reader will find no JSON in it


class _NoCookies(RequestsCookieJar):
    """Takes no cookie: nothing that a server sets may steer a payment."""

    def extract_cookies(self, *_args: Any) -> None:
        return


class _Session(requests.Session):
    """A session that does nothing between us and its adapter."""

    def __init__(self, monotonic: Callable[[], float], limits: Limits) -> None:
        super().__init__()
        self.cookies = _NoCookies()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(monotonic, limits))

    def resolve_redirects(self, *_args: Any, **_kwargs: Any) -> Iterator[Any]:
        """See no redirect; the same as `_forget_redirect`, for less."""
        return iter(())


class _Adapter(HTTPAdapter):
    """requests' adapter with connections that keep deadlines and do not grow old."""

    def __init__(self, monotonic: Callable[[], float], limits: Limits) -> None:
        self._pool_classes = pool_classes(monotonic, limits)
        self._pools: dict[str, HTTPConnectionPool] = {}
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPConnectionPool:
        """The origin's pool. Our transport never changes proxies or certificates, so it is kept."""
        scheme, _, host, *_ = str(request.url).split("/", 3)
        origin = scheme + host
        if origin not in self._pools:
            self._pools[origin] = self._new_pool(request, verify, proxies, cert)
        return self._pools[origin]

    def _new_pool(
        self, request: PreparedRequest, verify: Any, proxies: Any, cert: Any
    ) -> HTTPConnectionPool:
        try:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            super().cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
        except (requests.RequestException, HTTPError):
            reason = "the proxy cannot be used"
        except OSError:
            reason = NO_CERTIFICATES
        else:
            return cast("HTTPConnectionPool", pool)
        raise NeverLeft(reason)

    def cert_verify(self, *_args: Any) -> None:
        """Look for the certificates; done as the pool is made."""

    def build_response(self, req: PreparedRequest, resp: Any) -> requests.Response:
        """The answer without what nobody reads here: cookies, encoding, reason."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.request = req
        return response

    def close(self) -> None:
        self._pools.clear()
        super().close()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pool_classes
        return manager

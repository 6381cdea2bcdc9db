"""Carries requests over HTTP. The only file that imports requests (and urllib3 beneath it).

"Not sent" is true only where the error that requests wraps is urllib3's `MaxRetryError` whose reason
is one of two; requests' own classes do not tell it:

    ==============================  =====================================================  =======
    what happened                   what requests wraps                                    verdict
    ==============================  =====================================================  =======
    refused                         MaxRetryError <- NewConnectionError                    NotSent
    name not found                  MaxRetryError <- NameResolutionError (a subclass)      NotSent
    connecting timed out            MaxRetryError <- ConnectTimeoutError                   NotSent
    server read, then closed        ProtocolError                                          unknown
    server read, then reset         ProtocolError                                          unknown
    server read, then hung          ReadTimeoutError                                       unknown
    answer cut short                ProtocolError <- IncompleteRead                        unknown
    reset in the TLS handshake      ProtocolError                                          unknown
    anything else                                                                          unknown
    ==============================  =====================================================  =======

Off by construction, because a session's per-request work is bypassed: redirects (a 307 would send a
POST twice), cookies, ``.netrc`` (it replaces a bearer header), proxies of the process environment.
"""

from __future__ import annotations

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

from mpesa_stk.daraja.connections import pool_classes
from mpesa_stk.daraja.http import MAX_BODY, HttpRequest, HttpResponse
from mpesa_stk.errors import NotSent, OutcomeUnknown, TransportError

__all__ = ["RequestsTransport"]


class RequestsTransport:
    """A `Transport` over requests.

    Safe to share between threads; it keeps as many connections as threads use at a time.
    """

    def __init__(
        self,
        *,
        session: requests.Session | None = None,
        proxies: Mapping[str, str] | None = None,
        user_agent: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a transport.

        Args:
            session: A session of your own, for its adapters, certificates and proxies. Its cookies,
                auth, hooks and headers are not used, and the limits on idle connections and on slow
                answers are those of its adapters.
            proxies: Proxy URL by scheme.
            user_agent: Your own product token, added after ours.
            monotonic: The clock by which a connection's idle time is measured.
        """
        self._session = _Session(monotonic) if session is None else session
        self._hooks = [] if session is None else [_forget_redirect]
        self._proxies = dict(proxies if proxies is not None else self._session.proxies)
        self._agent = f"mpesa-stk/{version('mpesa-stk-client')} {user_agent}".rstrip()

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send a request once and read the answer, both within the request's total timeout.

        Raises:
            NotSent: It provably never left this machine.
            OutcomeUnknown: Anything else went wrong.
        """
        timeout = Timeout(connect=request.connect_timeout, total=request.total_timeout)
        failure: TransportError
        try:
            answer = self._session.send(
                self._prepared(request),
                allow_redirects=False,
                stream=True,
                timeout=timeout,  # type: ignore[arg-type]  # urllib3's own type is passed through
                verify=True if self._session.verify is None else self._session.verify,
                cert=self._session.cert,
                proxies=self._proxies,
            )
            body = _read_body(answer.raw)
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
        self._session.close()

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


def _verdict(error: Exception) -> TransportError:
    """Whether the request provably never left; see the table above."""
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

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self.cookies = _NoCookies()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(monotonic))

    def resolve_redirects(self, *_args: Any, **_kwargs: Any) -> Iterator[Any]:
        """See no redirect; the same as `_forget_redirect`, for less."""
        return iter(())


class _Adapter(HTTPAdapter):
    """requests' adapter with connections that keep deadlines and do not grow old."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._pool_classes = pool_classes(monotonic)
        self._pools: dict[str, HTTPConnectionPool] = {}
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        *args: Any,
        **kwargs: Any,
    ) -> HTTPConnectionPool:
        """The origin's pool. Our transport never changes proxies or certificates, so it is kept."""
        scheme, _, host, *_ = str(request.url).split("/", 3)
        origin = scheme + host
        if origin not in self._pools:
            pool = super().get_connection_with_tls_context(request, *args, **kwargs)
            self._pools[origin] = cast("HTTPConnectionPool", pool)
        return self._pools[origin]

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

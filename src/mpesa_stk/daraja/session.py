"""The session of requests that a transport makes for itself.

It passes each request straight to a pool of `connections`, without the work that requests does for
browsers: cookies, redirects and encodings. The budget of a push needs that. It is a session of requests,
so that requests-mock can answer in place of Daraja.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from urllib3 import HTTPConnectionPool, PoolManager, ProxyManager
from urllib3.exceptions import HTTPError

from mpesa_stk.daraja.connections import Limits, pool_classes
from mpesa_stk.daraja.sending import NO_CERTIFICATES, NO_SUCH_PROXY, NeverLeft


class OwnSession(requests.Session):
    """A session with the connections of `connections`. It follows no redirect and keeps no cookie."""

    def __init__(self, monotonic: Callable[[], float], limits: Limits, /) -> None:
        """Make a session.

        Args:
            monotonic: The clock by which a connection's idle time is measured.
            limits: The limits of the request that each thread sends.
        """
        super().__init__()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(monotonic, limits))

    def resolve_redirects(self, *_args: Any, **_kwargs: Any) -> Iterator[Any]:
        """Return no redirects."""
        return iter(())


class _Answer(requests.Response):
    """The parts of an answer that are read here, without a cookie jar.

    Attributes:
        unread: The answer of urllib3. In `raw`, a session would look for cookies, and send them later.
    """

    def __init__(self, raw: Any) -> None:
        self.unread = raw
        self.raw = None
        self.status_code = raw.status
        self.headers = raw.headers
        self.history = []


class _Adapter(HTTPAdapter):
    """Sends a request through the pool of its origin, and leaves the errors as urllib3 raises them."""

    def __init__(self, monotonic: Callable[[], float], limits: Limits) -> None:
        self._pool_classes = pool_classes(monotonic, limits)
        self._pools: dict[Any, HTTPConnectionPool] = {}
        super().__init__(max_retries=0)

    def send(
        self,
        request: PreparedRequest,
        stream: bool = True,  # noqa: FBT001, FBT002, ARG002 - the signature of requests
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send the request, and return the answer with an unread body."""
        origin = urlsplit(request.url)[:2]
        if origin not in self._pools:
            self._pools[origin] = self._new_pool(request, verify, proxies, cert)
        pool = self._pools[origin]
        raw = pool.urlopen(
            str(request.method),
            request.path_url if pool.proxy is None else self.request_url(request, proxies),
            body=request.body,
            headers=request.headers,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
            retries=False,
            timeout=timeout,
        )
        return _Answer(raw)

    def _new_pool(
        self, request: PreparedRequest, verify: Any, proxies: Any, cert: Any
    ) -> HTTPConnectionPool:
        """Make the pool of an origin. It is kept, because proxies and certificates never change."""
        try:
            pool = self.get_connection_with_tls_context(request, verify, proxies, cert)
            self.cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
        except (requests.RequestException, HTTPError):
            reason = NO_SUCH_PROXY
        except OSError:
            reason = NO_CERTIFICATES
        else:
            return cast("HTTPConnectionPool", pool)
        raise NeverLeft(reason)

    def close(self) -> None:
        """Close idle connections."""
        self._pools.clear()
        super().close()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the manager of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> ProxyManager:
        """Make the manager of connections through a proxy."""
        manager: ProxyManager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pool_classes
        return manager

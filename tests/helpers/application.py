"""An application beside a simulator, with an endpoint of its own for callbacks, over real HTTP."""

from __future__ import annotations

from types import TracebackType
from typing import Any, TypeVar

from mpesa_stk import Clock, Hook, HttpResponse, StkClient
from mpesa_stk.simulator import SimulatorServer
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest
from support import loopback_config

Entered = TypeVar("Entered", bound="Application")


class Application:
    """A client, and a server that takes its callbacks while the ``with`` block lasts.

    Attributes:
        status: HTTP status of its answer to a callback.
    """

    status = 200

    def __init__(
        self,
        daraja: SimulatorServer,
        /,
        *,
        clock: Clock | None = None,
        hooks: tuple[Hook, ...] = (),
        **settings: Any,
    ) -> None:
        self._receiver = HttpServer(self._take)
        self.callback_url = f"{self._receiver.origin}/payments/callback"
        config = loopback_config(daraja.origin, callback_url=self.callback_url, **settings)
        self.client = StkClient(config, clock=clock, hooks=hooks)

    def __enter__(self: Entered) -> Entered:  # noqa: PYI019 - typing.Self needs Python 3.11
        self._receiver.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._receiver.close()
        self.client.close()

    def _take(self, request: WebRequest) -> HttpResponse:
        self.called_with(request)
        return HttpResponse(status=self.status, headers={}, body=b"{}")

    def called_with(self, request: WebRequest) -> None:
        """Take a callback."""
        raise NotImplementedError

"""The endpoints of several accounts: finds the account of a request, once for both faces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from mpesa_stk.errors import CallbackRefused, InvalidRequest
from mpesa_stk.hooks import Event
from mpesa_stk.payments.accounts_flow import AccountsFlow
from mpesa_stk.payments.payments_flow import PaymentsFlow
from mpesa_stk.privacy import hides_locals
from mpesa_stk.web import bodies
from mpesa_stk.web.addresses import address_of
from mpesa_stk.web.endpoints_flow import EndpointsFlow, with_slash
from mpesa_stk.web.messages import Refusal, WebRequest, WebResponse, error_response

MakeEndpoints = Callable[[PaymentsFlow, str], EndpointsFlow]
"""Makes the endpoints of one account under a prefix."""
_MOST_MADE = 1024
_NOT_FOUND = error_response(404, "not_found", "There is no such endpoint.")
_UNKNOWN = error_response(404, "unknown_account", "There is no such account here.")


class AccountsEndpoints:
    """Answers requests under one prefix, each with the endpoints of its account.

    A request for ``<prefix>/<account>/...`` goes to that account. A callback at ``<prefix>/callback/...``
    goes to the account of its payment.
    """

    def __init__(self, accounts: AccountsFlow[Any], /, *, make: MakeEndpoints, prefix: str) -> None:
        self._accounts = accounts
        self._make = make
        self._prefix = with_slash(prefix)
        self._made: dict[str, tuple[PaymentsFlow, EndpointsFlow]] = {}

    def is_callback(self, path: str) -> bool:
        """Return whether Daraja calls this path. Its requests never wait for others."""
        first, second = self._segments(path)[:2]
        return first == "callback" or second == "callback"

    @hides_locals
    async def answer(self, request: WebRequest, /) -> WebResponse:
        """Answer one request. It raises no `Exception`, even for a malformed request or a bug."""
        return await bodies.answered(self._route, request)

    def _segments(self, path: str) -> tuple[str, str, str]:
        """Return the parts of a path behind the prefix: the first, the second, and the rest."""
        if not path.startswith(self._prefix + "/"):
            return "", "", ""
        first, _, rest = path[len(self._prefix) + 1 :].partition("/")
        second, _, rest = rest.partition("/")
        return first, second, rest

    async def _route(self, request: WebRequest) -> WebResponse:
        first, second, rest = self._segments(request.path)
        if first == "callback" and not rest:
            return await self._callback(request, second)
        if second not in ("checkout", "query", "claim", "callback"):
            raise Refusal(_NOT_FOUND)
        try:
            payments = await self._accounts.account(_name_in(first))
        except InvalidRequest:
            raise Refusal(_UNKNOWN) from None
        return await self._of(payments.flow, first).answer(request)

    async def _callback(self, request: WebRequest, token: str) -> WebResponse:
        """Hand a callback to the endpoints of the account that it is for."""
        if request.method != "POST":
            raise Refusal(error_response(405, "method_not_allowed", "Use POST.", Allow="POST"))
        bodies.check_size(request)
        try:
            payments = await self._accounts.receiver_of(request.body, token=token)
        except CallbackRefused as error:
            self._tell_refusal(request, error.reason)
            raise
        account = payments.flow.account.replace(" ", "-")
        path = f"{self._prefix}/{account}/callback/{token}"
        return await self._of(payments.flow, account).answer(attrs.evolve(request, path=path))

    def _of(self, payments: PaymentsFlow, name: str) -> EndpointsFlow:
        """Return the endpoints of an account under the name that the path has."""
        made = self._made.get(name)
        if made is None or made[0] is not payments:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            made = self._made[name] = payments, self._make(payments, f"{self._prefix}/{name}")
        return made[1]

    def _tell_refusal(self, request: WebRequest, reason: str) -> None:
        """Report a callback whose account is not found. No settings say which proxies to believe."""
        client = address_of(request.remote_addr or "")
        self._accounts.notify(
            Event(
                kind="refusal",
                outcome="refused",
                endpoint="callback",
                reason=reason,
                client_address=str(client) if client else None,
            )
        )


def _name_in(segment: str) -> str:
    """Return the name of an account in a path, where dashes stand for the spaces of a full name."""
    return segment.replace("%20", " ").replace("-", " ")

"""The calls of a client, once for both faces: a token, a push, a query, waiting, and other questions.

`StkClient` and `AsyncStkClient` document the calls. This file adds time, randomness and the network to the
pure code of `protocol`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Protocol, TypeVar

import attrs

from mpesa_stk.clock import AsyncClock
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.urls import callback_url_fault
from mpesa_stk.daraja import protocol
from mpesa_stk.daraja.exchange import AsyncTransport, HttpRequest, HttpResponse
from mpesa_stk.daraja.models import (
    PushAccepted,
    PushRequest,
    QueryResult,
    QueryStatus,
    Token,
    check_checkout_id,
)
from mpesa_stk.daraja.retry import RetryPolicy, may_ask_again, may_push_again
from mpesa_stk.daraja.tokens import AsyncTokenStore, TokenCache
from mpesa_stk.errors import (
    AuthenticationFailed,
    DarajaError,
    InvalidRequest,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    TransportError,
    UnexpectedResponse,
)
from mpesa_stk.hooks import Event, EventKind, Hook, Notifier
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import mask_checkout_id

T = TypeVar("T")


class Answer(Protocol):
    """Daraja's answer to a question."""

    @property
    def response_code(self) -> str:
        """Daraja's code for the question itself."""
        ...


A = TypeVar("A", bound=Answer)

# Ask for a result first after 15 to 20 s and then every 15 to 20 s, since the sandbox allows about five
# queries a minute (docs/daraja.md, sections 0 and 4).
_POLL_EVERY = 15.0
_POLL_SPREAD = 5.0
_LEAST_TIMEOUT = 1.0
# A product that is not enabled yet refuses every token with the text for a dead token (docs/daraja.md,
# section 1).
_SPARE_TOKENS = 300.0


class ClientFlow:
    """Talks to Daraja for one app, within deadlines, and repeats the requests that may be sent again.

    Attributes:
        config: The settings.
        app: A hash that names the app in shared stores without showing its key.
    """

    def __init__(
        self,
        config: StkConfig,
        /,
        *,
        transport: AsyncTransport,
        token_store: AsyncTokenStore,
        clock: AsyncClock,
        retry: RetryPolicy | None,
        hooks: tuple[Hook, ...],
    ) -> None:
        self.config = config
        self.app = _app_id(config)
        self._clock = clock
        self._retry = retry if retry is not None else RetryPolicy()
        self._notify = Notifier(tuple(hooks))
        self._spare_until: dict[str, float] = {}
        self._transport = transport
        self._tokens = TokenCache(
            app=self.app, store=token_store, clock=clock, fetch=self._fetch_token
        )

    async def close(self) -> None:
        """Close idle connections."""
        await self._transport.close()

    async def token(self) -> Token:
        """Return the bearer token, from the cache or from Daraja."""
        return await self._tokens.get(ends_at=self._ends_at())

    def check_push(
        self,
        *,
        phone_number: str | PhoneNumber,
        amount: int | Decimal,
        reference: str,
        description: str,
        callback_url: str | None = None,
    ) -> PushRequest:
        """Check a push without sending it."""
        if callback_url is not None:
            self.check_callback_url(callback_url)
        return PushRequest.checked(
            phone_number=phone_number,
            amount=amount,
            reference=reference,
            description=description,
            callback_url=callback_url or self.config.callback_url,
            max_amount=self.config.max_amount,
        )

    async def send_push(
        self, request: PushRequest, /, *, leave_by: float | None = None
    ) -> PushAccepted:
        """Send a checked push, as `StkClient.send_push` documents."""
        started = self._clock.monotonic()
        leave_by = math.inf if leave_by is None else leave_by
        ends_at = min(self._ends_at(), leave_by)

        async def push(token: Token) -> PushAccepted:
            return await self._retry.run(
                lambda: self._push_once(request, token, ends_at=ends_at, leave_by=leave_by),
                again=may_push_again,
                clock=self._clock,
                ends_at=ends_at,
            )

        try:
            accepted = await self._with_token(push, token=lambda: self._token_before_push(ends_at))
        except MpesaError as error:
            self._report("push", started, error)
            raise
        self._notify(
            Event(
                kind="push",
                outcome="ok",
                duration=self._clock.monotonic() - started,
                code=accepted.response_code,
                merchant_request_id=accepted.merchant_request_id,
                checkout_request_id=mask_checkout_id(accepted.checkout_request_id),
            )
        )
        return accepted

    async def _push_once(
        self, request: PushRequest, token: Token, *, ends_at: float, leave_by: float
    ) -> PushAccepted:
        """Send a push, or raise `NotSent` if it cannot leave in time."""
        now = self._clock.monotonic()
        if now >= ends_at:
            raise NotSent("it was too late to send the push")
        message = protocol.build_push(self.config, request, token=token, moment=self._clock.now())
        left = leave_by - now
        if left < message.total_timeout:
            message = attrs.evolve(
                message, connect_timeout=min(message.connect_timeout, left), leave_within=left
            )
        return protocol.read_push(await self._transport.send(message))

    async def query(
        self,
        checkout_request_id: str,
        /,
        *,
        timeout: float | None = None,
        attempts: int | None = None,
    ) -> QueryResult:
        """Ask Daraja for the state of a push, as `StkClient.query` documents."""
        check_checkout_id(checkout_request_id)
        started = self._clock.monotonic()
        ends_at = self._ends_at(timeout)
        patience = max(ends_at, started + _LEAST_TIMEOUT)  # while another worker fetches a token
        retry = self._retry if attempts is None else attrs.evolve(self._retry, attempts=attempts)

        async def ask(token: Token) -> QueryResult:
            left = max(ends_at - self._clock.monotonic(), _LEAST_TIMEOUT)
            request = protocol.build_query(
                self.config, checkout_request_id, token=token, moment=self._clock.now()
            )
            request = attrs.evolve(request, total_timeout=min(request.total_timeout, left))
            return protocol.read_query(await self._transport.send(request), checkout_request_id)

        async def query(token: Token) -> QueryResult:
            return await retry.run(
                lambda: ask(token), again=may_ask_again, clock=self._clock, ends_at=ends_at
            )

        try:
            result = await self._with_token(
                query, token=lambda: self._tokens.get(ends_at=patience), spare="query"
            )
        except MpesaError as error:
            self._report("query", started, error)
            raise
        self._notify(
            Event(
                kind="query",
                outcome=result.status.value.lower(),
                duration=self._clock.monotonic() - started,
                code=result.result_code,
                merchant_request_id=result.merchant_request_id,
                checkout_request_id=mask_checkout_id(checkout_request_id),
            )
        )
        return result

    async def wait_for_result(
        self,
        checkout_request_id: str,
        /,
        *,
        timeout: float = 120.0,
        on_poll: Callable[[QueryResult], None] | None = None,
    ) -> QueryResult:
        """Ask until there is a result, as `StkClient.wait_for_result` documents."""
        check_checkout_id(checkout_request_id)
        ends_at = self._clock.monotonic() + timeout
        asked_for = 0.0
        while True:
            wait = max(_POLL_EVERY + _POLL_SPREAD * self._retry.jitter(), asked_for)
            await self._clock.sleep(max(min(wait, ends_at - self._clock.monotonic()), 0.0))
            result, asked_for = await self._poll(checkout_request_id, ends_at)
            if on_poll is not None:
                on_poll(result)
            left = ends_at - self._clock.monotonic()
            if result.status in (QueryStatus.PAID, QueryStatus.FAILED) or left <= 0:
                return result

    async def _poll(self, checkout_request_id: str, ends_at: float) -> tuple[QueryResult, float]:
        """Ask once. Return the answer, and the seconds that Daraja asks to wait.

        The query has one attempt. With the attempts of the retry policy, a minute of HTTP 500 would need
        more than the five queries a minute that the sandbox allows (docs/daraja.md, section 4).
        """
        left = max(ends_at - self._clock.monotonic(), 0.0)
        try:
            return await self.query(checkout_request_id, timeout=left, attempts=1), 0.0
        except AuthenticationFailed:
            raise
        except (TransportError, DarajaError, UnexpectedResponse) as error:
            unknown = QueryResult(
                status=QueryStatus.UNKNOWN, checkout_request_id=checkout_request_id
            )
            return unknown, getattr(error, "retry_after", None) or 0.0

    def now(self) -> datetime:
        """Return the current moment by the client's clock."""
        return self._clock.now()

    async def ask(
        self,
        build: Callable[[Token], HttpRequest],
        read: Callable[[HttpResponse], A],
        /,
        *,
        kind: EventKind,
        spare: str,
        again: Callable[[BaseException], bool] = may_ask_again,
    ) -> A:
        """Ask Daraja something that moves no money, as often as the retry policy says.

        Args:
            build: Makes the request with a token.
            read: Reads the answer, or raises the error that it means.
            kind: The kind of its event.
            spare: The product that is asked. See `_with_token`.
            again: Returns whether another try may follow an error.

        Raises:
            MpesaError: What `read` and the transport raise, after the last try.
        """
        started = self._clock.monotonic()
        ends_at = self._ends_at()

        async def once(token: Token) -> A:
            return read(await self._transport.send(build(token)))

        async def ask(token: Token) -> A:
            return await self._retry.run(
                lambda: once(token), again=again, clock=self._clock, ends_at=ends_at
            )

        try:
            answer = await self._with_token(
                ask, token=lambda: self._tokens.get(ends_at=ends_at), spare=spare
            )
        except MpesaError as error:
            self._report(kind, started, error)
            raise
        duration = self._clock.monotonic() - started
        self._notify(Event(kind=kind, outcome="ok", duration=duration, code=answer.response_code))
        return answer

    def _ends_at(self, timeout: float | None = None) -> float:
        """Return the monotonic second after which no new try starts."""
        return self._clock.monotonic() + (self.config.total_timeout if timeout is None else timeout)

    async def _with_token(
        self,
        call: Callable[[Token], Awaitable[T]],
        *,
        token: Callable[[], Awaitable[Token]],
        spare: str | None = None,
    ) -> T:
        """Call with a token. If Daraja refuses the token, call once more with a new one.

        A call whose token was refused had no effect. If the new token is refused too, the token is not at
        fault. Calls with the same `spare` then renew no token for 5 minutes, because each new token would
        kill the one that pushes use.
        """
        first = await token()
        try:
            return await call(first)
        except AuthenticationFailed as error:
            spared = self._clock.monotonic() < self._spare_until.get(spare or "", -math.inf)
            if error.reason != "token_refused" or spared:
                raise
        await self._tokens.drop(first)
        try:
            return await call(await token())
        except AuthenticationFailed as again:
            if spare and again.reason == "token_refused":
                self._spare_until[spare] = self._clock.monotonic() + _SPARE_TOKENS
            raise

    async def _token_before_push(self, ends_at: float) -> Token:
        """Return a token for a push. Every error here means that no push was sent."""
        try:
            return await self._tokens.get(ends_at=ends_at)
        except OutcomeUnknown as error:
            reason = error.reason
        raise NotSent(f"no token for the push: {reason}")

    async def _fetch_token(self, ends_at: float) -> Token:
        started = self._clock.monotonic()

        async def fetch() -> Token:
            sent_at = self._clock.monotonic()
            left = max(ends_at - sent_at, _LEAST_TIMEOUT)
            request = protocol.build_token(self.config)
            request = attrs.evolve(request, total_timeout=min(request.total_timeout, left))
            return protocol.read_token(await self._transport.send(request), sent_at=sent_at)

        try:
            token = await self._retry.run(
                fetch, again=may_ask_again, clock=self._clock, ends_at=ends_at
            )
        except MpesaError as error:
            self._report("token", started, error)
            raise
        self._notify(Event(kind="token", outcome="ok", duration=self._clock.monotonic() - started))
        return token

    def check_callback_url(self, url: str, /) -> None:
        """Refuse a callback URL that Daraja cannot post to."""
        fault = callback_url_fault(
            url,
            allow_loopback=self.config.environment.is_loopback,
        )
        if fault:
            raise InvalidRequest("callback_url", fault)

    def _report(self, kind: EventKind, started: float, error: MpesaError) -> None:
        """Notify the hooks of a failed step."""
        self._notify(
            Event(
                kind=kind,
                outcome=_outcome(error),
                duration=self._clock.monotonic() - started,
                code=getattr(error, "error_code", None),
                error=type(error).__name__,
                http_status=getattr(error, "http_status", None),
            )
        )


def _outcome(error: MpesaError) -> str:
    if isinstance(error, OutcomeUnknown):
        return "unknown"
    if isinstance(error, NotSent):
        return "not_sent"
    if isinstance(error, RateLimited):
        return "rate_limited"
    return "refused" if isinstance(error, DarajaError) else "error"


def _app_id(config: StkConfig) -> str:
    """Return a hash that names the app in shared stores without showing its key."""
    text = f"{config.environment.token_url} {config.consumer_key}"
    return hashlib.sha256(text.encode()).hexdigest()

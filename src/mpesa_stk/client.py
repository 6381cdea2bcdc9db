"""`StkClient`: token, push, status query and pull. `async_client.py` has the other face of its flow.

The flow is `daraja/client_flow.py`, and for pulls `reconcile/pull_flow.py`. This file gives it its parts: a
transport, a token store and a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from mpesa_stk.clock import AwaitedClock, Clock, SystemClock
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.client_flow import ClientFlow
from mpesa_stk.daraja.exchange import AwaitedTransport, Transport
from mpesa_stk.daraja.models import PushAccepted, PushRequest, QueryResult, Token
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.daraja.tokens import (
    AwaitedTokenStore,
    MemoryTokenStore,
    TokenStore,
)
from mpesa_stk.faces import finish
from mpesa_stk.hooks import Hook
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import hides_locals
from mpesa_stk.reconcile.pull import PullRegistration
from mpesa_stk.reconcile.pull_flow import pull_statement, register_pull
from mpesa_stk.reconcile.statement import Statement

if TYPE_CHECKING:
    from mpesa_stk.daraja.transport import RequestsTransport


class StkClient:
    """Talks to Daraja: token, push, status query, pull.

    It is safe to share between threads and to use after a fork. Use it as a context manager, or call
    `close`.

    Attributes:
        config: The settings.
        app: A hash that names the app in shared stores without showing its key.
        flow: The calls in their awaited form, for `Payments`. Its parts never suspend.
    """

    def __init__(
        self,
        config: StkConfig,
        /,
        *,
        transport: Transport | None = None,
        token_store: TokenStore | None = None,
        clock: Clock | None = None,
        retry: RetryPolicy | None = None,
        hooks: tuple[Hook, ...] = (),
    ) -> None:
        """Make a client. It sends no request yet.

        Args:
            config: The settings.
            transport: Carries the requests. A `RequestsTransport` by default.
            token_store: Keeps the token. Share one between workers. In memory by default.
            clock: The clock to read and to sleep by. The machine's clock by default.
            retry: Number of tries of a request that may be sent again, and the waits between them.
            hooks: Called with an `Event` for each token, push, query and page of a pull.
        """
        clock = clock if clock is not None else SystemClock()
        if transport is None:
            transport = requests_transport(config, clock)
        self.flow = ClientFlow(
            config,
            transport=AwaitedTransport(transport),
            token_store=AwaitedTokenStore(
                token_store if token_store is not None else MemoryTokenStore()
            ),
            clock=AwaitedClock(clock),
            retry=retry,
            hooks=hooks,
        )
        self.config = config
        self.app = self.flow.app

    def __enter__(self) -> StkClient:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        finish(self.flow.close())

    @hides_locals
    def token(self) -> Token:
        """Return the bearer token, from the cache or from Daraja.

        If several threads need a new token, one of them fetches it for all.

        Raises:
            AuthenticationFailed: Consumer key or secret is wrong.
            MpesaError: No token could be fetched.
        """
        return finish(self.flow.token())

    @hides_locals
    def push(
        self,
        *,
        phone_number: str | PhoneNumber,
        amount: int | Decimal,
        reference: str,
        description: str = "",
        callback_url: str | None = None,
    ) -> PushAccepted:
        """Ask a phone to pay. At most one prompt appears, even if the network fails.

        Args:
            phone_number: The number of the customer who pays.
            amount: Whole shillings, 1 to ``config.max_amount``.
            reference: Shown in the prompt, 1 to 12 characters.
            description: Up to 13 characters.
            callback_url: The URL to which Daraja posts the result. ``config.callback_url`` by default.

        Raises:
            InvalidRequest: A field breaks a rule. No request was sent.
            NotSent: No push left this machine, in all tries or within the total time-out.
            OutcomeUnknown: The prompt may be live: do not push again.
            DarajaError: Daraja refused. No prompt appeared.
            GatewayBlocked: A web firewall refused. No prompt appeared.
            UnexpectedResponse: The token endpoint's answer cannot be read. No push was sent.
        """
        request = self.flow.check_push(
            phone_number=phone_number,
            amount=amount,
            reference=reference,
            description=description,
            callback_url=callback_url,
        )
        return finish(self.flow.send_push(request))

    @hides_locals
    def check_push(
        self,
        *,
        phone_number: str | PhoneNumber,
        amount: int | Decimal,
        reference: str,
        description: str = "",
        callback_url: str | None = None,
    ) -> PushRequest:
        """Check a push without sending it. Arguments and errors are those of `push`."""
        return self.flow.check_push(
            phone_number=phone_number,
            amount=amount,
            reference=reference,
            description=description,
            callback_url=callback_url,
        )

    @hides_locals
    def send_push(self, request: PushRequest, /, *, leave_by: float | None = None) -> PushAccepted:
        """Send a checked push. Results and errors are those of `push`.

        One deadline, ``config.total_timeout`` from now, limits all steps before the push leaves: waiting
        for a token, a second token, and the waits between tries that were not sent. The answer then has
        ``config.total_timeout`` again, because the outcome of a push is unknown if its answer is cut off.

        Args:
            request: A request from `check_push`.
            leave_by: Monotonic second of the client's clock after which the push must not be sent any more.
                After it, `NotSent` is raised. It can only shorten the deadline.
        """
        return finish(self.flow.send_push(request, leave_by=leave_by))

    @hides_locals
    def query(
        self,
        checkout_request_id: str,
        /,
        *,
        timeout: float | None = None,
        attempts: int | None = None,
    ) -> QueryResult:
        """Ask Daraja for the state of a push.

        The answer never has a receipt: only the callback does.

        Args:
            checkout_request_id: The id from `PushAccepted`.
            timeout: Seconds within which tries are made. ``config.total_timeout`` by default.
            attempts: Most tries. Those of the retry policy by default.

        Raises:
            InvalidRequest: The text cannot be a CheckoutRequestID.
            MpesaError: Daraja gave no answer to the query, or refused it.
        """
        return finish(self.flow.query(checkout_request_id, timeout=timeout, attempts=attempts))

    @hides_locals
    def wait_for_result(
        self,
        checkout_request_id: str,
        /,
        *,
        timeout: float = 120.0,
        on_poll: Callable[[QueryResult], None] | None = None,
    ) -> QueryResult:
        """Ask until the payment is PAID or FAILED, or the time is up.

        Each poll is one attempt. A failed poll counts as an UNKNOWN answer. The next poll then keeps its
        usual time, or comes later if Daraja asks for that.

        Args:
            checkout_request_id: The id from `PushAccepted`.
            timeout: Seconds to wait at most. The prompt lives about 60.
            on_poll: Called with each answer.

        Returns:
            The last answer. If Daraja gave no result in time, the status is UNKNOWN or PENDING, never
            FAILED.

        Raises:
            InvalidRequest: The text cannot be a CheckoutRequestID.
            AuthenticationFailed: Daraja does not accept our credentials.
        """
        return finish(
            self.flow.wait_for_result(checkout_request_id, timeout=timeout, on_poll=on_poll)
        )

    @hides_locals
    def pull(self, start: datetime, end: datetime, /) -> Statement:
        """Ask Daraja for the payments that reached the account in a window of the last 48 hours.

        The account must be registered (see `register_pull`), and the app needs the product Pull
        Transactions. The answer to an account that is not registered is the same as the answer to an empty
        window. So a statement without rows is never complete, and is no proof.

        Each page is one request, with ``config.total_timeout``. If a later page cannot be had, the rows
        before it are returned, and the statement is not complete.

        Args:
            start: Begin of the window, aware, at most 48 hours ago.
            end: End of the window, aware, not in the future.

        Raises:
            InvalidRequest: The window breaks a rule. No request was sent.
            AuthenticationFailed: Daraja does not accept our credentials, or the app lacks the product.
            MpesaError: Daraja refused, or gave no answer that can be read.
        """
        return finish(pull_statement(self.flow, start, end))

    @hides_locals
    def register_pull(
        self, *, nominated_number: str | PhoneNumber, callback_url: str
    ) -> PullRegistration:
        """Register the account for `pull`, once.

        Daraja may take longer than 30 seconds to answer. It accepts an account that is registered already.

        Args:
            nominated_number: The phone number that Safaricom's records name for the organisation.
            callback_url: A URL of yours. Daraja asks for one, and no source says that it calls it.

        Raises:
            InvalidRequest: A field breaks a rule. No request was sent.
            AuthenticationFailed: Daraja does not accept our credentials, or the app lacks the product.
            MpesaError: Daraja refused, or gave no answer that can be read.
        """
        return finish(
            register_pull(self.flow, nominated_number=nominated_number, callback_url=callback_url)
        )


def requests_transport(config: StkConfig, clock: Clock, /) -> RequestsTransport:
    """Make the transport of a client that is given none."""
    # Imported here because requests would take most of the time of `import mpesa_stk`. A host that only
    # reads callbacks, or that brings its own transport, does not need it.
    from mpesa_stk.daraja.transport import RequestsTransport  # noqa: PLC0415

    return RequestsTransport(
        proxies=config.proxies,
        ca_bundle=config.ca_bundle,
        user_agent=config.user_agent,
        monotonic=clock.monotonic,
    )

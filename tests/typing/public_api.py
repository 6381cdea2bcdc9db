"""The public API as a host writes it. Never run: mypy and pyright check it, the latter strictly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from typing_extensions import assert_never, assert_type

from mpesa_stk import (
    PRODUCTION,
    SANDBOX,
    Accounts,
    AioHttpTransport,
    AsyncAccounts,
    AsyncLimits,
    AsyncMemoryTokenStore,
    AsyncMemoryTransactionStore,
    AsyncPayments,
    AsyncQueryBudget,
    AsyncStkClient,
    AsyncTokenStore,
    AsyncTransactionStore,
    AsyncTransport,
    AuthenticationFailed,
    CallbackGuard,
    CallbackOutcome,
    CallbackReceipt,
    CallbackResult,
    Clock,
    ConfigurationError,
    DarajaError,
    DueReport,
    Environment,
    Event,
    GatewayBlocked,
    Hook,
    HttpRequest,
    HttpResponse,
    IdempotencyConflict,
    InvalidCallback,
    InvalidRequest,
    KeptCallback,
    MemoryLimits,
    MemoryQueryBudget,
    MemoryTokenStore,
    MemoryTransactionStore,
    MpesaError,
    NoLimits,
    NotSent,
    OutcomeUnknown,
    PayBill,
    PaymentConfirmed,
    PaymentEndpoints,
    PaymentFailed,
    Payments,
    PaymentStatus,
    PaymentUnproven,
    PhoneNumber,
    PushAccepted,
    QueryBudget,
    QueryPace,
    QueryResult,
    QueryStatus,
    Rate,
    Rates,
    RequestsTransport,
    Result,
    RetryAdvice,
    RetryPolicy,
    Statement,
    StkClient,
    StkConfig,
    SubscriberBusy,
    SystemClock,
    ThreadedQueryBudget,
    ThreadedTokenStore,
    ThreadedTransactionStore,
    Till,
    Token,
    TokenStore,
    Transaction,
    TransactionState,
    TransactionStore,
    Transport,
    UnexpectedResponse,
    WebRequest,
    WebResponse,
    __version__,
    explain,
    normalize_phone,
    parse_callback,
    read_statement,
    stk_password,
    stk_timestamp,
)
from mpesa_stk.web.shared_limits import AsyncSharedLimits


def settings(variables: Mapping[str, str]) -> StkConfig:
    """Settings, from the environment or by hand."""
    assert_type(StkConfig.from_env(), StkConfig)
    assert_type(StkConfig.from_env(variables), StkConfig)
    config = StkConfig(
        consumer_key="key",
        consumer_secret="secret",
        passkey="passkey",
        account=Till(store_number="600000", till_number="5566778"),
        callback_url="https://shop.example.co.ke/payments/callback",
        environment=Environment.at("https://daraja.example.co.ke", name="proxy"),
        max_amount=70_000,
        connect_timeout=5,
        total_timeout=30.0,
        callback_secrets=["newest", "older"],
        proxies={"https": "http://proxy.example.co.ke:3128"},
        user_agent="shop/1.0",
    )
    assert_type(config.account, PayBill | Till)
    assert_type(config.account.party_b, str)
    assert_type(config.callback_secrets, tuple[str, ...])
    assert_type(config.proxies, Mapping[str, str] | None)
    assert_type(config.environment.urls, dict[str, str])
    assert_type(SANDBOX, Environment)
    assert_type(PRODUCTION.push_url, str)
    assert_type(__version__, str)
    # Settings of a wrong kind are found before the program runs.
    StkConfig(
        consumer_key=b"key",  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        consumer_secret="secret",
        passkey="passkey",
        account="174379",  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        callback_url="https://shop.example.co.ke/payments/callback",
        callback_secrets="one secret",  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    )
    PayBill(174379)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    config.max_amount = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    return config


class HostsClock:
    """A clock without any base class."""

    def now(self) -> datetime:
        """The moment."""
        raise NotImplementedError

    def monotonic(self) -> float:
        """The second."""
        return 0.0

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


class HostsTransport:
    """A transport without any base class."""

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send."""
        assert_type(request.headers, Mapping[str, str])
        assert_type(request.body, bytes | None)
        return HttpResponse(status=200, headers={}, body=b"{}")

    def close(self) -> None:
        """Close."""


def count(event: Event) -> None:
    """A hook."""
    assert_type(event.duration, float | None)
    assert_type(event.checkout_request_id, str | None)


def pieces() -> None:
    """What a host may bring or replace."""
    clock: Clock = HostsClock()
    system: Clock = SystemClock()
    transport: Transport = HostsTransport()
    real: Transport = RequestsTransport(proxies={"https": "http://proxy"}, user_agent="shop/1.0")
    awaited: AsyncTransport = AioHttpTransport(ca_bundle="ca.pem", user_agent="shop/1.0")
    shared: AsyncTokenStore = ThreadedTokenStore(MemoryTokenStore(), threads=2)
    kept: AsyncTransactionStore = ThreadedTransactionStore(MemoryTransactionStore())
    budget: AsyncQueryBudget = ThreadedQueryBudget(MemoryQueryBudget(QueryPace(per_minute=5.0)))
    for of_loop in (AsyncMemoryTokenStore(), shared):
        asynchronous = AsyncStkClient(settings({}), transport=awaited, token_store=of_loop)
    AsyncPayments(asynchronous, kept, query_budget=budget)
    AsyncPayments(asynchronous, AsyncMemoryTransactionStore())
    tokens: TokenStore = MemoryTokenStore()
    store: TransactionStore = MemoryTransactionStore()
    hook: Hook = count
    StkClient(
        settings({}),
        transport=transport,
        token_store=tokens,
        clock=clock,
        retry=RetryPolicy(attempts=2, jitter=lambda: 0.5),
        hooks=(hook,),
    ).close()
    with StkClient(settings({}), transport=real, clock=system) as client:
        assert_type(client, StkClient)
        Payments(client, store, clock=clock, hooks=(hook, count))


def ask(client: StkClient) -> PushAccepted | None:
    """Ask for a payment and handle everything that can happen."""
    try:
        accepted = client.push(
            phone_number=PhoneNumber.parse("0718643064"),
            amount=Decimal(100),
            reference="INV-1",
            description="Order 7",
        )
    except (InvalidRequest, SubscriberBusy, GatewayBlocked) as error:
        facts(error)
    except NotSent as error:
        assert_type(error.reason, str)
    except OutcomeUnknown as error:
        assert_type(error.http_status, int | None)
    except AuthenticationFailed as error:
        assert_type(error.error_code, str | None)
    except DarajaError as error:
        assert_type(error.http_status, int)
        assert_type(error.request_id, str | None)
    except UnexpectedResponse as error:
        assert_type(error.problems, tuple[str, ...])
    except MpesaError as error:
        assert_type(error.transaction_no, str | None)
    else:
        assert_type(accepted, PushAccepted)
        assert_type(accepted.checkout_request_id, str)
        return accepted
    return None


def facts(error: InvalidRequest | SubscriberBusy | GatewayBlocked) -> None:
    """What some errors carry."""
    if isinstance(error, InvalidRequest):
        assert_type((error.field, error.rule), tuple[str, str])
    elif isinstance(error, SubscriberBusy):
        assert_type(error.retry_after, float | None)
    else:
        assert_type(error.incident_id, str | None)


def ask_wrongly(client: StkClient) -> None:
    """Amounts that are no whole shillings are found before the program runs."""
    client.push(phone_number="0718643064", amount=100, reference="INV-1", callback_url=None)
    client.push(
        phone_number="0718643064",
        amount=99.5,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        reference="INV-1",
    )


def follow(client: StkClient, checkout_request_id: str) -> QueryResult:
    """Ask what became of it."""

    def show(result: QueryResult) -> None:
        print(result.status.value)  # noqa: T201 - never run

    moment = datetime.fromisoformat("2026-11-23T09:00:00+03:00")
    statement = client.pull(moment - timedelta(hours=1), moment)
    assert_type(statement, Statement)
    assert_type(read_statement("statement.csv"), Statement)
    assert_type([row.reference for row in statement.rows], list[str | None])
    done = client.register_pull(nominated_number="0722000000", callback_url="https://shop.example")
    assert_type(done.was_registered, bool)
    result = client.query(checkout_request_id)
    assert_type(result, QueryResult)
    assert_type(result.status, QueryStatus)
    assert_type(result.result, Result | None)
    assert_type(client.token(), Token)
    return client.wait_for_result(checkout_request_id, timeout=60, on_poll=show)


def callback(body: bytes) -> str:
    """Read what Daraja posts; a checker sees that no kind of result is forgotten."""
    try:
        result = parse_callback(body)
    except InvalidCallback as error:
        assert_type(error.problems, tuple[str, ...])
        return "invalid"
    assert_type(result, PaymentConfirmed | PaymentFailed | PaymentUnproven)
    as_named: CallbackResult = result
    assert_type(as_named.checkout_request_id, str)
    assert_type(result.result.retry, RetryAdvice)
    if isinstance(result, PaymentConfirmed):
        assert_type(result.amount, Decimal)
        assert_type(result.paid_at, datetime | None)
        assert_type(result.phone_number, str | None)
        return result.receipt_number
    if isinstance(result, PaymentFailed):
        return result.result.message("sw")
    if isinstance(result, PaymentUnproven):  # pyright: ignore[reportUnnecessaryIsInstance]
        assert_type(result.problems, tuple[str, ...])
        return "unproven"
    assert_never(result)


def remember(payments: Payments) -> None:
    """Payments that are remembered."""
    try:
        transaction = payments.checkout(
            phone_number="0718643064", amount=100, reference="INV-1", idempotency_key="order-7"
        )
    except IdempotencyConflict as conflict:
        assert_type(conflict.fields, tuple[str, ...])
        return
    assert_type(transaction, Transaction)
    assert_type(transaction.state, TransactionState)
    assert_type(transaction.amount, int)
    assert_type(transaction.paid_at, datetime | None)
    status = payments.query("ws_CO_1")
    assert_type(status, PaymentStatus)
    assert_type(status.remote, QueryResult | None)
    assert_type(status.local_transaction, Transaction | None)
    receipt = payments.handle_callback(b"{}", token=None)
    assert_type(receipt, CallbackReceipt)
    assert_type(receipt.outcome, CallbackOutcome)

    def deliver(settled: Transaction) -> None:
        print(settled.transaction_no)  # noqa: T201 - never run

    report = payments.process_due(on_settled=deliver, limit=10, deadline=5.0, stop=lambda: False)
    assert_type(report, DueReport)
    assert_type((report.deferred, report.more), tuple[int, bool])


class HostsBudget:
    """A budget without any base class."""

    def take(self, app: str, now: datetime, /) -> float:
        """Ask."""
        raise NotImplementedError

    def throttled(self, app: str, now: datetime, retry_after: float, /) -> None:
        """Slow down."""


def limit(client: StkClient, transactions: TransactionStore, moment: datetime) -> None:
    """A budget of status queries."""
    budget: QueryBudget = MemoryQueryBudget(QueryPace(per_minute=30, slowest=2, recovery=600))
    assert_type(budget.take("app", moment), float)
    Payments(client, transactions, query_budget=HostsBudget())


def store(transactions: TransactionStore, transaction: Transaction, moment: datetime) -> None:
    """The methods of a store."""
    transactions.add(transaction)
    assert_type(transactions.get("1"), Transaction | None)
    assert_type(transactions.find(receipt_number="NLJ7RT61SV"), Transaction | None)
    assert_type(transactions.replace(transaction), bool)
    for kept in transactions.kept_callbacks(transaction_no="1"):
        assert_type(kept, KeptCallback)
        transactions.drop_callback(kept.callback_id)
    accounts = frozenset({transaction.account})
    claimed = transactions.claim_due(moment, 10, timedelta(seconds=60), accounts)
    assert_type(claimed, list[Transaction])
    assert_type(transactions.purge_callbacks(moment, 10), int)


def serve(payments: Payments, request: WebRequest) -> None:
    """Endpoints of synchronous payments."""
    endpoints = PaymentEndpoints(payments, at_once=8)
    assert_type(endpoints.handle(request), WebResponse)
    PaymentEndpoints(
        payments,
        quote={"INV-1": 100}.get,
        authorize=lambda _request, action, payment: action == "query" and payment is not None,
        key_scope=lambda request: request.headers.get("cookie"),
        limits=MemoryLimits(rates=Rates(prompts=Rate(times=3, seconds=600))),
    )
    print(endpoints.wsgi, endpoints.asgi)  # noqa: T201 - never run


async def serve_awaited(
    client: AsyncStkClient, payments: AsyncPayments, request: WebRequest
) -> None:
    """Endpoints of asynchronous payments."""
    endpoints = PaymentEndpoints(payments, guard=CallbackGuard.from_config(client.config))
    assert_type(await endpoints.handle_async(request), WebResponse)
    await endpoints.drain()

    async def quote(order: str) -> int | None:
        return len(order) or None

    limits: AsyncLimits = AsyncSharedLimits("async+redis://127.0.0.1/0")
    PaymentEndpoints(payments, quote=quote, limits=limits)
    PaymentEndpoints(payments, limits=NoLimits())


def several(transactions: TransactionStore, configs: Mapping[str, StkConfig]) -> None:
    """Several accounts, given and loaded."""
    with Accounts(transactions, configs.values()) as accounts:
        assert_type(accounts["600000"], Payments)
        assert_type(accounts.get("1"), Transaction | None)
        assert_type(accounts.process_due(), DueReport)
        assert_type(accounts.handle_callback(b"", token="1.2"), CallbackReceipt)
    loaded = Accounts(transactions, configs.get, accounts=lambda: list(configs))
    assert_type(loaded.names(), frozenset[str])
    print(PaymentEndpoints(loaded, guard=CallbackGuard.from_config).wsgi)  # noqa: T201 - never run


async def several_awaited(
    transactions: AsyncTransactionStore, configs: Mapping[str, StkConfig]
) -> None:
    """The same, awaited."""

    async def load(account: str) -> StkConfig | None:
        return configs.get(account)

    async def names() -> list[str]:
        return list(configs)

    async with AsyncAccounts(transactions, load, accounts=names) as accounts:
        assert_type(await accounts.account("600000"), AsyncPayments)
        assert_type(accounts["600000"], AsyncPayments)
        assert_type(await accounts.process_due(), DueReport)


def plain_functions(moment: datetime) -> None:
    """The small ones."""
    assert_type(normalize_phone("0718643064"), str)
    assert_type(PhoneNumber.parse("0718643064").masked, str)
    assert_type(explain(1032), Result)
    assert_type(explain("SFC_IC0003").message("en"), str)
    assert_type(explain(1).evidence in ("official", "reported"), bool)
    assert_type(stk_password("174379", "passkey", stk_timestamp(moment)), str)
    error = ConfigurationError((("passkey", "is wrong"),))
    assert_type(error.problems, tuple[tuple[str, str], ...])

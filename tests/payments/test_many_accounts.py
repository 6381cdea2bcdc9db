"""Many accounts over one store: workers that share it, fair batches, budgets of apps, callbacks of all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
from sqlalchemy import create_engine

from both_faces import Face, make_accounts
from databases import Servers
from mpesa_stk import (
    CallbackOutcome,
    CallbackRefused,
    DueReport,
    HttpRequest,
    HttpResponse,
    InvalidCallback,
    InvalidRequest,
    MemoryQueryBudget,
    MemoryTokenStore,
    MemoryTransactionStore,
    PayBill,
    PaymentStatus,
    QueryPace,
    StkConfig,
    Transaction,
    TransactionState,
    TransactionStore,
)
from mpesa_stk.simulator.faults import Fault
from mpesa_stk.stores.sql import SqlTransactionStore
from mpesa_stk.testing import SimulatedDaraja, simulated_config
from support import callback

pytestmark = pytest.mark.usefixtures("face")

PATIENCE = 60.0
WORKERS = 4
SERVED = 200
APPS = 150
FOREIGN = 5


def merchant(number: int, **changes: Any) -> StkConfig:
    """The settings of a merchant with an app of its own."""
    settings: dict[str, Any] = {
        "account": PayBill(str(600_000 + number)),
        "consumer_key": f"key-{number}",
        "consumer_secret": f"secret-{number}",
        "passkey": f"passkey-{number}",
        "callback_secrets": (f"callback-secret-{number:04}",),
    }
    return simulated_config(**(settings | changes))


class Platform:
    """Merchants with one simulated Daraja, one store and one token store. All callbacks are lost."""

    def __init__(self, *configs: StkConfig, store: TransactionStore | None = None) -> None:
        self.configs = configs
        self.daraja = SimulatedDaraja(*configs)
        self.clock = self.daraja.clock
        self.store = MemoryTransactionStore() if store is None else store
        self.tokens = MemoryTokenStore()
        self.posted: list[tuple[str, bytes]] = []
        self.daraja.deliver_to(lambda url, body: self.posted.append((url, body)))
        self._phones = iter(range(100_000, 1_000_000))

    def accounts(self, *configs: StkConfig, **parts: Any) -> Any:
        """Accounts of these merchants, or of all."""
        settings: dict[str, Any] = {
            "clock": self.clock,
            "transport": self.daraja,
            "token_store": self.tokens,
            "jitter": lambda: 0.5,
        }
        return make_accounts(self.store, configs or self.configs, **(settings | parts))

    def checkout(self, accounts: Any, config: StkConfig, **changes: Any) -> Transaction:
        """A customer of this merchant is asked to pay."""
        order = {"phone_number": f"0720{next(self._phones)}", "amount": 100, "reference": "INV-1"}
        paid: Transaction = accounts[str(config.account)].checkout(**(order | changes))
        return paid

    def count(self, kind: str) -> int:
        """How many requests of a kind Daraja got."""
        return sum(entry.kind == kind for entry in self.daraja.journal.entries())

    def stored(self, transaction: Transaction) -> Transaction:
        """The payment as stored."""
        found = self.store.get(transaction.transaction_no)
        assert found is not None
        return found


def at_once(workers: list[Any], told: list[Transaction]) -> None:
    """Let workers do batches at the same time, in threads or in tasks, until nothing is due."""

    def in_thread(worker: Any) -> None:
        while worker.process_due(on_settled=told.append, limit=25).claimed:
            pass

    async def in_task(worker: Any) -> None:
        while (await worker.process_due(on_settled=told.append, limit=25)).claimed:
            pass

    async def in_tasks() -> None:
        await asyncio.gather(*(in_task(worker.asynchronous) for worker in workers))

    if Face.asyncio:
        asyncio.run(asyncio.wait_for(in_tasks(), PATIENCE))
        return
    with ThreadPoolExecutor(len(workers)) as pool:
        for work in [pool.submit(in_thread, worker) for worker in workers]:
            work.result(PATIENCE)


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, servers: Servers) -> Iterator[TransactionStore]:
    """A store that all workers share."""
    if request.param == "memory":
        yield MemoryTransactionStore()
        return
    with servers.lent_postgres() as url:
        engine = create_engine(url)
        sql = SqlTransactionStore(engine)
        sql.create_tables()
        yield sql
        engine.dispose()


def test_two_hundred_merchants_with_four_workers(store: TransactionStore) -> None:
    """Callbacks are lost: 200 of 200 payments are right, with one token request for each app.

    The payments of accounts that the workers do not serve are never asked about, expired or reported.
    """
    served = [
        merchant(number, consumer_key=f"key-{number % APPS}", consumer_secret=f"s-{number % APPS}")
        for number in range(SERVED)
    ]
    foreign = [merchant(SERVED + number) for number in range(FOREIGN)]
    platform = Platform(*served, *foreign, store=store)
    shop = platform.accounts()
    wanted: dict[str, TransactionState] = {}
    untouched = [platform.checkout(shop, config) for config in foreign]
    for number, config in enumerate(served):
        platform.daraja.play("cancelled" if number % 4 == 0 else "paid")
        paid = TransactionState.FAILED if number % 4 == 0 else TransactionState.SUCCEEDED
        wanted[platform.checkout(shop, config).transaction_no] = paid
    platform.daraja.advance(30)
    assert len(platform.posted) == SERVED + FOREIGN
    assert platform.count("token") == APPS + FOREIGN

    told: list[Transaction] = []
    workers = [platform.accounts(*served) for _ in range(WORKERS)]
    for pause in (0, 60, 86_400 * 7):
        platform.daraja.advance(pause)
        if pause < 3600:
            at_once(workers, told)

    assert {paid.transaction_no: paid.state for paid in told} == wanted
    assert Counter(paid.transaction_no for paid in told).most_common(1)[0][1] == 1
    assert {number: platform.store.get(number).state for number in wanted} == wanted  # type: ignore[union-attr]
    assert platform.count("token") == APPS + FOREIGN
    assert platform.count("query") == SERVED

    at_once(workers, told)
    assert len(told) == SERVED
    assert platform.count("query") == SERVED
    assert [platform.stored(payment) for payment in untouched] == untouched


def test_each_payment_is_asked_about_with_its_own_credentials() -> None:
    """Of merchants with one app, too: Daraja answers only to the shortcode and passkey of the payment."""
    configs = [merchant(n, consumer_key="key", consumer_secret="secret") for n in range(3)]
    platform = Platform(*configs)
    accounts = platform.accounts()
    payments = [platform.checkout(accounts, config) for config in configs]
    platform.daraja.advance(30)
    for payment in payments:
        accounts.query(payment.checkout_request_id)
    assert [platform.stored(one).state for one in payments] == [TransactionState.SUCCEEDED] * 3
    assert platform.count("token") == 1


# --- fair batches --------------------------------------------------------------------------------------


def test_merchant_with_many_due_payments_does_not_starve_the_others() -> None:
    """A batch of twelve takes one of each of the six merchants first, though one has 300 older ones."""
    configs = [merchant(number) for number in range(6)]
    platform = Platform(*configs)
    accounts = platform.accounts()
    for _ in range(300):
        platform.checkout(accounts, configs[0])
    platform.clock.advance(1)
    others = [platform.checkout(accounts, config) for config in configs[1:]]
    platform.daraja.advance(60)
    told: list[Transaction] = []
    assert accounts.process_due(on_settled=told.append, limit=12).reported == 12
    assert {other.transaction_no for other in others} <= {paid.transaction_no for paid in told[:6]}


class SlowFor:
    """A Daraja that takes half a minute to answer queries of one merchant."""

    def __init__(self, daraja: SimulatedDaraja, config: StkConfig) -> None:
        self._daraja = daraja
        self._shortcode = config.account.shortcode.encode()

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request."""
        if request.url.endswith("query") and self._shortcode in (request.body or b""):
            self._daraja.clock.advance(30)
        return self._daraja.send(request)

    def close(self) -> None:
        """Nothing is open."""


def test_merchant_whose_answers_take_long_does_not_starve_the_others() -> None:
    """Its oldest payment takes a whole batch, so the next batch begins with the other merchants."""
    configs = [merchant(number) for number in range(3)]
    platform = Platform(*configs)
    accounts = platform.accounts(transport=SlowFor(platform.daraja, configs[0]))
    for _ in range(20):
        platform.checkout(accounts, configs[0])
    platform.clock.advance(1)
    others = [platform.checkout(accounts, config) for config in configs[1:]]
    platform.daraja.advance(60)
    told: list[Transaction] = []
    assert accounts.process_due(on_settled=told.append, deadline=10.0).left == 21
    platform.clock.advance(120)  # the leases of those that were left end
    assert accounts.process_due(on_settled=told.append, deadline=10.0).left == 18
    assert {other.transaction_no for other in others} <= {paid.transaction_no for paid in told}


def test_exhausted_budget_of_one_app_does_not_stop_the_others() -> None:
    """Each app has five queries a minute: one batch asks once for each app, and defers the rest."""
    configs = [merchant(number) for number in range(3)]
    platform = Platform(*configs)
    budget = MemoryQueryBudget(QueryPace(per_minute=5))
    accounts = platform.accounts(query_budget=budget)
    for config in configs * 3:
        platform.checkout(accounts, config)
    platform.daraja.advance(60)
    report = accounts.process_due()
    assert (report.claimed, report.queried, report.deferred) == (9, 3, 6)


def test_accounts_of_one_app_share_its_budget() -> None:
    """Daraja counts by consumer key."""
    configs = [merchant(n, consumer_key="key", consumer_secret="secret") for n in range(3)]
    platform = Platform(*configs)
    accounts = platform.accounts(query_budget=MemoryQueryBudget(QueryPace(per_minute=5)))
    for config in configs:
        platform.checkout(accounts, config)
    platform.daraja.advance(60)
    report = accounts.process_due()
    assert (report.queried, report.deferred) == (1, 2)


def test_rate_limit_of_one_app_slows_only_that_app() -> None:
    """Daraja refused the first query of the batch: the other merchant's are asked as before."""
    configs = [merchant(number) for number in range(2)]
    platform = Platform(*configs)
    accounts = platform.accounts(query_budget=MemoryQueryBudget(QueryPace(per_minute=6000)))
    for config in configs * 3:
        platform.checkout(accounts, config)
        platform.clock.advance(1)
    platform.daraja.advance(60)
    refused = HttpResponse(status=429, headers={"retry-after": "600"}, body=b"")
    platform.daraja.next("query", Fault(answer=lambda _: refused))
    report = accounts.process_due()
    assert (report.queried, report.throttled, report.settled, report.deferred) == (4, 1, 3, 2)


# --- accounts that are not found -----------------------------------------------------------------------


def test_payment_whose_settings_are_not_found_is_left_alone_and_counted() -> None:
    """The account is listed, but cannot be loaded: it may be a mistake of the host."""
    configs = [merchant(number) for number in range(2)]
    platform = Platform(*configs)
    shop = platform.accounts()
    payments = [platform.checkout(shop, config) for config in configs]
    platform.daraja.advance(86_400)
    known = {str(configs[0].account): configs[0]}
    worker = make_accounts(
        platform.store,
        known.get,
        accounts=lambda: [str(config.account) for config in configs],
        clock=platform.clock,
        transport=platform.daraja,
    )
    told: list[Transaction] = []
    report = worker.process_due(on_settled=told.append)
    assert report == DueReport(claimed=2, queried=1, settled=1, reported=1, foreign=1)
    left = platform.stored(payments[1])
    assert attrs.evolve(left, due_at=payments[1].due_at, version=payments[1].version) == payments[1]


def test_failing_loader_does_not_stop_the_batch() -> None:
    """The payments of other merchants are settled."""
    configs = [merchant(number) for number in range(2)]
    platform = Platform(*configs)
    shop = platform.accounts()
    for config in configs:
        platform.checkout(shop, config)
    platform.daraja.advance(60)

    def load(account: str) -> StkConfig:
        if account == str(configs[0].account):
            raise OSError("the row cannot be read")
        return configs[1]

    worker = make_accounts(
        platform.store,
        load,
        accounts=lambda: [str(config.account) for config in configs],
        clock=platform.clock,
        transport=platform.daraja,
    )
    report = worker.process_due(on_settled=lambda _: None)
    assert (report.claimed, report.failed, report.reported) == (2, 1, 1)


def test_payment_of_an_account_that_is_not_served_is_not_found() -> None:
    """By none of the methods."""
    ours, theirs = merchant(0), merchant(1)
    platform = Platform(ours, theirs)
    payment = platform.checkout(platform.accounts(), theirs)
    prompt = payment.checkout_request_id
    accounts = platform.accounts(ours)
    assert accounts.get(payment.transaction_no) is None
    assert accounts.find(checkout_request_id=prompt) is None
    assert accounts.outcome(payment.transaction_no) is None
    assert accounts.query(prompt) == PaymentStatus()
    assert accounts.get("6f9619ff-8b86-4011-b42d-00c04fc964ff") is None
    with pytest.raises(InvalidRequest, match="is not served here"):
        accounts.account(theirs.account.shortcode)
    assert platform.count("query") == 0


# --- one payment of all --------------------------------------------------------------------------------


def test_payment_of_any_account_is_found_and_asked_about() -> None:
    """Whoever has its number or the id of its prompt need not know its account."""
    platform = Platform(merchant(0), merchant(1))
    accounts = platform.accounts()
    payment = platform.checkout(accounts, merchant(1))
    assert accounts.get(payment.transaction_no) == payment
    assert accounts.find(checkout_request_id=payment.checkout_request_id) == payment
    platform.daraja.advance(60)
    status = accounts.query(payment.checkout_request_id)
    assert status.local_transaction is not None
    assert status.local_transaction.state is TransactionState.SUCCEEDED
    settled = accounts.outcome(payment.transaction_no, timeout=1.0)
    assert settled is not None
    assert settled.settled


def test_id_that_no_payment_has_is_asked_about_only_with_a_token() -> None:
    """Without one, nobody knows which credentials to ask with."""
    platform = Platform(merchant(0), merchant(1))
    accounts = platform.accounts()
    payment = platform.checkout(accounts, merchant(1))
    token = _token_of(platform)
    lost = attrs.evolve(
        platform.stored(payment), checkout_request_id=None, state=TransactionState.UNCERTAIN
    )
    assert platform.store.replace(lost)
    platform.daraja.advance(60)
    prompt = payment.checkout_request_id
    assert accounts.query(prompt) == PaymentStatus()
    with pytest.raises(CallbackRefused):
        accounts.query(prompt, token="6f9619ff-8b86-4011-b42d-00c04fc964ff." + "0" * 32)
    found = accounts.query(prompt, token=token).local_transaction
    assert found.transaction_no == payment.transaction_no
    assert found.state is TransactionState.SUCCEEDED


# --- callbacks -----------------------------------------------------------------------------------------


def _token_of(platform: Platform, number: int = -1) -> str:
    """The token of the callback URL of a prompt."""
    return platform.daraja.prompts[number].callback_url.rstrip("/").rpartition("/")[2]


def test_callback_finds_its_account_by_its_signed_token() -> None:
    """Each account has its own secret."""
    platform = Platform(*(merchant(number) for number in range(3)))
    accounts = platform.accounts()
    payments = [platform.checkout(accounts, config) for config in platform.configs]
    platform.daraja.advance(30)
    for url, body in platform.posted:
        token = url.rstrip("/").rpartition("/")[2]
        assert accounts.handle_callback(body, token=token).outcome is CallbackOutcome.SETTLED
    assert all(platform.stored(payment).receipt_number for payment in payments)


def test_callback_that_is_no_proof_is_refused() -> None:
    """The token has another account's secret, names nobody's payment, or is of an account not served."""
    ours, theirs, third = (merchant(number) for number in range(3))
    platform = Platform(ours, theirs, third)
    shop = platform.accounts()
    for config in platform.configs:
        platform.checkout(shop, config)
    platform.daraja.advance(30)
    bodies_of = [body for _, body in platform.posted]
    tokens = [_token_of(platform, number) for number in range(3)]
    accounts = platform.accounts(ours, theirs)
    tag = tokens[1].partition(".")[2]
    forged = f"{tokens[0].partition('.')[0]}.{tag}"
    nobody = f"6f9619ff-8b86-4011-b42d-00c04fc964ff.{tag}"
    for token in (forged, nobody, tokens[2], None, "", "x"):
        with pytest.raises(CallbackRefused):
            accounts.handle_callback(bodies_of[0], token=token)
    with pytest.raises(InvalidCallback):
        accounts.handle_callback(b"{}", token=None)
    stored = [
        platform.store.find(checkout_request_id=p.checkout_request_id)
        for p in platform.daraja.prompts
    ]
    assert [one.state for one in stored if one] == [TransactionState.PENDING] * 3


def test_callback_without_a_token_finds_an_account_without_secrets() -> None:
    """By the id of its prompt."""
    signed, unsigned = merchant(0), merchant(1, callback_secrets=())
    platform = Platform(signed, unsigned)
    accounts = platform.accounts()
    payment = platform.checkout(accounts, unsigned)
    platform.daraja.advance(30)
    ((_, body),) = platform.posted
    assert accounts.handle_callback(body).outcome is CallbackOutcome.SETTLED
    assert platform.stored(payment).paid


def test_callback_without_a_token_is_kept_until_its_payment_is_known() -> None:
    """If an account without secrets is served. It never settles a payment of a signed account."""
    signed, unsigned = merchant(0), merchant(1, callback_secrets=())
    platform = Platform(signed, unsigned)
    accounts = platform.accounts()
    prompt = "ws_CO_26112026090000123718643064"
    assert (
        accounts.handle_callback(callback(checkout_request_id=prompt)).outcome
        is CallbackOutcome.KEPT
    )
    payment = platform.checkout(accounts, signed)
    learnt = attrs.evolve(platform.stored(payment), checkout_request_id=prompt)
    assert platform.store.replace(learnt)
    platform.daraja.advance(30)
    accounts.process_due(on_settled=lambda _: None)
    assert not platform.stored(payment).paid
    assert len(platform.store.kept_callbacks(checkout_request_id=prompt)) == 1


def test_own_callback_url_of_an_unsigned_account_is_no_way_around_signatures() -> None:
    """A body that names a prompt of a signed account proves nothing there."""
    signed, unsigned = merchant(0), merchant(1, callback_secrets=())
    platform = Platform(signed, unsigned)
    accounts = platform.accounts()
    payment = platform.checkout(accounts, signed)
    platform.daraja.advance(30)
    ((_, body),) = platform.posted
    receipt = accounts[str(unsigned.account)].handle_callback(body)
    assert (receipt.outcome, receipt.transaction) == (CallbackOutcome.KEPT, None)
    assert platform.stored(payment).state is TransactionState.PENDING


def test_without_an_unsigned_account_no_callback_without_a_token_is_kept() -> None:
    """Nobody can fill the store."""
    platform = Platform(merchant(0))
    with pytest.raises(CallbackRefused):
        platform.accounts().handle_callback(callback())

"""The endpoints of several accounts, on both faces: paths, callbacks, guards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from both_faces import Face, make_accounts, run
from mpesa_stk import (
    CallbackGuard,
    Event,
    MemoryTransactionStore,
    PayBill,
    PaymentEndpoints,
    StkConfig,
    Till,
    TransactionState,
    WebRequest,
    WebResponse,
)
from mpesa_stk.testing import SimulatedDaraja, simulated_config
from web_cases import ACCEPTED, CUSTOMER, HOST, PAYLOAD, SAFARICOM, body_of, error_of

pytestmark = pytest.mark.usefixtures("face")


def merchant(number: int, **changes: Any) -> StkConfig:
    """The settings of a merchant."""
    settings: dict[str, Any] = {
        "account": PayBill(str(600_000 + number)),
        "consumer_key": f"key-{number}",
        "passkey": f"passkey-{number}",
        "callback_secrets": (f"callback-secret-{number:04}",),
    }
    return simulated_config(**(settings | changes))


FEES, LUNCH = merchant(0), merchant(1)
KIOSK = merchant(2, account=Till(store_number="600000", till_number="5000001"))


class School:
    """Accounts behind endpoints, over a simulated Daraja whose callbacks a test posts by itself."""

    def __init__(
        self,
        *configs: StkConfig,
        guard: Any = None,
        prefix: str = "/payments",
        **rules: Any,
    ) -> None:
        self.daraja = SimulatedDaraja(*configs)
        self.store = MemoryTransactionStore()
        self.events: list[Event] = []
        self.posted: list[tuple[str, bytes]] = []
        self.daraja.deliver_to(lambda url, body: self.posted.append((url, body)))
        self.accounts = make_accounts(
            self.store,
            configs,
            clock=self.daraja.clock,
            transport=self.daraja,
            hooks=(self.events.append,),
        )
        accounts: Any = self.accounts.asynchronous if Face.asyncio else self.accounts
        self.endpoints = PaymentEndpoints(accounts, guard=guard, prefix=prefix, **rules)

    def handle(self, request: WebRequest) -> WebResponse:
        """The answer to a request."""
        if Face.asyncio:
            return run(self.endpoints.handle_async(request))
        return self.endpoints.handle(request)

    def post(
        self, path: str, body: object, peer: str = CUSTOMER, method: str = "POST", **headers: str
    ) -> WebResponse:
        """The answer to a POST."""
        fields = {"Host": HOST, "Content-Type": "application/json"} | headers
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.handle(
            WebRequest(method=method, path=path, headers=fields, body=raw, remote_addr=peer)
        )

    def checkout(self, account: str, **changes: Any) -> dict[str, Any]:
        """A good checkout of an account."""
        return body_of(self.post(f"/payments/{account}/checkout/", PAYLOAD | changes))

    def called_back(self) -> tuple[bytes, str]:
        """The body of the last callback, and the token of its URL."""
        self.daraja.advance(30)
        url, body = self.posted[-1]
        return body, url.rstrip("/").rpartition("/")[2]

    def account_of(self, checked_out: dict[str, Any]) -> str:
        """The account of a checkout."""
        found = self.store.get(checked_out["transaction_no"])
        assert found is not None
        return found.account

    def state(self, checked_out: dict[str, Any]) -> TransactionState:
        """The state of a checkout."""
        found = self.store.get(checked_out["transaction_no"])
        assert found is not None
        return found.state


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("600001", "paybill 600001"),
        ("paybill-600000", "paybill 600000"),
        ("paybill 600000", "paybill 600000"),
        ("paybill%20600000", "paybill 600000"),
        ("5000001", "till 5000001 of store 600000"),
        ("till-5000001-of-store-600000", "till 5000001 of store 600000"),
    ],
)
def test_path_names_the_account(name: str, account: str) -> None:
    """By every name, with dashes for the spaces of a full one."""
    school = School(FEES, LUNCH, KIOSK)
    checked_out = school.checkout(name)
    assert school.account_of(checked_out) == account
    asked = {"transaction_no": checked_out["transaction_no"]}
    assert body_of(school.post(f"/payments/{name}/query/", asked))["state"] == "PENDING"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/payments/600009/checkout/", "unknown_account"),
        ("/payments/600000/checkout/", "unknown_account"),
        ("/payments/checkout/", "not_found"),
        ("/payments/query/", "not_found"),
        ("/payments/600001/", "not_found"),
        ("/payments/600001/refund/", "not_found"),
        ("/payments/600001/checkout/more/", "not_found"),
        ("/payments/callback/a/b/", "not_found"),
        ("/payments", "not_found"),
        ("/elsewhere/600001/checkout/", "not_found"),
    ],
)
def test_paths_that_lead_nowhere_are_404(path: str, code: str) -> None:
    """An account that is unknown, or ambiguous, as paybill 600000 and the till of that store are."""
    school = School(FEES, LUNCH, KIOSK)
    assert error_of(school.post(path, PAYLOAD), 404)[0] == code
    assert school.daraja.pushes == 0


def test_query_does_not_show_payments_of_another_account() -> None:
    """Whoever may see one account need not see the others."""
    school = School(FEES, LUNCH)
    asked = {"transaction_no": school.checkout("600001")["transaction_no"]}
    assert error_of(school.post("/payments/600000/query/", asked), 404)[0] == "unknown_payment"


@pytest.mark.parametrize("where", ["", "/600001", "/paybill-600001"])
def test_callback_finds_its_account(where: str) -> None:
    """At the common address by its signed token, or at the address of the account."""
    school = School(FEES, LUNCH)
    checked_out = school.checkout("600001")
    body, token = school.called_back()
    answer = school.post(f"/payments{where}/callback/{token}/", body, SAFARICOM)
    assert body_of(answer) == ACCEPTED
    assert school.state(checked_out) is TransactionState.SUCCEEDED


@pytest.mark.parametrize("where", ["", "/600000", "/600001"])
@pytest.mark.parametrize("token", [True, False])
def test_callback_that_is_no_proof_is_403(where: str, *, token: bool) -> None:
    """Its token is another account's or missing. The hooks learn who sent it."""
    school = School(FEES, LUNCH)
    checked_out = school.checkout("600001")
    body, genuine = school.called_back()
    forged = genuine.partition(".")[0] + "." + "0" * 32 if token else ""
    answer = school.post(f"/payments{where}/callback/{forged}", body, SAFARICOM)
    assert error_of(answer, 403)[0] == "CallbackRefused"
    assert school.state(checked_out) is TransactionState.PENDING
    refusals = [event for event in school.events if event.kind == "refusal"]
    assert [event.client_address for event in refusals] == [SAFARICOM]


def test_callback_without_a_token_goes_to_an_account_without_secrets() -> None:
    """By the id of its prompt, at the common address."""
    unsigned = merchant(3, callback_secrets=())
    school = School(FEES, unsigned)
    checked_out = school.checkout("600003")
    body, _ = school.called_back()
    assert body_of(school.post("/payments/callback/", body, SAFARICOM)) == ACCEPTED
    assert school.state(checked_out) is TransactionState.SUCCEEDED


def test_each_account_has_the_guard_of_its_settings() -> None:
    """An address that one merchant allows is not allowed for another."""
    gateway = merchant(3, allowed_callback_networks=("198.51.100.0/24",))
    school = School(FEES, gateway)
    for name, status in (("600003", 200), ("600000", 403)):
        school.checkout(name, phone_number=f"072{name}0")
        body, token = school.called_back()
        assert school.post(f"/payments/callback/{token}/", body, "198.51.100.7").status == status


def test_guard_may_be_given() -> None:
    """As a value for all accounts, or as a function of the settings of one."""
    for guard in (
        CallbackGuard(allowed_networks=("198.51.100.0/24",)),
        lambda config: CallbackGuard(
            allowed_networks=("198.51.100.0/24",), allowed_hosts=config.allowed_hosts
        ),
    ):
        school = School(FEES, LUNCH, guard=guard)
        school.checkout("600001")
        body, token = school.called_back()
        assert school.post(f"/payments/callback/{token}/", body, SAFARICOM).status == 403
        assert school.post(f"/payments/callback/{token}/", body, "198.51.100.7").status == 200


def test_foreign_host_is_refused() -> None:
    """As with one account: its settings name the hosts."""
    school = School(merchant(0, allowed_hosts=("pay.school.example",)))
    answer = school.post("/payments/600000/checkout/", PAYLOAD, Host="evil.example")
    assert error_of(answer, 403)[0] == "foreign_host"


@pytest.mark.parametrize(
    ("method", "size", "status"), [("GET", 10, 405), ("POST", 65 * 1024, 413), ("POST", 10, 400)]
)
def test_callbacks_at_the_common_address_are_checked(method: str, size: int, status: int) -> None:
    """Before anything is read from the store."""
    school = School(FEES)
    answer = school.post("/payments/callback/", b"x" * size, SAFARICOM, method)
    assert answer.status == status


def test_endpoints_may_be_at_the_root() -> None:
    """With an empty prefix."""
    school = School(FEES, prefix="")
    assert school.post("/600000/checkout/", PAYLOAD).status == 200
    body, token = school.called_back()
    assert school.post(f"/callback/{token}", body, SAFARICOM).status == 200


def test_callbacks_do_not_wait_behind_checkouts() -> None:
    """Neither at the common address nor at that of an account."""
    school = School(FEES)
    is_callback = school.endpoints._flow.is_callback
    assert is_callback("/payments/callback/x/")
    assert is_callback("/payments/600000/callback/x/")
    assert not is_callback("/payments/600000/checkout/")
    assert not is_callback("/elsewhere/callback/")


def test_merchant_that_changes_its_settings_has_new_rules() -> None:
    """When the loaded settings are old, the endpoints are made of the new ones."""
    table = {"paybill 600000": FEES}
    school = School(FEES)
    accounts = make_accounts(
        school.store,
        table.get,
        clock=school.daraja.clock,
        transport=school.daraja,
        kept_for=60.0,
    )
    target: Any = accounts.asynchronous if Face.asyncio else accounts
    school.endpoints = PaymentEndpoints(target)
    assert school.post("/payments/600000/checkout/", PAYLOAD, Host="a.example").status == 200
    table["paybill 600000"] = merchant(0, allowed_hosts=("pay.school.example",))
    school.daraja.clock.advance(60)
    assert school.post("/payments/600000/checkout/", PAYLOAD, Host="a.example").status == 403


def test_thousands_of_accounts_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their endpoints are made again when they are needed."""
    monkeypatch.setattr("mpesa_stk.web.accounts_endpoints._MOST_MADE", 1)
    school = School(FEES, LUNCH)
    for name in ("600000", "600001", "600000"):
        assert school.post(f"/payments/{name}/query/", {"transaction_no": "x"}).status == 404


def test_bug_in_the_host_shows_nothing() -> None:
    """A loader that returns something else than settings is a bug: 500, without its traceback."""
    school = School(FEES)
    load: Any = lambda _account: 7  # noqa: E731
    accounts = make_accounts(school.store, load, clock=school.daraja.clock, transport=school.daraja)
    target: Any = accounts.asynchronous if Face.asyncio else accounts
    school.endpoints = PaymentEndpoints(target)
    answer = school.post("/payments/600000/checkout/", PAYLOAD)
    assert error_of(answer, 500)[0] == "internal_error"
    assert b"Traceback" not in answer.body


def test_a_price_is_that_of_the_account() -> None:
    """Two accounts have an order of one name. Neither is sold at the price of the other."""
    prices = {("ORDER-1", str(FEES.account)): 45_000, ("ORDER-1", str(LUNCH.account)): 150}
    school = School(FEES, LUNCH, quote=lambda order, account: prices.get((order, account)))
    body = PAYLOAD | {"order": "ORDER-1", "amount": 150}
    refused = school.post("/payments/600000/checkout/", body)
    assert body_of(refused, 409)["error"]["code"] == "wrong_amount"
    assert school.post("/payments/600001/checkout/", body).status == 200
    unknown = school.post("/payments/600001/checkout/", body | {"order": "ORDER-2"})
    assert error_of(unknown, 404)[0] == "nothing_to_pay"

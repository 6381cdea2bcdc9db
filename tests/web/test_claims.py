"""``POST /payments/claim/``: "I paid, here is my code", on both faces."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from both_faces import Face, make_accounts, make_client, make_payments, run
from mpesa_stk import (
    Event,
    MemoryLimits,
    MemoryQueryBudget,
    MemoryTransactionStore,
    PaymentEndpoints,
    QueryPace,
    Rate,
    Rates,
    Transaction,
    TransactionState,
    WebRequest,
    WebResponse,
)
from mpesa_stk.testing import SimulatedDaraja, phones
from web_cases import CUSTOMER, HOST, body_of, error_of

pytestmark = pytest.mark.usefixtures("face")

NO_CODE = "UKQ00000A1"


class Shop:
    """A shop in an outage of callbacks, whose customers have the codes of their messages.

    Attributes:
        daraja: Safaricom, with its ledger.
        events: What hooks were told.
    """

    def __init__(self, *, several: bool = False, budget: Any = None, **rules: Any) -> None:
        self.daraja = SimulatedDaraja()
        self.daraja.register_for_pulls()
        self.daraja.outage()
        self.store = MemoryTransactionStore()
        self.events: list[Event] = []
        hooks = (self.events.append,)
        clock = self.daraja.clock
        if several:
            made = make_accounts(
                self.store,
                [self.daraja.config],
                clock=clock,
                transport=self.daraja,
                hooks=hooks,
                query_budget=budget,
            )
            self.prefix, self.payments = "/payments/600000", made["600000"]
        else:
            client = make_client(
                self.daraja.config, transport=self.daraja, clock=clock, hooks=hooks
            )
            made = make_payments(client, self.store, clock=clock, hooks=hooks, query_budget=budget)
            self.prefix, self.payments = "/payments", made
        self.endpoints = PaymentEndpoints(made.asynchronous if Face.asyncio else made, **rules)

    def lost(self, reference: str = "INV-1", amount: int = 100) -> tuple[Transaction, str]:
        """A payment that is paid, and of which the shop hears nothing; and the code of its message."""
        self.daraja.next("push", "done-but-dropped")
        made = self.payments.checkout(phone_number=phones.PAID, amount=amount, reference=reference)
        self.daraja.advance(120.0)
        return made, self.daraja.ledger()[-1].receipt_number

    def claim(self, number: object, code: object, **headers: str) -> WebResponse:
        """The answer to a claim."""
        return self.post({"transaction_no": number, "receipt_number": code}, **headers)

    def post(self, payload: dict[str, object], **headers: str) -> WebResponse:
        """The answer to a body."""
        request = WebRequest(
            method="POST",
            path=f"{self.prefix}/claim/",
            headers={"Host": HOST, "Content-Type": "application/json"} | headers,
            body=json.dumps(payload).encode(),
            remote_addr=CUSTOMER,
        )
        if Face.asyncio:
            return run(self.endpoints.handle_async(request))
        return self.endpoints.handle(request)

    def answer(self, number: object, code: object) -> str:
        """The word of an answer."""
        word = body_of(self.claim(number, code))["answer"]
        assert isinstance(word, str)
        return word

    def stored(self, payment: Transaction) -> Transaction:
        """A payment as it is stored now."""
        found = self.store.get(payment.transaction_no)
        assert found is not None
        return found

    @property
    def pulls(self) -> int:
        """How many pages of a pull Daraja was asked for."""
        return sum(event.kind == "pull" for event in self.events)


@pytest.mark.parametrize("several", [False, True])
def test_a_code_is_found_in_a_fresh_record(several: bool) -> None:  # noqa: FBT001 - a parameter
    """The answer is 200, small letters do not matter, and the claim settles nothing by itself."""
    shop = Shop(several=several)
    payment, code = shop.lost()
    assert body_of(shop.claim(payment.transaction_no, f" {code.lower()} ".strip())) == {
        "transaction_no": payment.transaction_no,
        "state": "UNCERTAIN",
        "answer": "found",
        "message": "M-Pesa has this payment; it is being written down.",
    }
    after = shop.stored(payment)
    assert (after.state, after.receipt_number) == (TransactionState.UNCERTAIN, None)


def test_a_code_of_a_paid_payment() -> None:
    """It is answered from the store: Daraja is not asked."""
    shop = Shop()
    shop.daraja.end_outage()
    payment, _ = shop.lost()
    statement = shop.payments.client.pull(payment.created, shop.daraja.clock.now())
    shop.payments.reconcile(statement, apply=True)
    code = shop.stored(payment).receipt_number
    before = shop.pulls
    assert shop.answer(payment.transaction_no, code) == "paid"
    assert shop.answer(payment.transaction_no, NO_CODE) == "paid_otherwise"
    assert shop.pulls == before


def test_a_code_of_another_payment() -> None:
    """The answer does not tell whether nobody, another customer or a payment by hand has it."""
    shop = Shop()
    payment, _ = shop.lost("INV-1", 100)
    _, other = shop.lost("INV-2", 250)
    assert shop.answer(payment.transaction_no, other) == "not_this_payment"
    by_hand = shop.daraja.pay_by_hand(75).receipt_number
    assert shop.answer(payment.transaction_no, by_hand) == "not_this_payment"
    assert shop.answer(payment.transaction_no, NO_CODE) == "unknown"
    assert shop.stored(payment).state is TransactionState.UNCERTAIN


@pytest.mark.parametrize(
    ("payload", "status", "code", "field"),
    [
        ({}, 400, "InvalidRequest", "transaction_no"),
        ({"transaction_no": "x"}, 400, "InvalidRequest", "receipt_number"),
        ({"transaction_no": "x", "receipt_number": 5}, 400, "InvalidRequest", "receipt_number"),
        ({"transaction_no": "x", "receipt_number": NO_CODE}, 404, "unknown_payment", None),
    ],
)
def test_claims_that_cannot_be_answered(
    payload: dict[str, object], status: int, code: str, field: str | None
) -> None:
    """A field is missing or wrong, or there is no such payment."""
    assert error_of(Shop().post(payload), status) == (code, field)


@pytest.mark.parametrize("code", ["??", "a b", "12345678"])
def test_a_text_that_is_no_code(code: str) -> None:
    """It is refused before Daraja is asked."""
    shop = Shop()
    payment, _ = shop.lost()
    refused = shop.claim(payment.transaction_no, code)
    assert error_of(refused, 400) == ("InvalidRequest", "receipt_number")
    assert shop.pulls == 0


def test_whoever_may_not_ask_learns_nothing() -> None:
    """`authorize` gets the action and the payment; Daraja is not asked."""
    asked: list[tuple[str, Any]] = []

    def authorize(request: WebRequest, action: str, transaction: Transaction | None) -> bool:
        asked.append((action, transaction.transaction_no if transaction else None))
        return request.headers.get("cookie") == "wanjiru"

    shop = Shop(authorize=authorize)
    payment, code = shop.lost()
    assert error_of(shop.claim(payment.transaction_no, code), 403) == ("not_allowed", None)
    assert shop.pulls == 0
    body_of(shop.claim(payment.transaction_no, code, Cookie="wanjiru"))
    assert asked == [("claim", payment.transaction_no)] * 2


def test_guesses_are_limited_and_logged_without_the_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Like misses of queries; a right code does not count, and Daraja is not asked any more."""
    caplog.set_level(logging.INFO, logger="mpesa_stk")
    rates = Rates(misses=Rate(times=3, seconds=600))
    shop = Shop()
    shop = Shop(limits=MemoryLimits(rates=rates, monotonic=shop.daraja.clock.monotonic))
    payment, code = shop.lost()
    for _ in range(2):
        assert shop.answer(payment.transaction_no, code) == "found"
    for guess in ("UKQ00000A1", "UKQ00000A2", "UKQ00000A3"):
        assert shop.answer(payment.transaction_no, guess) == "unknown"
    before = shop.pulls
    refused = shop.claim(payment.transaction_no, code)
    assert error_of(refused, 429) == ("too_many_misses", "receipt_number")
    assert shop.pulls == before
    reasons = [event.reason for event in shop.events if event.kind == "refusal"]
    assert reasons == ["too many misses"]
    assert "mpesa_stk.claim outcome=unknown" in caplog.text
    assert "UKQ00000A" not in caplog.text
    assert code not in caplog.text


class Spent:
    """A budget without a free slot."""

    def take(self, _app: str, _now: Any, /) -> float:
        """Refuse."""
        return 12.0

    def throttled(self, _app: str, _now: Any, _retry_after: float, /) -> None:
        """Nothing complains."""


def test_the_budget_of_the_app_is_kept() -> None:
    """Then the store alone answers."""
    shop = Shop(budget=Spent())
    payment, code = shop.lost()
    assert shop.answer(payment.transaction_no, code) == "unknown"
    assert shop.pulls == 0


def test_a_pull_that_fails_is_no_error_of_the_customer() -> None:
    """The code is not known yet."""
    shop = Shop()
    payment, code = shop.lost()
    shop.daraja.next("pull", *["unavailable"] * 10)
    assert shop.answer(payment.transaction_no, code) == "unknown"


def test_a_rate_limit_slows_the_queries_of_the_app_down() -> None:
    """The next claim is answered from the store alone."""
    shop = Shop(budget=MemoryQueryBudget(QueryPace(per_minute=60)))
    payment, code = shop.lost()
    shop.daraja.next("pull", *["rate-limited"] * 10)
    assert shop.answer(payment.transaction_no, code) == "unknown"
    asked = shop.pulls
    assert shop.answer(payment.transaction_no, code) == "unknown"
    assert shop.pulls == asked > 0


def test_a_payment_of_long_ago_is_not_pulled_for() -> None:
    """Daraja's records reach two days."""
    shop = Shop()
    payment, code = shop.lost()
    shop.daraja.advance(48 * 3600.0)
    assert shop.answer(payment.transaction_no, code) == "unknown"
    assert shop.pulls == 0

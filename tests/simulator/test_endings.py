"""Every scenario and every fault of the simulator, played through `Payments` to the end."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from both_faces import driven_payments
from endings import ENDINGS
from mpesa_stk import MpesaError, Payments, Transaction, TransactionState
from mpesa_stk.simulator.incoming import Step
from mpesa_stk.testing import FAULTS, OUTCOMES, SCENARIOS, TEST_PHONES, Scenario, SimulatedDaraja

CREATED, UNCERTAIN, PENDING, SUCCEEDED, FAILED, REJECTED, EXPIRED = TransactionState

STEPS: tuple[Step, ...] = ("token", "push", "query")
HALF_AN_HOUR = 1800
EVERY = 10


class Shop:
    """A host that checks out one payment, again and again under one key, and works off what is due."""

    def __init__(
        self, phone_number: str = "254718643064", *, face: str = "sync", **options: Any
    ) -> None:
        self.daraja = SimulatedDaraja(**options)
        self.payments: Payments = self.daraja.payments()
        if face == "asyncio":
            self.payments = driven_payments(self.daraja)
            self.daraja.deliver_to(self.hand_over)
        self.phone_number = phone_number
        self.told: list[Transaction] = []
        self.may_push = 0

    def checkout(self) -> Transaction:
        """Check the payment out; the stored one where that is refused."""
        known = self.payments.store.find(idempotency_key="order-1")
        self.may_push += known is None or known.state is REJECTED
        with contextlib.suppress(MpesaError):
            return self.payments.checkout(
                phone_number=self.phone_number,
                amount=100,
                reference="INV-1",
                idempotency_key="order-1",
            )
        return self.stored()

    def hand_over(self, url: str, body: bytes) -> int:
        """Give a callback to the payments."""
        self.payments.handle_callback(body, token=url.rstrip("/").rpartition("/")[2])
        return 200

    def stored(self) -> Transaction:
        """The payment as now stored."""
        transaction = self.payments.store.find(idempotency_key="order-1")
        assert transaction is not None
        return transaction

    def work(self) -> None:
        """Do what is due."""
        self.payments.process_due(on_settled=self.told.append)

    def let_pass(self, seconds: int = HALF_AN_HOUR) -> None:
        """Let time pass and work off what is due every ten seconds of it."""
        for _ in range(0, seconds, EVERY):
            self.daraja.advance(EVERY)
            self.work()
            self.check_promises()

    def check_promises(self) -> None:
        """One push and one prompt (I1); paid only where the phone paid (I3); no callback was refused."""
        prompts = self.daraja.prompts
        assert self.daraja.pushes <= self.may_push
        assert len(prompts) <= 1
        if self.stored().state is SUCCEEDED:
            assert [prompt.outcome.paid for prompt in prompts] == [True]
            assert prompts[0].ends_at <= self.daraja.clock.monotonic()
        assert self.daraja.callback_errors == []


def test_every_scenario_has_a_row() -> None:
    """A new scenario is not forgotten here."""
    assert list(ENDINGS) == list(SCENARIOS)


@pytest.mark.parametrize("face", ["sync", "asyncio"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_ends_as_the_table_says(name: str, face: str) -> None:
    """State, code, review, reports, prompts and pushes of each scenario, half an hour later."""
    ending = ENDINGS[name]
    shop = Shop(TEST_PHONES[name], face=face)

    shop.checkout()
    shop.let_pass()

    transaction = shop.stored()
    assert transaction.state is ending.state
    assert transaction.result_code == ending.code
    assert transaction.needs_review == ending.review
    assert tuple(told.state for told in shop.told) == ending.told
    assert {told.transaction_no for told in shop.told} == {transaction.transaction_no}
    assert transaction.reported
    assert transaction.due_at is None
    assert len(shop.daraja.prompts) == ending.prompts
    assert shop.daraja.pushes == 1
    shop.check_promises()


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_can_be_played_on_any_phone(name: str) -> None:
    """The same scenario, set for all phones, ends in the same state."""
    shop = Shop(scenario=name)

    shop.checkout()
    shop.let_pass()

    assert shop.stored().state is ENDINGS[name].state


@pytest.mark.parametrize(
    ("name", "receipt"), [("paid", True), ("callback-lost", False), ("query-says-failed", True)]
)
def test_a_receipt_comes_with_the_callback_alone(name: str, receipt: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    """A payment that is known from a query has none; one with a callback has the phone's."""
    shop = Shop(TEST_PHONES[name])

    shop.checkout()
    shop.let_pass()

    known = shop.stored().receipt_number
    assert known == (shop.daraja.prompts[0].receipt_number if receipt else None)


def test_a_failed_callback_stands_whatever_the_query_would_say() -> None:
    """A settled payment is answered from the store; Daraja, which would say paid, is not asked."""
    shop = Shop(TEST_PHONES["query-says-paid"])
    transaction = shop.checkout()
    shop.let_pass(EVERY)
    assert transaction.checkout_request_id is not None

    status = shop.payments.query(transaction.checkout_request_id)

    assert (status.remote, status.local_transaction) == (None, shop.stored())
    assert shop.stored().state is FAILED


@pytest.mark.parametrize("answer", OUTCOMES)
def test_a_prompt_by_hand_ends_as_it_is_answered(answer: str) -> None:
    """The code of each outcome arrives, and only the paid one pays."""
    shop = Shop(TEST_PHONES["by-hand"])
    transaction = shop.checkout()

    shop.daraja.decide(str(transaction.checkout_request_id), answer)

    assert shop.stored().result_code == str(OUTCOMES[answer].code)
    assert shop.stored().state is (SUCCEEDED if answer == "paid" else FAILED)
    shop.check_promises()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_anywhere_asks_at_most_once(fault: str, step: Step) -> None:
    """Nothing but `MpesaError` is raised, no second prompt appears, and every payment ends."""
    shop = Shop()
    shop.daraja.next(step, fault)

    transaction = shop.checkout()
    if transaction.checkout_request_id is not None:
        shop.payments.query(transaction.checkout_request_id)
    shop.checkout()
    shop.let_pass()
    shop.checkout()
    shop.let_pass()

    assert shop.stored().state.settled
    assert (shop.stored().state is SUCCEEDED) == (len(shop.daraja.prompts) == 1)
    assert shop.told[-1].state is shop.stored().state
    shop.check_promises()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_does_not_end_asks_at_most_once(fault: str, step: Step) -> None:
    """The same with each request of the step failing alike."""
    shop = Shop()
    shop.daraja.next(step, *[fault] * 500)

    shop.checkout()
    shop.let_pass()
    shop.checkout()
    shop.let_pass()

    assert shop.stored().state.settled
    shop.check_promises()


# --- whatever comes, in whatever order ---------------------------------------------------------------

ACTIONS = st.one_of(
    st.tuples(st.just("fault"), st.sampled_from(STEPS), st.sampled_from(sorted(FAULTS))),
    st.tuples(st.just("advance"), st.sampled_from([0, 1, 5, 30, 61, 400, 1000])),
    st.tuples(st.just("redeliver"), st.integers(0, 5)),
    st.tuples(st.just("answer"), st.sampled_from(sorted(OUTCOMES))),
    st.sampled_from([("query",), ("checkout",), ("work",), ("revoke",)]),
)
# Without those in which Daraja contradicts itself: there, its word on a payment is not the phone's.
HONEST = [scenario for scenario in SCENARIOS.values() if scenario.query_outcome is None]


class Storm(Shop):
    """The shop, with its callbacks kept, so that they can come again."""

    def __init__(self, scenario: Scenario, face: str) -> None:
        super().__init__(scenario=scenario, face=face)
        self.callbacks: list[tuple[str, bytes]] = []
        self.daraja.deliver_to(self.take)

    def take(self, url: str, body: bytes) -> int:
        """Take a callback."""
        self.callbacks.append((url, body))
        return self.hand_over(url, body)

    def do(self, action: tuple[Any, ...]) -> None:
        """Do one thing."""
        what, *how = action
        if what == "fault":
            self.daraja.next(*how)
        elif what == "advance":
            self.daraja.advance(*how)
        elif what == "redeliver" and self.callbacks:
            self.hand_over(*self.callbacks[how[0] % len(self.callbacks)])
        elif what == "answer" and self.daraja.prompts:
            with contextlib.suppress(LookupError):  # answered already
                self.daraja.decide(self.daraja.prompts[0].checkout_request_id, *how)
        elif what == "query":
            checkout_request_id = self.stored().checkout_request_id
            if checkout_request_id is not None:
                self.payments.query(checkout_request_id)
        elif what == "checkout":
            self.checkout()
        elif what == "work":
            self.work()
        elif what == "revoke":
            self.daraja.revoke_tokens()


@given(
    scenario=st.sampled_from(HONEST),
    face=st.sampled_from(["sync", "asyncio"]),
    actions=st.lists(ACTIONS, max_size=25),
)
def test_no_sequence_of_mishaps_breaks_a_promise(
    scenario: Scenario, face: str, actions: list[tuple[Any, ...]]
) -> None:
    """Faults, time, queries, answers and callbacks in any order: one prompt, and paid only if paid."""
    shop = Storm(scenario, face)
    shop.checkout()
    was_paid = False

    for action in actions:
        shop.do(action)
        shop.check_promises()
        is_paid = shop.stored().state is SUCCEEDED
        assert is_paid or not was_paid
        was_paid = is_paid

    shop.let_pass()
    for _ in range(50):  # every query may fail for a day, ever more rarely asked
        if shop.stored().state.settled:
            break
        shop.let_pass()
    shop.let_pass()
    assert shop.stored().state.settled
    assert shop.told[-1].state is shop.stored().state
    shop.check_promises()

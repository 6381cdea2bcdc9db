"""`Payments.query`: from the store, or from Daraja, at most once in ten seconds and within the budget."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from both_faces import make_payments
from daraja_double import answer, refusal, result
from hosts import SIGNED, BrokenStore, Host, LateStore, overtaken, pending
from mpesa_stk import (
    CallbackRefused,
    DarajaError,
    HttpResponse,
    InvalidRequest,
    Payments,
    PaymentStatus,
    QueryStatus,
    StoreError,
    Transaction,
    TransactionState,
)
from mpesa_stk.payments.budget import UnlimitedQueryBudget
from mpesa_stk.payments.signing import signed_url
from support import CALLBACK_SECRET, CHECKOUT_ID, accepted, callback, claim_of, make_transaction

pytestmark = pytest.mark.usefixtures("face")


def page(host: Host, **changes: Any) -> Payments:
    """Another process that answers pages, without a limit of its own."""
    asker: Payments = make_payments(
        host.payments.client,
        host.store,
        clock=host.clock,
        query_budget=UnlimitedQueryBudget(),
        **changes,
    )
    return asker


def test_query_joins_darajas_view_with_ours_and_settles() -> None:
    """A final answer of the query settles the stored payment, without a receipt."""
    host = pending()
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    status = host.payments.query(CHECKOUT_ID)
    assert status.remote is not None
    assert status.remote.status is QueryStatus.PAID
    assert status.remote_error is None
    assert status.local_transaction == host.stored()
    assert host.stored().state is TransactionState.SUCCEEDED
    assert host.stored().receipt_number is None
    assert host.stored().settled_by == "query"


def test_settled_payment_is_answered_from_the_store() -> None:
    """Daraja is not asked about what is known, however often a page asks."""
    host = pending()
    host.payments.handle_callback(callback())
    for _ in range(500):
        assert host.payments.query(CHECKOUT_ID) == PaymentStatus(local_transaction=host.stored())
    assert host.daraja.queries == []


def test_open_payment_is_asked_about_once_in_ten_seconds() -> None:
    """All pages of all processes together; in between they get what is stored."""
    host = pending()
    pages = [page(host) for _ in range(3)]
    host.daraja.query_script.extend([result(CHECKOUT_ID, "4999")] * 2)
    assert pages[0].query(CHECKOUT_ID).remote is not None
    host.clock.advance(9)
    for each in pages:
        assert each.query(CHECKOUT_ID) == PaymentStatus(local_transaction=host.stored())
    host.clock.advance(1)
    assert pages[1].query(CHECKOUT_ID).remote is not None
    assert len(host.daraja.queries) == 2


def test_old_open_payment_is_asked_about_once_in_ten_seconds_too() -> None:
    """Its next look stands at its expiry already, so that a page's question does not move it."""
    host = pending()
    host.clock.advance(800)
    host.daraja.query_script.extend([result(CHECKOUT_ID, "4999")] * 30)
    for _ in range(30):
        page(host).query(CHECKOUT_ID)
        host.clock.advance(1)
    assert len(host.daraja.queries) == 3


def test_clock_that_was_set_back_does_not_let_pages_ask_all_the_time() -> None:
    """The last question seems to lie in the future; those that follow count all the same."""
    host = pending()
    host.clock.step(3600)
    host.daraja.query_script.extend([result(CHECKOUT_ID, "4999")] * 3)
    page(host).query(CHECKOUT_ID)
    host.clock.step(-3600)
    for _ in range(10):
        page(host).query(CHECKOUT_ID)
        host.clock.advance(0.5)
    assert len(host.daraja.queries) == 2


def test_pages_do_not_keep_a_payment_from_its_expiry() -> None:
    """However often a page asks about it, a worker that comes each minute gives it up in time."""
    host = pending()
    host.daraja.query_script.extend([result(CHECKOUT_ID, "4999")] * 200)
    for second in range(1000):
        page(host).query(CHECKOUT_ID)
        host.clock.advance(1)
        if second % 60 == 0:
            host.payments.process_due()
    assert host.stored().state is TransactionState.EXPIRED


def test_question_of_a_worker_counts_for_pages_too() -> None:
    """`process_due` asked a moment ago: a page gets what it learnt."""
    host = pending()
    host.clock.advance(20)
    host.daraja.query_script.append(result(CHECKOUT_ID, "4999"))
    assert host.payments.process_due().queried == 1
    assert page(host).query(CHECKOUT_ID).remote is None


def test_threads_that_ask_at_once_ask_once() -> None:
    """Sixteen pages at the same moment: one query."""
    host = pending()
    host.daraja.query_script.extend([result(CHECKOUT_ID, "4999")] * 16)
    barrier = threading.Barrier(16)
    asker = page(host)

    def ask(_: int) -> PaymentStatus:
        barrier.wait(30)
        return asker.query(CHECKOUT_ID)

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(ask, range(16)))
    assert len([status for status in statuses if status.remote is not None]) == 1
    assert all(status.local_transaction is not None for status in statuses)
    assert len(host.daraja.queries) == 1


def test_page_that_comes_second_gets_what_the_first_one_learnt() -> None:
    """Between its look and its question another page asked, and settled the payment."""

    class Raced(BrokenStore):
        raced = False

        def replace(self, transaction: Transaction, /) -> bool:
            if transaction.history[-1].event == "asked for a page" and not self.raced:
                self.raced = True
                assert page(host).query(CHECKOUT_ID).remote is not None
            return super().replace(transaction)

    host = pending(store=Raced())
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    status = page(host).query(CHECKOUT_ID)
    assert status == PaymentStatus(local_transaction=host.stored())
    assert host.stored().state is TransactionState.SUCCEEDED


def test_query_sends_one_request() -> None:
    """A page is answered soon; whoever asks next tries again."""
    host = pending()
    host.daraja.query_script.append(HttpResponse(status=503, headers={}, body=b""))
    assert host.payments.query(CHECKOUT_ID).remote_error is not None
    assert len(host.daraja.queries) == 1


def test_kept_proof_answers_before_daraja_does() -> None:
    """The worker died before it applied the callback: a page's question applies it (invariant I4)."""
    store = LateStore()
    host = Host(store)
    host.daraja.push_script.append(overtaken(host))
    host.checkout()
    store.hidden = False
    status = host.payments.query("ws_CO_23112026090000123718643064")
    assert status.local_transaction is not None
    assert status.local_transaction.receipt_number == "NLJ7RT61SV"
    assert host.daraja.queries == []
    assert host.store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == []


def test_query_that_cannot_be_asked_still_tells_our_side() -> None:
    """If Daraja cannot be asked, the local payment comes with the error."""
    host = pending()
    host.daraja.query_script.append(refusal("400.003.01", "Bad", 400))
    status = host.payments.query(CHECKOUT_ID)
    assert status.remote is None
    assert isinstance(status.remote_error, DarajaError)
    assert status.local_transaction == host.stored()


def test_query_about_an_unknown_payment_has_no_local_side() -> None:
    """A CheckoutRequestID that is not in the store is asked about, and the log says that it is unknown."""
    host = Host()
    host.daraja.query_script.append(result("ws_CO_other", "1032"))
    status = host.payments.query("ws_CO_other")
    assert status.remote is not None
    assert status.remote.status is QueryStatus.FAILED
    assert status.local_transaction is None
    assert host.payments.query("ws_CO_other") == PaymentStatus()  # the budget is used up


def test_query_by_an_impossible_id_is_refused() -> None:
    """An id that cannot be one is the caller's mistake, and nothing is sent."""
    host = Host()
    with pytest.raises(InvalidRequest):
        host.payments.query("")
    assert host.daraja.queries == []


# --- an id that was lost ---------------------------------------------------------------------------


def lost(**settings: Any) -> Host:
    """A host whose store could not write Daraja's answer to the push."""
    store = BrokenStore("replace")
    host = Host(store, **settings)
    host.daraja.push_script.append(answer(accepted()))
    host.checkout(idempotency_key="order-1")
    store.broken = ""
    assert host.stored().checkout_request_id is None
    return host


def test_key_gives_a_lost_id_back_to_its_payment() -> None:
    """Daraja knows the id, and the host vouches for it by its own key: the payment is followed again."""
    host = lost()
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    status = host.payments.query(CHECKOUT_ID, idempotency_key="order-1")
    assert status.local_transaction == host.stored()
    assert host.stored().state is TransactionState.SUCCEEDED
    assert host.stored().checkout_request_id == CHECKOUT_ID


def test_signed_token_gives_a_lost_id_back_to_its_payment() -> None:
    """Only Daraja was told the callback URL, so its token proves the payment; another one is refused."""
    host = lost(callback_secrets=(CALLBACK_SECRET,))
    host.daraja.query_script.append(result(CHECKOUT_ID, "4999"))
    with pytest.raises(CallbackRefused):
        host.payments.query(CHECKOUT_ID, token=host.daraja.token[:-1] + "g")
    host.payments.query(CHECKOUT_ID, token=host.daraja.token)
    assert (host.stored().state, host.stored().checkout_request_id) == (
        TransactionState.PENDING,
        CHECKOUT_ID,
    )


def test_lost_id_without_proof_is_given_to_no_payment(caplog: pytest.LogCaptureFixture) -> None:
    """Daraja's answer is returned, and the log says that no payment here has the id."""
    host = lost()
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    status = host.payments.query(CHECKOUT_ID)
    assert (status.remote is not None, status.local_transaction) == (True, None)
    assert "payment_of_query_unknown status=PAID" in caplog.text
    assert host.stored().state is TransactionState.CREATED


def test_id_that_daraja_does_not_know_is_given_to_no_payment() -> None:
    """A made-up id cannot take the place of the one that was lost."""
    host = lost()
    host.daraja.query_script.append(refusal("500.001.1001", "The transaction does not Exist", 500))
    host.payments.query("ws_CO_made_up", idempotency_key="order-1")
    assert host.stored().checkout_request_id is None


def test_key_of_a_payment_that_has_an_id_links_nothing() -> None:
    """A second prompt is not this payment's."""
    host = pending()
    host.daraja.push_script.append(answer(accepted("ws_CO_second")))
    host.checkout(reference="INV-2", idempotency_key="order-2")
    host.daraja.query_script.append(result("ws_CO_other", "0"))
    status = host.payments.query("ws_CO_other", idempotency_key="order-2")
    assert status.local_transaction is None
    assert host.stored("INV-2").checkout_request_id == "ws_CO_second"


def test_wrong_id_does_not_open_an_expired_payment_again() -> None:
    """It has an id of its own, about which Daraja spoke: the host is not told of its expiry once more."""
    host = Host()
    host.checkout(idempotency_key="order-1")
    host.clock.advance(900)
    host.daraja.query_script.extend(
        [result("ws_CO_23112026090000001", "4999"), result("ws_CO_other", "0")]
    )
    host.payments.process_due(on_settled=lambda _: None)
    expired = host.stored()
    assert (expired.state, expired.reported) == (TransactionState.EXPIRED, True)
    page(host).query("ws_CO_other", idempotency_key="order-1")
    assert host.stored() == expired


def test_unknown_id_that_cannot_be_asked_about_is_an_error_of_darajas() -> None:
    """Nothing is linked without Daraja's word."""
    host = lost()
    host.daraja.query_script.append(refusal("400.003.01", "Bad", 400))
    status = host.payments.query(CHECKOUT_ID, idempotency_key="order-1")
    assert isinstance(status.remote_error, DarajaError)
    assert status.local_transaction is None


def test_payment_that_turns_up_while_daraja_is_asked_is_settled() -> None:
    """The push's answer was written just then."""
    host = Host()

    def written() -> HttpResponse:
        host.daraja.push_script.append(answer(accepted()))
        host.checkout()
        return result(CHECKOUT_ID, "1032")

    host.daraja.query_script.append(written)
    status = host.payments.query(CHECKOUT_ID)
    assert status.local_transaction == host.stored()
    assert host.stored().state is TransactionState.FAILED


# --- payments of other accounts -------------------------------------------------------------------


def test_payment_of_another_account_is_not_asked_about() -> None:
    """Its own account's credentials are not here, and its payer is not shown."""
    host = Host(**SIGNED)
    foreign = make_transaction(
        account="till 5000", state=TransactionState.PENDING, checkout_request_id=CHECKOUT_ID
    )
    host.store.add(foreign)
    assert host.payments.query(CHECKOUT_ID) == PaymentStatus()
    assert host.payments.get(foreign.transaction_no) is None
    assert host.payments.find(checkout_request_id=CHECKOUT_ID) is None
    assert host.daraja.queries == []


def test_token_of_another_accounts_payment_links_nothing() -> None:
    """Two accounts of one store may share a secret; Daraja is asked with credentials of one only."""
    host = Host(**SIGNED)
    foreign = make_transaction(account="till 5000", state=TransactionState.UNCERTAIN)
    host.store.add(foreign)
    url = signed_url("https://x", CALLBACK_SECRET, **claim_of(foreign))
    token = url.rstrip("/").rpartition("/")[2]
    assert host.payments.query(CHECKOUT_ID, token=token) == PaymentStatus()
    assert host.store.get(foreign.transaction_no) == foreign
    assert host.daraja.queries == []


def test_payment_of_another_account_that_turns_up_meanwhile_is_left_alone() -> None:
    """Its push's answer was written while Daraja was asked."""
    host = Host()
    foreign = make_transaction(
        account="till 5000", state=TransactionState.PENDING, checkout_request_id=CHECKOUT_ID
    )

    def written() -> HttpResponse:
        host.store.add(foreign)
        return result(CHECKOUT_ID, "1032")

    host.daraja.query_script.append(written)
    assert host.payments.query(CHECKOUT_ID).local_transaction is None
    assert host.store.get(foreign.transaction_no) == foreign


def test_payments_of_this_account_are_found() -> None:
    """By number and by the prompt's id."""
    host = pending()
    assert host.payments.get(host.stored().transaction_no) == host.stored()
    assert host.payments.find(checkout_request_id=CHECKOUT_ID) == host.stored()
    assert host.payments.get("nothing") is None


def test_store_that_is_down_raises() -> None:
    """A page gets an error, and no guess."""
    store = BrokenStore()
    host = pending(store=store)
    store.broken = "find"
    with pytest.raises(StoreError):
        host.payments.query(CHECKOUT_ID)

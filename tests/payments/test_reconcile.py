"""`Payments.reconcile` and `Payments.claim`, on both faces, in memory and in SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from both_faces import make_accounts
from daraja_double import ScriptedDaraja, answer
from hosts import BrokenStore, Host
from mpesa_stk import (
    Claim,
    ClaimAnswer,
    Desk,
    InvalidRequest,
    MemoryTransactionStore,
    PayBill,
    ReconcileReport,
    StatementSource,
    StoreError,
    Till,
    Transaction,
    TransactionState,
)
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.faces import finish
from mpesa_stk.hooks import Notifier
from mpesa_stk.payments.effects import FITS_SEVERAL, FITS_WITHOUT_QUERY
from mpesa_stk.payments.matching import TAKEN_ELSEWHERE
from mpesa_stk.payments.reconciling import RECEIPT_TAKEN
from mpesa_stk.payments.record_rows import CLOCKS_DISAGREE
from mpesa_stk.payments.schedule import REPORT_LEASE
from mpesa_stk.payments.store import AwaitedTransactionStore
from mpesa_stk.stores.sql import SqlTransactionStore
from records import TILL_ACCOUNT, asked, by_query, paid, refused, row, statement, till_row
from support import CHECKOUT_ID, START, ManualClock, accepted, callback, make_config

pytestmark = pytest.mark.usefixtures("face")

State = TransactionState
RECEIPT = "NLJ7RT61SV"
TILL = Till(store_number="6000001", till_number="5000001")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An empty store."""
    if request.param == "memory":
        yield MemoryTransactionStore()
        return
    engine = sa.create_engine(f"sqlite:///{tmp_path}/payments.db")
    made = SqlTransactionStore(engine)
    made.create_tables()
    yield made
    engine.dispose()


def host_with(store: Any, *payments: Transaction, **settings: Any) -> Host:
    """A host whose store has these payments, an hour later."""
    host = Host(store, **settings)
    for payment in payments:
        host.store.add(payment)
    host.clock.advance(3_600)
    return host


def told(host: Host) -> list[Transaction]:
    """What the host's handler gets now."""
    found: list[Transaction] = []
    host.clock.advance(REPORT_LEASE.total_seconds())
    host.payments.process_due(on_settled=found.append)
    return found


def stored(host: Host) -> list[Transaction]:
    """All payments as stored, the first created first."""
    return list(host.payments.search().payments[::-1])


def applied(host: Host, *rows: Any, **changes: Any) -> ReconcileReport:
    """The report of a statement that is applied, which has no effect when it is applied again."""
    record = statement(*rows, **changes)
    report = host.payments.reconcile(record, apply=True)
    before = stored(host)
    again = host.payments.reconcile(record, apply=True)
    assert stored(host) == before
    assert (again.settled, again.receipts_added) == ((), ())
    return report


# --- a lost callback --------------------------------------------------------------------------------


def test_a_lost_callback_is_settled_from_a_statement_and_reported(store: Any) -> None:
    """The dry run changes nothing. Applied, the payment is paid, with its evidence in the history."""
    host = host_with(store, asked(1))
    dry = host.payments.reconcile(statement(row()))
    assert (len(dry.would_settle), dry.settled, dry.applied, dry.agrees) == (1, (), False, False)
    assert stored(host) == [asked(1)]
    report = applied(host, row())
    (after,) = stored(host)
    assert [one.transaction for one in report.settled] == [after]
    assert (report.would_settle, report.applied, report.agrees) == ((), True, True)
    assert (after.state, after.receipt_number, after.settled_by) == (
        State.SUCCEEDED,
        RECEIPT,
        "record",
    )
    assert after.paid_at == START + timedelta(seconds=10)
    assert (after.history[-1].event, after.history[-1].code) == (
        "record: paid",
        f"statement {RECEIPT}",
    )
    assert [one.receipt_number for one in told(host)] == [RECEIPT]
    assert host.settled == ["succeeded"]
    assert host.payments.reconcile(statement(row())).agrees
    assert told(host) == []


def test_a_pending_payment_is_settled_and_its_callback_is_a_repetition(store: Any) -> None:
    """A later callback with the same receipt is no news, and another receipt is for a person."""
    host = Host(store)
    host.daraja.push_script.append(answer(accepted()))
    host.checkout()
    host.clock.advance(60)
    applied(host, row(), source=StatementSource.PULL)
    assert len(told(host)) == 1
    receipt = host.payments.handle_callback(callback())
    assert receipt.transaction is not None
    assert (receipt.transaction.reported, receipt.transaction.needs_review) == (True, None)
    assert told(host) == []
    assert host.payments.handle_callback(callback()).outcome.value == "repeated"
    other = host.payments.handle_callback(callback(receipt="OTHER12345")).transaction
    assert other is not None
    assert (other.receipt_number, other.needs_review) == (RECEIPT, "callback has another receipt")


def test_a_kept_callback_counts_before_the_record(store: Any) -> None:
    """What waits in the store is applied first. If its receipt differs, the record settles nothing."""
    host = host_with(store)
    late = callback(receipt="OTHER12345")
    host.payments.handle_callback(late)
    host.store.add(asked(1, checkout_request_id=CHECKOUT_ID))
    report = host.payments.reconcile(statement(row()), apply=True)
    (after,) = stored(host)
    assert (report.settled, report.problems, report.agrees) == ((), (RECEIPT_TAKEN,), False)
    assert (after.receipt_number, after.needs_review) == (
        "OTHER12345",
        "record has another receipt",
    )


def test_a_receipt_that_another_payment_gets_meanwhile_is_not_taken(store: Any) -> None:
    """The store refuses it, and the report says so."""
    host = host_with(store, asked(1), asked(2, reference="INV-2"))
    replace = host.store.replace

    def first_the_other(transaction: Transaction) -> bool:
        vars(host.store).pop("replace")
        other = host.store.get(asked(2).transaction_no)
        assert other is not None
        replace(attrs.evolve(other, receipt_number=RECEIPT))
        return replace(transaction)

    vars(host.store)["replace"] = first_the_other
    report = host.payments.reconcile(statement(row()), apply=True)
    assert (report.settled, report.problems) == ((), (RECEIPT_TAKEN,))
    assert not stored(host)[0].paid


def test_a_receipt_is_added_to_what_a_query_called_paid(store: Any) -> None:
    """It is news, so it is reported."""
    host = host_with(store, by_query(1))
    report = applied(host, row())
    (after,) = stored(host)
    assert [one.transaction for one in report.receipts_added] == [after]
    assert (after.receipt_number, after.settled_by, report.agrees) == (RECEIPT, "record", True)
    assert after.history[-1].event == "record: receipt"
    assert [one.receipt_number for one in told(host)] == [RECEIPT]


def test_the_place_of_an_order_goes_to_the_payment_that_is_paid(store: Any) -> None:
    """And a second success on it is flagged."""
    first = asked(1, order="A", order_slot="live:A")
    second = paid(2, order="A", order_slot="paid:A", reference="INV-2")
    host = host_with(store, first)
    applied(host, row())
    assert stored(host)[0].order_slot == "paid:A"
    twice = host_with(MemoryTransactionStore(), attrs.evolve(first, order_slot=None), second)
    applied(twice, row(), row("HELD000002"))
    assert twice.payments.order("A").paid_twice
    assert stored(twice)[0].needs_review == "order paid twice"


# --- for a person -----------------------------------------------------------------------------------


def test_what_fits_several_is_a_review_of_each(store: Any) -> None:
    """The history names the receipt. A review that a person closed does not come again."""
    host = host_with(store, asked(1), asked(2, created=START + timedelta(seconds=1)))
    report = applied(host, row())
    assert {one.needs_review for one in stored(host)} == {FITS_SEVERAL}
    assert {one.history[-1].code for one in stored(host)} == {f"statement {RECEIPT}"}
    assert [len(one.transactions) for one in report.ambiguous] == [2]
    assert report.ambiguous[0].transactions[0] == stored(host)[0]
    assert len(told(host)) == 2
    host.payments.resolve(
        asked(1).transaction_no,
        note="asked",
        by="Amina",
        outcome=State.SUCCEEDED,
        receipt_number=RECEIPT,
    )
    host.payments.resolve(asked(2).transaction_no, note="asked", by="Amina")
    applied(host, row())
    assert [one.needs_review for one in stored(host)] == [None, None]
    assert [one.state for one in stored(host)] == [State.SUCCEEDED, State.EXPIRED]


def test_another_amount_on_a_held_receipt_is_a_review(store: Any) -> None:
    """The payment stays paid."""
    host = host_with(store, paid(1))
    report = applied(host, row("HELD000001", amount=Decimal(90)))
    (after,) = stored(host)
    assert (after.state, after.needs_review) == (State.SUCCEEDED, "record has another amount")
    assert ([one.transaction for one in report.amounts_differ], report.agrees) == ([after], False)


def test_money_after_a_failure_is_a_review(store: Any) -> None:
    """A person decides, and his decision stands when the statement comes again."""
    host = host_with(store, refused(1))
    report = applied(host, row())
    assert stored(host)[0].needs_review == "record shows money after a failure"
    assert stored(host)[0].state is State.FAILED
    assert (len(report.ambiguous), report.agrees) == (1, False)


def test_a_till_names_its_candidate(store: Any) -> None:
    """Without the word of a query it is a review. With it, the receipt is added."""
    till = make_config(account=TILL).account
    unknown, known = (
        make(n, account=TILL_ACCOUNT, amount=100 * n) for n, make in ((1, asked), (2, by_query))
    )
    host = host_with(store, unknown, known, account=till)
    rows = till_row(), till_row("OTHER12345", amount=Decimal(200))
    report = applied(host, *rows, number="5000001")
    first, second = stored(host)
    assert (first.needs_review, first.state) == (FITS_WITHOUT_QUERY, State.EXPIRED)
    assert (second.receipt_number, len(report.receipts_added)) == ("OTHER12345", 1)
    assert host.payments.reconcile(statement(*rows, number="6000001")).confirmed


def test_records_that_are_not_trusted_change_nothing(store: Any) -> None:
    """Not even a review is written."""
    host = host_with(store, asked(1), by_query(3, reference="INV-3"), paid(2))
    rows = [
        row(),
        row("THIRD12345", reference="INV-3"),
        row("HELD000002", 4_000, amount=Decimal(1)),
    ]
    before = stored(host)
    report = host.payments.reconcile(statement(*rows), apply=True)
    assert stored(host) == before
    assert (report.applied, report.problems, report.settled) == (True, (CLOCKS_DISAGREE,), ())


# --- which payments, which account ------------------------------------------------------------------


def test_payments_around_the_period_are_read_page_by_page(store: Any, monkeypatch: Any) -> None:
    """From two days before it to two minutes after it."""
    monkeypatch.setattr("mpesa_stk.payments.reconciling._READ_AT_ONCE", 2)
    hours = (-73, -71, -24, 0, 23, 25)
    payments = [
        paid(n, created=START + timedelta(hours=hour), paid_at=START + timedelta(hours=hour))
        for n, hour in enumerate(hours)
    ]
    report = host_with(store, *payments).payments.reconcile(statement())
    assert list(report.not_covered) == payments[1:2]
    assert list(report.missing) == payments[2:5]


def test_a_holder_from_long_ago_is_found_by_its_receipt(store: Any) -> None:
    """A person may have given the receipt to an older payment."""
    old = paid(1, created=START - timedelta(days=30), receipt_number=RECEIPT, paid_at=None)
    host = host_with(store, old, asked(2))
    report = host.payments.reconcile(statement(row()))
    assert ([one.transaction for one in report.confirmed], report.would_settle) == ([old], ())


def test_a_holder_of_another_account_is_not_shown(store: Any) -> None:
    """The receipt settles nothing, and the payment of the other account stays unseen."""
    foreign = paid(1, account="paybill 600009", receipt_number=RECEIPT)
    host = host_with(store, foreign, asked(2))
    report = host.payments.reconcile(statement(row()), apply=True)
    assert (report.settled, report.confirmed, report.problems) == ((), (), (TAKEN_ELSEWHERE,))
    assert [one.receipt_number for one in report.unasked] == [RECEIPT]


@pytest.mark.parametrize(
    "wrong",
    [
        statement(number=None),
        statement(number="600001"),
        statement(number=""),
        [],
        [statement(), statement(number="600001")],
        "statement.csv",
        ["statement.csv"],
        None,
        7,
    ],
)
def test_a_statement_of_another_account_is_refused(wrong: Any) -> None:
    """And what is no statement. The error names the field."""
    with pytest.raises(InvalidRequest) as caught:
        host_with(MemoryTransactionStore(), asked()).payments.reconcile(wrong)
    assert caught.value.field == "statement"


def test_several_statements_are_read_as_one(store: Any) -> None:
    """A pull and a file of one account, in one call."""
    host = host_with(store, asked(1), asked(2, reference="INV-2"))
    file = statement(row(), row("OTHER12345", reference="INV-2"))
    report = host.payments.reconcile(
        [file, attrs.evolve(file, source=StatementSource.PULL)], apply=True
    )
    assert (len(report.settled), report.agrees) == (2, True)


def accounts_over(store: Any, *payments: Transaction, configs: Any = None) -> Any:
    """Two paybills and a till over a store with payments."""
    for one in payments:
        store.add(one)
    configs = configs or [
        make_config(account=account) for account in (PayBill("600000"), PayBill("600001"), TILL)
    ]
    return make_accounts(
        store, configs, clock=ManualClock(), transport=ScriptedDaraja(), jitter=lambda: 0.5
    )


def test_rows_belong_to_the_account_of_their_statement(store: Any) -> None:
    """Equal references of two accounts do not disturb each other. Each account may be named at once."""
    other = asked(2, account="paybill 600001")
    till = by_query(3, account=TILL_ACCOUNT)
    accounts = accounts_over(store, asked(1), other, till)
    report = accounts.reconcile(statement(row(), number="600001"), apply=True)
    assert [one.transaction.transaction_no for one in report.settled] == [other.transaction_no]
    assert accounts["600000"].search().payments == (asked(1),)
    both = [statement(row("A1B2C3")), statement(till_row("T1B2C3"), number="5000001")]
    report = accounts.reconcile(both, apply=True)
    assert (len(report.settled), len(report.receipts_added), report.agrees) == (1, 1, True)
    # The till and its store are one account, so two records of it are one.
    pair = [both[1], statement(till_row("T1B2C3"), number="6000001", source=StatementSource.PULL)]
    assert len(accounts.reconcile(pair).confirmed) == 1
    for number in ("600009", None):
        with pytest.raises(InvalidRequest):
            accounts.reconcile(statement(number=number))
    with pytest.raises(InvalidRequest):
        accounts["600000"].reconcile(statement(number="600001"))


def test_a_number_that_two_accounts_have_is_refused() -> None:
    """Two tills of one store: nobody can say whose money it is."""
    tills = [
        make_config(account=Till(store_number="6000001", till_number=number))
        for number in ("5000001", "5000002")
    ]
    accounts = accounts_over(MemoryTransactionStore(), configs=tills)
    with pytest.raises(InvalidRequest, match="several accounts"):
        accounts.reconcile(statement(number="6000001"))
    assert accounts.reconcile(statement(number="5000001")).agrees


def test_a_desk_without_keys_finds_the_account_by_its_payments(store: Any) -> None:
    """The command line has a store and no settings."""
    for one in (asked(1), asked(2, account="paybill 600001"), by_query(3, account=TILL_ACCOUNT)):
        store.add(one)
    desk = Desk(
        AwaitedTransactionStore(store), clock=AwaitedClock(ManualClock()), notify=Notifier(())
    )
    assert len(finish(desk.reconcile(statement(row()), apply=True)).settled) == 1
    till = finish(desk.reconcile(statement(till_row("T1B2C3"), number="6000001"), apply=True))
    assert len(till.receipts_added) == 1
    for unknown in (statement(number="600009"), statement(covers_from=None, covers_until=None)):
        with pytest.raises(InvalidRequest):
            finish(desk.reconcile(unknown))


def test_a_failure_of_the_store_is_told_and_what_was_applied_stays() -> None:
    """The call may be made again."""
    store = BrokenStore("")
    host = host_with(store, asked(1), asked(2, reference="INV-2"))
    rows = row(), row("OTHER12345", reference="INV-2")
    kept = store.kept_callbacks
    calls: list[object] = []

    def fails_at_the_second(**wanted: Any) -> Any:
        calls.append(wanted)
        if len(calls) == 2:
            raise StoreError("the database is down")
        return kept(**wanted)

    vars(store)["kept_callbacks"] = fails_at_the_second
    with pytest.raises(StoreError):
        host.payments.reconcile(statement(*rows), apply=True)
    assert sorted(one.paid for one in stored(host)) == [False, True]
    assert len(host.payments.reconcile(statement(*rows), apply=True).settled) == 1


# --- "I paid, here is my code" ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "answer_"),
    [
        (" held000001 ", ClaimAnswer.PAID),
        ("HELD000002", ClaimAnswer.OTHER_RECEIPT),
        ("NEW0000001", ClaimAnswer.OTHER_RECEIPT),
    ],
)
def test_a_claim_on_a_paid_payment(store: Any, typed: str, answer_: ClaimAnswer) -> None:
    """Its own receipt, or another one."""
    host = host_with(store, paid(1), paid(2))
    assert host.payments.claim(paid(1).transaction_no, typed).answer is answer_


def test_a_claim_settles_nothing_and_is_noted(store: Any) -> None:
    """Once for each code, at most five, and the log has the code masked."""
    host = host_with(store, asked(1), paid(2))
    number = asked(1).transaction_no
    first: Claim = host.payments.claim(number, "NEW0000001")
    assert (first.answer, first.transaction.state) == (ClaimAnswer.UNKNOWN, State.EXPIRED)
    assert (first.transaction.needs_review, first.transaction.reported) == (None, True)
    for code in ("NEW0000001", "HELD000002", *(f"GUESS{n:05}" for n in range(9))):
        host.payments.claim(number, code)
    noted = [one.code for one in stored(host)[0].history]
    assert noted == ["NEW0000001", "HELD000002", "GUESS00000", "GUESS00001", "GUESS00002"]
    claims = [one for one in host.events if one.kind == "claim"]
    assert (claims[0].outcome, claims[0].code, claims[0].transaction_no) == (
        "unknown",
        "***001",
        number,
    )
    assert claims[2].outcome == "other_payment"


def test_a_claim_is_looked_up_in_a_fresh_statement(store: Any) -> None:
    """It may have the code, and its row may be of another payment. Reconciling it decides."""
    host = host_with(store, asked(1))
    number = asked(1).transaction_no
    fresh = statement(row(), row("OTHER12345", amount=Decimal(99)), source=StatementSource.PULL)
    for code, expected in (
        (RECEIPT, ClaimAnswer.IN_RECORD),
        ("OTHER12345", ClaimAnswer.DOES_NOT_FIT),
        ("NEW0000001", ClaimAnswer.UNKNOWN),
    ):
        assert host.payments.claim(number, code, statement=fresh).answer is expected
    assert not stored(host)[0].paid
    host.payments.reconcile(fresh, apply=True)
    assert host.payments.claim(number, RECEIPT, statement=fresh).answer is ClaimAnswer.PAID


def test_a_claim_counts_a_callback_that_waits(store: Any) -> None:
    """It came before the id of the prompt was known."""
    host = host_with(store)
    host.payments.handle_callback(callback())
    host.store.add(asked(1, checkout_request_id=CHECKOUT_ID))
    claim = host.payments.claim(asked(1).transaction_no, RECEIPT.lower())
    assert (claim.answer, claim.transaction.paid) == (ClaimAnswer.PAID, True)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("transaction_no", {"transaction_no": "nobody"}),
        ("transaction_no", {"transaction_no": asked(2).transaction_no}),
        ("receipt_number", {"receipt_number": "NLJ7 RT61"}),
        ("receipt_number", {"receipt_number": "NLJ"}),
        ("receipt_number", {"receipt_number": "0718643064"}),
        ("receipt_number", {"receipt_number": None}),
        ("statement", {"statement": statement(number="600001")}),
        ("statement", {"statement": statement(number=None)}),
        ("statement", {"statement": "pull"}),
    ],
)
def test_wrong_claims_are_refused(field: str, arguments: dict[str, Any]) -> None:
    """An unknown payment, one of another account, what is no code, and another account's statement."""
    host = host_with(MemoryTransactionStore(), asked(1), asked(2, account="paybill 600001"))
    given = {"transaction_no": asked(1).transaction_no, "receipt_number": RECEIPT} | arguments
    number, code = given.pop("transaction_no"), given.pop("receipt_number")
    with pytest.raises(InvalidRequest) as caught:
        host.payments.claim(number, code, **given)
    assert caught.value.field == field
    assert "0718643064" not in str(caught.value)
    assert stored(host)[0].history == ()

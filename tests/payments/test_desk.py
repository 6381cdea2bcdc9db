"""The desk: search, reviews, decisions of persons, and payers who are forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from both_faces import Face, drive, suspending
from daraja_double import result
from hosts import SIGNED, Host, pending
from mpesa_stk import (
    ConfigurationError,
    Desk,
    DuplicateTransaction,
    InvalidPhoneNumber,
    InvalidRequest,
    MemoryTransactionStore,
    PaymentSearch,
    PhoneNumber,
    Transaction,
    TransactionState,
    TransactionStore,
)
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.faces import finish
from mpesa_stk.hooks import Notifier
from mpesa_stk.payments.schedule import REPORT_LEASE
from mpesa_stk.payments.state import FORGOTTEN_PHONE, HistoryEntry
from mpesa_stk.payments.store import AwaitedTransactionStore
from mpesa_stk.testing import signed_token
from mpesa_stk.testing.contract_values import kept_callback
from support import CHECKOUT_ID, START, ManualClock, callback, make_transaction

pytestmark = pytest.mark.usefixtures("face")

State = TransactionState
ACCOUNT = "paybill 600000"
OTHER = "paybill 600001"
RECEIPT = "NLJ7RT61SV"
DOUBT = "callback has another amount"
WHO: dict[str, Any] = {"note": "in the statement", "by": "Amina"}
OLD = START - timedelta(days=3 * 365)


def host_with(*payments: Transaction) -> Host:
    """A host whose store has these payments."""
    host = Host()
    for payment in payments:
        host.store.add(payment)
    return host


def numbered(ordinal: int, **changes: Any) -> Transaction:
    """A payment of the host's account, created one second later for each higher ordinal."""
    facts: dict[str, Any] = {
        "transaction_no": f"no-{ordinal}",
        "created": START + timedelta(seconds=ordinal),
    }
    return make_transaction(**(facts | changes))


def reported(state: State = State.EXPIRED, **changes: Any) -> Transaction:
    """A settled payment that was reported."""
    facts: dict[str, Any] = {"state": state, "reported": True, "due_at": None}
    facts |= {"transaction_no": "no-1"}
    return make_transaction(**(facts | changes))


def told(host: Host) -> list[Transaction]:
    """What the host's handler gets now."""
    found: list[Transaction] = []
    host.clock.advance(REPORT_LEASE.total_seconds())
    host.payments.process_due(on_settled=found.append)
    return found


def token_of(host: Host) -> str:
    """The token of the callback URL of the host's payment."""
    return signed_token(host.stored(), host.payments.client.config)


def numbers(host: Host, **search: Any) -> list[str]:
    """The numbers of the payments that are found."""
    return [payment.transaction_no for payment in host.payments.search(**search).payments]


# --- search ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed", ["0718643064", "+254 718 643 064", "tel:0718-643064", PhoneNumber.parse("718643064")]
)
def test_a_phone_is_found_as_people_type_it(typed: str | PhoneNumber) -> None:
    """Every form that `normalize_phone` accepts, and a number that was read already."""
    host = host_with(numbered(1), numbered(2, phone_number="+254700000001"))
    assert numbers(host, phone_number=typed) == ["no-1"]


def test_a_search_by_everything() -> None:
    """All values must match."""
    wanted: dict[str, Any] = {"receipt_number": RECEIPT, "order": "A", "state": State.SUCCEEDED}
    host = host_with(numbered(1, **wanted), numbered(2, order="A"))
    window: dict[str, Any] = {"created_from": START, "created_before": START + timedelta(seconds=2)}
    assert numbers(host, phone_number="0718643064", reference="INV-1", **wanted, **window) == [
        "no-1"
    ]
    assert numbers(host, order="A") == ["no-2", "no-1"]
    assert numbers(host) == ["no-2", "no-1"]


def test_another_account_is_not_seen() -> None:
    """Neither searched nor reviewed nor resolved."""
    other = numbered(1, account=OTHER, needs_review=DOUBT)
    host = host_with(other, numbered(2, needs_review=DOUBT))
    assert numbers(host) == ["no-2"]
    assert [one.transaction_no for one in host.payments.reviews().payments] == ["no-2"]
    with pytest.raises(InvalidRequest) as caught:
        host.payments.resolve("no-1", **WHO)
    assert caught.value.field == "transaction_no"
    assert host.store.get("no-1") == other


def test_pages_of_reviews_follow_each_other() -> None:
    """The cursor of a page continues after it."""
    host = host_with(*(numbered(n, needs_review=DOUBT if n % 2 else None) for n in range(8)))
    first = host.payments.reviews(limit=3)
    second = host.payments.reviews(limit=3, cursor=first.next_cursor)
    found = [one.transaction_no for one in (*first.payments, *second.payments)]
    assert (found, second.next_cursor) == (["no-7", "no-5", "no-3", "no-1"], None)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("phone_number", "12"),
        ("limit", 0),
        ("limit", 1001),
        ("limit", True),
        ("limit", "5"),
        ("cursor", "x"),
        ("created_from", datetime(2026, 11, 23)),  # noqa: DTZ001 - that is the mistake
        ("created_before", datetime(2026, 11, 23)),  # noqa: DTZ001 - as above
    ],
)
def test_wrong_searches_are_refused(field: str, wrong: object) -> None:
    """The error names the field."""
    with pytest.raises(InvalidRequest) as caught:
        numbers(Host(), **{field: wrong})
    assert caught.value.field == field
    assert isinstance(caught.value, InvalidPhoneNumber) is (field == "phone_number")


def test_a_search_shows_no_phone_in_its_repr() -> None:
    """Nor the end of a CheckoutRequestID, which is one."""
    shown = repr(PaymentSearch(phone_number="0718643064", checkout_request_id=CHECKOUT_ID))
    assert "718643064" not in shown
    assert "+254718***064" in shown


class Unsearchable:
    """A store without the optional method."""

    def __init__(self) -> None:
        self._store = MemoryTransactionStore()

    def __getattr__(self, name: str) -> Any:
        if name == "search":
            raise AttributeError(name)
        return getattr(self._store, name)


def test_a_store_that_cannot_search_says_so() -> None:
    """All else works."""
    host: Any = Host(store=Unsearchable())  # type: ignore[arg-type]
    for verb in (host.payments.search, host.payments.reviews):
        with pytest.raises(ConfigurationError, match="Unsearchable cannot search") as caught:
            verb()
        assert caught.value.problems[0][0] == "store"


# --- resolve ---------------------------------------------------------------------------------------------


def test_a_person_calls_an_expired_payment_paid() -> None:
    """With the receipt of the statement. The host is told, and a hook too."""
    host = host_with(reported(needs_review="Daraja never said how it ended"))
    after = host.payments.resolve(
        "no-1", **WHO, outcome=State.SUCCEEDED, receipt_number="nlj7rt61sv"
    )
    assert after == host.store.get("no-1")
    assert (after.state, after.receipt_number, after.needs_review) == (
        State.SUCCEEDED,
        RECEIPT,
        None,
    )
    assert [(one.state, one.receipt_number) for one in told(host)] == [(State.SUCCEEDED, RECEIPT)]
    assert (told(host), host.settled) == ([], ["succeeded"])


def test_a_person_may_close_a_review_only() -> None:
    """The payment is reported without it."""
    host = host_with(reported(State.SUCCEEDED, needs_review=DOUBT))
    host.payments.resolve("no-1", **WHO)
    assert [(one.state, one.needs_review) for one in told(host)] == [(State.SUCCEEDED, None)]
    assert told(host) == []


def test_the_receipt_of_another_payment_is_refused() -> None:
    """The store keeps receipts unique, and nothing is written."""
    first = reported(State.SUCCEEDED, receipt_number=RECEIPT)
    host = host_with(first, reported(transaction_no="no-2"))
    with pytest.raises(DuplicateTransaction) as caught:
        host.payments.resolve("no-2", **WHO, outcome=State.SUCCEEDED, receipt_number=RECEIPT)
    assert caught.value.field == "receipt_number"
    assert host.store.get("no-2") == reported(transaction_no="no-2")


def test_rules_of_the_table_hold() -> None:
    """A paid payment is never called unpaid, and nothing is written."""
    before = reported(State.SUCCEEDED)
    host = host_with(before)
    with pytest.raises(InvalidRequest) as caught:
        host.payments.resolve("no-1", **WHO, outcome=State.FAILED)
    assert (caught.value.field, host.store.get("no-1")) == ("outcome", before)


class Racing(MemoryTransactionStore):
    """A store in which something happens between the reading of a payment and its change."""

    meanwhile: Callable[[], object] | None = None

    def kept_callbacks(self, **wanted: Any) -> Any:
        """Those there are; after that it happens, once."""
        found = super().kept_callbacks(**wanted)
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        return found


def test_a_doubt_that_comes_meanwhile_is_not_swallowed() -> None:
    """The person had not seen it."""
    store = Racing()
    host = Host(store=store)
    store.add(reported(needs_review="Daraja never said how it ended"))

    def doubt() -> None:
        stored = store.get("no-1")
        assert stored is not None
        assert store.replace(attrs.evolve(stored, needs_review=f"{stored.needs_review}; {DOUBT}"))

    store.meanwhile = doubt
    assert host.payments.resolve("no-1", **WHO).needs_review == DOUBT


def test_a_success_that_comes_meanwhile_is_not_undone() -> None:
    """The rule is checked on the payment as stored."""
    store = Racing()
    host = Host(store=store)
    store.add(reported())

    def pay() -> None:
        stored = store.get("no-1")
        assert stored is not None
        assert store.replace(attrs.evolve(stored, state=State.SUCCEEDED))

    store.meanwhile = pay
    with pytest.raises(InvalidRequest, match="never called unpaid"):
        host.payments.resolve("no-1", **WHO, outcome=State.FAILED)


def expired_with(body: bytes) -> tuple[Host, str]:
    """A host with a payment that expired after a callback that proves nothing."""
    host = pending(**SIGNED)
    host.store.add(reported(State.SUCCEEDED, reference="INV-2", receipt_number="TAKEN12345"))
    number = host.stored().transaction_no
    token = token_of(host)
    host.payments.handle_callback(body, token=token)
    host.daraja.query_script.append(result(CHECKOUT_ID, "4999"))
    host.clock.advance(901)
    host.payments.process_due(on_settled=lambda _payment: None)
    assert host.stored().state is State.EXPIRED
    assert host.stored().needs_review is not None
    return host, number


@pytest.mark.parametrize(
    "body",
    [
        callback(amount=99),
        callback(CallbackMetadata=None),
        callback(receipt="TAKEN12345"),
        b"<html>",
    ],
    ids=["contradiction", "unproven", "receipt of another", "unreadable"],
)
def test_a_kept_callback_does_not_reopen_a_decision(body: bytes) -> None:
    """It stays as evidence. A new doubt asks for a review again."""
    host, number = expired_with(body)
    host.payments.resolve(number, **WHO, outcome=State.FAILED)
    assert [(one.state, one.needs_review) for one in told(host)] == [(State.FAILED, None)]
    assert told(host) == []
    assert len(host.store.kept_callbacks(transaction_no=number)) == 1
    token = token_of(host)
    host.payments.handle_callback(callback(amount=98), token=token)
    assert [one.needs_review for one in told(host)] == [DOUBT]


def test_proof_that_waits_is_applied_before_the_decision() -> None:
    """A kept success makes the payment paid, so it is not called unpaid."""
    host = Host()
    host.payments.handle_callback(callback())
    host.store.add(reported(checkout_request_id=CHECKOUT_ID))
    with pytest.raises(InvalidRequest, match="never called unpaid"):
        host.payments.resolve("no-1", **WHO, outcome=State.FAILED)
    assert host.stored().state is State.SUCCEEDED


def test_proof_after_a_decision_wins() -> None:
    """Paid after all: the host is told again."""
    host = pending(**SIGNED)
    host.clock.advance(901)
    number = host.stored().transaction_no
    host.payments.resolve(number, **WHO, outcome=State.FAILED)
    assert [one.state for one in told(host)] == [State.FAILED]
    host.payments.handle_callback(callback(), token=token_of(host))
    assert [one.state for one in told(host)] == [State.SUCCEEDED]


# --- forget ----------------------------------------------------------------------------------------------


def old(ordinal: int, **changes: Any) -> Transaction:
    """A payment that was finished three years ago."""
    facts: dict[str, Any] = {
        "transaction_no": f"no-{ordinal}",
        "created": OLD + timedelta(seconds=ordinal),
        "checkout_request_id": f"ws_CO_{ordinal}",
        "state": State.SUCCEEDED,
    }
    return reported(**(facts | changes))


class DeskOf:
    """A desk over a store, of the face that is tested, called without awaiting."""

    def __init__(self, store: TransactionStore, accounts: frozenset[str] | None = None) -> None:
        self._run = drive if Face.asyncio else finish
        call = (suspending,) if Face.asyncio else ()
        self.desk = Desk(
            AwaitedTransactionStore(store, *call),
            clock=AwaitedClock(ManualClock()),
            notify=Notifier(()),
            accounts=accounts,
        )

    def forget(self, limit: int = 1000, older_than: datetime = OLD + timedelta(days=1)) -> int:
        """Forget the payers of old payments."""
        return self._run(self.desk.forget(older_than, limit))


class Counting(MemoryTransactionStore):
    """A store that counts the payments that searches returned."""

    read = 0

    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> Any:
        """Count them."""
        page = super().search(search, cursor=cursor, limit=limit)
        self.read += len(page.payments)
        return page


def test_old_payers_are_forgotten_in_batches() -> None:
    """Each payment is read once, and a later run finds nothing to read."""
    store = Counting()
    for ordinal in range(25):
        store.add(old(ordinal))
    store.add(old(99, created=OLD + timedelta(days=1)))
    desk = DeskOf(store)
    assert [desk.forget(10) for _ in range(4)] == [10, 10, 5, 0]
    assert store.read == len(range(25))
    assert DeskOf(store).forget() == 0
    assert store.read == len(range(25))
    first, young = store.get("no-0"), store.get("no-99")
    assert first is not None
    assert young == old(99, created=OLD + timedelta(days=1))
    assert (first.phone_number, first.checkout_request_id) == (FORGOTTEN_PHONE, None)
    assert first.history[-1].event == "forgotten"


def test_another_desk_goes_on_where_one_was_stopped() -> None:
    """What is forgotten is not read again."""
    store = Counting()
    for ordinal in range(25):
        store.add(old(ordinal))
    assert DeskOf(store).forget(10) == len(range(10))
    assert DeskOf(store).forget(100) == len(range(15))
    assert store.read == len(range(25))


def test_payments_with_work_left_are_left() -> None:
    """Until the review is done. They hold up no other payment."""
    store = MemoryTransactionStore()
    store.add(old(1))
    store.add(old(2, needs_review=DOUBT))
    store.add(old(3, reported=False, due_at=OLD))
    store.add(old(4, state=State.PENDING, reported=False, due_at=OLD))
    desk = DeskOf(store)
    assert [desk.forget(1) for _ in range(3)] == [1, 0, 0]
    stored = store.get("no-2")
    assert stored is not None
    assert store.replace(attrs.evolve(stored, needs_review=None))
    assert desk.forget() == 1


def test_only_the_accounts_of_the_desk_are_forgotten() -> None:
    """A desk of one account leaves the payments of others."""
    store = MemoryTransactionStore()
    store.add(old(1))
    store.add(old(2, account=OTHER))
    assert DeskOf(store, frozenset({ACCOUNT})).forget() == 1
    assert store.get("no-2") == old(2, account=OTHER)


def test_old_callbacks_go_too() -> None:
    """Their bodies hold phone numbers."""
    store = MemoryTransactionStore()
    store.keep_callback(kept_callback(1, received=OLD))
    store.keep_callback(kept_callback(2, received=START))
    assert DeskOf(store).forget() == 0
    assert store.kept_callbacks(checkout_request_id="ws_CO_1") == [kept_callback(2, received=START)]


def test_a_change_meanwhile_is_not_overwritten() -> None:
    """The payment is forgotten as it is stored then, or not at all."""

    class Late(MemoryTransactionStore):
        def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> Any:
            page = super().search(search, cursor=cursor, limit=limit)
            assert self.replace(attrs.evolve(page.payments[0], needs_review=DOUBT))
            return page

    store = Late()
    store.add(old(1))
    assert DeskOf(store).forget() == 0
    assert store.get("no-1") == old(1, needs_review=DOUBT, version=1)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("older_than", {"older_than": START - timedelta(days=1)}),
        ("older_than", {"older_than": datetime(2020, 1, 1)}),  # noqa: DTZ001 - that is the mistake
        ("limit", {"limit": 0}),
    ],
)
def test_wrong_orders_to_forget_are_refused(field: str, call: dict[str, Any]) -> None:
    """Young payments are still needed: a callback may come."""
    with pytest.raises(InvalidRequest) as caught:
        DeskOf(MemoryTransactionStore()).forget(**call)
    assert caught.value.field == field


def test_a_note_is_not_in_a_repr() -> None:
    """It may name the payer."""
    entry = HistoryEntry(
        at=datetime(2026, 1, 1, tzinfo=timezone.utc), event="e", state=State.FAILED, note="0718"
    )
    assert "0718" not in repr(entry)

"""The rules by which rows of Safaricom's own records prove payments: each rule, and any mixture of them."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpesa_stk import (
    ReconcileReport,
    RowKind,
    Statement,
    StatementRow,
    StatementSource,
    Transaction,
    TransactionState,
)
from mpesa_stk.payments.effects import FITS_SEVERAL, FITS_WITHOUT_QUERY
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.evidence import PAID_AFTER_FAILURE
from mpesa_stk.payments.matching import (
    NOT_TRUSTED,
    PERHAPS_OUTSIDE,
    TAKEN_ELSEWHERE,
    fits,
    match,
)
from mpesa_stk.payments.record_report import merged
from mpesa_stk.payments.record_rows import (
    CLOCKS_DISAGREE,
    EMPTY_UNPROVEN,
    NO_PERIOD,
    NOT_COMPLETE,
    SOURCES_DISAGREE,
)
from mpesa_stk.payments.row_pairs import PAYBILL, groups_of, phone_may_be, pushed_at
from mpesa_stk.payments.state import FORGOTTEN_PHONE, HistoryEntry
from records import TILL_ACCOUNT, asked, by_query, paid, refused, row, statement, till_row
from support import START

State = TransactionState
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
PULL = StatementSource.PULL


def matched(*parts: Transaction | StatementRow, till: bool = False, **changes: Any) -> Any:
    """The report about some payments and one statement of some rows."""
    payments = [one for one in parts if isinstance(one, Transaction)]
    rows = [one for one in parts if isinstance(one, StatementRow)]
    return match(payments, [statement(*rows, **changes)], is_till=till)


def at_till(*parts: Transaction | StatementRow, **changes: Any) -> ReconcileReport:
    """The report about some payments to a till and one statement."""
    moved = [
        attrs.evolve(one, account=TILL_ACCOUNT) if isinstance(one, Transaction) else one
        for one in parts
    ]
    report: ReconcileReport = matched(*moved, till=True, **changes)
    return report


def would_settle(report: ReconcileReport) -> list[tuple[str, str]]:
    """The numbers and receipts that a report would settle."""
    return [(one.transaction.transaction_no, one.row.receipt_number) for one in report.would_settle]


def named(report: ReconcileReport) -> list[tuple[str, int, list[str]]]:
    """The doubts of a report: the reason, how many payments, the receipts."""
    return [
        (one.reason, len(one.transactions), [each.receipt_number for each in one.rows])
        for one in report.ambiguous
    ]


# --- a paybill ------------------------------------------------------------------------------------------


def test_one_row_and_one_payment_that_fit_are_proof() -> None:
    """The row names its source, and the dry run does not agree yet."""
    report = matched(asked(), row())
    (one,) = report.would_settle
    assert (one.transaction, one.row, one.source) == (asked(), row(), "statement")
    assert (report.receipts_added, report.ambiguous, report.unasked) == ((), (), ())
    assert not report.agrees


@pytest.mark.parametrize(
    "state", [State.CREATED, State.UNCERTAIN, State.PENDING, State.EXPIRED, State.FAILED]
)
def test_each_state_that_daraja_did_not_end_is_proven(state: State) -> None:
    """A failure that only a query or a person told is no last word of Daraja."""
    report = matched(asked(state=state, settled_by="query"), row())
    assert len(report.would_settle) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"reference": "INV-2"},
        {"reference": "inv-1"},
        {"reference": None},
        {"reference": ""},
        {"amount": Decimal("100.01")},
        {"amount": Decimal(99)},
        {"phone_number": "25471****065"},
        {"phone_number": "25472****064"},
        {"kind": RowKind.TILL},
    ],
)
def test_a_row_that_differs_is_nobodys(change: dict[str, Any]) -> None:
    """Another reference, amount, phone or kind of account is money that nobody asked for."""
    report = matched(asked(), row(**change))
    assert (report.would_settle, report.ambiguous) == ((), ())
    assert report.unasked == (row(**change),)


@pytest.mark.parametrize("change", [{"reference": " INV-1 "}, {"kind": None}, {"amount": 100}])
def test_a_row_that_differs_in_its_writing_only_fits(change: dict[str, Any]) -> None:
    """Spaces around a reference, and a kind that the record does not say."""
    assert len(matched(asked(), row(**change)).would_settle) == 1


@pytest.mark.parametrize(
    ("seconds", "fitting"),
    [(-61, False), (-60, True), (0, True), (86_400, True), (86_401, False)],
)
def test_the_window_of_a_paybill(seconds: int, *, fitting: bool) -> None:
    """From one minute before the push to 24 hours after it, both included."""
    report = matched(asked(), row(seconds=seconds), covers_until=START + 2 * DAY)
    assert bool(report.would_settle) is fitting
    assert bool(report.unasked) is not fitting


def test_the_last_push_counts() -> None:
    """A key that was used again after a refusal began a new prompt."""
    entry = HistoryEntry(at=START + 2 * DAY, event=Meaning.AGAIN.value, state=State.CREATED)
    payment = asked(history=(entry, attrs.evolve(entry, at=START + 3 * DAY)))
    assert pushed_at(payment) == START + 3 * DAY
    assert matched(payment, row()).would_settle == ()
    assert len(matched(payment, row(completed=START + 3 * DAY)).would_settle) == 1


def test_the_reference_of_the_prompt_counts() -> None:
    """A payment whose prompt showed another reference is found by that one only."""
    payment = asked(reference="INV-1", prompt_reference="P-1")
    assert matched(payment, row()).would_settle == ()
    assert len(matched(payment, row(reference="P-1")).would_settle) == 1


def test_a_receipt_that_another_payment_holds_proves_nothing() -> None:
    """One receipt pays one payment."""
    holder = paid(2, receipt_number="NLJ7RT61SV")
    report = matched(asked(1), holder, row())
    assert (report.would_settle, report.ambiguous) == ((), ())
    assert [one.transaction for one in report.confirmed] == [holder]


def test_a_receipt_of_another_account_proves_nothing() -> None:
    """It is listed, and the report says so."""
    report = match(
        [asked()], [statement(row())], is_till=False, taken=frozenset({"NLJ7RT61SV", "OTHER12345"})
    )
    assert (report.would_settle, report.unasked) == ((), (row(),))
    assert report.problems == (TAKEN_ELSEWHERE,)
    elsewhere = match([], [statement()], is_till=False, taken=frozenset({"OTHER12345"}))
    assert elsewhere.agrees


def test_two_payments_that_fit_are_settled_by_nobody() -> None:
    """Both are named, with the row."""
    report = matched(asked(1), asked(2, created=START + SECOND), row())
    assert (report.would_settle, report.unasked) == ((), ())
    assert named(report) == [(FITS_SEVERAL, 2, ["NLJ7RT61SV"])]


def test_two_rows_that_fit_are_settled_by_nobody() -> None:
    """Both are named, with the payment."""
    report = matched(asked(), row("A1B2C3"), row("B1B2C3", seconds=3_600))
    assert named(report) == [(FITS_SEVERAL, 1, ["A1B2C3", "B1B2C3"])]


def test_what_fits_over_others_is_one_doubt() -> None:
    """Two payments and three rows: no pair is exact, also where a payment fits only one of the rows."""
    late = asked(2, created=START + timedelta(hours=20))
    rows = [row("A1B2C3"), row("B1B2C3", seconds=1_800), row("C1B2C3", seconds=21 * 3_600)]
    assert named(matched(asked(1), late, *rows)) == [
        (FITS_SEVERAL, 2, ["A1B2C3", "B1B2C3", "C1B2C3"])
    ]


def test_payments_apart_are_each_proven() -> None:
    """Equal references more than a day apart do not disturb each other."""
    later = asked(2, created=START + 2 * DAY)
    report = matched(
        asked(1), later, row("A1B2C3"), row("B1B2C3", completed=START + 2 * DAY + SECOND)
    )
    assert [receipt for _, receipt in would_settle(report)] == ["A1B2C3", "B1B2C3"]


def test_the_phone_tells_two_payers_apart() -> None:
    """Two customers with one reference and one amount, and the digits that the record shows."""
    other = asked(2, phone_number="+254722000111")
    report = matched(
        asked(1), other, row("A1B2C3"), row("B1B2C3", phone_number="0722000111", seconds=11)
    )
    assert [receipt for _, receipt in would_settle(report)] == ["A1B2C3", "B1B2C3"]
    hidden = matched(asked(1), other, row("A1B2C3"), row("B1B2C3", phone_number=None, seconds=11))
    assert named(hidden) == [(FITS_SEVERAL, 2, ["A1B2C3", "B1B2C3"])]


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        "254718643064",
        "+254 718 643 064",
        "0718643064",
        "718643064",
        "25471****064",
        "071****064",
        "254718***064",
        "2547XXXXX064",
        "****",
        "254718",
        "0718",
        "643064",
        "2547 ***** 064",
        "*064",
        "2547*",
    ],
)
def test_phones_that_may_be_the_payers(shown: str | None) -> None:
    """Only visible digits are compared, in each form in which records write a number."""
    assert phone_may_be(asked(), row(phone_number=shown))
    assert len(matched(asked(), row(phone_number=shown)).would_settle) == 1


@pytest.mark.parametrize(
    "shown",
    [
        "254718643065",
        "0718643065",
        "718643065",
        "254719****064",
        "071****065",
        "254719",
        "643065",
        "*065",
        "2541*",
    ],
)
def test_phones_that_contradict(shown: str) -> None:
    """One visible digit that differs is enough."""
    assert not phone_may_be(asked(), row(phone_number=shown))
    assert matched(asked(), row(phone_number=shown)).unasked != ()


def test_a_payer_who_was_forgotten_contradicts_nobody() -> None:
    """Nothing is known of the phone."""
    assert phone_may_be(asked(phone_number=FORGOTTEN_PHONE), row())
    assert len(matched(asked(phone_number=FORGOTTEN_PHONE), row()).would_settle) == 1


def test_a_paid_payment_without_a_receipt_gets_it() -> None:
    """It is not settled again."""
    for payment in (by_query(), by_query(settled_by="person", history=())):
        report = matched(payment, row())
        assert [one.row for one in report.receipts_added] == [row()]
        assert (report.would_settle, report.missing, report.agrees) == ((), (), False)
        assert attrs.evolve(report, applied=True).agrees


@pytest.mark.parametrize(
    "payment", [refused(), asked(state=State.REJECTED, settled_by="push")], ids=["failed", "push"]
)
def test_money_after_darajas_own_no_is_for_a_person(payment: Transaction) -> None:
    """The customer probably paid by hand."""
    report = matched(payment, row())
    assert (report.would_settle, report.unasked) == ((), ())
    assert named(report) == [(PAID_AFTER_FAILURE, 1, ["NLJ7RT61SV"])]


def test_an_attempt_that_daraja_ended_does_not_disturb_the_next() -> None:
    """A wrong PIN, then a second prompt whose callback was lost: the row is the second's."""
    second = asked(2, created=START + timedelta(minutes=1))
    report = matched(refused(1), second, row(seconds=90))
    assert would_settle(report) == [(second.transaction_no, "NLJ7RT61SV")]
    assert report.ambiguous == ()


# --- a till ---------------------------------------------------------------------------------------------


def test_a_till_gets_the_receipt_of_what_a_query_called_paid() -> None:
    """The row names no reference."""
    report = at_till(by_query(), till_row())
    assert [one.row for one in report.receipts_added] == [till_row()]
    assert (report.ambiguous, report.would_settle) == ((), ())


@pytest.mark.parametrize(
    "payment",
    [
        asked(),
        asked(state=State.PENDING),
        by_query(settled_by="person", history=()),
        by_query(
            settled_by="person",
            history=(HistoryEntry(at=START, event="person: paid", state=State.SUCCEEDED),),
        ),
    ],
)
def test_a_till_without_the_word_of_a_query_is_for_a_person(payment: Transaction) -> None:
    """The candidate is named, and never settled."""
    report = at_till(payment, till_row())
    assert (report.receipts_added, report.would_settle, report.missing) == ((), (), ())
    assert named(report) == [(FITS_WITHOUT_QUERY, 1, ["NLJ7RT61SV"])]


@pytest.mark.parametrize(
    ("seconds", "fitting"), [(-1, False), (0, True), (300, True), (301, False)]
)
def test_the_window_of_a_till(seconds: int, *, fitting: bool) -> None:
    """Five minutes from the push."""
    report = at_till(by_query(), till_row(seconds=seconds))
    assert bool(report.receipts_added) is fitting
    assert bool(report.unasked) is not fitting


@pytest.mark.parametrize(
    "change",
    [{"amount": Decimal(101)}, {"phone_number": "071****065"}, {"kind": RowKind.PAYBILL}],
)
def test_a_row_of_a_till_that_differs_is_nobodys(change: dict[str, Any]) -> None:
    """Never matched by the amount alone."""
    assert at_till(by_query(), till_row(**change)).unasked == (till_row(**change),)


def test_two_that_fit_at_a_till_are_for_a_person() -> None:
    """Also if a query called one of them paid."""
    report = at_till(by_query(1), asked(2), till_row())
    assert named(report) == [(FITS_SEVERAL, 2, ["NLJ7RT61SV"])]
    rows = at_till(by_query(1), till_row("A1B2C3"), till_row("B1B2C3", 20))
    assert named(rows) == [(FITS_SEVERAL, 1, ["A1B2C3", "B1B2C3"])]


def test_money_at_a_till_after_a_failure_is_nobodys() -> None:
    """Without a reference, nothing but the amount leads to the payment that failed."""
    report = at_till(refused(), till_row())
    assert (report.ambiguous, report.unasked) == ((), (till_row(),))


# --- what is held already -------------------------------------------------------------------------------


def test_a_held_receipt_confirms() -> None:
    """Books and record agree."""
    report = matched(paid(), row("HELD000001"))
    assert [(one.transaction, one.source) for one in report.confirmed] == [(paid(), "statement")]
    assert (report.agrees, report.amounts_differ, report.missing) == (True, (), ())


def test_another_amount_on_a_held_receipt_is_for_a_person() -> None:
    """It confirms nothing."""
    report = matched(paid(), row("HELD000001", amount=Decimal("100.50")))
    assert [one.transaction for one in report.amounts_differ] == [paid()]
    assert (report.confirmed, report.missing, report.agrees) == ((), (), False)


def test_money_that_nobody_asked_for_is_listed() -> None:
    """In the order of its time, and books and record do not agree."""
    rows = [row("B1B2C3", 20, reference="hand"), row("A1B2C3", 30, reference=None)]
    report = matched(paid(), row("HELD000001"), *rows[::-1])
    assert [one.receipt_number for one in report.unasked] == ["B1B2C3", "A1B2C3"]
    assert not report.agrees


# --- absence --------------------------------------------------------------------------------------------


def test_a_payment_without_a_row_is_missing_where_the_record_covers_it() -> None:
    """Also if its time is known only roughly. An open one is not called paid."""
    roughly = by_query(2)
    report = matched(paid(1), roughly, asked(3))
    assert (report.missing, report.not_covered) == ((paid(1), roughly), ())
    assert not report.agrees


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"complete": False}, NOT_COMPLETE),
        ({"covers_from": None}, NO_PERIOD),
        ({"covers_until": None}, NO_PERIOD),
        ({"source": PULL, "empty_answer": True}, EMPTY_UNPROVEN),
    ],
)
def test_absence_proves_nothing_where_nothing_is_covered(
    change: dict[str, Any], problem: str
) -> None:
    """Not complete, of an unknown period, or an empty answer that may come of a missing registration."""
    report = matched(paid(), **change)
    assert (report.missing, report.not_covered) == ((), (paid(),))
    assert (report.covered, report.problems, report.agrees) == ((), (problem,), False)
    assert not matched(**change).agrees


def test_the_problems_of_a_statement_are_told() -> None:
    """Each once, and they keep books and record from agreeing."""
    report = matched(complete=False, problems=("a page could not be read", NOT_COMPLETE))
    assert report.problems == ("a page could not be read", NOT_COMPLETE)


def test_an_empty_pull_counts_beside_one_that_works() -> None:
    """A receipt that is held already shows that the account is registered for pulls."""
    earlier = paid(1)
    later = paid(2, paid_at=START + timedelta(hours=30), created=START + timedelta(hours=30))
    empty = statement(
        source=PULL, empty_answer=True, covers_from=START + DAY, covers_until=START + 2 * DAY
    )
    works = statement(row("HELD000001"), source=PULL)
    report = match([earlier, later], [empty, works], is_till=False)
    assert (report.missing, report.covered) == ((later,), ((START - DAY, START + 2 * DAY),))
    other = attrs.evolve(works, rows=(row("HAND123", reference="hand"),))
    for useless in (other, attrs.evolve(works, source=StatementSource.FILE)):
        report = match([earlier, later], [empty, useless], is_till=False)
        assert later in report.not_covered
        assert EMPTY_UNPROVEN in report.problems


@pytest.mark.parametrize(("hours", "covered"), [(-24, True), (-25, False), (23, True), (24, False)])
def test_the_period_begins_with_its_first_and_ends_before_its_last_moment(
    hours: int, *, covered: bool
) -> None:
    """A payment outside of it is not covered, and does not keep books and record from agreeing."""
    payment = paid(paid_at=START + timedelta(hours=hours))
    report = matched(payment)
    assert (report.missing, report.not_covered) == (
        ((payment,), ()) if covered else ((), (payment,))
    )
    assert report.agrees is not covered


def test_a_payment_at_an_end_of_the_period_is_a_problem() -> None:
    """Its time is known roughly: it may lie in the period, and outside of it."""
    changes: list[dict[str, Any]] = [
        {"covers_from": START},
        {"covers_until": START + timedelta(seconds=20)},
    ]
    for change in changes:
        report = matched(by_query(), **change)
        assert (report.missing, report.not_covered) == ((), (by_query(),))
        assert (report.problems, report.agrees) == ((PERHAPS_OUTSIDE,), False)


def test_a_rough_time_ends_a_day_after_the_push() -> None:
    """A person may find out a week later that it was paid."""
    late = HistoryEntry(at=START + 7 * DAY, event="person: paid", state=State.SUCCEEDED)
    payment = by_query(settled_by="person", history=(late,))
    ends = START + DAY - timedelta(minutes=1)
    assert matched(payment, covers_until=ends + SECOND).missing == (payment,)
    assert matched(payment, covers_until=ends).missing == ()


def test_neighbouring_periods_are_one() -> None:
    """A payment over midnight is covered by the two days together."""
    days = [
        statement(covers_from=START + n * DAY, covers_until=START + (n + 1) * DAY)
        for n in (1, -1, 0)
    ]
    payment = by_query(created=START - SECOND)
    report = match([payment], days, is_till=False)
    assert report.covered == ((START - DAY, START + 2 * DAY),)
    assert report.missing == (payment,)
    apart = match([payment], [days[0], days[1]], is_till=False)
    assert apart.covered == ((START - DAY, START), (START + DAY, START + 2 * DAY))
    inside = statement(covers_from=START, covers_until=START + SECOND)
    nested = match([payment], [statement(), inside], is_till=False)
    assert nested.covered == ((START - DAY, START + DAY),)


# --- the times of a record ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "right"), [(130, True), (131, False), (-110, True), (-111, False)]
)
def test_times_that_differ_from_held_receipts_settle_nothing(seconds: int, *, right: bool) -> None:
    """Two minutes are allowed, either way."""
    report = matched(paid(2), asked(1), row("HELD000002", seconds), row(), source=PULL)
    assert bool(report.would_settle) is right
    assert report.trusted is right
    if not right:
        assert named(report) == [(NOT_TRUSTED, 1, ["NLJ7RT61SV"])]
        assert (report.problems, report.covered) == ((CLOCKS_DISAGREE,), ())


def test_the_median_of_the_times_counts() -> None:
    """One strange time among three does not spoil a record. Two do."""
    held = [paid(n) for n in (1, 2, 3)]
    rows = [row(f"HELD00000{n}", 10 + 3 * 3_600 * (n > 2)) for n in (1, 2, 3)]
    assert matched(*held, *rows).trusted
    rows[1] = row("HELD000002", 4_000)
    assert not matched(*held, *rows).trusted


def test_without_a_held_receipt_no_time_is_compared() -> None:
    """A receipt that a person typed has no time either."""
    report = matched(paid(2, paid_at=None), asked(1), row("HELD000002", 40_000), row())
    assert len(report.would_settle) == 1


# --- two sources ----------------------------------------------------------------------------------------


def both(one: StatementRow, other: StatementRow, **changes: Any) -> ReconcileReport:
    """A file and a pull that each have a row of the same receipt."""
    pull = statement(other, source=PULL, **changes)
    return match([asked()], [statement(one), pull], is_till=False)


@pytest.mark.parametrize(
    "change",
    [
        {"amount": Decimal(99)},
        {"completed": START + timedelta(seconds=131)},
        {"reference": "INV-2"},
        {"kind": RowKind.TILL},
        {"phone_number": "254718643065"},
    ],
)
def test_two_sources_that_disagree_settle_nothing(change: dict[str, Any]) -> None:
    """About an amount, a time, a reference, a kind or a phone."""
    report = both(row(), row(**change))
    assert (report.would_settle, report.receipts_added, report.trusted) == ((), (), False)
    assert SOURCES_DISAGREE in report.problems
    assert report.covered == ()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"completed": START + timedelta(seconds=130)},
        {"reference": None},
        {"kind": None},
        {"phone_number": None},
        {"phone_number": "0718643064"},
        {"reference": "INV-1 "},
    ],
)
def test_two_sources_that_agree_are_one(change: dict[str, Any]) -> None:
    """What one leaves out, the other fills in."""
    for report in (both(row(), row(**change)), both(row(**change), row())):
        assert len(report.would_settle) == 1
        assert report.would_settle[0].source == "pull"
        assert (report.trusted, report.problems) == (True, ())


@pytest.mark.parametrize("change", [{"kind": RowKind.TILL}, {"phone_number": "254718643065"}])
def test_what_only_one_source_says_counts(change: dict[str, Any]) -> None:
    """A row that is of a till, or whose phone contradicts, by the word of one of two sources."""
    nothing: dict[str, Any] = dict.fromkeys(change)
    silent = row(**nothing)
    assert both(silent, row(**change)).would_settle == ()
    assert both(row(**change), silent).would_settle == ()


@pytest.mark.parametrize(
    ("change", "disagrees"),
    [
        ({}, True),
        ({"covers_from": START - timedelta(seconds=110)}, True),
        ({"covers_from": START - timedelta(seconds=109)}, False),
        ({"covers_until": START + timedelta(seconds=131)}, True),
        ({"covers_until": START + timedelta(seconds=130)}, False),
        ({"complete": False}, False),
    ],
)
def test_a_complete_source_that_lacks_a_row_disagrees(
    change: dict[str, Any], *, disagrees: bool
) -> None:
    """Unless the row lies near an end of its period, or it is not complete."""
    lacking = statement(source=PULL, **change)
    report = match([asked()], [statement(row()), lacking], is_till=False)
    assert (SOURCES_DISAGREE in report.problems) is disagrees
    assert bool(report.would_settle) is not disagrees


# --- the report -----------------------------------------------------------------------------------------


def test_reports_of_several_accounts_are_one() -> None:
    """Each list is the one after the other, each problem stands once, and one doubt is enough."""
    one = matched(paid(), complete=False)
    other = attrs.evolve(matched(asked(), row()), applied=True, problems=(NOT_COMPLETE,))
    both_of_them = merged([one, other])
    assert (both_of_them.not_covered, len(both_of_them.would_settle)) == ((paid(),), 1)
    assert (both_of_them.problems, both_of_them.applied) == ((NOT_COMPLETE,), False)
    assert not merged([other, attrs.evolve(one, trusted=False)]).trusted


@pytest.mark.parametrize(
    "field", ["would_settle", "amounts_differ", "ambiguous", "unasked", "missing", "problems"]
)
def test_each_difference_keeps_books_and_record_from_agreeing(field: str) -> None:
    """And so do a record that is not trusted, and one that covers nothing."""
    good = ReconcileReport(applied=True, covered=((START, START + DAY),))
    assert good.agrees
    changes: list[dict[str, Any]] = [
        {field: (row(),)},
        {"trusted": False},
        {"covered": ()},
        {"applied": False, "receipts_added": (row(),)},
    ]
    assert [attrs.evolve(good, **change).agrees for change in changes] == [False] * 4
    assert attrs.evolve(good, not_covered=(paid(),)).agrees


def test_whether_a_row_may_be_of_a_payment() -> None:
    """For a claim: by the account's own rule."""
    assert fits(asked(), row())
    assert not fits(asked(), row(reference="INV-2"))
    assert fits(asked(account=TILL_ACCOUNT), till_row())
    assert not fits(asked(account=TILL_ACCOUNT), till_row(seconds=301))


# --- any mixture ----------------------------------------------------------------------------------------

PHONES = ["+254718643064", "+254722000111", FORGOTTEN_PHONE]
SHOWN = [None, "254718***064", "0722000111", "*1*", "254", "07****111"]
MINUTES = st.sampled_from([0, 0.5, 1, 4, 5, 6, 60, 1_439, 1_440, 1_441])


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Transaction], list[StatementRow]]:
    """Few payments and rows that look alike."""
    payments = []
    for ordinal in range(draw(st.integers(0, 6))):
        make = draw(st.sampled_from([asked, asked, by_query, refused, paid]))
        payments.append(
            make(
                ordinal,
                reference=draw(st.sampled_from(["INV-1", "INV-2"])),
                amount=draw(st.sampled_from([100, 200])),
                phone_number=draw(st.sampled_from(PHONES)),
                created=START + timedelta(minutes=draw(MINUTES)),
            )
        )
    rows = [
        row(
            draw(st.sampled_from([f"FREE{ordinal:06}", f"HELD{ordinal:06}"])),
            60 * draw(MINUTES),
            reference=draw(st.sampled_from(["INV-1", "INV-2", None])),
            amount=Decimal(draw(st.sampled_from([100, 200]))),
            phone_number=draw(st.sampled_from(SHOWN)),
            kind=None,
        )
        for ordinal in range(draw(st.integers(0, 6)))
    ]
    return payments, rows


def simply_fits(payment: Transaction, one: StatementRow, *, till: bool) -> bool:
    """The rule as one would write it down."""
    after = one.completed - payment.created
    if till:
        near = timedelta(0) <= after <= timedelta(minutes=5)
    else:
        near = timedelta(minutes=-1) <= after <= DAY and one.reference == payment.reference
    return near and one.amount == payment.amount and phone_may_be(payment, one)


@given(scene=scenes(), till=st.booleans(), seed=st.integers(0, 99))
def test_any_mixture(
    scene: tuple[list[Transaction], list[StatementRow]], seed: int, *, till: bool
) -> None:
    """Never two payments with one receipt, never a choice between candidates, in any order the same.

    Every row and every paid payment stands in exactly one list.
    """
    payments, rows = scene
    periods: dict[str, Any] = {"covers_until": START + 3 * DAY}
    report = match(payments, [statement(*rows, **periods)], is_till=till)
    proven = [*report.would_settle, *report.receipts_added]
    for numbers in (
        [one.row.receipt_number for one in (*proven, *report.confirmed, *report.amounts_differ)],
        [one.transaction.transaction_no for one in (*proven, *report.confirmed)],
    ):
        assert len(numbers) == len(set(numbers))
    held = {one.receipt_number for one in payments}
    free = [one for one in rows if one.receipt_number not in held]
    open_ones = [
        one for one in payments if one.receipt_number is None and one.state is not State.FAILED
    ]
    for one in proven:
        assert one.transaction in open_ones
        candidates = [each for each in open_ones if simply_fits(each, one.row, till=till)]
        fitting = [each for each in free if simply_fits(one.transaction, each, till=till)]
        assert (candidates, fitting) == ([one.transaction], [one.row])
        assert not till or one.transaction.settled_by == "query"
    assert not till or report.would_settle == ()
    pairs = [(each, one) for each in open_ones for one in free if simply_fits(each, one, till=till)]
    exact = [
        (each, one)
        for each, one in pairs
        if sum(each is other for other, _ in pairs) == 1
        and sum(one is other for _, other in pairs) == 1
    ]
    if report.trusted and not till:
        assert len(proven) == len(exact)
    told = [one.row for one in (*proven, *report.confirmed, *report.amounts_differ)]
    told += [one for doubt in report.ambiguous for one in doubt.rows]
    told += report.unasked
    assert sorted(one.receipt_number for one in told) == sorted(one.receipt_number for one in rows)
    generator = random.Random(seed)
    generator.shuffle(payments)
    generator.shuffle(rows)
    again = match(payments, [statement(*rows, **periods)], is_till=till)
    assert again == report


@given(scene=scenes(), cut=st.integers(0, 6))
def test_two_statements_in_any_order_say_the_same(
    scene: tuple[list[Transaction], list[StatementRow]], cut: int
) -> None:
    """A file and a pull, whichever is given first."""
    payments, rows = scene
    parts: list[Statement] = [
        statement(*rows[:cut], complete=False),
        statement(*rows[cut:], source=PULL, complete=False),
    ]
    first = match(payments, parts, is_till=False)
    assert match(payments, parts[::-1], is_till=False) == first
    one = match(payments, [statement(*rows, complete=False)], is_till=False)
    assert would_settle(first) == would_settle(one) or not (first.trusted and one.trusted)


def test_groups_share_nothing() -> None:
    """Thousands of payments that look alike are one group, found without comparing each with each."""
    many = 3_000
    payments = [asked(n, created=START + n * SECOND) for n in range(many)]
    rows = [row(f"R{n:08}", n + 5) for n in range(many)]
    (group,) = groups_of(payments, rows, PAYBILL)
    assert (len(group.payments), len(group.rows), group.is_pair) == (many, many, False)

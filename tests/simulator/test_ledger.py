"""Safaricom's ledger in the simulator: what is entered, the statement of the portal, and outages."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from mpesa_stk import PayBill, Till
from mpesa_stk.simulator import LedgerRow, Outage, Scenario
from mpesa_stk.simulator.ledger import Ledger
from mpesa_stk.testing import ManualClock, SimulatedDaraja, phones, simulated_config
from support import START

PAYBILL = PayBill("600000")
TILL = Till(store_number="600001", till_number="5566778")
PHONE = "0718643064"
MORNING = datetime(2026, 9, 25, 6, 0, 0, tzinfo=timezone.utc)


class Received:
    """A receiver of callbacks that counts them."""

    def __init__(self, daraja: SimulatedDaraja) -> None:
        self.bodies: list[bytes] = []
        daraja.deliver_to(self.take)

    def take(self, _url: str, body: bytes) -> int:
        """Take a callback."""
        self.bodies.append(body)
        return 200


def till_daraja() -> SimulatedDaraja:
    """A Daraja whose one merchant has a till."""
    return SimulatedDaraja(simulated_config(account=TILL))


def ask(daraja: SimulatedDaraja, phone_number: str = PHONE, amount: int = 100) -> str:
    """Push, and return the CheckoutRequestID."""
    pushed = daraja.client().push(phone_number=phone_number, amount=amount, reference="INV-19")
    return pushed.checkout_request_id


def moves(rows: list[LedgerRow]) -> list[tuple[str, Decimal, Decimal]]:
    """What the rows are, with amount and balance."""
    return [(row.kind, row.amount, row.balance) for row in rows]


def cells_of(statement: str) -> list[dict[str, str]]:
    """The rows of a statement, by the names of the columns."""
    lines = statement.splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if line.startswith("Receipt No."))
    return list(csv.DictReader(io.StringIO("".join(lines[first:]))))


# --- what is entered -----------------------------------------------------------------------------------


def test_a_paid_prompt_is_a_row() -> None:
    """It has the receipt and the time of its callback, the payer, and the reference of a paybill."""
    daraja = SimulatedDaraja()
    checkout_request_id = ask(daraja)
    assert daraja.ledger() == []
    daraja.run()

    (row,) = daraja.ledger()
    (prompt,) = daraja.prompts
    assert row == LedgerRow(
        number=1,
        account=PAYBILL,
        kind="payment",
        receipt_number=prompt.receipt_number,
        initiated=START,
        completed=START + timedelta(seconds=1),
        amount=Decimal(100),
        balance=Decimal(100),
        phone_number="254718643064",
        name="A. CUSTOMER",
        reference="INV-19",
        checkout_request_id=checkout_request_id,
    )
    assert "254718643064" not in repr(row)


def test_a_prompt_of_a_till_has_no_reference() -> None:
    """A till takes none, whatever the push says."""
    daraja = till_daraja()
    ask(daraja)
    daraja.run()
    assert [row.reference for row in daraja.ledger()] == [""]


@pytest.mark.parametrize(
    "phone_number", [phones.CANCELLED, phones.NO_FUNDS, phones.QUERY_SAYS_PAID]
)
def test_a_prompt_that_is_not_paid_is_no_row(phone_number: str) -> None:
    """No money moved, whatever the status query says."""
    daraja = SimulatedDaraja()
    ask(daraja, phone_number)
    daraja.run()
    assert daraja.ledger() == []


@pytest.mark.parametrize(
    "phone_number", [phones.CALLBACK_LOST, phones.CALLBACK_FIRST, phones.CALLBACK_TWICE]
)
def test_a_prompt_is_one_row_however_its_callback_comes(phone_number: str) -> None:
    """Lost, early or twice: the money came once."""
    daraja = SimulatedDaraja()
    ask(daraja, phone_number)
    daraja.run()
    assert len(daraja.ledger()) == 1


def test_a_prompt_is_entered_when_the_customer_answers_it() -> None:
    """Also if a program answers, and if the time passes without `advance`."""
    daraja = SimulatedDaraja(scenario="by-hand")
    checkout_request_id = ask(daraja)
    daraja.advance(10)
    daraja.decide(checkout_request_id, "paid")
    daraja.play("paid")
    ask(daraja, "0718643065")
    daraja.clock.advance(100)
    times = [row.completed - START for row in daraja.ledger()]
    assert times == [timedelta(seconds=10), timedelta(seconds=11)]
    daraja.run()
    assert len(daraja.ledger()) == 2


def test_what_happens_besides_prompts() -> None:
    """By hand, a failed one, a fee, a reversal, a sweep: each with the balance after it."""
    daraja = SimulatedDaraja()
    by_hand = daraja.pay_by_hand(Decimal("50.50"), phone_number=PHONE, reference="RENT")
    daraja.pay_by_hand(30, failed=True)
    fee = daraja.charge_fee(12, receipt_number=by_hand.receipt_number)
    other = daraja.pay_by_hand(200)
    back = daraja.reverse(other.receipt_number)
    daraja.sweep()

    rows = daraja.ledger()
    assert moves(rows) == [
        ("payment", Decimal("50.50"), Decimal("50.50")),
        ("payment", Decimal(30), Decimal("50.50")),
        ("fee", Decimal(-12), Decimal("38.50")),
        ("payment", Decimal(200), Decimal("238.50")),
        ("reversal", Decimal(-200), Decimal("38.50")),
        ("sweep", Decimal("-38.50"), Decimal(0)),
    ]
    assert [row.failed for row in rows] == [False, True, False, False, False, False]
    assert fee.linked_to == by_hand.receipt_number
    assert back.linked_to == other.receipt_number
    assert len({row.receipt_number for row in rows}) == 6
    assert {row.checkout_request_id for row in rows} == {None}
    assert daraja.newest_rows(2) == rows[:-3:-1]


@pytest.mark.parametrize("amount", [0, -5, Decimal("0.001"), Decimal("NaN"), 100_000_001])
def test_an_amount_that_is_none_is_refused(amount: Decimal | int) -> None:
    """And nothing is entered."""
    daraja = SimulatedDaraja()
    daraja.pay_by_hand(1000)
    for entry in (daraja.pay_by_hand, daraja.sweep, daraja.charge_fee):
        with pytest.raises(ValueError, match="amount must"):
            entry(amount)
    assert len(daraja.ledger()) == 1


def test_what_cannot_be_is_refused() -> None:
    """More money out than there is, a strange phone, a reference at a till, a foreign account."""
    daraja = till_daraja()
    paid = daraja.pay_by_hand(10)
    with pytest.raises(ValueError, match="more than the balance"):
        daraja.sweep(11)
    with pytest.raises(ValueError, match="phone_number must"):
        daraja.pay_by_hand(10, phone_number="12345")
    with pytest.raises(ValueError, match="reference must be empty"):
        daraja.pay_by_hand(10, reference="RENT")
    with pytest.raises(ValueError, match="name must have"):
        daraja.pay_by_hand(10, name="x" * 256)
    with pytest.raises(ValueError, match="one of the merchants"):
        daraja.pay_by_hand(10, account=PAYBILL)
    with pytest.raises(LookupError):
        daraja.reverse("UNKNOWN")
    daraja.reverse(paid.receipt_number)
    with pytest.raises(LookupError):
        daraja.reverse(paid.receipt_number)
    failed = daraja.pay_by_hand(10, failed=True)
    with pytest.raises(LookupError):
        daraja.reverse(failed.receipt_number)


def test_each_merchant_has_a_ledger_of_its_own() -> None:
    """Rows and balances of several accounts are apart."""
    till = simulated_config(account=TILL, consumer_key="other", passkey="other-passkey")
    daraja = SimulatedDaraja(simulated_config(), till)
    client = daraja.client(till)
    client.push(phone_number=PHONE, amount=7, reference="INV-1")
    daraja.run()
    daraja.pay_by_hand(5)
    assert [row.balance for row in daraja.ledger(TILL)] == [7]
    assert [row.balance for row in daraja.ledger()] == [5]
    assert [row.account for row in daraja.newest_rows(9)] == [PAYBILL, TILL]
    assert "Till Number:,5566778" in daraja.statement_csv(TILL)


def test_a_reset_forgets_ledger_and_outages() -> None:
    """The books are empty again."""
    daraja = SimulatedDaraja()
    daraja.pay_by_hand(5)
    daraja.outage()
    daraja.reset()
    assert (daraja.ledger(), daraja.outages) == ([], ())


def test_the_oldest_rows_go() -> None:
    """The kept rows keep their balances, and the statement opens with what stood before them."""
    ledger = Ledger([PAYBILL], most_rows=10)
    for number in range(35):
        moment = START + timedelta(seconds=number)
        ledger.add(
            PAYBILL,
            "payment",
            receipt_number=f"R{number}",
            initiated=moment,
            completed=moment,
            amount=Decimal(1),
        )
    rows = ledger.rows(PAYBILL)
    assert [row.receipt_number for row in rows] == [f"R{number}" for number in range(25, 35)]
    assert ledger.balance_before(PAYBILL, START) == 25
    assert ledger.balance(PAYBILL) == 35


def test_a_row_is_never_older_than_the_row_above_it() -> None:
    """Also if the clock is set back."""
    daraja = SimulatedDaraja()
    daraja.pay_by_hand(1)
    daraja.clock.step(-3600)
    daraja.pay_by_hand(1)
    assert [row.completed for row in daraja.ledger()] == [START, START]


# --- the statement -------------------------------------------------------------------------------------

# As in an export of 25 September 2026; only the shop's name is another one.
EXPORT = """\
Account Holder:,SIMULATED SHOP
Till Number:,5566778
Account:,Merchant Account
Time Period:,From,25-09-2026 00:00:00,To,25-09-2026 23:59:59
Operator:,OPERATOR,Organization:,SIMULATED SHOP
Opening Balance:,22779.95,Closing Balance:,30.0
Receipt No.,Completion Time,Initiation Time,Details,Transaction Status,Paid In,Withdrawn,Balance,\
Balance Confirmed,Reason Type,Other Party Info,Linked Transaction ID,A/C No.,Currency
{sweep},25-09-2026 03:31:04,25-09-2026 03:31:04,Merchant Payment,Completed,,-22779.95,0,true,\
Merchant Account to Organization Settlement Account,,,,KES
{failed},25-09-2026 07:00:00,25-09-2026 07:00:00,Merchant Payment,Failed,50.0,,0,true,\
Pay Merchant,070****366 - A. NAME,,,KES
{paid},25-09-2026 10:32:37,25-09-2026 10:32:37,Merchant Payment,Completed,30.0,,30.0,true,\
Pay Merchant,070****366 - A. NAME,,,KES
"""


def test_the_statement_of_a_till_is_laid_out_as_an_export() -> None:
    """Header block, columns, dates, amounts and words, byte for byte."""
    clock = ManualClock(start=datetime(2026, 9, 24, 9, 0, 0, tzinfo=timezone.utc))
    daraja = SimulatedDaraja(simulated_config(account=TILL), clock=clock)

    def at(hour: int, minute: int, second: int) -> None:
        moment = datetime(2026, 9, 25, hour, minute, second, tzinfo=timezone(timedelta(hours=3)))
        daraja.advance((moment - clock.now()).total_seconds())

    daraja.pay_by_hand(Decimal("22779.95"))
    at(3, 31, 4)
    sweep = daraja.sweep()
    at(7, 0, 0)
    failed = daraja.pay_by_hand(50, phone_number="0700000366", name="A. NAME", failed=True)
    at(10, 32, 37)
    paid = daraja.pay_by_hand(30, phone_number="0700000366", name="A. NAME")
    at(23, 0, 0)

    assert daraja.statement_csv() == EXPORT.format(
        sweep=sweep.receipt_number, failed=failed.receipt_number, paid=paid.receipt_number
    )


def test_the_statement_of_a_paybill_names_payer_and_reference() -> None:
    """The reference stands behind "Acc." and in its own column; a fee names its payment."""
    daraja = SimulatedDaraja()
    ask(daraja, "0700000001", 1250)
    daraja.run()
    (row,) = daraja.ledger()
    daraja.charge_fee(12, receipt_number=row.receipt_number)
    daraja.pay_by_hand(5)
    statement = daraja.statement_csv()
    paid, fee, bare = cells_of(statement)
    assert "Short Code:,600000\nAccount:,Utility Account\n" in statement
    assert paid["Details"] == "Pay Bill Online from 25470****001 - A. CUSTOMER Acc. INV-19"
    assert (paid["A/C No."], paid["Reason Type"]) == ("INV-19", "Pay Bill Online")
    assert (paid["Initiation Time"], paid["Completion Time"]) == (
        "23-11-2026 09:00:00",
        "23-11-2026 09:00:01",
    )
    assert (fee["Details"], fee["Withdrawn"]) == ("Pay Bill Charge", "-12.0")
    assert fee["Linked Transaction ID"] == row.receipt_number
    assert "Acc." not in bare["Details"]


def test_the_statement_covers_its_span_both_ends_included() -> None:
    """Rows outside are left out, and the balances at both ends are told."""
    daraja = SimulatedDaraja()
    for _ in range(4):
        daraja.pay_by_hand(10)
        daraja.advance(3600)
    statement = daraja.statement_csv(
        begins=START + timedelta(hours=1), ends=START + timedelta(hours=2)
    )
    assert "From,23-11-2026 10:00:00,To,23-11-2026 11:00:00" in statement
    assert "Opening Balance:,10.0,Closing Balance:,30.0" in statement
    assert len(cells_of(statement)) == 2
    empty = daraja.statement_csv(begins=START + timedelta(days=3))
    assert "Opening Balance:,40.0,Closing Balance:,40.0" in empty
    assert "From,26-11-2026 09:00:00,To,26-11-2026 23:59:59" in empty
    assert cells_of(empty) == []


def test_any_reference_stays_one_cell() -> None:
    """Commas, quotes and line ends in it do not break the file."""
    daraja = SimulatedDaraja()
    reference = 'A,"B"\nC'
    daraja.pay_by_hand(5, reference=reference)
    (row,) = cells_of(daraja.statement_csv())
    assert row["A/C No."] == reference


def test_the_statement_as_xlsx_has_the_same_lines() -> None:
    """Amounts are numbers, all else is text as in the .csv, and no reference breaks it."""
    openpyxl = pytest.importorskip("openpyxl", reason="needs the extra statement")
    daraja = SimulatedDaraja()
    ask(daraja)
    daraja.run()
    daraja.pay_by_hand(Decimal("2.50"), reference="<b>&\x00 'A', \"B\"")
    daraja.sweep(2)

    sheet = openpyxl.load_workbook(io.BytesIO(daraja.statement_xlsx())).active
    lines = [
        ["" if cell is None else cell for cell in row] for row in sheet.iter_rows(values_only=True)
    ]
    expected = list(csv.reader(io.StringIO(daraja.statement_csv())))
    assert [[str(cell) for cell in line if cell != ""] for line in lines[:7]] == expected[:7]
    for line, cells in zip(lines[7:], expected[7:], strict=True):
        for column, (cell, text) in enumerate(zip(line, cells, strict=True)):
            is_amount = column in (5, 6, 7) and text
            assert (float(cell) == float(text)) if is_amount else (cell == text)
    assert daraja.statement_xlsx() == daraja.statement_xlsx()


# --- outages -------------------------------------------------------------------------------------------


def test_the_outage_of_september_in_miniature() -> None:
    """137 payments reach the till, 34 callbacks reach the shop, and no backlog comes afterwards."""
    daraja = SimulatedDaraja(simulated_config(account=TILL), clock=ManualClock(start=MORNING))
    received = Received(daraja)
    begins = MORNING + timedelta(hours=1)
    daraja.outage(begins=begins, ends=begins + timedelta(hours=3.5))
    # A payment about every two minutes: 30 before the outage, 103 in it, and 4 after it.
    for number in range(137):
        ask(daraja, f"0718{number:06}", 30)
        daraja.advance(122)
    daraja.run()
    daraja.advance(48 * 3600)

    paid = [row for row in daraja.ledger() if row.kind == "payment"]
    statement = daraja.statement_csv(begins=MORNING)
    callbacks = [entry for entry in daraja.journal.entries() if entry.kind == "callback"]
    assert len(paid) == len({row.receipt_number for row in paid}) == 137
    assert len(cells_of(statement)) == 137
    assert len(received.bodies) == len([one for one in callbacks if one.status == 200]) == 34
    lost = [entry for entry in callbacks if entry.status is None]
    assert len(lost) == 103
    assert {entry.note for entry in lost} == {"not posted: an outage, and it does not come later"}


def test_an_outage_is_switched_on_and_off() -> None:
    """Money moves all the same, and queries are answered."""
    daraja = SimulatedDaraja()
    received = Received(daraja)
    assert daraja.outage() == Outage(begins=START) == daraja.current_outage
    checkout_request_id = ask(daraja)
    daraja.advance(60)
    assert daraja.client().query(checkout_request_id).result_code == "0"
    daraja.end_outage()
    assert daraja.current_outage is None
    daraja.run()
    assert received.bodies == []
    assert len(daraja.ledger()) == 1
    ask(daraja)
    daraja.run()
    assert len(received.bodies) == 1
    assert daraja.outages == (Outage(begins=START, ends=START + timedelta(seconds=60)),)


def test_an_outage_takes_early_and_late_callbacks_and_further_tries() -> None:
    """What counts is when a callback is due, not when somebody looks."""
    daraja = SimulatedDaraja()
    received = Received(daraja)
    daraja.outage(ends=START + timedelta(seconds=100))
    ask(daraja, phones.CALLBACK_FIRST)
    ask(daraja, phones.CALLBACK_TWICE)
    daraja.clock.advance(200)  # nobody has looked yet
    daraja.run()
    assert received.bodies == []
    daraja.play(Scenario(callback_after=50.0))
    ask(daraja)
    daraja.outage(begins=daraja.clock.now() + timedelta(seconds=40))
    daraja.run()
    assert received.bodies == []


def test_an_outage_to_come_is_called_off() -> None:
    """`end_outage` ends the present one and forgets the ones to come, and past ones stay told."""
    daraja = SimulatedDaraja()
    past = daraja.outage(ends=START + timedelta(seconds=10))
    daraja.outage(begins=START + timedelta(hours=1))
    daraja.advance(20)
    daraja.end_outage()
    assert daraja.outages == (past,)


def test_an_outage_that_cannot_be_is_refused() -> None:
    """Its times have a zone, and it ends after it begins."""
    daraja = SimulatedDaraja()
    with pytest.raises(ValueError, match="aware"):
        daraja.outage(begins=datetime(2026, 1, 1))  # noqa: DTZ001 - what is tested
    with pytest.raises(ValueError, match="end after"):
        daraja.outage(ends=START)


def test_the_last_hundred_outages_are_kept() -> None:
    """Older ones are forgotten."""
    daraja = SimulatedDaraja()
    for number in range(101):
        begins = START + timedelta(seconds=2 * number)
        daraja.outage(begins=begins, ends=begins + timedelta(seconds=1))
    assert len(daraja.outages) == 100
    assert daraja.outages[0].begins == START + timedelta(seconds=2)

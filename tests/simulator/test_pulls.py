"""Pull Transactions of the simulator: the registration, the query, and the forms of their answers."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from mpesa_stk import HttpRequest, HttpResponse, OutcomeUnknown, PayBill, StkConfig, Till
from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.simulator import FAULTS, Fault, PullForm
from mpesa_stk.testing import DeliveryFault, ManualClock, SimulatedDaraja, simulated_config

REGISTER = "/pulltransactions/v1/register"
QUERY = "/pulltransactions/v1/query"
EAT = timezone(timedelta(hours=3))
TILL = Till(store_number="600001", till_number="5566778")
LONG_AGO = "2020-01-01 00:00:00"
NUMBER = "254722000000"
CALLBACK = "https://shop.example/daraja/pull"


class Puller:
    """A merchant's program that pulls, written from Safaricom's page."""

    def __init__(self, config: StkConfig | None = None, *others: StkConfig) -> None:
        # The time of the capture whose forms are compared.
        self.clock = ManualClock(start=datetime(2025, 1, 24, 10, 56, 11, tzinfo=EAT))
        self.daraja = SimulatedDaraja(config or simulated_config(), *others, clock=self.clock)
        self.shortcode = self.daraja.config.account.shortcode

    def send(self, path: str, body: dict[str, object], **headers: str) -> HttpResponse:
        """Post to Daraja with a token."""
        fields = {
            "Authorization": f"Bearer {self.daraja.client().token().value}",
            "Content-Type": "application/json",
        }
        return self.daraja.send(
            HttpRequest(
                method="POST",
                url=f"https://sandbox.safaricom.co.ke{path}",
                headers=fields | headers,
                body=json.dumps(body).encode(),
                connect_timeout=10.0,
                total_timeout=45.0,
            )
        )

    def register(self, **changes: object) -> HttpResponse:
        """Register the shortcode."""
        body: dict[str, object] = {
            "ShortCode": self.shortcode,
            "RequestType": "Pull",
            "NominatedNumber": NUMBER,
            "CallBackURL": CALLBACK,
        }
        return self.send(REGISTER, body | changes)

    def query(self, **changes: object) -> HttpResponse:
        """Ask for rows: of the last two days, from the first one on."""
        now = self.clock.now().astimezone(EAT)
        body: dict[str, object] = {
            "ShortCode": self.shortcode,
            "StartDate": f"{now - timedelta(hours=48):%Y-%m-%d %H:%M:%S}",
            "EndDate": f"{now:%Y-%m-%d %H:%M:%S}",
            "OffSetValue": "0",
        }
        return self.send(QUERY, body | changes)

    def rows(self, **changes: object) -> list[dict[str, Any]]:
        """The rows of an answer in the usual form."""
        answer = json.loads(self.query(**changes).body)
        assert answer["ResponseCode"] == "1000"
        (listed,) = answer["Response"]
        return list(listed)

    def row_with(self, fault: str) -> dict[str, Any]:
        """One row of an answer with a fault."""
        self.daraja.next("pull", fault)
        (row,) = self.rows()
        return dict(row)


@pytest.fixture
def puller() -> Puller:
    """A registered paybill that was paid once."""
    puller = Puller()
    puller.daraja.register_for_pulls()
    puller.daraja.pay_by_hand(168, phone_number="254700000123", reference="37207636392")
    return puller


def refusal(answer: HttpResponse) -> tuple[int, str, str]:
    """Status, code and text."""
    body = json.loads(answer.body)
    return answer.status, body["errorCode"], body["errorMessage"]


def no_rows(answer: HttpResponse) -> bool:
    """Whether Daraja says that it found nothing, in its own words."""
    body = json.loads(answer.body)
    return (
        answer.status == 200
        and body["ResponseCode"] == "1001"
        and body["ResponseMessage"] == "No records found or Organization Name not available"
        and body["Response"] == [[]]
    )


# --- the registration ----------------------------------------------------------------------------------


def test_a_shortcode_is_registered_once() -> None:
    """The words are the portal's; the second time the code is 1001."""
    puller = Puller()
    answer = puller.register()
    first = json.loads(answer.body)
    assert answer.status == 200
    assert first.pop("ResponseRefID")
    assert first == {
        "ResponseStatus": "1000",
        "ShortCode": "600000",
        "ResponseDescription": "Shortcode Registered Successfully",
    }
    assert json.loads(puller.register().body)["ResponseStatus"] == "1001"


def test_the_keys_of_a_registration_may_have_spaces() -> None:
    """As in live answers."""
    puller = Puller()
    puller.daraja.next("pull", "pull-spaced-keys")
    answer = json.loads(puller.register().body)
    assert answer["Response Status"] == "1000"
    assert answer["Response Description"] == "Short Code  600000  Registered Successfully"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"NominatedNumber": "0722000000"}, "400.002.02", "Bad Request - Invalid NominatedNumber"),
        ({"RequestType": "Push"}, "400.002.02", "Bad Request - Invalid RequestType"),
        ({"CallBackURL": "nowhere"}, "400.002.02", "Bad Request - Invalid CallBackURL"),
        ({"ShortCode": "abc"}, "400.001", "Invalid ShortCode"),
        ({"ShortCode": "600999"}, "400.001", "Invalid ShortCode"),
    ],
)
def test_a_registration_that_is_wrong_is_refused(
    changes: dict[str, object], code: str, words: str
) -> None:
    """With Daraja's words, and the shortcode is not registered."""
    puller = Puller()
    puller.daraja.pay_by_hand(5)
    assert refusal(puller.register(**changes)) == (400, code, words)
    assert no_rows(puller.query())


# --- the query -----------------------------------------------------------------------------------------


def test_a_paybill_is_told_of_its_payments(puller: Puller) -> None:
    """Each row has the fields and forms of the portal and of captures."""
    row = puller.daraja.ledger()[0]
    answer = json.loads(puller.query().body)
    assert answer.pop("ResponseRefID")
    assert answer == {
        "ResponseCode": "1000",
        "ResponseMessage": "Success",
        "Response": [
            [
                {
                    "transactionId": row.receipt_number,
                    "trxDate": "2025-01-24T10:56:11+03:00",
                    "msisdn": 254700000123,
                    "sender": "MPESA",
                    "transactiontype": "c2b-pay-bill-debit",
                    "billreference": "37207636392",
                    "amount": "168.00",
                    "organizationname": "SIMULATED SHOP",
                }
            ]
        ],
    }


def test_a_till_is_told_of_its_payments() -> None:
    """By the number of its store; its rows have no reference."""
    puller = Puller(simulated_config(account=TILL))
    puller.register()
    puller.daraja.client().push(phone_number="0718643064", amount=30, reference="INV-1")
    puller.daraja.run()
    (row,) = puller.rows()
    assert (row["transactiontype"], row["billreference"]) == ("c2b-buy-goods-debit", "")
    assert no_rows(puller.query(ShortCode="5566778"))


def test_only_money_of_customers_is_told_of(puller: Puller) -> None:
    """Failed ones, fees, sweeps and reversals are not; a payment that was reversed is."""
    paid = puller.rows()[0]["transactionId"]
    puller.daraja.pay_by_hand(5, failed=True)
    puller.daraja.charge_fee(1)
    puller.daraja.sweep(2)
    other = puller.daraja.pay_by_hand(10)
    puller.daraja.reverse(other.receipt_number)
    assert [row["transactionId"] for row in puller.rows()] == [paid, other.receipt_number]


def test_nothing_is_told_of_a_shortcode_that_is_not_registered() -> None:
    """The same answer as for a window without payments, and for the shortcode of another app."""
    puller = Puller(
        simulated_config(), simulated_config(account=PayBill("600002"), consumer_key="other")
    )
    puller.daraja.pay_by_hand(5)
    puller.daraja.register_for_pulls(PayBill("600002"))
    assert no_rows(puller.query())
    assert no_rows(puller.query(ShortCode="600002"))
    puller.register()
    assert len(puller.rows()) == 1
    assert no_rows(puller.query(EndDate="2025-01-23 00:00:00"))


def test_a_window_has_both_its_ends() -> None:
    """In whole seconds of Nairobi's clock."""
    puller = Puller()
    puller.register()
    puller.clock.advance(0.7)
    puller.daraja.pay_by_hand(5)
    exactly = "2025-01-24 10:56:11"
    assert len(puller.rows(StartDate=exactly, EndDate=exactly)) == 1
    assert no_rows(puller.query(StartDate="2025-01-24 10:56:12", EndDate="2025-01-24 11:00:00"))
    assert no_rows(puller.query(StartDate="2025-01-24 10:00:00", EndDate="2025-01-24 10:56:10"))


def test_rows_are_told_of_for_48_hours(puller: Puller) -> None:
    """Older ones are not, however early the window begins."""
    puller.clock.advance(48 * 3600)
    assert len(puller.rows(StartDate=LONG_AGO)) == 1
    puller.clock.advance(1)
    assert no_rows(puller.query(StartDate=LONG_AGO))


def test_pages_follow_by_the_number_of_rows() -> None:
    """A page has at most 100 rows, fits into what a client reads, and the one behind the last is empty."""
    puller = Puller()
    puller.register()
    for _ in range(137):
        puller.daraja.pay_by_hand(100_000, reference="A-LONG-REFERENCE")
    assert len(puller.query().body) < MAX_BODY
    first, second = puller.rows(), puller.rows(OffSetValue="100")
    assert (len(first), len(second)) == (100, 37)
    assert len({row["transactionId"] for row in first + second}) == 137
    assert puller.rows(OffSetValue=137) == []


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"StartDate": "2025-01-24"}, "400.002.02", "Bad Request - Invalid StartDate"),
        ({"EndDate": "2025-02-30 00:00:00"}, "400.002.02", "Bad Request - Invalid EndDate"),
        ({"OffSetValue": "-1"}, "400.002.02", "Bad Request - Invalid OffSetValue"),
        ({"ShortCode": None}, "400.001", "Invalid ShortCode"),
    ],
)
def test_a_query_that_is_wrong_is_refused(
    puller: Puller, changes: dict[str, object], code: str, words: str
) -> None:
    """With Daraja's words."""
    assert refusal(puller.query(**changes)) == (400, code, words)


@pytest.mark.parametrize("path", [REGISTER, QUERY])
def test_a_pull_needs_a_token(puller: Puller, path: str) -> None:
    """A wrong one is refused with 401.001, as for an app without the product."""
    wrong = puller.send(path, {}, Authorization="Bearer nobody")
    assert refusal(wrong) == (401, "401.001", "Invalid Access Token")
    none = puller.send(path, {}, Authorization="")
    assert refusal(none) == (404, "404.001.04", "Invalid Authentication Header")
    form = puller.send(path, {}, **{"Content-Type": "application/x-www-form-urlencoded"})
    assert refusal(form) == (400, "400.002.02", "Bad Request - Invalid ShortCode")


def test_pulls_are_in_the_journal(puller: Puller) -> None:
    """With their token, so that the page can tell of them."""
    puller.query()
    entry = puller.daraja.journal.entries()[-1]
    assert (entry.kind, entry.status) == ("pull", 200)
    assert entry.token_entry is not None


# --- its faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "field", "value"),
    [
        ("pull-zulu", "trxDate", "2025-01-24T10:56:11Z"),
        ("pull-no-zone", "trxDate", "2025-01-24T10:56:11"),
        ("pull-utc", "trxDate", "2025-01-24T07:56:11Z"),
        ("pull-cut-types", "transactiontype", "c2b-pay-bill-deb"),
        ("pull-short-amounts", "amount", "168.0"),
        ("pull-text-phones", "msisdn", "254700000123"),
        ("pull-masked-phones", "msisdn", "25470****123"),
        ("pull-cut-phones", "msisdn", 70000012),
        ("pull-capital-keys", "TransactionId", None),
    ],
)
def test_a_row_may_have_another_form(
    puller: Puller, fault: str, field: str, value: str | int | None
) -> None:
    """One form a fault, in the next answer only."""
    row = puller.row_with(fault)
    assert row[field] == (value or puller.daraja.ledger()[0].receipt_number)
    assert puller.rows()[0]["trxDate"].endswith("+03:00")


def test_an_amount_with_cents_keeps_them() -> None:
    """Also in the short form."""
    puller = Puller()
    puller.register()
    puller.daraja.pay_by_hand(Decimal("12.25"))
    assert puller.row_with("pull-short-amounts")["amount"] == "12.25"


def test_rows_may_stand_in_one_list(puller: Puller) -> None:
    """Not in a list within a list."""
    puller.daraja.next("pull", "pull-flat")
    answer = json.loads(puller.query().body)
    assert [type(row) for row in answer["Response"]] == [dict]


def test_pages_may_be_counted(puller: Puller) -> None:
    """By fields that the portal does not name."""
    puller.daraja.next("pull", "pull-page-fields")
    answer = json.loads(puller.query().body)
    fields = ("CurrentPage", "PageSize", "TotalPages", "TotalRecords")
    assert [answer[name] for name in fields] == [0, 100, 1, 1]


def test_pages_may_repeat_or_be_asked_for_by_their_index() -> None:
    """Whoever adds up rows then gets the first page again, or pages that are far away."""
    puller = Puller()
    puller.register()
    for _ in range(137):
        puller.daraja.pay_by_hand(1)
    puller.daraja.next("pull", "pull-repeats", "pull-page-index", "pull-page-index")
    first = puller.rows(OffSetValue="100")
    assert len(puller.rows(OffSetValue="1")) == 37
    assert puller.rows(OffSetValue="100") == []
    assert puller.rows() == first


def test_forms_go_together(puller: Puller) -> None:
    """A fault of your own has several."""
    form = PullForm(zone="Z", flat=True, phones="masked")
    puller.daraja.next("pull", Fault(executed=True, form=form))
    (row,) = json.loads(puller.query().body)["Response"]
    assert (row["trxDate"][-1], row["msisdn"]) == ("Z", "25470****123")


def test_daraja_may_say_nothing_or_fail_or_refuse(puller: Puller) -> None:
    """1001 although there are rows, the 500 of the portal, and the 401 of an app without the product."""
    puller.daraja.next("pull", "pull-nothing", "pull-failed", "pull-no-product")
    assert no_rows(puller.query())
    failed = puller.query()
    body = json.loads(failed.body)
    assert (failed.status, body["ResponseCode"]) == (500, "500")
    assert body["ResponseMessage"] == "Failed to retrieve transactions"
    assert refusal(puller.query()) == (401, "401.001", "Invalid Access Token")
    assert len(puller.rows()) == 1


def test_a_registration_may_hang(puller: Puller) -> None:
    """Longer than a client waits: what came of it is not known."""
    hangs = Fault(executed=True, delivery=DeliveryFault.SLOW, seconds=60.0)
    puller.daraja.next("pull", hangs)
    with pytest.raises(OutcomeUnknown):
        puller.register()


@pytest.mark.parametrize("name", [name for name in FAULTS if FAULTS[name].form is not None])
def test_forms_of_pulls_change_no_other_answer(name: str) -> None:
    """Scripted for a push, such a fault does nothing."""
    daraja = SimulatedDaraja()
    daraja.next("push", name)
    daraja.client().push(phone_number="0718643064", amount=1, reference="INV-1")
    assert len(daraja.prompts) == 1

"""Pull Transactions on both faces: what is sent, each answer, the pages, and what a pull does not prove."""

from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from both_faces import make_client
from mpesa_stk import (
    MAX_BODY,
    AuthenticationFailed,
    DarajaError,
    Environment,
    Event,
    GatewayBlocked,
    HttpRequest,
    HttpResponse,
    InvalidPhoneNumber,
    InvalidRequest,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    PhoneNumber,
    PullRegistration,
    RateLimited,
    RetryPolicy,
    RowKind,
    Statement,
    StatementRow,
    StatementSource,
    StkClient,
    UnexpectedResponse,
)
from mpesa_stk.reconcile import pull_rows
from mpesa_stk.reconcile.pull import MOST_PAGE
from mpesa_stk.testing import SimulatedDaraja
from secret_scenes import PHONE, leaks_of
from support import CALLBACK_URL, DATA, START, TOKEN, ManualClock, make_config

pytestmark = pytest.mark.usefixtures("face")

SAMPLES: dict[str, Any] = json.loads((DATA / "records-samples.json").read_text(encoding="utf-8"))
HOUR = timedelta(hours=1)
NAIROBI = timezone(timedelta(hours=3))
Planned = HttpResponse | MpesaError
NONE_FOUND = SAMPLES["pull_query_none_or_not_registered"]["body"]
NO_PRODUCT = SAMPLES["pull_query_no_product"]["body"]


def answer(body: object, status: int = 200) -> HttpResponse:
    """An answer with JSON, or with these very bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=status, headers={}, body=raw)


def sample(name: str) -> HttpResponse:
    """An answer as it was collected."""
    return answer(SAMPLES[name]["body"], SAMPLES[name]["http"])


def row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A row whose payment was completed some minutes before `START`."""
    at = (START - timedelta(minutes=number)).astimezone(NAIROBI)
    return {
        "transactionId": f"UKN{abs(number):07}",
        "trxDate": at.isoformat(),
        "msisdn": "254712345678",
        "sender": "MPESA",
        "transactiontype": "c2b-pay-bill-debit",
        "billreference": f"INV-{number}",
        "amount": "250.00",
        "organizationname": "SHOP",
    } | changes


def page(*rows: object, **changes: Any) -> HttpResponse:
    """An answer with rows."""
    body = {"ResponseRefID": "r1", "ResponseCode": "1000", "ResponseMessage": "Success"}
    return answer(body | {"Response": [list(rows)]} | changes)


class Daraja:
    """Answers pulls from a script; the last answer stays."""

    def __init__(self, *script: Planned) -> None:
        self.script = deque(script)
        self.asked: list[HttpRequest] = []
        self.tokens = 0

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request."""
        if request.method == "GET":
            self.tokens += 1
            return answer({"access_token": f"{TOKEN}{self.tokens}", "expires_in": "3599"})
        self.asked.append(request)
        planned = self.script.popleft() if len(self.script) > 1 else self.script[0]
        if isinstance(planned, MpesaError):
            raise copy.copy(planned)
        return planned

    def close(self) -> None:
        """Nothing is open."""

    @property
    def bodies(self) -> list[dict[str, str]]:
        """What was asked for."""
        return [json.loads(request.body or b"") for request in self.asked]


def client_of(daraja: Daraja, **parts: Any) -> StkClient:
    """A client of it, on a clock that stands at `START`."""
    config = parts.pop("config", None) or make_config()
    parts.setdefault("clock", ManualClock())
    retry = RetryPolicy(attempts=3, jitter=lambda: 0.5)
    client: StkClient = make_client(config, transport=daraja, retry=retry, **parts)
    return client


def pulled(*script: Planned) -> Statement:
    """What a pull of the last hour gives."""
    return client_of(Daraja(*script)).pull(START - HOUR, START)


# --- what is sent ------------------------------------------------------------------------------------


def test_the_question_is_the_portals() -> None:
    """It names the shortcode, the window in Nairobi's time and an offset, as texts, to the pull address."""
    daraja = Daraja(sample("pull_query_none_or_not_registered"))
    client_of(daraja).pull(START - HOUR, START)
    (asked,) = daraja.asked
    assert asked.url == "https://sandbox.safaricom.co.ke/pulltransactions/v1/query"
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}1"
    expected = SAMPLES["pull_query_request"]["body"] | {
        "StartDate": (START - HOUR).astimezone(NAIROBI).strftime("%Y-%m-%d %H:%M:%S"),
        "EndDate": START.astimezone(NAIROBI).strftime("%Y-%m-%d %H:%M:%S"),
    }
    assert daraja.bodies == [expected]


def test_the_registration_is_the_portals() -> None:
    """The number is sent as 254..., however it was written, and the answer may take its time."""
    daraja = Daraja(sample("pull_register_done_portal"))
    client_of(daraja).register_pull(
        nominated_number="0722 000 000", callback_url="https://shop.example/daraja/pull"
    )
    (asked,) = daraja.asked
    assert asked.url == "https://sandbox.safaricom.co.ke/pulltransactions/v1/register"
    assert asked.total_timeout >= 60
    assert daraja.bodies == [SAMPLES["pull_register_request"]["body"]]


@pytest.mark.parametrize(
    ("query_url", "origin"),
    [
        ("https://api.safaricom.co.ke/mpesa/stkpushquery/v1/query", "https://api.safaricom.co.ke"),
        ("https://gw.example.co.ke/d/mpesa/stkpushquery/v1/query", "https://gw.example.co.ke/d"),
        ("https://gw.example.co.ke:8443/query?x=1", "https://gw.example.co.ke:8443"),
    ],
)
def test_the_addresses_are_beside_the_query(query_url: str, origin: str) -> None:
    """A gateway of your own needs no further setting."""
    environment = Environment(name="x", token_url="", push_url="", query_url=query_url)
    assert environment.pull_query_url == f"{origin}/pulltransactions/v1/query"
    assert environment.pull_register_url == f"{origin}/pulltransactions/v1/register"


@pytest.mark.parametrize(
    ("start", "end", "field", "rule"),
    [
        (START - HOUR, datetime(2026, 11, 23), "end", "must be a datetime with a time zone"),  # noqa: DTZ001 - naive on purpose
        (datetime(2026, 11, 23), START, "start", "must be a datetime with a time zone"),  # noqa: DTZ001 - the same
        ("2026-11-23", START, "start", "must be a datetime with a time zone"),
        (START, START - HOUR, "start", "must be at least a second before end"),
        (START, START, "start", "must be at least a second before end"),
        (START - 49 * HOUR, START, "start", "must be within the last 48 hours"),
        (START - HOUR, START + 2 * timedelta(minutes=1), "end", "must not be in the future"),
    ],
)
def test_a_window_that_daraja_does_not_have(start: Any, end: Any, field: str, rule: str) -> None:
    """It is refused before anything is sent."""
    daraja = Daraja(page())
    with pytest.raises(InvalidRequest) as caught:
        client_of(daraja).pull(start, end)
    assert (caught.value.field, caught.value.rule) == (field, rule)
    assert (daraja.asked, daraja.tokens) == ([], 0)


def test_the_whole_48_hours_may_be_asked_for() -> None:
    """A begin that is a moment too old by now is brought up, and the future is not covered."""
    daraja = Daraja(page(row()), page())
    statement = client_of(daraja).pull(
        START - 48 * HOUR - timedelta(seconds=5), START + timedelta(seconds=30)
    )
    assert (statement.covers_from, statement.covers_until) == (START - 48 * HOUR, START)
    assert daraja.bodies[0]["EndDate"].endswith(":30")
    assert statement.complete


@pytest.mark.parametrize("number", ["0512345678", "", "254 722", 722000000])
def test_a_number_that_cannot_be_nominated(number: Any) -> None:
    """The error names the argument and not the number."""
    daraja = Daraja(page())
    with pytest.raises(InvalidPhoneNumber) as caught:
        client_of(daraja).register_pull(nominated_number=number, callback_url=CALLBACK_URL)
    assert caught.value.field == "nominated_number"
    assert daraja.asked == []


def test_a_callback_url_that_cannot_be_registered() -> None:
    """It has the rules of all callback URLs."""
    with pytest.raises(InvalidRequest, match="callback_url: must be https"):
        client_of(Daraja(page())).register_pull(
            nominated_number=PhoneNumber("254722000000"), callback_url="http://shop.example.co.ke"
        )


# --- answers as they were collected ---------------------------------------------------------------------

COLLECTED = {
    "pull_query_rows_portal": StatementRow(
        receipt_number="YZLYRESRG1",
        completed=datetime(2020, 8, 5, 7, 13, tzinfo=timezone.utc),
        amount=Decimal("168.00"),
        kind=RowKind.PAYBILL,
        reference="37207636392",
        phone_number="72200000",
    ),
    "pull_query_rows_till_real": StatementRow(
        receipt_number="TAO0000000",
        completed=datetime(2025, 1, 24, 7, 56, 11, tzinfo=timezone.utc),
        amount=Decimal("2697.0"),
        kind=RowKind.TILL,
        phone_number="254700000000",
    ),
    "pull_query_rows_paged": StatementRow(
        receipt_number="PULL0001",
        completed=datetime(2026, 6, 1, 9, 0, tzinfo=timezone.utc),
        amount=Decimal("250.00"),
        kind=RowKind.PAYBILL,
        reference="TEST-REF-001",
        phone_number="254712345678",
    ),
}


@pytest.mark.parametrize("name", COLLECTED)
def test_rows_as_they_were_collected(name: str) -> None:
    """The portal's sample, a till's answer, and one with page numbers. Their digits are Nairobi's."""
    expected = COLLECTED[name]
    now = expected.completed + HOUR
    daraja = Daraja(sample(name), sample("pull_query_none_or_not_registered"))
    statement = client_of(daraja, clock=ManualClock(start=now)).pull(now - 2 * HOUR, now)
    assert statement == Statement(
        source=StatementSource.PULL,
        number="600000",
        rows=(expected,),
        covers_from=now - 2 * HOUR,
        covers_until=now,
    )
    assert [body["OffSetValue"] for body in daraja.bodies] == ["0", "1"]


@pytest.mark.parametrize(
    "response",
    [
        sample("pull_query_none_or_not_registered"),
        sample("pull_query_none_500"),
        page(),
        answer({"ResponseCode": "1000", "Response": []}),
        answer({"Response Code": 1001, "Response Message": "No records found"}),
    ],
)
def test_an_empty_answer_is_never_all_clear(response: HttpResponse) -> None:
    """An account that is not registered gets the same, so the window is not covered."""
    daraja = Daraja(response)
    statement = client_of(daraja).pull(START - HOUR, START)
    assert (statement.rows, statement.empty_answer, statement.complete) == ((), True, False)
    assert statement.problems == (pull_rows.EMPTY,)
    assert len(daraja.asked) == 1


def test_an_app_without_the_product() -> None:
    """One new token is tried, then none for five minutes, and the error says what is missing."""
    daraja = Daraja(sample("pull_query_no_product"))
    clock = ManualClock()
    client = client_of(daraja, clock=clock)
    for tokens in (2, 2):
        with pytest.raises(AuthenticationFailed, match="Pull Transactions") as caught:
            client.pull(START - HOUR, START)
        assert (caught.value.reason, caught.value.error_code) == ("product", "401.001")
        assert daraja.tokens == tokens
    clock.sleep(301.0)
    with pytest.raises(AuthenticationFailed):
        client.register_pull(nominated_number="0722000000", callback_url=CALLBACK_URL)
    assert daraja.tokens == 3


def test_a_pull_does_not_spare_the_tokens_of_queries() -> None:
    """The product that is missing is that of pulls."""
    daraja = Daraja(answer(NO_PRODUCT, 401))
    client = client_of(daraja)
    for ask, tokens in (
        (lambda: client.pull(START - HOUR, START), 2),
        (lambda: client.query("ws_CO_1"), 3),
    ):
        with pytest.raises(AuthenticationFailed):
            ask()
        assert daraja.tokens == tokens


def test_a_dead_token_is_renewed() -> None:
    """The pull then works."""
    daraja = Daraja(answer(NO_PRODUCT, 401), page(row()), page())
    statement = client_of(daraja).pull(START - HOUR, START)
    assert (len(statement.rows), statement.complete, daraja.tokens) == (1, True, 2)


def test_wrong_keys_are_not_a_missing_product() -> None:
    """The token endpoint refused them."""

    class WrongKeys(Daraja):
        def send(self, _request: HttpRequest, /) -> HttpResponse:
            """Refuse everything."""
            return answer(b"", 400)

    with pytest.raises(AuthenticationFailed) as caught:
        client_of(WrongKeys(page())).pull(START - HOUR, START)
    assert caught.value.reason == "credentials"


def test_an_unknown_shortcode_is_refused() -> None:
    """It is not asked again."""
    body = {"requestId": "x", "errorCode": "400.001", "errorMessage": "Invalid ShortCode"}
    daraja = Daraja(answer(body, 400))
    with pytest.raises(DarajaError, match=r"Daraja refused the pull: 400\.001 Invalid ShortCode"):
        client_of(daraja).pull(START - HOUR, START)
    assert len(daraja.asked) == 1


@pytest.mark.parametrize(
    ("response", "error", "tries"),
    [
        (answer(b"<html>Incapsula incident ID: 7-8</html>", 403), GatewayBlocked, 1),
        (answer(b"", 503), UnexpectedResponse, 3),
        (answer([1]), UnexpectedResponse, 3),
        (answer({}), UnexpectedResponse, 3),
        (answer({}, 429), RateLimited, 3),
        (answer({"ResponseCode": "1000"}), UnexpectedResponse, 3),
        (answer({"ResponseCode": "1000", "Response": "x"}), UnexpectedResponse, 3),
        (answer({"ResponseCode": "1000", "Response": [[]]}, 400), UnexpectedResponse, 3),
        (answer({"ResponseCode": "1000", "responsecode": "1001"}), UnexpectedResponse, 3),
        (answer({"ResponseCode": "1002", "ResponseMessage": "No."}), DarajaError, 1),
        (answer({"ResponseCode": "500", "ResponseMessage": "x"}, 500), DarajaError, 3),
        (NotSent("no name"), NotSent, 3),
        (OutcomeUnknown("no answer"), OutcomeUnknown, 3),
    ],
)
def test_a_first_page_that_cannot_be_had(
    response: Planned, error: type[MpesaError], tries: int
) -> None:
    """It is asked for again like a query, and then the error is raised."""
    daraja = Daraja(response)
    with pytest.raises(error):
        client_of(daraja).pull(START - HOUR, START)
    assert len(daraja.asked) == tries


# --- rows --------------------------------------------------------------------------------------------


def one(**changes: Any) -> Statement:
    """What a pull of one changed row gives."""
    return pulled(page(row(1, **changes)), page())


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("250.00", "250.00"), ("2697.0", "2697.0"), (250, "250"), (168.5, "168.5"), ("1,250", "1250")],
)
def test_amounts_are_texts_or_numbers(amount: Any, expected: str) -> None:
    """Both are taken as they are written."""
    assert one(amount=amount).rows[0].amount == Decimal(expected)


@pytest.mark.parametrize("zone", ["+03:00", "+0300", "Z", "z", "", "+00:00", ".123Z"])
def test_the_digits_of_a_time_are_nairobis(zone: str) -> None:
    """The zone that follows them was found to be applied inconsistently."""
    digits = (START - HOUR / 2).astimezone(NAIROBI).strftime("%Y-%m-%dT%H:%M:%S")
    assert one(trxDate=digits + zone).rows[0].completed == START - HOUR / 2
    assert one(trxDate=digits.replace("T", " ") + zone).rows[0].completed == START - HOUR / 2


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("c2b-pay-bill-debit", RowKind.PAYBILL),
        ("c2b-paybill-debi", RowKind.PAYBILL),
        ("C2B-Buy-Goods-Debit", RowKind.TILL),
        ("c2b-buy", RowKind.TILL),
        ("c2b", None),
    ],
)
def test_types_may_be_cut(written: str, kind: RowKind | None) -> None:
    """What contains c2b is a payment."""
    assert one(transactiontype=written).rows[0].kind == kind


@pytest.mark.parametrize("written", ["b2c-payment", "pay-out", "c2b-reversal"])
def test_other_types_are_counted(written: str) -> None:
    """They are no payments to the account."""
    statement = one(transactiontype=written, amount=None)
    assert (statement.rows, statement.left_out, statement.complete) == ((), 1, True)


@pytest.mark.parametrize(
    ("msisdn", "phone"),
    [
        (254712345678, "254712345678"),
        ("25471****904", "25471****904"),
        (72200000, "72200000"),
        ("a3" * 32, None),
        ("12" * 32, None),
        (None, None),
        ([], None),
    ],
)
def test_phones_may_be_masked_cut_or_hashed(msisdn: Any, phone: str | None) -> None:
    """A hash is no number."""
    assert one(msisdn=msisdn).rows[0].phone_number == phone


def test_keys_may_have_spaces_and_capitals() -> None:
    """Live answers of the registration have them."""
    spaced = {key.upper()[:3] + " " + key.upper()[3:]: value for key, value in row().items()}
    assert pulled(page(spaced), page()) == pulled(page(row()), page())
    flat = answer({"Response Code": 1000, "response": [row()]})
    assert pulled(flat, page()) == pulled(page(row()), page())


def test_a_till_has_no_reference() -> None:
    """An empty one is none. One may be a number."""
    assert one(billreference="").rows[0].reference is None
    assert one(billreference=37207636392).rows[0].reference == "37207636392"


@pytest.mark.parametrize(
    "bad",
    [
        {"amount": "250,5"},
        {"amount": "0"},
        {"amount": "-5"},
        {"amount": None},
        {"amount": True},
        {"trxDate": "2026-13-01T00:00:00+03:00"},
        {"trxDate": "2026-11-23T10:00:00-05:00"},
        {"trxDate": 20261123},
        {"transactionId": ""},
        {"transactionId": 5},
        {"transactiontype": ""},
        {"Amount": "9.00"},
    ],
)
def test_a_row_that_cannot_be_read_is_said(bad: dict[str, Any]) -> None:
    """It is no payment, and the others stay. The window is not covered."""
    statement = pulled(page(row(1, **bad), row(2)), page())
    assert [each.reference for each in statement.rows] == ["INV-2"]
    assert (statement.complete, statement.problems) == (False, (pull_rows.BAD_ROW,))


@pytest.mark.parametrize("raw", [None, 5, "x", [row()]])
def test_something_that_is_no_row_is_said(raw: Any) -> None:
    """The rows beside it stay."""
    statement = pulled(page(raw, row(2)), page())
    assert (len(statement.rows), statement.problems) == (1, (pull_rows.BAD_ROW,))


@pytest.mark.parametrize("minutes", [-10, 75])
def test_a_row_outside_of_the_window_is_no_payment(minutes: int) -> None:
    """Its time is doubtful, for example because its zone is not Nairobi's."""
    statement = pulled(page(row(minutes), row(2)), page())
    assert [each.reference for each in statement.rows] == ["INV-2"]
    assert statement.problems == (pull_rows.OUTSIDE,)


def test_a_receipt_that_contradicts_itself_is_no_payment() -> None:
    """Neither of its rows is believed."""
    statement = pulled(page(row(1), row(2)), page(row(1, amount="9.00"), row(3)), page())
    assert [each.reference for each in statement.rows] == ["INV-3", "INV-2"]
    assert statement.problems == (pull_rows.CONTRADICTION,)


# --- pages -------------------------------------------------------------------------------------------


def test_pages_are_read_by_the_number_of_rows() -> None:
    """The offset grows by the rows that came, until a page is empty. The first payment is the first row."""
    daraja = Daraja(page(row(1), row(2)), page(row(3)), page(), page(row(2), row(3)))
    statement = client_of(daraja).pull(START - HOUR, START)
    assert [body["OffSetValue"] for body in daraja.bodies] == ["0", "2", "3", "1"]
    assert [each.reference for each in statement.rows] == ["INV-3", "INV-2", "INV-1"]
    assert statement.complete


def test_rows_that_come_again_are_dropped() -> None:
    """Pages may overlap. One with nothing new is the last, and there may be more behind it."""
    daraja = Daraja(
        page(row(1), row(2), row(8, transactiontype="b2c")),
        page(row(2), row(8, transactiontype="b2c"), row(3)),
        page(row(3), row(1)),
    )
    statement = client_of(daraja).pull(START - HOUR, START)
    assert (len(daraja.asked), len(statement.rows), statement.left_out) == (4, 3, 1)
    assert statement.problems == (pull_rows.REPEATED,)


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [("", (137, True)), ("pull-page-index", (137, True)), ("pull-repeats", (100, False))],
)
def test_pages_of_the_simulator(fault: str, wanted: tuple[int, bool]) -> None:
    """However it counts its pages, no statement that lacks a row says that it is complete."""
    daraja = SimulatedDaraja()
    daraja.register_for_pulls()
    for number in range(137):
        daraja.pay_by_hand(100, reference=f"INV-{number}")
        daraja.clock.advance(1)
    daraja.next("pull", *([fault] * 10 if fault else []))
    now = daraja.clock.now()
    statement = daraja.client().pull(now - HOUR, now)
    assert (len(statement.rows), statement.complete) == wanted


def test_pages_that_are_counted_by_their_number() -> None:
    """The page behind the first rows is empty, and the second page is there all the same."""
    daraja = Daraja(page(row(1), row(2)), page(), page(row(3), row(4)), page(row(5)), page())
    statement = client_of(daraja).pull(START - HOUR, START)
    assert [body["OffSetValue"] for body in daraja.bodies] == ["0", "2", "1", "2", "3"]
    assert len(statement.rows) == 5
    assert statement.complete


@pytest.mark.parametrize(
    "broken",
    [
        answer(b"<html>busy</html>", 503),
        OutcomeUnknown("no answer"),
        answer({"ResponseCode": "1000"}),
        sample("pull_query_none_500"),
        answer(NO_PRODUCT, 401),
    ],
)
def test_a_later_page_that_cannot_be_read(broken: Planned) -> None:
    """The rows that came are used, and the window is not covered."""
    statement = pulled(page(row(1)), broken)
    assert (len(statement.rows), statement.complete) == (1, False)
    assert statement.problems == (pull_rows.BROKE,)
    assert not statement.empty_answer


def test_daraja_counts_more_records_than_it_gives() -> None:
    """Then pages are counted in another way, and the window is not covered."""
    assert pulled(page(row(1), TotalRecords=2), page()).problems == (pull_rows.FEWER,)
    assert pulled(page(row(1), TotalRecords="1"), page()).complete
    assert pulled(page(row(1), TotalRecords="many"), page()).complete


def test_a_page_may_be_long() -> None:
    """It may have a thousand rows, far more than other answers may have."""
    long = page(*(row(1, transactionId=f"UKN{number:07}") for number in range(1000)))
    assert len(long.body) > 3 * MAX_BODY
    daraja = Daraja(long, page())
    statement = client_of(daraja).pull(START - HOUR, START)
    assert (len(statement.rows), statement.complete) == (1000, True)
    assert {request.max_body for request in daraja.asked} == {MOST_PAGE}


def test_there_are_200_pages_at_most() -> None:
    """Daraja cannot keep a worker for ever."""

    class Endless(Daraja):
        def send(self, request: HttpRequest, /) -> HttpResponse:
            """Answer with a new row each time."""
            self.script = deque([page(row(1, transactionId=f"UKN{len(self.asked):07}"))])
            return super().send(request)

    daraja = Endless(page())
    statement = client_of(daraja).pull(START - HOUR, START)
    assert (len(daraja.asked), len(statement.rows)) == (200, 200)
    assert statement.problems == (pull_rows.TOO_MANY_PAGES,)


# --- registration ------------------------------------------------------------------------------------


def registered(planned: Planned) -> tuple[PullRegistration, Daraja]:
    """What a registration gives."""
    daraja = Daraja(planned)
    done = client_of(daraja).register_pull(nominated_number="0722000000", callback_url=CALLBACK_URL)
    return done, daraja


@pytest.mark.parametrize("name", ["pull_register_done_portal", "pull_register_done_spaced"])
def test_registrations_as_they_were_collected(name: str) -> None:
    """With and without spaces in the keys."""
    done, _ = registered(sample(name))
    assert done.response_code == "1000"
    assert "Registered Successfully" in done.response_description
    assert not done.was_registered


def test_an_account_may_be_registered_already() -> None:
    """That is fine."""
    done, _ = registered(answer({"Response Status": "1001", "Response Description": "Already"}))
    assert (done.response_code, done.was_registered) == ("1001", True)


@pytest.mark.parametrize(
    ("planned", "error", "tries"),
    [
        (sample("pull_register_bad_number"), DarajaError, 1),
        (answer({"ResponseStatus": "1002", "ResponseDescription": "No."}), DarajaError, 1),
        (answer({}), UnexpectedResponse, 1),
        (answer({"ResponseStatus": "1000"}, 500), UnexpectedResponse, 1),
        (OutcomeUnknown("no answer"), OutcomeUnknown, 1),
        (NotSent("no name"), NotSent, 3),
    ],
)
def test_a_registration_that_fails(planned: Planned, error: type[MpesaError], tries: int) -> None:
    """It is sent again only if it was not sent."""
    daraja = Daraja(planned)
    with pytest.raises(error):
        client_of(daraja).register_pull(nominated_number="0722000000", callback_url=CALLBACK_URL)
    assert len(daraja.asked) == tries


# --- events and secrets ------------------------------------------------------------------------------


def test_each_page_is_an_event() -> None:
    """With Daraja's code, and without receipts and phone numbers."""
    events: list[Event] = []
    daraja = Daraja(page(row(1)), page(), NotSent("no name"))
    client = client_of(daraja, hooks=(events.append,))
    client.pull(START - HOUR, START)
    with pytest.raises(NotSent):
        client.register_pull(nominated_number="0722000000", callback_url=CALLBACK_URL)
    assert [(event.kind, event.outcome, event.code) for event in events] == [
        ("token", "ok", None),
        ("pull", "ok", "1000"),
        ("pull", "ok", "1000"),
        ("pull_registration", "not_sent", None),
    ]


TOLD = f"{TOKEN}1 {PHONE} 254{PHONE[1:]}"
ECHOES = (
    {"errorCode": "400.001", "errorMessage": TOLD},
    {"ResponseCode": TOLD, "ResponseMessage": TOLD},
    {"ResponseCode": "1002", "ResponseMessage": TOLD, "Response": [[row(msisdn=PHONE)]]},
    {TOLD: TOLD},
)


def pull_it(client: StkClient) -> object:
    """Pull the last hour."""
    return client.pull(START - HOUR, START)


def register_it(client: StkClient) -> object:
    """Register with a number that must not be seen."""
    return client.register_pull(nominated_number=PHONE, callback_url=CALLBACK_URL)


@pytest.mark.parametrize("number", range(len(ECHOES)))
@pytest.mark.parametrize("use", [pull_it, register_it])
def test_errors_show_no_secret_and_no_phone_number(
    use: Callable[[StkClient], object], number: int
) -> None:
    """Whatever the answer repeats, no tool that shows errors with their locals shows it."""
    client = StkClient(
        make_config(), transport=Daraja(answer(ECHOES[number], 400)), clock=ManualClock()
    )
    with pytest.raises(MpesaError) as caught:
        use(client)
    assert leaks_of(caught.value) == set()


def test_a_statement_masks_its_phones() -> None:
    """Its repr may be in a log."""
    assert "712345678" not in repr(pulled(page(row()), page()))


# --- anything ----------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
rows_of_any_kind = st.dictionaries(st.sampled_from(list(row())), json_values).map(
    lambda changes: row(1, **changes)
)
answers = st.one_of(
    st.binary(max_size=40),
    json_values,
    st.fixed_dictionaries(
        {"ResponseCode": st.sampled_from(["1000", 1000, "1001", "500", None])},
        optional={
            "Response": json_values
            | st.lists(st.lists(json_values | rows_of_any_kind, max_size=3)),
            "ResponseMessage": json_values,
            "TotalRecords": json_values,
        },
    ),
)


@given(first=answers, second=answers, status=st.sampled_from([200, 201, 302, 400, 401, 429, 500]))
def test_any_answer(first: Any, second: Any, status: int) -> None:
    """It is a statement that keeps its promises, or an error that is documented."""
    try:
        statement = pulled(answer(first), answer(second, status), page())
    except MpesaError:
        return
    receipts = [each.receipt_number for each in statement.rows]
    assert len(set(receipts)) == len(receipts)
    assert all(each.amount > 0 for each in statement.rows)
    assert statement.complete == (not statement.problems)
    assert statement.rows or not statement.complete or statement.left_out


@given(body=answers, status=st.sampled_from([200, 302, 400, 401, 500]))
def test_any_answer_to_a_registration(body: Any, status: int) -> None:
    """It is registered, or an error that is documented."""
    try:
        done, _ = registered(answer(body, status))
    except MpesaError:
        return
    assert done.response_code in ("1000", "1001")

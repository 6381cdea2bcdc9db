"""The simulated Daraja, without a network: what it checks, what it answers, which callbacks it makes."""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpesa_stk import (
    HttpResponse,
    PaymentConfirmed,
    PaymentFailed,
    PushRequest,
    StkConfig,
    Till,
    Token,
    parse_callback,
)
from mpesa_stk.daraja import protocol
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.simulator.engine import DarajaEngine
from mpesa_stk.simulator.prompts import Prompt, callback_body
from mpesa_stk.simulator.scenarios import Scenario
from support import (
    CANARIES,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PASSKEY,
    START,
    ManualClock,
    make_config,
    samples,
)

ORIGIN = "https://sandbox.safaricom.co.ke"
TOKEN_URL = f"{ORIGIN}/oauth/v1/generate?grant_type=client_credentials"
PUSH_URL = f"{ORIGIN}/mpesa/stkpush/v1/processrequest"
QUERY_URL = f"{ORIGIN}/mpesa/stkpushquery/v1/query"
BASIC = base64.b64encode(f"{CONSUMER_KEY}:{CONSUMER_SECRET}".encode()).decode()
SAMPLES = {sample["id"]: sample for sample in samples()}
# 06:00 UTC, which START is, on a wall clock in Nairobi.
NAIROBI_NOW = "20261123090000"
MISSING = object()


def password(shortcode: str = "600000", timestamp: str = NAIROBI_NOW) -> str:
    """A password, computed apart from the library."""
    return base64.b64encode((shortcode + PASSKEY + timestamp).encode()).decode()


class Bench:
    """An engine with a clock moved by hand, and well-formed requests to change one thing of."""

    def __init__(self, config: StkConfig | None = None, **changes: Any) -> None:
        self.clock = ManualClock()
        self.engine = DarajaEngine(
            config or make_config(), clock=self.clock, randomness=random.Random(7), **changes
        )

    def token(self) -> str:
        """A fresh bearer token."""
        answer = self.engine.answer(
            "GET", TOKEN_URL, {"Authorization": f"Basic {BASIC}"}, None
        ).response
        return str(read(answer)["access_token"])

    def post(self, url: str, body: bytes, **headers: str) -> HttpResponse:
        """Post bytes with a good token and content type."""
        fields = {
            "Authorization": f"Bearer {self.token()}",
            "Content-Type": "application/json",
        }
        return self.engine.answer("POST", url, fields | headers, body).response

    def push(self, **changes: Any) -> HttpResponse:
        """Push, with changed fields."""
        return self.post(PUSH_URL, as_body(push_body(), changes))

    def query(self, checkout_request_id: Any, **changes: Any) -> HttpResponse:
        """Query, with changed fields."""
        body = {
            "BusinessShortCode": 600000,
            "Password": password(),
            "Timestamp": NAIROBI_NOW,
            "CheckoutRequestID": checkout_request_id,
        }
        return self.post(QUERY_URL, as_body(body, changes))


def push_body() -> dict[str, Any]:
    """A push that is accepted."""
    return {
        "BusinessShortCode": 600000,
        "Password": password(),
        "Timestamp": NAIROBI_NOW,
        "TransactionType": "CustomerPayBillOnline",
        "Amount": 100,
        "PartyA": 254718643064,
        "PartyB": 600000,
        "PhoneNumber": 254718643064,
        "CallBackURL": "https://shop.example.co.ke/payments/callback",
        "AccountReference": "INV-001",
        "TransactionDesc": "Payment",
    }


def as_body(body: dict[str, Any], changes: dict[str, Any]) -> bytes:
    """A body as JSON, with changes; MISSING takes a field out."""
    changed = {name: value for name, value in (body | changes).items() if value is not MISSING}
    return json.dumps(changed).encode()


def read(answer: HttpResponse) -> dict[str, Any]:
    """An answer's JSON."""
    assert answer.headers["content-type"] == "application/json"
    body = json.loads(answer.body)
    assert isinstance(body, dict)
    return body


def refusal(answer: HttpResponse) -> tuple[int, str, str]:
    """Status, code and text of a refusal in Daraja's shape."""
    body = read(answer)
    assert body.keys() == {"requestId", "errorCode", "errorMessage"}
    assert body["requestId"]
    return answer.status, body["errorCode"], body["errorMessage"]


@pytest.fixture
def bench() -> Bench:
    """An engine for paybill 600000 at nine in Nairobi."""
    return Bench()


# --- the same words as Daraja ----------------------------------------------------------------------


def locked(bench: Bench) -> HttpResponse:
    """A second push to a phone whose prompt is open."""
    bench.push()
    return bench.push()


def asked_while_open(bench: Bench) -> HttpResponse:
    """A query about an open prompt."""
    return bench.query(read(bench.push())["CheckoutRequestID"])


@pytest.mark.parametrize(
    ("sample_id", "ask"),
    [
        (
            "token-bad-grant",
            lambda bench: (
                bench.engine.answer(
                    "GET", f"{TOKEN_URL}%20", {"Authorization": f"Basic {BASIC}"}, None
                ).response
            ),
        ),
        (
            "token-bad-auth-type",
            lambda bench: (
                bench.engine.answer("GET", TOKEN_URL, {"Authorization": "Bearer x"}, None).response
            ),
        ),
        ("stk-400-shortcode", lambda bench: bench.push(BusinessShortCode="6OOOOO")),
        ("stk-400-callback", lambda bench: bench.push(CallBackURL="https://a.co.ke/ x")),
        ("stk-400-timestamp", lambda bench: bench.push(Timestamp="2026-11-23 09:00")),
        ("stk-400-amount", lambda bench: bench.push(Amount=250_001)),
        ("stk-400-phone", lambda bench: bench.push(PhoneNumber=718643064)),
        ("stk-404-token", lambda bench: bench.post(PUSH_URL, b"{}", Authorization="Bearer abc")),
        ("stk-404-authheader", lambda bench: bench.post(PUSH_URL, b"{}", Authorization="abc")),
        ("stk-404-resource", lambda bench: bench.post(f"{ORIGIN}/mpesa", b"{}")),
        ("stk-405", lambda bench: bench.engine.answer("PUT", PUSH_URL, {}, None).response),
        ("stk-500-merchant", lambda bench: bench.push(BusinessShortCode=600001)),
        ("stk-500-credentials", lambda bench: bench.push(Password=password("600001"))),
        ("stk-500-lock", locked),
        ("query-pending-500", asked_while_open),
        ("query-unknown-id", lambda bench: bench.query("")),
    ],
)
def test_it_refuses_in_the_words_of_the_collected_samples(
    bench: Bench, sample_id: str, ask: Callable[[Bench], HttpResponse]
) -> None:
    """Status, code and text of each refusal are those of a body collected from Daraja."""
    sample = SAMPLES[sample_id]

    answer = ask(bench)

    body = sample["body"]
    assert refusal(answer) == (sample["http_status"], body["errorCode"], body["errorMessage"])


# --- tokens ----------------------------------------------------------------------------------------


def test_it_issues_a_token(bench: Bench) -> None:
    """A token has 28 characters and its lifetime as a string, as in the portal's sample."""
    answer = bench.engine.answer(
        "GET", TOKEN_URL, {"authorization": f"Basic {BASIC}"}, None
    ).response

    body = read(answer)
    assert answer.status == 200
    assert re.fullmatch("[A-Za-z0-9]{28}", body["access_token"])
    assert body["expires_in"] == "3599"


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        ("", "Invalid authentication type passed"),
        (BASIC, "Invalid authentication type passed"),
        ("Basic not base64", "Invalid authentication type passed"),
        ("Basic abcde", "Invalid authentication type passed"),
        (f"Basic {BASIC[:-8]}AAAAAAA=", "Invalid Authentication passed"),
        ("Basic YTpi", "Invalid Authentication passed"),
    ],
)
def test_it_compares_the_consumer_key_and_secret(
    bench: Bench, authorization: str, text: str
) -> None:
    """Only HTTP Basic with the app's own key and secret gets a token."""
    answer = bench.engine.answer("GET", TOKEN_URL, {"Authorization": authorization}, None).response

    assert refusal(answer) == (400, "400.008.01", text)


@pytest.mark.parametrize("authorization", [f"basic {BASIC}", f" BASIC  {BASIC} "])
def test_the_scheme_may_be_written_in_any_way(bench: Bench, authorization: str) -> None:
    """Case and blanks of a header are nothing to HTTP; so it is with the bearer token."""
    headers = {"Authorization": authorization}
    token = read(bench.engine.answer("GET", TOKEN_URL, headers, None).response)["access_token"]
    headers = {"Authorization": f"bearer  {token}", "Content-Type": "application/json"}

    body = as_body(push_body(), {})
    assert bench.engine.answer("POST", PUSH_URL, headers, body).response.status == 200


@pytest.mark.parametrize("query", ["", "?grant_type=", "?grant_type=password"])
def test_it_wants_the_grant_type(bench: Bench, query: str) -> None:
    """Any grant type but client_credentials is refused."""
    url = f"{ORIGIN}/oauth/v1/generate{query}"

    answer = bench.engine.answer("GET", url, {"Authorization": f"Basic {BASIC}"}, None).response

    assert refusal(answer) == (400, "400.008.02", "Invalid grant type passed")


def test_a_token_is_fetched_by_get_only(bench: Bench) -> None:
    """The token endpoint answers 405 to a POST."""
    answer = bench.post(TOKEN_URL, b"")

    assert refusal(answer) == (405, "405.001", "Method Not Allowed")


def test_a_token_expires(bench: Bench) -> None:
    """A token works until its last second and not after it, and a new one does."""
    token = bench.token()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    bench.clock.advance(3598.9)
    assert bench.engine.answer("POST", QUERY_URL, headers, b"{}").response.status == 400
    bench.clock.advance(0.1)
    assert refusal(bench.engine.answer("POST", QUERY_URL, headers, b"{}").response) == (
        404,
        "404.001.03",
        "Invalid Access Token",
    )
    assert bench.token() != token


def test_a_shorter_token_lifetime_can_be_asked_for() -> None:
    """The lifetime that is announced is the one that is kept."""
    bench = Bench(token_lifetime=5)
    headers = {"Authorization": f"Bearer {bench.token()}", "Content-Type": "application/json"}

    bench.clock.advance(4.9)
    assert bench.engine.answer("POST", QUERY_URL, headers, b"{}").response.status == 400
    bench.clock.advance(0.1)
    assert bench.engine.answer("POST", QUERY_URL, headers, b"{}").response.status == 404


# --- the envelope ----------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [PUSH_URL, QUERY_URL])
def test_get_on_a_post_endpoint_is_a_header_error(bench: Bench, url: str) -> None:
    """A GET is answered with "Invalid Authentication Header", whatever its token."""
    headers = {"Authorization": f"Bearer {bench.token()}"}

    answer = bench.engine.answer("GET", url, headers, None).response

    assert refusal(answer) == (404, "404.001.04", "Invalid Authentication Header")


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
)
def test_a_body_that_is_not_declared_as_json_has_no_shortcode(bench: Bench, kind: str) -> None:
    """Another content type gets "Invalid BusinessShortCode", as form-encoded bodies do."""
    answer = bench.post(PUSH_URL, as_body(push_body(), {}), **{"Content-Type": kind})

    assert refusal(answer) == (400, "400.002.02", "Bad Request - Invalid BusinessShortCode")


def test_a_content_type_may_have_a_charset(bench: Bench) -> None:
    """Parameters of the content type do not matter, nor does its case."""
    kind = {"Content-Type": "Application/JSON; charset=utf-8"}

    assert bench.post(PUSH_URL, as_body(push_body(), {}), **kind).status == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 9999, b'{"a": 1, "a": 2}'])
def test_a_body_that_is_no_json_object_is_an_invalid_payload(bench: Bench, body: bytes) -> None:
    """Bytes that are no JSON object are refused as a whole."""
    assert refusal(bench.post(PUSH_URL, body)) == (400, "400.002.05", "Invalid Request Payload")


@pytest.mark.parametrize("url", ["http://[", "/", "", "/mpesa/stkpush/v2/processrequest"])
def test_any_other_address_is_not_found(bench: Bench, url: str) -> None:
    """What is no path of Daraja's, or no address at all, is 404.001.01."""
    assert refusal(bench.post(url, b"{}")) == (404, "404.001.01", "Resource not found")


# --- the fields ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(name, value) for name in push_body() for value in (MISSING, None, [], True, 1.5)],
        ("BusinessShortCode", "600000.0"),
        ("Password", " "),
        ("Timestamp", "20261323090000"),
        ("Timestamp", "2026112309000"),
        ("Timestamp", "00010101000000"),
        ("TransactionType", "CustomerPaybillOnline"),
        ("Amount", 0),
        ("Amount", -1),
        ("Amount", "1.50"),
        ("Amount", 250_001),
        ("Amount", 1e300),
        ("Amount", "9" * 99),
        ("Amount", 10**99),
        ("Amount", "٣"),
        ("PartyA", "0718643064"),
        ("PartyA", 254218643064),
        ("PartyA", "+254718643064"),
        ("PartyB", "till"),
        ("PhoneNumber", 25471864306),
        ("PhoneNumber", 2547186430640),
        ("CallBackURL", "shop.example.co.ke/callback"),
        ("CallBackURL", " https://shop.example.co.ke/callback"),
        ("AccountReference", " "),
        ("TransactionDesc", "x" * 101),
    ],
)
def test_a_push_is_checked_field_by_field(bench: Bench, field: str, value: Any) -> None:
    """A field that is missing, of another type or out of bounds is named in the refusal."""
    answer = bench.push(**{field: value})

    called = "Remarks" if field == "TransactionDesc" else field
    assert refusal(answer) == (400, "400.002.02", f"Bad Request - Invalid {called}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("BusinessShortCode", "600000"),
        ("BusinessShortCode", 600000.0),
        ("Amount", "100"),
        ("Amount", 1),
        ("Amount", 250_000),
        ("PartyA", "254718643064"),
        ("PartyB", "600000"),
        ("PhoneNumber", "254110000001"),
        ("CallBackURL", "http://127.0.0.1:8000/callback?x=1"),
        ("AccountReference", "A"),
        ("AccountReference", "twelve chars"),
        ("TransactionDesc", "x"),
        ("TransactionDesc", "thirteen char"),
    ],
)
def test_a_push_may_vary_where_daraja_lets_it(bench: Bench, field: str, value: Any) -> None:
    """Numbers may be strings of digits, bounds are inclusive, and nothing is advised."""
    assert bench.push(**{field: value}).status == 200
    assert advice(bench) == ()


def advice(bench: Bench) -> tuple[str, ...]:
    """The advice on the newest request."""
    return bench.engine.journal.entries()[-1].advice


@pytest.mark.parametrize(
    ("changes", "advised"),
    [
        ({"Timestamp": 20261123090000}, "Timestamp is a number; Daraja's page shows a string"),
        ({"Amount": 1.0}, "Amount has decimal places; Daraja's page asks for a whole number"),
        ({"Amount": "1.00"}, "Amount has decimal places; Daraja's page asks for a whole number"),
        ({"TransactionType": "CustomerPayBillOnline "}, "TransactionType has blanks around it"),
        ({"Password": f" {password()}"}, "Password has blanks around it"),
        ({"PhoneNumber": "254718643064 "}, "PhoneNumber has blanks around it"),
        (
            {"AccountReference": "INV-0000000000001"},
            "AccountReference has 17 characters; Daraja's page asks for 12 at most",
        ),
        (
            {"AccountReference": 1234567890123},
            "AccountReference has 13 characters; Daraja's page asks for 12 at most",
        ),
        (
            {"TransactionDesc": "twenty characters ok"},
            "TransactionDesc has 20 characters; Daraja's page asks for 13 at most",
        ),
        (
            {"TransactionDesc": "x" * 100},
            "TransactionDesc has 100 characters; Daraja's page asks for 13 at most",
        ),
        (
            {"TransactionDesc": ""},
            "TransactionDesc is empty; Daraja's page asks for 1 to 13 characters",
        ),
        ({"Passkey": None}, "Passkey is no field of this request"),
        ({"\x1b[2J" + "x" * 99: 1}, "?[2J" + "x" * 36 + " is no field of this request"),
        (
            {"CallBackURL": "http://shop.example.co.ke/callback"},
            "CallBackURL must be https, in production at least",
        ),
        (
            {"CallBackURL": "https://10.0.0.1/callback"},
            "CallBackURL must be a public address, in production at least",
        ),
        (
            {"CallBackURL": "http://127.0.0.1:8000/mpesa/sql"},
            "CallBackURL contains mpesa, sql: Safaricom says that it refuses such addresses",
        ),
    ],
)
def test_a_push_in_the_habits_of_clients_is_taken_with_advice(
    bench: Bench, changes: dict[str, Any], advised: str
) -> None:
    """What Daraja takes is taken; the journal says what its pages ask for, and nothing else."""
    assert bench.push(**changes).status == 200
    assert advice(bench) == (advised,)


def test_blanks_and_decimal_places_do_not_reach_the_prompt(bench: Bench) -> None:
    """Phone, amount and reference are read without them, and the prompt is the phone's own."""
    bench.push(PhoneNumber=" 254718643064 ", Amount="70.00", AccountReference=" INV-1 ")

    (prompt,) = bench.engine.prompts.all()
    assert (prompt.phone_number, prompt.amount, prompt.reference) == ("254718643064", 70, "INV-1")


def test_a_misspelt_field_is_named_beside_the_missing_one(bench: Bench) -> None:
    """The refusal is Daraja's, and the advice shows the misspelling."""
    answer = bench.push(CallBackURL=MISSING, CallbackURL="https://shop.example.co.ke/callback")

    assert refusal(answer) == (400, "400.002.02", "Bad Request - Invalid CallBackURL")
    assert advice(bench) == ("CallbackURL is no field of this request", "CallBackURL must be a URL")


def test_a_query_may_have_habits_too(bench: Bench) -> None:
    """What is no field of a query is named, and blanks around the id do not matter."""
    checkout_request_id = read(bench.push())["CheckoutRequestID"]

    answer = bench.query(f"{checkout_request_id} ", TransactionType="x")

    assert read(answer)["errorMessage"] == "The transaction is being processed"
    assert advice(bench) == (
        "TransactionType is no field of this request",
        "CheckoutRequestID has blanks around it",
    )


def at_clock(bench: Bench, minutes: float, step: str = "push") -> HttpResponse:
    """A request whose Timestamp is so many minutes ahead of Nairobi's clocks."""
    timestamp = f"{START + timedelta(hours=3, minutes=minutes):%Y%m%d%H%M%S}"
    changes = {"Timestamp": timestamp, "Password": password(timestamp=timestamp)}
    return bench.push(**changes) if step == "push" else bench.query("ws_CO_1", **changes)


@pytest.mark.parametrize(
    ("hours", "shown"),
    [
        (-3, "3 h behind"),
        (-15, "15 h behind"),
        (2.5, "2.5 h ahead of"),
        (11, "11 h ahead of"),
        (-17, "17 h behind"),
    ],
)
@pytest.mark.parametrize("step", ["push", "query"])
def test_a_timestamp_of_any_zone_is_taken_with_advice(
    bench: Bench, hours: float, shown: str, step: str
) -> None:
    """UTC is what most clients in production stamp; any other zone may be a host's own."""
    assert at_clock(bench, hours * 60, step).status == (200 if step == "push" else 500)
    assert advice(bench) == (f"Timestamp is {shown} East Africa Time, which most guides ask for",)


@pytest.mark.parametrize("minutes", [11 * 60 + 11, -17 * 60 - 11, 24 * 60, -365 * 24 * 60])
def test_a_timestamp_of_no_zone_is_refused(bench: Bench, minutes: int) -> None:
    """A clock that shows another day's time gets "Invalid Timestamp"."""
    answer = at_clock(bench, minutes)

    assert refusal(answer) == (400, "400.002.02", "Bad Request - Invalid Timestamp")


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_may_be_a_little_off(bench: Bench, minutes: int) -> None:
    """Ten minutes either way are not worth a word."""
    assert at_clock(bench, minutes).status == 200
    assert advice(bench) == ()


@pytest.mark.parametrize(
    "wrong", [password(timestamp="20261123090001"), PASSKEY, "ÿ", password() + "="]
)
def test_the_password_is_computed_again(bench: Bench, wrong: str) -> None:
    """Only base64 of shortcode, passkey and the body's own timestamp is a password."""
    credentials = (500, "500.001.1001", "Wrong credentials")

    assert refusal(bench.push(Password=wrong)) == credentials
    assert refusal(bench.query("ws_CO_1", Password=wrong)) == credentials


def till_push(bench: Bench, **changes: Any) -> HttpResponse:
    """A push for the till of `till_bench`."""
    fields = {"TransactionType": "CustomerBuyGoodsOnline", "PartyB": 5566778}
    return bench.push(**(fields | changes))


@pytest.fixture
def till_bench() -> Bench:
    """An engine for a till of store 600000."""
    return Bench(make_config(account=Till(store_number="600000", till_number="5566778")))


def test_a_till_is_paid_by_its_own_type_and_number(till_bench: Bench) -> None:
    """A till takes CustomerBuyGoodsOnline with the till number as PartyB."""
    assert till_push(till_bench).status == 200


@pytest.mark.parametrize(
    ("field", "value"), [("TransactionType", "CustomerPayBillOnline"), ("PartyB", 600000)]
)
def test_a_till_cannot_be_paid_as_a_paybill(till_bench: Bench, field: str, value: Any) -> None:
    """A paybill's type, or the store number as PartyB, is accepted for a till and ends with 2028."""
    assert till_push(till_bench, **{field: value}).status == 200
    till_bench.clock.advance(1.0)

    (advised,) = advice(till_bench)
    assert "till 5566778 of store 600000 are CustomerBuyGoodsOnline and 5566778" in advised
    assert b'"ResultCode":2028' in take(till_bench)


def test_the_till_number_is_no_merchant(till_bench: Bench) -> None:
    """The till number as BusinessShortCode gives "Merchant does not exist"."""
    answer = till_push(till_bench, BusinessShortCode=5566778)

    assert refusal(answer) == (500, "500.001.1001", "Merchant does not exist")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("BusinessShortCode", "x"),
        ("Timestamp", "x"),
        ("Password", True),
        ("CheckoutRequestID", " "),
        ("CheckoutRequestID", "ws CO"),
        ("CheckoutRequestID", "x" * 129),
        ("CheckoutRequestID", MISSING),
    ],
)
def test_a_query_is_checked_field_by_field(bench: Bench, field: str, value: Any) -> None:
    """A query's fields are checked as a push's are."""
    answer = bench.query(**({"checkout_request_id": "ws_CO_1"} | {field: value}))

    assert refusal(answer) == (400, "400.002.02", f"Bad Request - Invalid {field}")


def test_an_id_that_was_not_given_out_does_not_exist(bench: Bench) -> None:
    """In the words of the live API, once the credentials are good."""
    unknown = (500, "500.001.1001", "The transaction does not Exist")

    assert refusal(bench.query("ws_CO_1")) == unknown
    assert refusal(bench.query(1)) == unknown


# --- the client's own requests ---------------------------------------------------------------------


def test_it_accepts_what_the_client_builds(bench: Bench) -> None:
    """The library's own token, push and query requests pass every check."""
    config = make_config()
    token_request = protocol.build_token(config)
    token = protocol.read_token(send(bench, token_request), sent_at=0.0)
    assert advice(bench) == ()
    order = PushRequest(
        phone_number=PhoneNumber("254718643064"),
        amount=1,
        reference="INV-001",
        description="",
        callback_url=config.callback_url,
    )

    accepted = protocol.read_push(send(bench, build(protocol.build_push, order, token)))
    query = build(protocol.build_query, accepted.checkout_request_id, token)

    assert advice(bench) == ()
    assert protocol.read_query(send(bench, query), accepted.checkout_request_id).status == "PENDING"
    assert advice(bench) == ()


def build(builder: Callable[..., Any], subject: Any, token: Token) -> Any:
    """A request of the client's, at the start of the clock."""
    return builder(make_config(), subject, token=token, moment=START)


def send(bench: Bench, request: Any) -> HttpResponse:
    """Hand a request of the client's to the engine."""
    return bench.engine.answer(request.method, request.url, request.headers, request.body).response


# --- prompts and callbacks -------------------------------------------------------------------------


def test_an_accepted_push_has_daraja_s_five_fields(bench: Bench) -> None:
    """The answer has the sample's fields and words, and an id with time and phone in it."""
    sample = SAMPLES["stk-accepted-new-ids"]["body"]
    ids = ("MerchantRequestID", "CheckoutRequestID")

    body = read(bench.push())

    assert body.keys() == sample.keys()
    assert body | dict.fromkeys(ids) == sample | dict.fromkeys(ids)
    assert body["CheckoutRequestID"] == "ws_CO_23112026090000000718643064"
    assert re.fullmatch("[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{19}", body[ids[0]])


def test_ids_are_never_the_same_twice() -> None:
    """Two pushes to one phone in one instant have ids of their own, and one callback each."""
    bench = Bench(scenario=Scenario(answer_after=0.0))

    first, second = (read(bench.push())["CheckoutRequestID"] for _ in range(2))

    assert (first, second) == (
        "ws_CO_23112026090000000718643064",
        "ws_CO_23112026090000001718643064",
    )
    assert first.encode() in take(bench)
    assert second.encode() in take(bench)
    assert bench.engine.take_due() is None


def take(bench: Bench) -> bytes:
    """The body of the next callback, which must be due."""
    delivery = bench.engine.take_due()
    assert delivery is not None
    return delivery.body


def test_a_prompt_is_answered_after_its_delay(bench: Bench) -> None:
    """Nothing is due before the customer answers; then one callback is, to the push's own URL."""
    assert bench.engine.prompts.next_due() is None
    bench.push()
    assert bench.engine.prompts.next_due() == bench.clock.monotonic() + 1.0
    assert bench.engine.take_due() is None

    bench.clock.advance(1.0)

    delivery = bench.engine.take_due()
    assert delivery is not None
    assert delivery.url == "https://shop.example.co.ke/payments/callback"
    assert bench.engine.take_due() is None
    assert bench.engine.prompts.next_due() is None


def test_callbacks_come_in_the_order_in_which_they_are_due(bench: Bench) -> None:
    """A prompt that is answered sooner calls back sooner, although it was pushed later."""
    bench.engine.scenario = Scenario(answer_after=9.0)
    bench.push()
    bench.engine.scenario = Scenario(answer_after=3.0, outcome="cancelled")
    bench.push(PhoneNumber=254110000001)

    bench.clock.advance(10.0)

    assert b"110000001" in take(bench)
    assert b"718643064" in take(bench)


def test_a_phone_is_free_again_when_its_prompt_is_answered(bench: Bench) -> None:
    """The lock ends with the prompt, and other phones never had one."""
    assert bench.push().status == 200
    assert bench.push(PhoneNumber=254110000001).status == 200

    bench.clock.advance(1.0)

    assert bench.push().status == 200


def test_a_paid_callback_is_the_official_sample_byte_for_byte() -> None:
    """With the sample's values, the callback is the sample, down to the amount ``1.00``."""
    prompt = Prompt(
        merchant_request_id="29115-34620561-1",
        checkout_request_id="ws_CO_191220191020363925",
        phone_number="254708374149",
        amount=1,
        reference="INV-1",
        callback_url="https://mydomain.com/path",
        scenario=Scenario(),
        opened=datetime(2019, 12, 19, 7, 21, 0, tzinfo=timezone.utc),
        ends=datetime(2019, 12, 19, 7, 21, 15, tzinfo=timezone.utc),
        ends_at=0.0,
        answer="paid",
        receipt_number="NLJ7RT61SV",
    )

    assert callback_body(prompt).decode() == SAMPLES["cb-success-official"]["body_raw"]


@pytest.mark.parametrize(
    ("outcome", "sample_id"),
    [
        ("cancelled", "cb-1032"),
        ("wrong-pin", "cb-2001"),
        ("no-funds", "cb-1"),
        ("unreachable", "cb-1037"),
        ("expired", "cb-1019"),
    ],
)
def test_a_failed_callback_and_query_say_the_same(outcome: str, sample_id: str) -> None:
    """Code and text are the collected sample's: a number in the callback, a string in the query."""
    sample = SAMPLES[sample_id]["body"]["Body"]["stkCallback"]
    bench = Bench(scenario=Scenario(outcome=outcome, answer_after=0.0))

    pushed = read(bench.push())
    result = parse_callback(body := take(bench))
    answer = bench.query(pushed["CheckoutRequestID"])

    callback = json.loads(body)["Body"]["stkCallback"]
    assert isinstance(result, PaymentFailed)
    assert callback.keys() == sample.keys()
    assert callback["ResultCode"] == sample["ResultCode"]
    assert callback["ResultDesc"] == sample["ResultDesc"]
    assert callback["MerchantRequestID"] == pushed["MerchantRequestID"]
    assert answer.status == 200
    assert read(answer)["ResultCode"] == str(sample["ResultCode"])
    assert read(answer)["ResultDesc"] == sample["ResultDesc"]


def test_a_paid_prompt_has_proof_and_a_settled_query(bench: Bench) -> None:
    """The callback proves amount, receipt, time and phone; the query has the sample's fields."""
    pushed = read(bench.push(Amount="70"))
    bench.clock.advance(1.0)

    result = parse_callback(take(bench))
    queried = read(bench.query(pushed["CheckoutRequestID"]))

    assert isinstance(result, PaymentConfirmed)
    assert result.checkout_request_id == pushed["CheckoutRequestID"]
    assert result.amount == Decimal("70.00")
    assert re.fullmatch("[A-Z0-9]{10}", result.receipt_number)
    assert result.paid_at == START + timedelta(seconds=1)
    assert result.phone_number == "254718643064"
    ids = {name: pushed[name] for name in ("MerchantRequestID", "CheckoutRequestID")}
    assert queried == SAMPLES["query-success"]["body"] | ids


def test_a_pending_query_names_the_prompt(bench: Bench) -> None:
    """While the prompt is open, requestId of the query's answer is the CheckoutRequestID."""
    checkout_request_id = read(bench.push())["CheckoutRequestID"]

    assert read(bench.query(checkout_request_id))["requestId"] == checkout_request_id


def test_the_same_seed_gives_the_same_daraja() -> None:
    """Ids, tokens and receipts come from the given source and from nothing else."""
    runs = []
    for _ in range(2):
        bench = Bench(scenario=Scenario(answer_after=0.0))
        runs.append((bench.token(), bench.push().body, take(bench)))

    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "wrong", [{"outcome": "paidd"}, {"answer_after": -1.0}, {"answer_after": float("nan")}]
)
def test_a_scenario_is_checked(wrong: dict[str, Any]) -> None:
    """An unknown outcome or an impossible delay is refused when the scenario is made."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Scenario(**wrong)


# --- whatever comes --------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    method=st.sampled_from(["GET", "POST", "PUT"]) | st.text(),
    url=st.sampled_from([TOKEN_URL, PUSH_URL, QUERY_URL]) | st.text(),
    authorization=st.sampled_from(["", f"Basic {BASIC}", "Bearer token"]) | st.text(),
    body=st.none() | st.binary(),
)
@settings(deadline=None)
def test_any_request_gets_an_answer(
    method: str, url: str, authorization: str, body: bytes | None
) -> None:
    """Whatever method, address, header and bytes arrive, an answer in JSON comes back."""
    headers = {"Authorization": authorization, "Content-Type": "application/json"}

    answer = Bench().engine.answer(method, url, headers, body).response

    assert isinstance(json.loads(answer.body), dict)


@given(changes=st.dictionaries(st.sampled_from(sorted(push_body())), JSON))
@settings(deadline=None)
def test_any_field_value_gets_an_answer(changes: dict[str, Any]) -> None:
    """Whatever values the fields have, the push is accepted or refused, and no secret is told."""
    answer = Bench().push(**changes)

    assert answer.status in (200, 400, 500)
    assert not any(canary.encode() in answer.body for canary in CANARIES)

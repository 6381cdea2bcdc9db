from __future__ import annotations

import json
import random
import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpesa_stk import (
    CallbackResult,
    InvalidCallback,
    PaymentConfirmed,
    PaymentFailed,
    PaymentUnproven,
    explain,
    parse_callback,
)
from support import CHECKOUT_ID, MERCHANT_ID, callback, samples

CALLBACK = "$.Body.stkCallback"
ITEMS = "$.Body.stkCallback.CallbackMetadata.Item"
NO_RECEIPT = f"{ITEMS}.MpesaReceiptNumber: missing or not a receipt"
NO_AMOUNT = f"{ITEMS}.Amount: missing or not a positive amount"
NO_ITEMS = f"{ITEMS}: missing or not an array"
TWICE = f"{ITEMS}: a name comes twice"
UNNAMED = f"{ITEMS}: holds something that is no named item"
DUPLICATE = ("$: an object names a key twice",)
NOT_JSON = ("$: not JSON",)
NOT_UTF8 = ("$: not valid UTF-8 text",)

SAMPLES = {sample["id"]: sample for sample in samples("callback")}
OFFICIAL = SAMPLES["cb-success-official"]["body_raw"]


def item(name: object, *value: object) -> dict[str, object]:
    """One item of the metadata, with or without a value."""
    return {"Name": name, "Value": value[0]} if value else {"Name": name}


def with_items(*items: object) -> bytes:
    """A success callback with these items."""
    return callback(CallbackMetadata={"Item": items})


PROOF = (item("Amount", 100), item("MpesaReceiptNumber", "NLJ7RT61SV"))


def confirmed(body: bytes | str) -> PaymentConfirmed:
    """The result of a callback that proves a payment."""
    result = parse_callback(body)
    assert isinstance(result, PaymentConfirmed)
    return result


def problems_of(body: Any) -> tuple[str, ...]:
    """Why a body is no callback."""
    with pytest.raises(InvalidCallback) as refusal:
        parse_callback(body)
    assert refusal.value.__context__ is None  # it would carry the body into tracebacks
    return refusal.value.problems


# --- paid --------------------------------------------------------------------------------------------


def test_the_official_sample_is_a_confirmed_payment() -> None:
    """Every fact of it is read as it was written."""
    result = confirmed(OFFICIAL)
    assert result == PaymentConfirmed(
        checkout_request_id="ws_CO_191220191020363925",
        merchant_request_id="29115-34620561-1",
        result=explain(0),
        result_desc="The service request is processed successfully.",
        receipt_number="NLJ7RT61SV",
        amount=Decimal("1.00"),
        paid_at=datetime(2019, 12, 19, 10, 21, 15, tzinfo=timezone(timedelta(hours=3))),
        phone_number="254708374149",
    )
    assert str(result.amount) == "1.00"


def test_bytes_and_text_are_the_same_callback() -> None:
    """Frameworks hand over either."""
    assert parse_callback(OFFICIAL.encode()) == parse_callback(OFFICIAL)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
def test_every_collected_callback_is_read(sample: dict[str, Any]) -> None:
    """Real captures and documented bodies of ten years, each as what it is."""
    written = sample["body"]["Body"]["stkCallback"]
    result = parse_callback(sample["body_raw"])
    assert result.checkout_request_id == written["CheckoutRequestID"]
    assert result.merchant_request_id == written["MerchantRequestID"]
    assert result.result_desc == written["ResultDesc"]
    assert result.result is explain(written["ResultCode"])
    if written["ResultCode"] != 0:
        assert isinstance(result, PaymentFailed)
    elif sample["id"] in ("cb-success-empty-items", "cb-success-no-metadata"):
        assert isinstance(result, PaymentUnproven)
    else:
        items = {each["Name"]: each.get("Value") for each in written["CallbackMetadata"]["Item"]}
        assert isinstance(result, PaymentConfirmed)
        assert result.amount == Decimal(str(items["Amount"]))
        assert result.receipt_number == items["MpesaReceiptNumber"]
        assert result.phone_number == (str(items.get("PhoneNumber") or "") or None)


def test_items_are_found_by_name() -> None:
    """Their order is not guaranteed, and unknown ones and a Balance without value come along."""
    items = [
        *PROOF,
        item("Balance"),
        item("TransactionDate", 20191219102115),
        item("PhoneNumber", 254708374149),
        item("SomethingNew", {"nested": [1, {"a": None}]}),
        item("", None),
    ]
    expected = confirmed(with_items(*items))
    assert expected.phone_number == "254708374149"
    assert expected.paid_at is not None
    for seed in range(20):
        random.Random(seed).shuffle(items)
        assert confirmed(with_items(*items)) == expected


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("1", "1"),
        ("1.00", "1.00"),
        ("100.5", "100.5"),
        ("1e2", "1E+2"),
        ("0.01", "0.01"),
        ('"100"', "100"),
        ('"100.00"', "100.00"),
        ("250000.0", "250000.0"),
        ("999999999999", "999999999999"),
        ("0.1e1", "1"),
    ],
)
def test_amounts_are_exact(written: str, amount: str) -> None:
    """A decimal stays what it was on the wire; no float is in between."""
    body = callback(amount="?").replace(b'"?"', written.encode())
    result = confirmed(body)
    assert type(result.amount) is Decimal
    assert (result.amount, str(result.amount)) == (Decimal(amount), str(Decimal(amount)))


@pytest.mark.parametrize(
    ("written", "phone_number"),
    [
        (254708374149, "254708374149"),
        ("254708374149", "254708374149"),
        ("254708***430", "254708***430"),
        ("2547XXXXX149", "2547XXXXX149"),
        ("+254708374149", "+254708374149"),
        (None, None),
        ("", None),
        ("Jane", None),
        ("254708374149 Jane", None),
        ("9" * 21, None),
        (0, None),
        (-254708374149, None),
        (10**20, None),
        (254708374149.5, None),
        (True, None),
        ({"a": 1}, None),
        (["254708374149"], None),
    ],
)
def test_the_payers_number_is_a_courtesy(written: object, phone_number: str | None) -> None:
    """Masked, missing or nonsense, it never keeps a payment from being confirmed."""
    result = confirmed(with_items(*PROOF, item("PhoneNumber", written)))
    assert result.phone_number == phone_number
    assert confirmed(with_items(*PROOF)).phone_number is None


@pytest.mark.parametrize("written", [20191219102115, "20191219102115", "2019-12-19 10:21:15"])
def test_the_moment_is_east_africa_time(written: object) -> None:
    """Both spellings that were seen, aware and at +03:00."""
    paid_at = confirmed(with_items(*PROOF, item("TransactionDate", written))).paid_at
    assert paid_at == datetime(2019, 12, 19, 7, 21, 15, tzinfo=timezone.utc)
    assert paid_at.utcoffset() == timedelta(hours=3)


@pytest.mark.parametrize(
    "written",
    [
        None,
        0,
        -20191219102115,
        20191219,
        201912191021,
        1576740075000,
        20191319102115,
        20191232102115,
        20190229102115,
        20191219242115,
        20191219106015,
        20191219102160,
        10101000000,
        "00010101000000",
        "19991231235959",
        30000101000000,
        99991231235959,
        10**400,
        20191219102115.5,
        True,
        "",
        "yesterday",
        "2019-12-19T10:21:15",
        "2019-12-19 10:21",
        "2019-12-19",
        "\u0662\u0660\u0661\u0669\u0661\u0662\u0661\u0669\u0661\u0660\u0662\u0661\u0661\u0665",
        [20191219102115],
    ],
)
def test_an_unreadable_moment_is_none(written: object) -> None:
    """No date, or one outside of the years of M-Pesa, never keeps a payment from being confirmed."""
    assert confirmed(with_items(*PROOF, item("TransactionDate", written))).paid_at is None
    assert confirmed(with_items(*PROOF)).paid_at is None


# --- not paid ----------------------------------------------------------------------------------------


def test_a_cancelled_prompt_is_a_result() -> None:
    """A customer's no is no exception."""
    result = parse_callback(SAMPLES["cb-1032"]["body_raw"])
    assert isinstance(result, PaymentFailed)
    assert result.result is explain("1032")


@pytest.mark.parametrize("code", ["SFC_IC0003", "1032", "0001", "-1", "x" * 40])
def test_codes_may_be_strings(code: str) -> None:
    """Safaricom's own text codes, and any other code, are kept as they are; only 0 is success."""
    result = parse_callback(callback(code))
    assert isinstance(result, PaymentFailed)
    assert result.result.code == code


def test_an_unknown_code_is_not_paid() -> None:
    """A new code is kept, and is no success."""
    result = parse_callback(callback(31337))
    assert isinstance(result, PaymentFailed)
    assert (result.result.code, result.result.evidence) == ("31337", "unknown")


def test_a_failure_with_metadata_is_still_one() -> None:
    """Receipt and amount beside a failing code prove nothing."""
    assert isinstance(parse_callback(callback(1, CallbackMetadata={"Item": PROOF})), PaymentFailed)


@pytest.mark.parametrize("code", [0, "0", 0.0, -0.0, " 0", "0\n"])
def test_zero_is_success_as_number_and_as_text(code: float | str) -> None:
    """Queries write it as text, callbacks as a number; either could change."""
    assert isinstance(parse_callback(callback(0, ResultCode=code)), PaymentConfirmed)


# --- what nothing depends on ----


@pytest.mark.parametrize("odd", [None, 1, [], {}, True, ""])
def test_the_ids_and_words_of_a_callback_may_be_odd(odd: object) -> None:
    """They prove nothing, so a callback without them is as good as one with them."""
    result = parse_callback(callback(0, MerchantRequestID=odd, ResultDesc=odd))
    assert isinstance(result, PaymentConfirmed)
    assert (result.merchant_request_id, result.result_desc) == (None, "")
    assert parse_callback(inside(CheckoutRequestID=CHECKOUT_ID, ResultCode=1032)) == PaymentFailed(
        checkout_request_id=CHECKOUT_ID,
        merchant_request_id=None,
        result=explain(1032),
        result_desc="",
    )


def test_the_ids_and_words_of_a_callback_are_one_line() -> None:
    """They are stored and printed, so they hold no control characters, and the id is bounded."""
    odd = "\x1b[2J\nDone \u2713" + "x" * 200
    result = parse_callback(callback(0, MerchantRequestID=odd, ResultDesc=odd))
    told = " [2J Done \u2713" + "x" * 200
    assert (result.merchant_request_id, result.result_desc) == (told[:128], told)


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf" + OFFICIAL.encode(), "\ufeff" + OFFICIAL])
def test_a_byte_order_mark_may_come_first(body: bytes | str) -> None:
    """Some proxies and scripts put one there."""
    assert parse_callback(body) == parse_callback(OFFICIAL)


# As they stand in the JSON, and what can be shown of them.
ODD_CODES = [
    *((odd, "unreadable") for odd in ("null", "true", "false", "[]", "{}", "1.5", "NaN", "1e40")),
    *((odd, "unreadable") for odd in ('""', '" "', "1e999999", "-1e999999", "[0]", "1" + "0" * 40)),
    *((f'"{odd}"', odd) for odd in ("00", "0.0", "-0", "0.")),
    ('"+0"', "-0"),
    ('"0;"', "0-"),
    ('"\\u001b[31m0"', "-31m0"),
    ('"\\u0000"', "-"),
    ('"\u0660"', "-"),
    ('"' + "0" * 41 + '"', "0" * 40),
    ('"' + "x" * 41 + '"', "x" * 40),
]


@pytest.mark.parametrize(("written", "shown"), ODD_CODES)
def test_a_code_that_cannot_be_read_is_neither_paid_nor_failed(written: str, shown: str) -> None:
    """The callback is not lost, and its payment is asked about; receipt and amount prove nothing."""
    result = parse_callback(OFFICIAL.replace('"ResultCode":0', f'"ResultCode":{written}'))
    assert isinstance(result, PaymentUnproven)
    assert result.problems == (f"{CALLBACK}.ResultCode: missing or not a code",)
    assert (result.result.code, result.result.evidence) == (shown, "unknown")
    assert result.checkout_request_id == "ws_CO_191220191020363925"


def test_a_code_may_be_missing() -> None:
    """Then nobody knows what became of the payment."""
    result = parse_callback(inside(CheckoutRequestID=CHECKOUT_ID))
    assert isinstance(result, PaymentUnproven)
    assert result.result.code == "unreadable"


# --- a success code without proof --------------------------------------------------------------------

DIRECT: list[tuple[bytes, tuple[str, ...]]] = [
    (callback(CallbackMetadata=None), (NO_ITEMS, NO_RECEIPT, NO_AMOUNT)),
    (callback(CallbackMetadata=[]), (NO_ITEMS, NO_RECEIPT, NO_AMOUNT)),
    (callback(CallbackMetadata="x"), (NO_ITEMS, NO_RECEIPT, NO_AMOUNT)),
    (callback(CallbackMetadata={}), (NO_ITEMS, NO_RECEIPT, NO_AMOUNT)),
    (callback(CallbackMetadata={"Item": None}), (NO_ITEMS, NO_RECEIPT, NO_AMOUNT)),
    (callback(CallbackMetadata={"Item": {}}), (NO_ITEMS, NO_RECEIPT, NO_AMOUNT)),
    (callback(CallbackMetadata={"Item": PROOF[0]}), (NO_ITEMS, NO_RECEIPT, NO_AMOUNT)),
    (callback(CallbackMetadata={"Item": "x"}), (NO_ITEMS, NO_RECEIPT, NO_AMOUNT)),
    (with_items(), (NO_RECEIPT, NO_AMOUNT)),
    (with_items(PROOF[0]), (NO_RECEIPT,)),
    (with_items(PROOF[1]), (NO_AMOUNT,)),
    (with_items(item("Amount"), item("MpesaReceiptNumber")), (NO_RECEIPT, NO_AMOUNT)),
    (with_items(item("amount", 1), item("MPESARECEIPTNUMBER", "N")), (NO_RECEIPT, NO_AMOUNT)),
    (with_items(*PROOF, PROOF[0]), (TWICE,)),
    (with_items(*PROOF, item("Amount", 1)), (TWICE,)),
    (with_items(*PROOF, item("MpesaReceiptNumber", "AAAAAAAAAA")), (TWICE,)),
    (with_items(*PROOF, item("Balance"), item("Balance")), (TWICE,)),
    *(
        (with_items(*PROOF, odd), (UNNAMED, NO_RECEIPT, NO_AMOUNT))
        for odd in (None, 1, 1.5, "Amount", [], ["Name"], {}, {"Value": 1}, item([]), item({}))
    ),
]
# As they stand in the JSON.
AMOUNTS = """NaN|Infinity|-Infinity|1e400|-1|0|0.00|-0.0|0.001|1e-400|1e12|1000000000000|1e999999
|null|true|false|[]|{}|[1]|""|"0"|"-1"|"1e2"|"NaN"|"1,000"|"1.00000"|" 1"|"1 "|"KES 1"|"\u0661"
""".replace("\n", "").split("|")
RECEIPTS = """null|1|1.5|true|[]|{}|""|"N/A"|"NLJ7"|"NLJ7RT61SV\\n"|" NLJ7RT61SV"|"NLJ7-RT61SV"
|"\u0661\u0661\u0661\u0661\u0661"|"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
""".replace("\n", "").split("|")


@pytest.mark.parametrize(("body", "problems"), DIRECT)
def test_success_without_proof_is_unproven(body: bytes, problems: tuple[str, ...]) -> None:
    """It names what is missing or contradicts, and is neither paid nor an exception."""
    result = parse_callback(body)
    assert isinstance(result, PaymentUnproven)
    assert result.problems == problems
    assert (result.checkout_request_id, result.merchant_request_id) == (CHECKOUT_ID, MERCHANT_ID)
    assert result.result is explain(0)
    assert result.result_desc == "The service request is processed successfully."


@pytest.mark.parametrize("written", AMOUNTS)
def test_an_odd_amount_proves_nothing(written: str) -> None:
    """Not a number, not finite, not positive, not a sum of money."""
    body = callback(amount="?").replace(b'"?"', written.encode())
    result = parse_callback(body)
    assert isinstance(result, PaymentUnproven)
    assert result.problems == (NO_AMOUNT,)


@pytest.mark.parametrize("written", RECEIPTS)
def test_an_odd_receipt_proves_nothing(written: str) -> None:
    """A receipt is 5 to 32 letters and digits."""
    result = parse_callback(callback(receipt="?").replace(b'"?"', written.encode()))
    assert isinstance(result, PaymentUnproven)
    assert result.problems == (NO_RECEIPT,)


# --- not a callback ----------------------------------------------------------------------------------

NO_BODY = ("$.Body: missing or not an object",)
NO_CALLBACK = ("$.Body.stkCallback: missing or not an object",)
NOT_OBJECT = ("$: not an object",)
DEEP = ("$: nested too deeply",)


NO_ID = (f"{CALLBACK}.CheckoutRequestID: missing or not an id",)
NO_IDS: tuple[Any, ...] = (None, 1, [], {}, True, "", "ws CO", "ws_CO\n", "\x1b[2J", "x" * 129)


def inside(**fields: object) -> str:
    """A body whose stkCallback holds these fields."""
    return json.dumps({"Body": {"stkCallback": fields}})


NO_OBJECTS: tuple[Any, ...] = (None, [], "x", 1, True)
NO_TEXTS: tuple[Any, ...] = (None, 1, [], {}, bytearray(OFFICIAL, "utf-8"), json.loads(OFFICIAL))

REFUSED: list[tuple[Any, tuple[str, ...]]] = [
    *((body, NOT_JSON) for body in ("", " ", "x", "{", "{]", OFFICIAL[:-1], OFFICIAL + "}")),
    *((body, NOT_JSON) for body in ("{'Body': 1}", '{"Body": 1,}', "{}{}", "\x00", "nan")),
    *((body, NOT_JSON) for body in ('{"a": 01}', '{"a": +1}', '{"a": "\n"}', '{"a": "\\x"}')),
    ('{"a": 1e99999999999999999999}', NOT_JSON),
    ('{"a": ' + "9" * 5000 + "}", NOT_JSON),
    ("Body=1&a=2", NOT_JSON),
    ("<html></html>", NOT_JSON),
    ("\ufeff\ufeff" + OFFICIAL, NOT_JSON),
    (OFFICIAL.encode("utf-16"), NOT_UTF8),
    (OFFICIAL.encode("utf-16-le"), NOT_JSON),
    (OFFICIAL.encode("utf-32"), NOT_UTF8),
    (b'{"a": "\xff"}', NOT_UTF8),
    (b'{"a": "\xed\xa0\x80"}', NOT_UTF8),
    (b'{"a": "\xc0\xaf"}', NOT_UTF8),
    ('{"a": "\\ud800"}', NOT_UTF8),
    ('{"\\udfff": 1}', NOT_UTF8),
    (OFFICIAL.replace("successfully", "\\ud83d"), NOT_UTF8),
    (OFFICIAL.replace("successfully", "\ud83d"), NOT_UTF8),
    (OFFICIAL.replace("successfully", "\\ud83d").encode(), NOT_UTF8),
    *((body, NOT_OBJECT) for body in ("[]", "1", "null", "true", '"x"', "NaN", "-0", "1.5")),
    (f"[{OFFICIAL}]", NOT_OBJECT),
    (OFFICIAL.replace("1.00", "[" * 30_000 + "]" * 30_000), DEEP),
    (OFFICIAL.replace("1.00", "[" * 95 + "]" * 95), DEEP),
    ("{}", NO_BODY),
    *((json.dumps({"Body": odd}), NO_BODY) for odd in NO_OBJECTS),
    ('{"body": {}}', NO_BODY),
    ('{"Body": {}}', NO_CALLBACK),
    ('{"Body": {"StkCallback": {}}}', NO_CALLBACK),
    *((json.dumps({"Body": {"stkCallback": odd}}), NO_CALLBACK) for odd in NO_OBJECTS),
    (inside(), NO_ID),
    *((inside(CheckoutRequestID=odd, ResultCode=0), NO_ID) for odd in NO_IDS),
    (" " * 65_537, ("$: larger than 65536 bytes",)),
    (OFFICIAL.encode() + b" " * 65_536, ("$: larger than 65536 bytes",)),
    *((body, ("$: neither bytes nor text",)) for body in NO_TEXTS),
    (memoryview(OFFICIAL.encode()), ("$: neither bytes nor text",)),
]


@pytest.mark.parametrize(
    ("body", "problems"),
    REFUSED,
    ids=lambda value: repr(value)[:40] if isinstance(value, (str, bytes)) else "",
)
def test_what_is_no_callback_is_refused(body: Any, problems: tuple[str, ...]) -> None:
    """The error names JSON paths and kinds, and nothing of the body."""
    assert problems_of(body) == problems


@pytest.mark.parametrize("start", ["[", '{"a":', '{"Body":{"stkCallback":' + "[" * 50_000])
def test_brackets_without_an_end_are_refused(start: str) -> None:
    """Pythons differ in how deep they read before they give up."""
    assert problems_of(start * (60_000 // len(start))) in (DEEP, NOT_JSON)


def test_a_body_may_nest_100_deep() -> None:
    """On each Python and each stack, and however many brackets stand side by side."""
    deep = OFFICIAL.replace("1.00", "[" * 94 + "]" * 94)
    wide = OFFICIAL.replace("1.00", "[" + "[]," * 500 + "{}]")
    for body in (deep, wide):
        assert isinstance(parse_callback(body), PaymentUnproven)


def test_a_body_may_be_as_large_as_64_kib() -> None:
    """The exact edge is read, one byte more is refused."""
    body = OFFICIAL.encode()
    assert parse_callback(body + b" " * (65_536 - len(body))) == parse_callback(body)
    with pytest.raises(InvalidCallback, match="larger than 65536 bytes"):
        parse_callback(body + b" " * (65_537 - len(body)))


@pytest.mark.parametrize("space", [" ", "\n", "\r\n\t "])
def test_white_space_around_a_callback_is_ignored(space: str) -> None:
    """As JSON allows, and however it is written inside."""
    pretty = json.dumps(json.loads(OFFICIAL), indent=2)
    for body in (space + OFFICIAL, OFFICIAL + space, space + pretty + space):
        assert confirmed(body).receipt_number == "NLJ7RT61SV"


def test_unknown_keys_are_ignored() -> None:
    """A live API adds some."""
    body = json.loads(OFFICIAL)
    body["Extra"] = body["Body"]["Extra"] = body["Body"]["stkCallback"]["Extra"] = {"a": [1]}
    assert parse_callback(json.dumps(body)) == parse_callback(OFFICIAL)


def test_other_alphabets_are_read() -> None:
    """Texts come as UTF-8 or escaped, pairs of surrogates included."""
    text = "Imefanikiwa \u2713 \U0001f600: {}"
    for ascii_only in (True, False):
        body = json.loads(OFFICIAL)
        body["Body"]["stkCallback"]["ResultDesc"] = text
        written = json.dumps(body, ensure_ascii=ascii_only)
        assert parse_callback(written).result_desc == text
        assert parse_callback(written.encode()).result_desc == text


# --- a key that comes twice ----------------------------------------------------------------------------

FAILING = SAMPLES["cb-1032"]["body_raw"]


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('{"Body"', '{"Body":{},"Body"'),
        ('"stkCallback"', '"stkCallback":{},"stkCallback"'),
        ('"ResultCode"', '"ResultCode":1,"ResultCode"'),
        ('"ResultCode"', '"\\u0052esultCode":1,"ResultCode"'),
        ('"ResultCode"', '"ResultCode":1,"\\u0052\\u0065sultCode"'),
        ('"CheckoutRequestID"', '"CheckoutRequestID":"ws_CO_other","CheckoutRequestID"'),
        ('"CallbackMetadata"', '"CallbackMetadata":{"Item":[]},"CallbackMetadata"'),
        ('"Item"', '"Item":[],"Item"'),
        ('"Item"', '"\\u0049tem":[],"Item"'),
        ('"Value":1.00', '"Value":1.00,"Value":1000'),
        ('"Value":1.00', '"Value":1000,"\\u0056alue":1.00'),
        ('"Name":"Amount"', '"Name":"Balance","Name":"Amount"'),
        ('"Name":"Amount"', '"\\u004Eame":"Amount","Name":"Amount"'),
        ('"Value":1.00', '"Value":{"a":1,"a":2}'),
        ('"Value":1.00', '"Value":[[{"a":1,"\\u0061":2}]]'),
        ('{"Body"', '{"Extra":{"a":1,"a":1},"Body"'),
        ('"ResultDesc":"', '"ResultDesc":":::","ResultDesc":"'),
    ],
)
def test_a_key_that_comes_twice_is_refused_at_every_level(once: str, twice: str) -> None:
    """Two readers could read two things, so nobody may; escaping one spelling changes nothing."""
    read = 0
    for body in (OFFICIAL, FAILING):
        if once in body:
            read += 1
            doubled = body.replace(once, twice, 1)
            assert doubled != body
            assert problems_of(doubled) == DUPLICATE
            assert problems_of(doubled.encode()) == DUPLICATE
            assert problems_of(" " + doubled) == DUPLICATE
    assert read


def test_items_may_share_the_text_of_their_keys() -> None:
    """A value that is spelled like a key, or holds colons, is no duplicate key."""
    body = json.loads(OFFICIAL)
    body["Body"]["stkCallback"]["ResultDesc"] = 'Done: "Body": "Item"::'
    assert confirmed(json.dumps(body)).amount == Decimal("1.00")


# --- properties ----------------------------------------------------------------------------------------

Tree = Any


def tree_of(value: object) -> Tree:
    """JSON in which an object is a list of pairs, so that a key can come twice."""
    if isinstance(value, dict):
        return ("object", [(name, tree_of(each)) for name, each in value.items()])
    if isinstance(value, list):
        return ("array", [tree_of(each) for each in value])
    return ("leaf", json.dumps(value))


def objects_in(tree: Tree) -> list[list[tuple[str, Tree]]]:
    """Every object of a tree that holds anything, as its list of pairs."""
    kind, content = tree
    if kind == "leaf":
        return []
    below = content if kind == "array" else [each for _, each in content]
    found = [content] if kind == "object" and content else []
    return found + [pairs for each in below for pairs in objects_in(each)]


def written(tree: Tree, draw: random.Random) -> str:
    """The JSON text of a tree, some keys escaped, some space added."""
    kind, content = tree
    if kind == "leaf":
        return str(content)
    if kind == "array":
        return "[" + ",".join(written(each, draw) for each in content) + "]"
    pairs = (f"{spelled(name, draw)}:{written(each, draw)}" for name, each in content)
    return "{" + ",".join(pairs) + "}"


def spelled(name: str, draw: random.Random) -> str:
    """A key as JSON writes it, in one of many ways."""
    letters = (f"\\u{ord(each):04x}" if draw.random() < 0.1 else each for each in name)
    return f'"{"".join(letters)}"{draw.choice(["", "", " "])}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
originals = st.sampled_from([sample["body_raw"] for sample in SAMPLES.values()])


def outcome(body: bytes | str) -> CallbackResult | tuple[str, ...]:
    """The result, or the problems; anything else that is raised fails the test."""
    try:
        return parse_callback(body)
    except InvalidCallback as refusal:
        return refusal.problems


@given(original=originals, seed=st.integers(0, 2**32), value=json_values)
def test_no_body_with_a_key_that_comes_twice_gives_a_result(
    original: str, seed: int, value: object
) -> None:
    """Wherever in the body, however the key is spelled, and whatever its second value."""
    draw = random.Random(seed)
    tree = tree_of(json.loads(original, parse_float=float))
    pairs = draw.choice(objects_in(tree))
    name = draw.choice(pairs)[0]
    pairs.insert(draw.randrange(len(pairs) + 1), (name, tree_of(value)))
    assert outcome(written(tree, draw)) in (DUPLICATE, NOT_UTF8, NOT_JSON)


@given(original=originals, seed=st.integers(0, 2**32), value=json_values)
def test_the_quick_way_and_the_strict_way_agree(original: str, seed: int, value: object) -> None:
    """White space in front takes the strict way; whatever is changed, both say the same."""
    draw = random.Random(seed)
    tree = tree_of(json.loads(original, parse_float=float))
    for _ in range(draw.randrange(3)):
        pairs = draw.choice(objects_in(tree))
        place = draw.randrange(len(pairs))
        change = draw.choice(["value", "drop", "add", "rename"])
        if change == "value":
            pairs[place] = (pairs[place][0], tree_of(value))
        elif change == "add":
            pairs.insert(place, (draw.choice(["Extra", "Value", "a:b"]), tree_of(value)))
        elif change == "rename":
            pairs[place] = (draw.choice(["Extra", "Name", ":"]), pairs[place][1])
        elif len(pairs) > 1:
            del pairs[place]
    body = written(tree, draw)
    assert outcome(body) == outcome(" " + body) == outcome(body + "\n")


@given(original=originals, changes=st.lists(st.tuples(st.integers(0, 999), st.binary(max_size=3))))
def test_a_damaged_callback_is_read_or_refused(
    original: str, changes: list[tuple[int, bytes]]
) -> None:
    """Bytes lost, changed or added on the way never make the parser fail."""
    body = bytearray(original.encode())
    for place, new in changes:
        body[place % len(body) : place % len(body) + 1] = new or b" "
    damaged = bytes(body)
    result = outcome(damaged)
    assert result == outcome(b" " + damaged)
    if isinstance(result, PaymentConfirmed):
        assert result.amount > 0
        assert result.receipt_number.isalnum()


@given(body=st.binary(max_size=300) | st.text(max_size=300) | json_values.map(json.dumps))
@example(b"")
@example("\ud800")
def test_any_bytes_and_any_json_are_read_or_refused(body: bytes | str) -> None:
    """Nothing but `InvalidCallback` is ever raised."""
    assert isinstance(outcome(body), tuple)


@given(
    metadata=json_values,
    items=st.lists(
        st.builds(
            item,
            st.sampled_from(["Amount", "MpesaReceiptNumber", "TransactionDate", "PhoneNumber"]),
            json_values,
        )
        | json_values,
        max_size=6,
    ),
    listed=st.booleans(),
)
def test_any_metadata_is_read(metadata: object, items: list[object], *, listed: bool) -> None:
    """With a success code, the metadata decides between proven and unproven, and nothing else."""
    body = callback(CallbackMetadata={"Item": items} if listed else metadata)
    result = outcome(body)
    if isinstance(result, PaymentConfirmed):
        assert result.amount > 0
        assert result.paid_at is None or result.paid_at.utcoffset() == timedelta(hours=3)
    else:
        assert isinstance(result, PaymentUnproven) or result in (NOT_UTF8, NOT_JSON)


@given(code=json_values | st.sampled_from(["0", " 0", "00", "1032", "E3008", "\x1b[0m"]))
def test_any_code_is_read(code: object) -> None:
    """Only a zero is success, and what is kept of any other code is short and plain."""
    result = outcome(callback(0, ResultCode=code))
    if isinstance(result, tuple):
        assert result in (NOT_UTF8, NOT_JSON)
        return
    assert re.fullmatch("[A-Za-z0-9_.-]{1,40}", result.result.code)
    if isinstance(result, PaymentConfirmed):
        zero = code.strip() == "0" if isinstance(code, str) else code == 0
        assert zero
        assert not isinstance(code, bool)
    elif isinstance(result, PaymentFailed):
        assert result.result.code.strip("-.0")

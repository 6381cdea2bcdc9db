"""Daraja's JSON: read strictly, never bent into another type, and quoted to nobody."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest

from mpesa_stk.daraja import wire
from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.daraja.results import CATALOGUE
from mpesa_stk.privacy import clean_text
from support import CHECKOUT_ID, MERCHANT_ID, PASSKEY, TOKEN, accepted, callback

# --- JSON --------------------------------------------------------------------------------------------


def problems_of(body: bytes | str) -> tuple[str, ...]:
    """What `read_object` finds wrong with a body."""
    with pytest.raises(wire.WireError) as caught:
        wire.read_object(body)
    assert caught.value.__cause__ is None
    return caught.value.problems


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"<html></html>", "not JSON", id="html"),
        pytest.param(b'{"a": 1', "not JSON", id="cut-short"),
        pytest.param(b'{"a": 1} {}', "not JSON", id="two-documents"),
        pytest.param(b"{'a': 1}", "not JSON", id="single-quotes"),
        pytest.param(b'\xef\xbb\xbf\xef\xbb\xbf{"a": 1}', "not JSON", id="two-byte-order-marks"),
        pytest.param(b'{"a": 1}\xef\xbb\xbf', "not JSON", id="byte-order-mark-behind"),
        pytest.param(b'{"a": 1e99999999999999999999}', "not JSON", id="huge-exponent"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "not JSON", id="huge-integer"),
        pytest.param(b"null", "not an object", id="null"),
        pytest.param(b"[1]", "not an object", id="array"),
        pytest.param(b'"text"', "not an object", id="string"),
        pytest.param(b"1", "not an object", id="number"),
        pytest.param(b'{"a": 1, "a": 1}', "an object names a key twice", id="duplicate-key"),
        pytest.param(b'{"a": {"b": 1, "b": 2}}', "an object names a key twice", id="deep-down"),
        pytest.param(b'{"a": 1, "\\u0061": 1}', "an object names a key twice", id="escaped-key"),
        pytest.param(b'{"a": "\xff"}', "not valid UTF-8 text", id="not-utf-8"),
        pytest.param('{"a": "é"}'.encode("latin-1"), "not valid UTF-8 text", id="latin-1"),
        pytest.param('{"a": 1}'.encode("utf-16"), "not valid UTF-8 text", id="utf-16"),
        pytest.param(b'{"a": "\\ud800"}', "not valid UTF-8 text", id="escaped-surrogate"),
        pytest.param('{"a": "\ud800"}', "not valid UTF-8 text", id="surrogate-in-text"),
        pytest.param(b'{"\\ud800": 1}', "not valid UTF-8 text", id="surrogate-in-key"),
        pytest.param(b"[" * MAX_BODY, "nested too deeply", id="deep-arrays"),
        pytest.param(b" " * MAX_BODY + b"{}", f"larger than {MAX_BODY} bytes", id="too-large"),
    ],
)
def test_what_is_not_one_strict_json_object_is_refused(body: bytes | str, problem: str) -> None:
    """Whatever the bytes, the answer is one kind of error that names the kind of fault."""
    assert problems_of(body) == (f"$: {problem}",)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b' \r\n\t{"a": 1}\n', {"a": 1}, id="white-space"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', {"a": 1}, id="byte-order-mark"),
        pytest.param('\ufeff{"a": 1}', {"a": 1}, id="byte-order-mark-in-text"),
        pytest.param('{"a": "é😀"}', {"a": "é😀"}, id="text"),
        pytest.param('{"a": "é😀"}'.encode(), {"a": "é😀"}, id="utf-8"),
        pytest.param(b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}, id="surrogate-pair"),
        pytest.param(b'{"a": 1.10}', {"a": Decimal("1.10")}, id="exact-decimal"),
        pytest.param(b"{" + b" " * (MAX_BODY - 2) + b"}", {}, id="largest"),
    ],
)
def test_json_is_read_exactly(body: bytes | str, value: dict[str, Any]) -> None:
    """Numbers keep the digits that were written, text keeps its characters."""
    read = wire.read_object(body)

    assert read == value
    assert str(read) == str(value)


@pytest.mark.parametrize("depth", [900, 5_000, 10_000])
def test_depth_is_read_or_refused(depth: int) -> None:
    """How deep is too deep is the interpreter's affair; nothing worse than a refusal comes of it."""
    body = b'{"a":' * depth + b'"\\u00e9"' + b"}" * depth

    with contextlib.suppress(wire.WireError):
        assert list(wire.read_object(body)) == ["a"]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_no_json_become_no_float(constant: str) -> None:
    """NaN arrives as a Decimal, which every amount check refuses, surrogate check included."""
    read = wire.read_object(f'{{"a": {constant}, "b": "\\u00e9"}}'.encode())

    assert type(read["a"]) is Decimal
    assert not read["a"].is_finite()


# --- leaves ------------------------------------------------------------------------------------------


def problems_with(kind: type[Any], payload: dict[str, Any], **changes: Any) -> tuple[str, ...]:
    """What reading a payload with changes finds wrong."""
    with pytest.raises(wire.WireError) as caught:
        wire.read(kind, payload | changes)
    return caught.value.problems


@pytest.mark.parametrize("value", [True, None, 1, 1.7, Decimal("1.0"), [], {}, ["x"], {"x": 1}])
def test_a_string_is_a_string(value: object) -> None:
    """Nothing is bent into a string: None does not become "None"."""
    found = problems_with(wire.PushAnswer, accepted(), CheckoutRequestID=value)

    assert found == ("$.CheckoutRequestID: not a string",)


NO_CODES: list[object] = [
    *(True, False, None, 1.7, Decimal("1.7"), Decimal("NaN"), Decimal("1e40"), Decimal("1e999999")),
    *("", " ", "x" * 41, 10**40, [], {}, "1 2", "\x1b[31m0", "0\x00", "caf\u00e9", "\u0660", "0;"),
]


@pytest.mark.parametrize("value", NO_CODES)
def test_a_code_is_a_number_or_a_short_string(value: object) -> None:
    """A bool is no code, 1.7 is not 1, and no code holds what a terminal would obey."""
    found = problems_with(wire.PushAnswer, accepted(), ResponseCode=value)

    assert found == ("$.ResponseCode: not a code",)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, "0"),
        ("0", "0"),
        (" 0\n", "0"),
        (Decimal("0.0"), "0"),
        (Decimal("-0.0"), "0"),
        (Decimal("1032.00"), "1032"),
        (1032, "1032"),
        (-1, "-1"),
        (10_000, "10000"),
        ("SFC_IC0003", "SFC_IC0003"),
        ("500.001.1001", "500.001.1001"),
        ("x" * 40, "x" * 40),
    ],
)
def test_a_code_is_kept_as_a_string(value: object, code: str) -> None:
    """Daraja writes the same code as a number here and as a string there."""
    payload = {"ResponseCode": value, "ResultCode": value}

    assert wire.read(wire.QueryAnswer, payload).response_code == code
    assert wire.read(wire.QueryAnswer, payload).result_code == code


@pytest.mark.parametrize(
    ("code", "shown"),
    [("SFC IC0003", "SFC-IC0003"), ("\x1b[31m0 ", "-31m0"), ("\u0660", "-"), ("x" * 41, "x" * 40)],
)
def test_what_is_shown_of_an_odd_code(code: str, shown: str) -> None:
    """Nothing of it reaches a terminal, and it is taken for none of Daraja's codes."""
    assert wire.clean_code(code) == shown
    assert shown not in CATALOGUE


def test_no_code_of_darajas_has_a_dash() -> None:
    """An odd code is shown with dashes, so it can never look like a known one."""
    assert not [code for code in CATALOGUE if "-" in code]


@pytest.mark.parametrize("value", [None, 1, True, ["x"], {"x": 1}])
def test_words_that_decide_nothing_spoil_nothing(value: object) -> None:
    """An accepted push stays accepted, whatever Daraja puts where its words should be."""
    words = ("MerchantRequestID", "ResponseDescription", "CustomerMessage")
    answer = wire.read(wire.PushAnswer, accepted() | dict.fromkeys(words, value))

    assert answer.checkout_request_id == CHECKOUT_ID
    assert (answer.merchant_request_id, answer.response_description) == ("", "")
    assert answer.customer_message == ""


def test_words_are_one_line() -> None:
    """What Daraja says to people is stored and printed, so it holds no control characters."""
    answer = wire.read(wire.PushAnswer, accepted() | {"CustomerMessage": "a\x1b[2J\nSw\u00e1"})

    assert answer.customer_message == "a [2J Sw\u00e1"


def test_every_problem_is_named_by_its_json_path() -> None:
    """All at once, by the names that Daraja uses, and never with the value."""
    found = problems_with(wire.PushAnswer, {}, ResponseCode=[TOKEN])

    assert sorted(found) == ["$.CheckoutRequestID: missing", "$.ResponseCode: not a code"]


def test_a_callbacks_problems_are_named_by_their_whole_path() -> None:
    """Inside of a callback the path starts at the body's root."""
    with pytest.raises(wire.WireError) as caught:
        wire.read_callback(callback(checkout_request_id=""))

    assert caught.value.problems == ("$.Body.stkCallback.CheckoutRequestID: missing or not an id",)


def test_unknown_keys_are_ignored() -> None:
    """A live API adds keys."""
    answer = wire.read(wire.PushAnswer, accepted() | {"Added": {"later": [1]}})

    assert answer.merchant_request_id == MERCHANT_ID


# --- callbacks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(b"[]", "$: not an object", id="array"),
        pytest.param(b"{}", "$.Body: missing or not an object", id="empty"),
        pytest.param(b'{"Body": 1}', "$.Body: missing or not an object", id="no-object"),
        pytest.param(
            b'{"Body": {}}', "$.Body.stkCallback: missing or not an object", id="no-callback"
        ),
        pytest.param(
            b'{"Body": {"stkCallback": []}}',
            "$.Body.stkCallback: missing or not an object",
            id="array-inside",
        ),
        pytest.param(callback() + b"{}", "$: not JSON", id="something-after-it"),
        pytest.param(
            callback().replace(b'"ResultCode": 0', b'"ResultCode": 1, "ResultCode": 0'),
            "$: an object names a key twice",
            id="result-twice",
        ),
        pytest.param(
            callback().replace(b'{"Name": "Amount"', b'{"Name": "x", "Name": "Amount"'),
            "$: an object names a key twice",
            id="item-name-twice",
        ),
    ],
)
def test_what_is_no_callback_is_refused(body: bytes, problem: str) -> None:
    """The quick way of reading a callback lets nothing pass that the strict one refuses."""
    with pytest.raises(wire.WireError) as caught:
        wire.read_callback(body)

    assert caught.value.problems == (problem,)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(callback(), id="usual"),
        pytest.param(b" \r\n\t" + callback(), id="white-space-before"),
        pytest.param(callback() + b" \n", id="white-space-after"),
        pytest.param(callback(ResultDesc="Paid: 10:30"), id="colons-in-a-string"),
        pytest.param(callback(Added=1), id="key-added"),
        pytest.param(callback().decode(), id="text"),
    ],
)
def test_the_quick_way_and_the_strict_one_read_the_same(body: bytes | str) -> None:
    """Each shape of a callback gives what a strict reading of it gives."""
    strict = wire.read_object(body)["Body"]["stkCallback"]

    read = wire.read_callback(body)

    assert read.result_code == 0
    assert read.metadata == strict["CallbackMetadata"]
    assert read.result_desc == strict["ResultDesc"]


# --- requests ----------------------------------------------------------------------------------------


def test_bodies_are_encoded_under_darajas_names() -> None:
    """Compact JSON with Daraja's own field names; reprs hold neither password nor phone."""
    body = wire.QueryBody(
        shortcode="000123", password=PASSKEY, timestamp="1", checkout_request_id=CHECKOUT_ID
    )

    assert (
        wire.encode(body)
        == (
            f'{{"BusinessShortCode":"000123","Password":"{PASSKEY}",'
            f'"Timestamp":"1","CheckoutRequestID":"{CHECKOUT_ID}"}}'
        ).encode()
    )
    assert PASSKEY not in repr(body)
    assert CHECKOUT_ID not in repr(body)


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "code", "message", "request_id", "from_gateway"),
    [
        pytest.param(
            {"requestId": "1-2", "errorCode": "400.002.02", "errorMessage": "Bad Request"},
            "400.002.02",
            "Bad Request",
            "1-2",
            False,
            id="darajas-own",
        ),
        pytest.param(
            {"RequestID": "1-2", "ErrorCode": "400.002.02", "ErrorMessage": "Bad Request"},
            "400.002.02",
            "Bad Request",
            "1-2",
            False,
            id="with-capitals",
        ),
        pytest.param(
            {"fault": {"faultstring": "Spike", "detail": {"errorcode": "policies.X"}}},
            "policies.X",
            "Spike",
            None,
            True,
            id="apigee",
        ),
        pytest.param({"fault": {"detail": "none"}}, None, None, None, True, id="bare-apigee"),
        pytest.param(
            {"Envelope": {"Body": {"Fault": {"faultstring": "down", "faultcode": "S"}}}},
            None,
            "down",
            None,
            True,
            id="soap-as-json",
        ),
        pytest.param({"errorCode": "4\x1b[0m.1 2"}, "4-0m.1-2", None, None, False, id="code-odd"),
        pytest.param({"errorCode": 500}, "500", None, None, False, id="code-as-number"),
        pytest.param({"errorCode": None}, None, None, None, False, id="code-null"),
        pytest.param({"errorCode": ""}, None, None, None, False, id="code-empty"),
        pytest.param({"errorCode": True}, None, None, None, False, id="code-bool"),
        pytest.param(
            {"errorCode": {"a": 1}, "errorMessage": ["b"], "requestId": 7},
            None,
            None,
            None,
            False,
            id="nothing-has-its-type",
        ),
    ],
)
def test_four_error_shapes_one_reader(
    payload: dict[str, Any],
    code: str | None,
    message: str | None,
    request_id: str | None,
    from_gateway: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Every shape in which Daraja and its gateway say no reads the same."""
    assert wire.read_error(payload) == wire.ErrorAnswer(
        code=code, message=message, request_id=request_id, from_gateway=from_gateway
    )


@pytest.mark.parametrize(
    "payload",
    [
        {},
        accepted(),
        {"fault": "text"},
        {"Envelope": "text"},
        {"Envelope": {"Body": {}}},
        {"Envelope": {"Body": {"Fault": 1}}},
    ],
)
def test_what_is_no_error_is_none(payload: dict[str, Any]) -> None:
    """Anything that merely resembles an error is left to the endpoint's reader."""
    assert wire.read_error(payload) is None


def test_what_an_error_answer_holds_is_bounded() -> None:
    """A code is no essay, a text is a line, and an id stays on its line."""
    error = wire.read_error(
        {"errorCode": "4." * 500, "errorMessage": "no. " * 500, "requestId": "a\nb" + "c" * 500}
    )

    assert error is not None
    assert len(error.code or "") == 64
    assert len(error.message or "") == 200
    assert error.request_id == "a b" + "c" * 125
    assert "c" not in repr(error).replace("code", "").replace("ErrorAnswer", "")


# --- texts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        pytest.param("Bad Request - Invalid PhoneNumber", ..., id="plain"),
        pytest.param("[MerchantValidate] - Wrong credentials", ..., id="brackets"),
        pytest.param("Error 500.001.1001 (1032)", ..., id="codes"),
        pytest.param("policies.ratelimit.SpikeArrestViolation", ..., id="gateway-code"),
        pytest.param("a\r\nERROR fake\x1b[31m", "a ERROR fake [31m", id="control-characters"),
        pytest.param("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "caf ", id="not-ascii"),
        pytest.param(f"token {TOKEN}!", "token [...]!", id="token"),
        pytest.param(f"passkey {PASSKEY}", "passkey [...]", id="passkey"),
        pytest.param(f"id {CHECKOUT_ID}.", "id [...].", id="checkout-id"),
        pytest.param("phone 254718643064", "phone [...]", id="msisdn"),
        pytest.param("phone +254 718 643 064.", "phone +[...].", id="msisdn-with-spaces"),
        pytest.param("phone 0718-643-064", "phone [...]", id="local-with-dashes"),
        pytest.param("phone (0718) 643064", "phone ([...]", id="local-with-brackets"),
        pytest.param(
            "phone 0718\N{NO-BREAK SPACE}643\N{NO-BREAK SPACE}064", "phone [...]", id="nbsp"
        ),
        pytest.param(None, None, id="none"),
        pytest.param(1, None, id="number"),
        pytest.param({"a": 1}, None, id="object"),
    ],
)
def test_texts_from_outside_are_cleaned(text: object, cleaned: object) -> None:
    """What Daraja says may be logged: one line of ASCII, with nothing secret or personal in it."""
    assert clean_text(text) == (text if cleaned is ... else cleaned)


@pytest.mark.parametrize("secret", [PASSKEY, TOKEN, "254718643064", "0718 643 064"])
def test_no_cut_leaves_a_piece_of_a_secret(secret: str) -> None:
    """Wherever the text is cut, a secret in it is taken out first."""
    for padding in range(150, 205):
        cleaned = clean_text("." * padding + " " + secret + " end") or ""

        assert len(cleaned) <= 200
        assert secret[:4] not in cleaned


def test_cleaning_takes_linear_time() -> None:
    """The longest answer there can be is cleaned at once."""
    for text in ("1 " * 32000, "a" * 23 + " ", "1-" * 32000, "(" * 64000, "a" * 64000):
        assert len(clean_text(text * (64000 // len(text))) or "") <= 200


def test_problems_survive_as_text() -> None:
    """A wire error's own text is its problems."""
    assert json.dumps(problems_of(b"[]")) == '["$: not an object"]'
    assert str(wire.WireError(("$.a: missing",))) == "('$.a: missing',)"


@pytest.mark.parametrize("number", ["", "x" * 129, "ws_CO_1 ", "ws_CO\x1b[2J", "ws_CO_\u00e9"])
def test_ids_of_a_callback_are_bounded(number: str) -> None:
    """An id that no payment can have is no id."""
    with pytest.raises(wire.WireError):
        wire.read_callback(callback(checkout_request_id=number))

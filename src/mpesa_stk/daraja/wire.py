"""Convert Daraja's JSON to typed values and back.

This is the only file that imports cattrs. Its rules:

- JSON is read strictly (UTF-8, no duplicate keys, no lone surrogates, bounded in size and depth). As an
  exception, one byte order mark may come first.
- A value is never converted to another type: a bool is not an int, None is not a string, 1.7 is not 1.
- Unknown keys are ignored, since a live API adds some.
- Errors name JSON paths and kinds, never values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NewType, TypeVar

import attrs
import cattrs
from cattrs.errors import ClassValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.privacy import clean_text

T = TypeVar("T")
Code = NewType("Code", str)
"""A code. Daraja writes it as a number in some places and as a string in others (see `plain_code`)."""

Words = NewType("Words", str)
"""Daraja's text for people, as one line. No decision depends on it. A value that is not a string reads as
``""``."""

_MAX_CODE = 40
_USUAL_CODES = 10_000
_MAX_ERROR_CODE = 64
_MAX_ID = 128
# Daraja's own bodies nest in six. How far json goes depends on the Python and on the stack.
_DEEPEST = 100
_TOO_DEEP = ("$: nested too deeply",)
_UNSAFE = re.compile(r"[^ -~]+")
_NOT_IN_CODES = re.compile(r"[^A-Za-z0-9_.-]+")
_CHECKOUT_ID = re.compile(r"[!-~]{1,128}").fullmatch


class WireError(Exception):
    """The bytes do not have the expected form.

    Attributes:
        problems: JSON paths with a kind.
    """

    def __init__(self, problems: tuple[str, ...], /) -> None:
        super().__init__(problems)
        self.problems = problems


def plain_code(value: object, /) -> str | None:
    """Return a code as a string of at most 40 characters of ``[A-Za-z0-9_.-]``.

    White space around it is dropped, and a whole number may be written as a decimal: ``" 0"`` and
    ``0.0`` are ``"0"`` too.

    Returns:
        The code, or None if the value is not a code.
    """
    if type(value) is int and 0 <= value < _USUAL_CODES:
        return str(value)
    if type(value) is Decimal and value.is_finite() and value == value.to_integral_value():
        # A huge exponent is not made an int, which would take all memory.
        value = int(value) if value.adjusted() < _MAX_CODE else None
    if type(value) is int:
        value = str(value)
    if type(value) is not str:
        return None
    text = value.strip()
    if not 0 < len(text) <= _MAX_CODE or _NOT_IN_CODES.search(text):
        return None
    return text


def clean_code(text: str, /) -> str:
    """Return a form that can be shown of a code that `plain_code` refuses.

    Dashes replace the characters that are not allowed. Daraja's codes have no dash, so the result is never
    one of them.
    """
    return _NOT_IN_CODES.sub("-", text.strip())[:_MAX_CODE]


def _one_line(value: object) -> str:
    """Replace the control characters of a text, which would reach terminals.

    A value that is not a text gives ``""``.
    """
    if type(value) is not str:
        return ""
    if value.isprintable():
        return value
    return "".join(each if each.isprintable() else " " for each in value)


# --- JSON ----------------------------------------------------------------------------------------


class _DuplicateKeyError(ValueError):
    pass


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKeyError
    return found


# parse_constant: NaN and Infinity become Decimals, which every amount check refuses.
_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_float=Decimal, parse_constant=Decimal
)
# Twice as fast, but it does not see duplicate keys. Only `read_callback` uses it, which checks for them.
_LOOSE = json.JSONDecoder(parse_float=Decimal, parse_constant=Decimal)


def read_object(body: bytes | str, /, *, most: int = MAX_BODY) -> dict[str, Any]:
    """Read bytes as one JSON object, strictly.

    Raises:
        WireError: The bytes are anything else. No bytes can cause another error.
    """
    return _decode(body, _decode_strictly, most)


def _decode(
    body: bytes | str, decode: Callable[[str], object], most: int = MAX_BODY
) -> dict[str, Any]:
    """Decode bytes as one JSON object. Every failure raises `WireError`."""
    try:
        if len(body) > most:
            raise WireError((f"$: larger than {most} bytes",))
        text = body if isinstance(body, str) else body.decode()
        value = decode(text[1:] if text[:1] == "\ufeff" else text)
        if "\\u" in text or text is body:
            json.dumps(value, ensure_ascii=False, default=str).encode()  # finds lone surrogates
    except UnicodeError:
        raise WireError(("$: not valid UTF-8 text",)) from None
    except _DuplicateKeyError:
        raise WireError(("$: an object names a key twice",)) from None
    except RecursionError:
        raise WireError(_TOO_DEEP) from None
    except (ValueError, InvalidOperation):
        raise WireError(("$: not JSON",)) from None
    if type(value) is not dict:
        raise WireError(("$: not an object",))
    return value


def _decode_strictly(text: str) -> object:
    value = _STRICT.decode(text)
    if text.count("[") + text.count("{") > _DEEPEST and _is_deeper(value, _DEEPEST):
        raise WireError(_TOO_DEEP)
    return value


def _is_deeper(value: object, most: int) -> bool:
    """Return whether objects and arrays nest in more than so many levels."""
    level = [value]
    for _ in range(most):
        inner: list[object] = []
        for one in level:
            inner += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        level = [one for one in inner if isinstance(one, (dict, list))]
        if not level:
            return False
    return True


# --- bodies: one class for each, with the JSON name beside each field -------------------------------


def _wire(name: str, **kwargs: Any) -> Any:  # noqa: ANN401 - the type that attrs.field has
    return attrs.field(metadata={"wire": name}, **kwargs)


@attrs.frozen(kw_only=True)
class PushBody:
    """The body of a push request."""

    shortcode: int | str = _wire("BusinessShortCode")
    password: str = _wire("Password", repr=False)
    timestamp: str = _wire("Timestamp")
    transaction_type: str = _wire("TransactionType")
    amount: int = _wire("Amount")
    party_a: int = _wire("PartyA", repr=False)
    party_b: int | str = _wire("PartyB")
    phone_number: int = _wire("PhoneNumber", repr=False)
    callback_url: str = _wire("CallBackURL", repr=False)
    reference: str = _wire("AccountReference")
    description: str = _wire("TransactionDesc")


@attrs.frozen(kw_only=True)
class QueryBody:
    """The body of a status query."""

    shortcode: int | str = _wire("BusinessShortCode")
    password: str = _wire("Password", repr=False)
    timestamp: str = _wire("Timestamp")
    checkout_request_id: str = _wire("CheckoutRequestID", repr=False)


@attrs.frozen(kw_only=True)
class TokenAnswer:
    """The token endpoint's answer.

    `expires_in` is a number or a string (docs/daraja.md, section 1).
    """

    access_token: str = _wire("access_token", repr=False)
    expires_in: Any = _wire("expires_in", default=None)


@attrs.frozen(kw_only=True)
class PushAnswer:
    """The push endpoint's answer if it accepts."""

    merchant_request_id: Words = _wire("MerchantRequestID", default="")
    checkout_request_id: str = _wire("CheckoutRequestID", repr=False)
    response_code: Code = _wire("ResponseCode")
    response_description: Words = _wire("ResponseDescription", default="")
    customer_message: Words = _wire("CustomerMessage", default="")


@attrs.frozen(kw_only=True)
class QueryAnswer:
    """The status query endpoint's answer."""

    response_code: Code = _wire("ResponseCode")
    response_description: Words = _wire("ResponseDescription", default="")
    merchant_request_id: Words | None = _wire("MerchantRequestID", default=None)
    checkout_request_id: str | None = _wire("CheckoutRequestID", default=None, repr=False)
    result_code: Code | None = _wire("ResultCode", default=None)
    result_desc: Words | None = _wire("ResultDesc", default=None)


@attrs.define  # neither frozen nor keyword-only: made in half the time, on the hottest path
class CallbackBody:
    """``Body.stkCallback``. `callbacks` reads its code and its metadata.

    Only the CheckoutRequestID is required. A callback may be the only evidence of a payment, so a missing
    field on which no decision depends does not spoil it (docs/daraja.md, section 6).
    """

    checkout_request_id: str = attrs.field(repr=False)
    merchant_request_id: str | None
    result_code: object
    result_desc: str
    metadata: object = attrs.field(repr=False)


# --- the converter ---------------------------------------------------------------------------------


def _text_hook(value: object, _type: object) -> str:
    if type(value) is not str:
        raise TypeError("not a string")
    return value


def _words_hook(value: object, _type: object) -> str:
    return _one_line(value)


def _code_hook(value: object, _type: object) -> str:
    code = plain_code(value)
    if code is None:
        raise TypeError("not a code")
    return code


def _renames(kind: type) -> dict[str, Any]:
    return {
        field.name: override(rename=field.metadata["wire"])
        for field in attrs.fields(kind)
        if "wire" in field.metadata
    }


def _make_converter() -> cattrs.Converter:
    """Make a converter.

    The strict hooks for leaves are registered first, because the factories resolve them early.
    """
    converter = cattrs.Converter()
    converter.register_structure_hook(str, _text_hook)
    converter.register_structure_hook(Words, _words_hook)
    converter.register_structure_hook(Code, _code_hook)

    @converter.register_structure_hook_factory(attrs.has)
    def _structure(kind: type) -> Callable[..., Any]:
        return make_dict_structure_fn(kind, converter, **_renames(kind))

    @converter.register_unstructure_hook_factory(attrs.has)
    def _unstructure(kind: type) -> Callable[..., Any]:
        return make_dict_unstructure_fn(kind, converter, **_renames(kind))

    return converter


_CONVERTER = _make_converter()


def encode(body: PushBody | QueryBody, /) -> bytes:
    """Write a request's body as JSON."""
    return json.dumps(_CONVERTER.unstructure(body), separators=(",", ":")).encode()


def read(kind: type[T], payload: Mapping[str, object], /) -> T:
    """Read a JSON object as one of the classes above.

    Raises:
        WireError: A field is missing or has another type. The error names each by its JSON path.
    """
    try:
        return _CONVERTER.structure(payload, kind)
    except ClassValidationError as error:
        problems = tuple(_problems(error))
    raise WireError(problems)


def read_callback(body: bytes | str, /) -> CallbackBody:
    """Read the body of an STK callback.

    Raises:
        WireError: The body is anything else. The error names JSON paths.
    """
    envelope = _decode(body, _decode_callback).get("Body")
    if type(envelope) is not dict:
        raise WireError(("$.Body: missing or not an object",))
    callback = envelope.get("stkCallback")
    if type(callback) is not dict:
        raise WireError(("$.Body.stkCallback: missing or not an object",))
    checkout_request_id = callback.get("CheckoutRequestID")
    if type(checkout_request_id) is not str or not _CHECKOUT_ID(checkout_request_id):
        raise WireError(("$.Body.stkCallback.CheckoutRequestID: missing or not an id",))
    return CallbackBody(
        checkout_request_id,
        _one_line(callback.get("MerchantRequestID"))[:_MAX_ID] or None,
        callback.get("ResultCode"),
        _one_line(callback.get("ResultDesc")),
        callback.get("CallbackMetadata"),
    )


def _decode_callback(text: str) -> object:
    """Decode a callback, at full speed if its text proves that no key comes twice, and that it is not deep.

    JSON has one colon for each key, and other colons only inside strings. So if there are as many colons as
    keys in a result of the usual shape, no key came twice, and it holds no further objects with keys. It
    holds no further arrays if there is one bracket.
    """
    try:
        value, end = _LOOSE.scan_once(text, 0)  # type: ignore[attr-defined]  # what decode() calls
    except StopIteration:  # white space first, or no JSON at all
        return _decode_strictly(text)
    proven = end == len(text) and text.count(":") == _callback_keys(value) and text.count("[") == 1
    return value if proven else _decode_strictly(text)


def _callback_keys(value: Any) -> int:  # noqa: ANN401 - any JSON
    """Count the keys of a successful callback of the usual shape.

    Return -1 for any other shape.
    """
    try:
        body = value["Body"]
        callback = body["stkCallback"]
        metadata = callback["CallbackMetadata"]
        items = [len(item) for item in metadata["Item"] if type(item) is dict]
    except (KeyError, TypeError):
        return -1
    return len(value) + len(body) + len(callback) + len(metadata) + sum(items)


def _problems(error: ClassValidationError) -> Iterator[str]:
    """Name each fault by its JSON name, because cattrs names the Python attribute."""
    fields = attrs.fields_dict(error.cl)
    for reason, note in error.group_exceptions()[0]:
        name = fields[note.name].metadata["wire"]
        yield f"$.{name}: {'missing' if isinstance(reason, KeyError) else reason.args[0]}"


# --- errors: four shapes, one reader ------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ErrorAnswer:
    """An error that Daraja or its gateway answered.

    Attributes:
        code: The error code, cleaned, or None if it is missing or empty.
        message: The text, cleaned.
        request_id: Daraja's id of the request. For a pending query it is the CheckoutRequestID.
        from_gateway: Whether the API gateway answered, not Daraja behind it.
    """

    code: str | None
    message: str | None
    request_id: str | None = attrs.field(repr=False)
    from_gateway: bool = False


def read_error(payload: Mapping[str, Any], /) -> ErrorAnswer | None:
    """Return the error in an answer, or None.

    An error has one of four known shapes (docs/daraja.md, section 3).
    """
    for code, message, request_id in (
        ("errorCode", "errorMessage", "requestId"),
        ("ErrorCode", "ErrorMessage", "RequestID"),
    ):
        if code in payload:
            return ErrorAnswer(
                code=_error_code(payload[code]),
                message=clean_text(payload.get(message)),
                request_id=_request_id(payload.get(request_id)),
            )
    fault = payload.get("fault")
    if isinstance(fault, dict):
        detail = fault.get("detail")
        return ErrorAnswer(
            code=_error_code(detail.get("errorcode") if isinstance(detail, dict) else None),
            message=clean_text(fault.get("faultstring")),
            request_id=None,
            from_gateway=True,
        )
    return _soap_fault(payload)


def _soap_fault(payload: Mapping[str, Any]) -> ErrorAnswer | None:
    """Read a fault of the system behind the gateway.

    Its shape is ``{"Envelope": {"Body": {"Fault": ...}}}``.
    """
    fault: object = payload
    for key in ("Envelope", "Body", "Fault"):
        fault = fault.get(key) if isinstance(fault, dict) else None
    if not isinstance(fault, dict):
        return None
    return ErrorAnswer(
        code=None, message=clean_text(fault.get("faultstring")), request_id=None, from_gateway=True
    )


def _error_code(value: object) -> str | None:
    text = clean_text(str(value) if type(value) is int else value)
    return _NOT_IN_CODES.sub("-", text.strip())[:_MAX_ERROR_CODE] or None if text else None


def _request_id(value: object) -> str | None:
    return _UNSAFE.sub(" ", value)[:_MAX_ID] if isinstance(value, str) else None

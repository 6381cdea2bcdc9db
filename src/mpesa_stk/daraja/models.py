"""The typed values that go to Daraja and come back. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import Enum

import attrs

from mpesa_stk.daraja.results import Result, explain
from mpesa_stk.errors import InvalidAmount, InvalidRequest
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import Unpicklable, masked_id_repr, masked_phone_repr

MAX_REFERENCE = 12
MAX_DESCRIPTION = 13
_MOST_WORDS = 255
# Characters such as @ # & are reported to fail in silence (docs/daraja.md, section 2).
_SAFE_TEXT = re.compile(r"[A-Za-z0-9 _./-]*")
CHECKOUT_ID = re.compile(r"[!-~]{1,128}")


def _check_text(field: str, text: object, longest: int) -> str:
    if not isinstance(text, str):
        raise InvalidRequest(field, "must be a string")
    if len(text) > longest:
        raise InvalidRequest(field, f"must be at most {longest} characters")
    if not _SAFE_TEXT.fullmatch(text):
        raise InvalidRequest(field, "may hold only letters, digits, space and - _ . /")
    return text


def check_words(field: str, text: object, /) -> str:
    """Check a text that is stored and never sent to Daraja, and return it.

    Raises:
        InvalidRequest: It is not a string of 1 to 255 printable characters.
    """
    if not isinstance(text, str) or not 1 <= len(text) <= _MOST_WORDS or not text.isprintable():
        rule = f"must be a string of 1 to {_MOST_WORDS} printable characters"
        raise InvalidRequest(field, rule)
    return text


def _check_amount(amount: object, max_amount: int) -> int:
    """Return whole shillings. Only an int or an integral Decimal is accepted."""
    if isinstance(amount, bool) or not isinstance(amount, (int, Decimal)):
        raise InvalidAmount("amount", "must be an int or a whole Decimal, in shillings")
    if isinstance(amount, Decimal) and not amount.is_finite():
        raise InvalidAmount("amount", "must be a finite number")
    if not 1 <= amount <= max_amount:
        raise InvalidAmount("amount", f"must be from 1 to {max_amount} shillings")
    if amount != int(amount):
        raise InvalidAmount("amount", "must be whole shillings: Daraja takes no cents")
    return int(amount)


def shillings_of(text: str, /) -> Decimal:
    """Read an amount that a person typed. `PushRequest.checked` checks its size.

    Raises:
        InvalidAmount: The text is not a number.
    """
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidAmount("amount", "must be a number of shillings") from None


def check_checkout_id(checkout_request_id: object, /) -> str:
    """Check that a CheckoutRequestID can be sent, and return it.

    Raises:
        InvalidRequest: It is not a string of 1 to 128 visible ASCII characters.
    """
    if not isinstance(checkout_request_id, str) or not CHECKOUT_ID.fullmatch(checkout_request_id):
        raise InvalidRequest("checkout_request_id", "must be 1 to 128 visible ASCII characters")
    return checkout_request_id


@attrs.frozen(kw_only=True)
class PushRequest:
    """A checked request to a customer to pay.

    Attributes:
        phone_number: Who gets the prompt and pays.
        amount: Whole shillings.
        reference: Shown in the prompt, 1 to 12 characters.
        description: Up to 13 characters.
        callback_url: The URL to which Daraja posts the result.
    """

    phone_number: PhoneNumber
    amount: int
    reference: str
    description: str
    callback_url: str = attrs.field(repr=False)

    @classmethod
    def checked(
        cls,
        *,
        phone_number: str | PhoneNumber,
        amount: int | Decimal,
        reference: str,
        description: str,
        callback_url: str,
        max_amount: int,
    ) -> PushRequest:
        """Check every field and make the request.

        Raises:
            InvalidRequest: A field breaks a rule. The error names the field and the rule.
        """
        if not isinstance(phone_number, PhoneNumber):
            phone_number = PhoneNumber.parse(phone_number)
        whole_amount = _check_amount(amount, max_amount)
        if not _check_text("reference", reference, MAX_REFERENCE).strip():
            raise InvalidRequest("reference", f"must be 1 to {MAX_REFERENCE} characters")
        return cls(
            phone_number=phone_number,
            amount=whole_amount,
            reference=reference,
            description=_check_text("description", description, MAX_DESCRIPTION),
            callback_url=callback_url,
        )


@attrs.frozen(kw_only=True)
class PushAccepted:
    """Daraja took the push.

    That does not prove that a prompt appeared (docs/daraja.md, section 3).

    Attributes:
        merchant_request_id: Daraja's id of the request.
        checkout_request_id: Daraja's id of the prompt. It may end in the payer's digits.
        response_code: ``"0"``.
        response_description: Daraja's words.
        customer_message: Daraja's words for the customer.
    """

    merchant_request_id: str
    checkout_request_id: str = attrs.field(repr=masked_id_repr)
    response_code: str
    response_description: str
    customer_message: str


class QueryStatus(str, Enum):
    """State of a payment, according to a status query."""

    PAID = "PAID"
    FAILED = "FAILED"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"


@attrs.frozen(kw_only=True)
class QueryResult:
    """Daraja's view of a payment. It never holds a receipt: only the callback does.

    Attributes:
        status: `QueryStatus`. It is FAILED only for codes on the closed list of final ones.
        checkout_request_id: The id that was asked about.
        merchant_request_id: Daraja's id of the request.
        response_code: Daraja's code for the query itself.
        response_description: Daraja's words about the query itself.
        result_code: Result code of the payment, or None if Daraja gave none.
        result_desc: Daraja's words about the payment.
        not_found: Whether Daraja says that it does not know the id. Daraja says so of a valid id too if
            it is asked early, so the status is UNKNOWN and never FAILED (docs/daraja.md, section 4).
    """

    status: QueryStatus
    checkout_request_id: str = attrs.field(repr=masked_id_repr)
    merchant_request_id: str | None = None
    response_code: str | None = None
    response_description: str | None = None
    result_code: str | None = None
    result_desc: str | None = None
    not_found: bool = False

    @property
    def result(self) -> Result | None:
        """The catalogue's entry for the result code, or None if there is no code."""
        return None if self.result_code is None else explain(self.result_code)


@attrs.frozen(kw_only=True)
class Token(Unpicklable):
    """A bearer token.

    Attributes:
        value: The secret itself.
        expires_in: Lifetime in seconds, as Daraja stated it.
        renew_at: Monotonic second of this process from which the token is not used any more.
    """

    value: str = attrs.field(repr=False)
    expires_in: float
    renew_at: float


@attrs.frozen(kw_only=True, slots=False)  # without slots: made in less time
class _CallbackFacts:
    """The fields that every callback result has.

    Attributes:
        checkout_request_id: Daraja's id of the prompt.
        merchant_request_id: Daraja's id of the request, or None if the callback names none.
        result: The catalogue's entry for the result code. Its `code` is Daraja's code as a string of at
            most 40 characters of ``[A-Za-z0-9_.-]``.
        result_desc: Daraja's words on one line, ``""`` if there are none.
    """

    checkout_request_id: str = attrs.field(repr=masked_id_repr)
    merchant_request_id: str | None
    result: Result
    result_desc: str


@attrs.frozen(kw_only=True, slots=False)  # without slots: made in less time
class PaymentConfirmed(_CallbackFacts):
    """The customer paid, with proof.

    Attributes:
        receipt_number: M-Pesa's receipt.
        amount: Shillings, exactly as written in the callback.
        paid_at: When the customer paid, timezone-aware, or None if the callback has no readable date.
        phone_number: Who paid, as written in the callback (perhaps masked), or None.
    """

    receipt_number: str
    amount: Decimal
    paid_at: datetime | None
    phone_number: str | None = attrs.field(repr=masked_phone_repr)


@attrs.frozen(kw_only=True, slots=False)  # without slots: made in less time
class PaymentFailed(_CallbackFacts):
    """The customer did not pay. `result` says why."""


@attrs.frozen(kw_only=True, slots=False)  # without slots: made in less time
class PaymentUnproven(_CallbackFacts):
    """A success code without the proof, or a code that cannot be read.

    The status query must decide. A code that cannot be read is neither a success nor a failure.
    `result.code` then holds its safe characters, with dashes in place of the others, or ``unreadable`` if
    it is not a string or is empty.

    Attributes:
        problems: Each missing or contradicting part, as a JSON path with a kind.
    """

    problems: tuple[str, ...]


CallbackResult = PaymentConfirmed | PaymentFailed | PaymentUnproven
"""Any result of a callback."""

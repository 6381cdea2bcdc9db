"""The whole error tree. A leaf: it imports only the standard library.

A declined or cancelled payment is a result, never an exception. ::

    MpesaError
    ├── ConfigurationError          the settings cannot work: no request was sent
    ├── InvalidRequest              a field breaks a rule: no request was sent
    │   ├── InvalidPhoneNumber
    │   └── InvalidAmount
    ├── OrderRefused                another attempt at the order is in the way: no push was sent
    │   ├── PaymentInProgress       that attempt may still be paid
    │   ├── PaymentUnresolved       it is unknown whether that attempt was paid
    │   └── AlreadyPaid
    ├── TransportError
    │   ├── NotSent                 provably never left: safe to send again
    │   └── OutcomeUnknown          it may have happened: do not send again
    ├── DarajaError                 Daraja refused
    │   ├── AuthenticationFailed    bad key or secret, product not enabled, token refused
    │   ├── RateLimited
    │   └── SubscriberBusy          a prompt is already open on that phone
    ├── UnexpectedResponse          not Daraja's format
    │   └── GatewayBlocked          an HTML block page in front of Daraja
    ├── InvalidCallback
    ├── InvalidStatement            the file is not a statement, or a row of it cannot be read
    ├── CallbackRefused
    └── StoreError
        ├── DuplicateTransaction
        └── IdempotencyConflict     the same key with another payload

Every error has its facts as attributes and can be pickled and copied. Its text never holds a body or a
secret. Texts from outside are cleaned and cut before an error is made of them.
"""

from __future__ import annotations

from typing import Any, Literal

AuthenticationReason = Literal["token_refused", "credentials", "product"]


class MpesaError(Exception):
    """Root of every error this package raises on purpose.

    Attributes:
        transaction_no: The payment concerned, if `Payments.checkout` raised the error.
    """

    transaction_no: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        facts = dict(self.__dict__)
        if "__notes__" in facts:
            facts["__notes__"] = list(facts["__notes__"])  # a note on a copy must stay off this one
        return _rebuild, (type(self), self.args, facts)


def _rebuild(
    kind: type[MpesaError], args: tuple[object, ...], facts: dict[str, object]
) -> MpesaError:
    """Make an error from its parts without calling its `__init__`."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class ConfigurationError(MpesaError):
    """The settings cannot work. No request was sent.

    Attributes:
        problems: Pairs of a setting's name and the rule it breaks, one for each bad setting.
    """

    def __init__(self, problems: tuple[tuple[str, str], ...], /) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {rule}" for name, rule in problems))


class InvalidRequest(MpesaError):
    """A field breaks a rule. No request was sent.

    Attributes:
        field: Name of the field.
        rule: The rule in words. It never holds the rejected value.
    """

    def __init__(self, field: str, rule: str, /) -> None:
        self.field = field
        self.rule = rule
        super().__init__(f"{field}: {rule}")


class InvalidPhoneNumber(InvalidRequest):
    """The phone number is not a Safaricom-style Kenyan mobile number."""


class InvalidAmount(InvalidRequest):
    """The amount is not a whole number of shillings within the limits."""


class OrderRefused(MpesaError):
    """Another attempt at the same order is in the way. No push was sent.

    Attributes:
        transaction_no: That attempt.
    """

    _why = "another attempt at the order is in the way"

    def __init__(self, transaction_no: str, /) -> None:
        self.transaction_no: str = transaction_no
        super().__init__(self._why)


class PaymentInProgress(OrderRefused):
    """An attempt with other details may still be paid. Wait until it has an outcome."""

    _why = "another attempt at the order may still be paid"


class PaymentUnresolved(OrderRefused):
    """It is unknown whether an earlier attempt was paid.

    Look for its receipt. If you accept the risk that the customer pays twice, pass ``unresolved_ok=True``.
    """

    _why = "nobody knows whether an earlier attempt at the order was paid"


class AlreadyPaid(OrderRefused):
    """The order is paid."""

    _why = "the order is paid"


class TransportError(MpesaError):
    """The exchange with the server failed.

    Attributes:
        reason: What happened, in a few constant words.
    """

    def __init__(self, reason: str, /) -> None:
        self.reason = reason
        super().__init__(reason)


class NotSent(TransportError):
    """The request provably never left this machine: safe to send again."""


class OutcomeUnknown(TransportError):
    """The request may have had its effect: do not send it again.

    Wait for the callback, or ask with a status query.

    Attributes:
        http_status: Status of the answer, if there was one that could not be trusted, or None.
    """

    def __init__(self, reason: str, /, *, http_status: int | None = None) -> None:
        super().__init__(reason)
        self.http_status = http_status


class DarajaError(MpesaError):
    """Daraja refused the request.

    Attributes:
        http_status: HTTP status of the answer.
        error_code: Daraja's code, for example ``"400.002.02"``.
        error_message: Daraja's text, cleaned and cut to 200 characters.
        request_id: Daraja's own id of the request, for its support desk.
        retry_after: Seconds to wait, if the server names them, or None.
    """

    def __init__(
        self,
        message: str,
        /,
        *,
        http_status: int,
        error_code: str | None = None,
        error_message: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.error_code = error_code
        self.error_message = error_message
        self.request_id = request_id
        self.retry_after = retry_after


class AuthenticationFailed(DarajaError):
    """Daraja did not accept our credentials.

    Attributes:
        reason: ``"token_refused"`` (the bearer token), ``"credentials"`` (consumer key and secret,
            or shortcode and passkey) or ``"product"`` (the product is not enabled on the app).
    """

    def __init__(self, message: str, /, *, reason: AuthenticationReason, **facts: Any) -> None:  # noqa: ANN401 - DarajaError's own keywords
        super().__init__(message, **facts)
        self.reason = reason


class RateLimited(DarajaError):
    """Daraja or its gateway asks us to slow down.

    `retry_after` says how long, if that is known.
    """


class SubscriberBusy(DarajaError):
    """A prompt is already open on that phone, perhaps ours: wait at least a minute."""


class UnexpectedResponse(MpesaError):
    """The answer is not in Daraja's format.

    Attributes:
        http_status: HTTP status of the answer.
        problems: Each fault, as a JSON path with a kind: ``"$.ResponseCode: missing"``.
    """

    def __init__(
        self, message: str, /, *, http_status: int, problems: tuple[str, ...] = ()
    ) -> None:
        super().__init__(": ".join((message, "; ".join(problems))) if problems else message)
        self.http_status = http_status
        self.problems = problems


class GatewayBlocked(UnexpectedResponse):
    """A web firewall answered with a block page before Daraja saw the request.

    Attributes:
        incident_id: The firewall's id of the incident, which Safaricom's support asks for.
    """

    def __init__(
        self, message: str, /, *, http_status: int, incident_id: str | None = None
    ) -> None:
        super().__init__(message, http_status=http_status)
        self.incident_id = incident_id


class InvalidCallback(MpesaError):
    """The body is not an STK callback.

    Attributes:
        problems: Each fault, as a JSON path with a kind.
    """

    def __init__(self, problems: tuple[str, ...], /) -> None:
        self.problems = problems
        super().__init__("not an STK callback: " + "; ".join(problems))


class InvalidStatement(MpesaError):
    """The file is not a statement of the organisation portal, or a row of it cannot be read.

    The whole file is refused, because a wrong row could settle a wrong payment.

    Attributes:
        problem: What is wrong, in constant words.
        line: Number of the line or row in the file, from 1, or None if it is about the whole file.
        column: Name of the column, or None if it is about the whole line.
        shown: Begin of the line, cleaned and without phone numbers, if the file is not a statement.
    """

    def __init__(
        self,
        problem: str,
        /,
        *,
        line: int | None = None,
        column: str | None = None,
        shown: str | None = None,
    ) -> None:
        self.problem = problem
        self.line = line
        self.column = column
        self.shown = shown
        where = "" if line is None else f"line {line}: "
        where += "" if column is None else f"{column}: "
        super().__init__(f"{where}{problem}" + ("" if shown is None else f": {shown!r}"))


class CallbackRefused(MpesaError):
    """The callback was refused.

    For example, its token or its sender's address is not valid.

    Attributes:
        reason: The cause, in a few constant words.
    """

    def __init__(self, reason: str, /) -> None:
        self.reason = reason
        super().__init__(f"callback refused: {reason}")


class StoreError(MpesaError):
    """The transaction store failed or cannot be reached."""


class DuplicateTransaction(StoreError):
    """Another transaction already has a value that must be unique.

    Attributes:
        field: ``transaction_no``, ``idempotency_key``, ``checkout_request_id``, ``receipt_number`` or
            ``order_slot``.
    """

    def __init__(self, field: str, /) -> None:
        self.field = field
        super().__init__(f"{field} is already in use by another transaction")


class IdempotencyConflict(StoreError):
    """The same idempotency key came with another payload.

    Attributes:
        fields: Names of the fields that differ.
    """

    def __init__(self, fields: tuple[str, ...], /) -> None:
        self.fields = fields
        super().__init__(f"idempotency key was used with another {', '.join(fields)}")

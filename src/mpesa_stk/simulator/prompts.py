"""What happens on the phone, as values: outcomes, scenarios, prompts and their callbacks. Pure.

Codes and texts are those of the collected wire facts, section 5; the callback of a paid prompt has the
shape of Safaricom's own sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from types import MappingProxyType

import attrs

from mpesa_stk.secrecy import masked_id_repr

__all__ = ["EAT", "OUTCOMES", "CallbackDelivery", "Outcome", "Prompt", "Scenario", "callback_body"]

# Deliberately not the client's own constant: a mistake there must show here.
EAT = timezone(timedelta(hours=3), "EAT")
"""East Africa Time."""

_LONGEST_DELAY = 86_400.0


@attrs.frozen(kw_only=True)
class Outcome:
    """How a prompt ends.

    Attributes:
        code: Daraja's ResultCode.
        description: Daraja's ResultDesc.
    """

    code: int
    description: str

    @property
    def paid(self) -> bool:
        """Whether money moves."""
        return self.code == 0


OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        "paid": Outcome(code=0, description="The service request is processed successfully."),
        "cancelled": Outcome(code=1032, description="Request cancelled by user"),
        "wrong-pin": Outcome(code=2001, description="The initiator information is invalid."),
        "no-funds": Outcome(code=1, description="The balance is insufficient for the transaction."),
        "unreachable": Outcome(code=1037, description="DS timeout user cannot be reached."),
        "expired": Outcome(code=1019, description="Transaction has expired"),
    }
)
"""How a prompt can end, by name."""


@attrs.frozen(kw_only=True)
class Scenario:
    """What becomes of a push that is accepted.

    Attributes:
        outcome: How its prompt ends: a name of `OUTCOMES`.
        answer_after: Seconds from the push until then.
    """

    outcome: str = attrs.field(default="paid", validator=attrs.validators.in_(tuple(OUTCOMES)))
    answer_after: float = attrs.field(
        default=1.0,
        validator=[attrs.validators.ge(0.0), attrs.validators.le(_LONGEST_DELAY)],
    )


@attrs.frozen(kw_only=True)
class Prompt:
    """A prompt on a phone, and what is already settled about its end.

    Attributes:
        merchant_request_id: Id of the push.
        checkout_request_id: Id of the prompt; it ends in the phone's digits.
        phone_number: The phone, ``254`` and nine digits.
        amount: Whole shillings.
        callback_url: Where the result is posted.
        outcome: How it ends.
        ends: When, by the calendar.
        ends_at: When, as a monotonic second.
        receipt_number: The receipt that a paid one gets.
    """

    merchant_request_id: str
    checkout_request_id: str = attrs.field(repr=masked_id_repr)
    phone_number: str = attrs.field(repr=False)
    amount: int
    callback_url: str = attrs.field(repr=False)
    outcome: Outcome
    ends: datetime
    ends_at: float
    receipt_number: str


@attrs.frozen(kw_only=True)
class CallbackDelivery:
    """A callback to be posted.

    Attributes:
        due_at: When, as a monotonic second.
        url: Where to.
        body: What.
    """

    due_at: float
    url: str = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


def callback_body(prompt: Prompt, /) -> bytes:
    """The callback about a prompt, byte for byte as Daraja writes it."""
    facts = {
        "MerchantRequestID": prompt.merchant_request_id,
        "CheckoutRequestID": prompt.checkout_request_id,
        "ResultCode": prompt.outcome.code,
        "ResultDesc": prompt.outcome.description,
    }
    metadata = f',"CallbackMetadata":{_metadata(prompt)}' if prompt.outcome.paid else ""
    text = json.dumps(facts, separators=(",", ":"))
    return f'{{"Body":{{"stkCallback":{text[:-1]}{metadata}}}}}}}'.encode()


def _metadata(prompt: Prompt) -> str:
    """The items of a payment. Not by `json.dumps`, which cannot write an amount as ``1.00``."""
    values = {
        "Amount": f"{prompt.amount}.00",
        "MpesaReceiptNumber": f'"{prompt.receipt_number}"',
        "TransactionDate": f"{prompt.ends.astimezone(EAT):%Y%m%d%H%M%S}",
        "PhoneNumber": prompt.phone_number,
    }
    items = ",".join(f'{{"Name":"{name}","Value":{value}}}' for name, value in values.items())
    return f'{{"Item":[{items}]}}'

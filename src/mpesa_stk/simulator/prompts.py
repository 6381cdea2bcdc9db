"""Prompts on phones and the callbacks about them, as values. Pure.

The callback of a paid prompt has the shape of Safaricom's own sample (facts, section 6).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import attrs

from mpesa_stk.secrecy import masked_id_repr
from mpesa_stk.simulator.outcomes import OUTCOMES, Outcome
from mpesa_stk.simulator.scenarios import Scenario, Shape

__all__ = [
    "EAT",
    "CallbackDelivery",
    "Prompt",
    "callback_body",
    "payment_items",
    "written_callback",
]

# Deliberately not the client's own constant: a mistake there must show here.
EAT = timezone(timedelta(hours=3), "EAT")
"""East Africa Time."""


@attrs.frozen(kw_only=True)
class Prompt:
    """A prompt on a phone.

    Attributes:
        merchant_request_id: Id of the push.
        checkout_request_id: Id of the prompt; it ends in the phone's digits.
        phone_number: The phone, ``254`` and nine digits.
        amount: Whole shillings.
        reference: What is paid for, as the phone shows it.
        callback_url: Where the result is posted.
        scenario: What becomes of it.
        opened: When the phone rang, aware.
        ends: When it is answered, or runs out, aware.
        ends_at: The same as a monotonic second.
        answer: How it ends: a name of `OUTCOMES`.
        receipt_number: The receipt that a paid one gets.
        requester: The address from which it was asked for; nothing where there is no network.
    """

    merchant_request_id: str
    checkout_request_id: str = attrs.field(repr=masked_id_repr)
    phone_number: str = attrs.field(repr=False)
    amount: int
    reference: str
    callback_url: str = attrs.field(repr=False)
    scenario: Scenario
    opened: datetime
    ends: datetime
    ends_at: float
    answer: str
    receipt_number: str
    requester: str = ""

    @property
    def outcome(self) -> Outcome:
        """How it ends, in Daraja's words."""
        return OUTCOMES[self.answer]


@attrs.frozen(kw_only=True)
class CallbackDelivery:
    """A callback to be posted.

    Attributes:
        checkout_request_id: The prompt that it is about.
        due_at: When, as a monotonic second.
        url: Where to.
        body: What.
        tries_left: How often it is posted again where it is not taken.
        requester: The address from which the push came; nothing where there is no network.
    """

    checkout_request_id: str = attrs.field(repr=masked_id_repr)
    due_at: float
    url: str = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    tries_left: int = 0
    requester: str = ""


def callback_body(prompt: Prompt, /) -> bytes:
    """The callback about a prompt, byte for byte as Daraja writes it."""
    items = payment_items(
        amount=prompt.amount,
        receipt_number=prompt.receipt_number,
        paid_at=prompt.ends,
        phone_number=prompt.phone_number,
        shape=prompt.scenario.shape,
    )
    return written_callback(
        merchant_request_id=prompt.merchant_request_id,
        checkout_request_id=prompt.checkout_request_id,
        outcome=prompt.outcome,
        items=items if prompt.outcome.paid else None,
    )


def written_callback(
    *,
    merchant_request_id: str,
    checkout_request_id: str,
    outcome: Outcome,
    items: Mapping[str, str | None] | None,
) -> bytes:
    """A callback as Daraja writes it; the items by name, each as JSON or None for one without a value.

    Not by `json.dumps` alone, which cannot write an amount as ``1.00``.
    """
    facts = {
        "MerchantRequestID": merchant_request_id,
        "CheckoutRequestID": checkout_request_id,
        "ResultCode": outcome.code,
        "ResultDesc": outcome.description,
    }
    text = json.dumps(facts, separators=(",", ":"))
    if items is not None:
        listed = ",".join(_item(name, value) for name, value in items.items())
        text = f'{text[:-1]},"CallbackMetadata":{{"Item":[{listed}]}}}}'
    return f'{{"Body":{{"stkCallback":{text}}}}}'.encode()


def payment_items(
    *,
    amount: int | Decimal,
    receipt_number: str,
    paid_at: datetime,
    phone_number: str,
    shape: Shape,
) -> dict[str, str | None]:
    """The items of a payment in Daraja's order, each as JSON."""
    values: dict[str, str | None] = {
        "Amount": f"{amount:.2f}",
        "MpesaReceiptNumber": json.dumps(receipt_number),
        "TransactionDate": f"{paid_at.astimezone(EAT):%Y%m%d%H%M%S}",
        "PhoneNumber": phone_number,
    }
    if shape is Shape.STRING_AMOUNT:
        values["Amount"] = f'"{amount}"'
    elif shape is Shape.MASKED_PHONE:
        values["PhoneNumber"] = f'"{phone_number[:6]}***{phone_number[-3:]}"'
    elif shape is Shape.NO_PHONE:
        del values["PhoneNumber"]
    elif shape is Shape.BARE_BALANCE:
        values["Balance"] = None
    return values


def _item(name: str, value: str | None) -> str:
    return f'{{"Name":"{name}"}}' if value is None else f'{{"Name":"{name}","Value":{value}}}'

"""Prompts on phones and their callbacks, as values. Pure.

The callback of a paid prompt has the form of Safaricom's own sample (docs/daraja.md, section 6).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import attrs

from mpesa_stk.privacy import masked_id_repr
from mpesa_stk.simulator.scenarios import OUTCOMES, Outcome, Scenario, Shape

# Not the client's constant: a mistake there must show here.
EAT = timezone(timedelta(hours=3), "EAT")
"""East Africa Time."""


@attrs.frozen(kw_only=True)
class Prompt:
    """A prompt on a phone.

    Attributes:
        merchant_request_id: Id of the push.
        checkout_request_id: Id of the prompt. It ends in the phone's digits.
        phone_number: The phone, ``254`` and nine digits.
        amount: Whole shillings.
        reference: The reference of the payment, as the phone shows it.
        callback_url: Address of the callback.
        scenario: The scenario that it plays.
        opened: Time at which the phone rang, aware.
        ends: Time at which it is answered, or runs out, aware.
        ends_at: The same as a monotonic second.
        answer: The way in which it ends: a name of `OUTCOMES`.
        receipt_number: The receipt, if it is paid.
        requester: Address of the client that pushed, or empty without a network.
        business: The account that is paid, such as ``paybill 174379``.
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
    business: str = ""

    @property
    def outcome(self) -> Outcome:
        """The way in which it ends, in Daraja's words."""
        return OUTCOMES[self.answer]


@attrs.frozen(kw_only=True)
class CallbackDelivery:
    """A callback to post.

    Attributes:
        checkout_request_id: Id of its prompt.
        due_at: Monotonic second at which it is posted.
        url: Address.
        body: Body.
        tries_left: Number of further tries if the receiver does not take it.
        requester: Address of the client that pushed, or empty without a network.
    """

    checkout_request_id: str = attrs.field(repr=masked_id_repr)
    due_at: float
    url: str = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    tries_left: int = 0
    requester: str = ""


def checkout_id(moment: datetime, phone_number: str, /) -> str:
    """A CheckoutRequestID: ``ws_CO_DDMMYYYYHHMMSSmmm`` and the phone's nine digits."""
    shown = moment.astimezone(EAT)
    stamp = f"{shown:%d%m%Y%H%M%S}{shown.microsecond // 1000:03}"
    return f"ws_CO_{stamp}{phone_number[3:]}"


def callback_body(prompt: Prompt, /) -> bytes:
    """The callback of a prompt, byte for byte as Daraja writes it."""
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
    """A callback as Daraja writes it.

    Args:
        merchant_request_id: Id of the push.
        checkout_request_id: Id of the prompt.
        outcome: The way in which the prompt ended.
        items: JSON text of each item by name, or None for an item without a value. None if the
            customer did not pay.
    """
    # `json.dumps` cannot write an amount as 1.00, so the items are put together as text.
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
    """The items of a payment in Daraja's order, each as JSON text."""
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

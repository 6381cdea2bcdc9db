"""Make the request of a form, and choose the words for the customer."""

import json
from collections.abc import Mapping

from mpesa_stk import OrderState, OrderStatus, TransactionState, WebRequest, WebResponse

CANCELLED = ("1031", "1032")
PROBLEMS = {
    "InvalidPhoneNumber": "This is no Kenyan mobile number. Write it as 0712 345 678.",
    "AlreadyPaid": "This order is paid already. We did not ask for money again.",
    "PaymentInProgress": "This order already waits for an answer on a phone. We did not ask again.",
    "PaymentUnresolved": "We do not know yet if the last try was paid. Please do not pay again.",
    "prompt_open": "Another request is open on this phone. Answer it first, or wait three minutes.",
    "SubscriberBusy": "Another request is open on this phone. Answer it first, or wait a minute.",
    "too_many_prompts": "This phone was asked too often. Please try again in an hour.",
}
OTHERWISE = "We could not ask for the payment just now. Please try again in a minute."


def checkout_of(
    order: str,
    phone_number: str,
    headers: Mapping[str, str],
    remote_addr: str | None,
    *,
    reference: str,
    path: str = "/payments/checkout/",
) -> WebRequest:
    """The request that a form makes: as a page's JSON, so that it has the same price and limits."""
    asked = {"phone_number": phone_number, "order": order, "reference": reference}
    return WebRequest(
        method="POST",
        path=path,
        headers={**headers, "Content-Type": "application/json"},
        body=json.dumps(asked).encode(),
        remote_addr=remote_addr,
    )


def problem_of(answer: WebResponse) -> str | None:
    """Why the customer was not asked, or None if he was."""
    if answer.status in (200, 202):
        return None
    return PROBLEMS.get(json.loads(answer.body)["error"]["code"], OTHERWISE)


def heading_of(status: OrderStatus) -> str:
    """The state of an order, in a few words."""
    last = status.deciding
    if status.paid:
        return "Paid"
    if status.state is OrderState.UNRESOLVED:
        return "We do not know yet"
    if last is None:
        return "Not paid yet"
    if last.state is TransactionState.UNCERTAIN:
        return "We do not know if the request reached your phone"
    if status.state is OrderState.IN_PROGRESS:
        return "Look at your phone"
    return "You cancelled" if last.result_code in CANCELLED else "Not paid"

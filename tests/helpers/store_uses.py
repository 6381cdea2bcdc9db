"""Each use of a store by a payment or token whose parts no error may show."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs

from mpesa_stk import KeptCallback, Token
from secret_scenes import MARK, PHONE
from support import ACCOUNTS, START, TOKEN, make_transaction

__all__ = ["APP", "CHECKOUT_ID", "KEPT", "PAYMENT", "TOKEN_USES", "USES", "caught_by", "new_token"]


def new_token(more: str = "", *, renew_at: float = 3_000.0) -> Token:
    """A token; of a later process, with more behind it."""
    return Token(value=TOKEN + more, expires_in=3599.0, renew_at=renew_at)


def caught_by(use: Callable[[Any], object], store: object) -> BaseException | None:
    """What a store raises."""
    try:
        use(store)
    except BaseException as error:  # noqa: BLE001 - `Interrupted` is none of Exception
        return error
    return None


APP = "0123456789abcdef" * 4
CHECKOUT_ID = f"ws_CO_23112026090000123{PHONE[1:]}"
PAYMENT = make_transaction(
    phone_number=f"+254{PHONE[1:]}", checkout_request_id=CHECKOUT_ID, idempotency_key="order-1"
)
KEPT = KeptCallback(
    callback_id="0" * 64,
    body=MARK.encode(),
    reason="x",
    received=START,
    checkout_request_id=CHECKOUT_ID,
)
USES: dict[str, Callable[[Any], object]] = {
    "add": lambda store: store.add(PAYMENT),
    "add what cannot be stored": lambda store: store.add(attrs.evolve(PAYMENT, reference="\0")),
    "add the id of another": lambda store: store.add(attrs.evolve(PAYMENT, transaction_no="2")),
    "get": lambda store: store.get(PAYMENT.transaction_no),
    "find": lambda store: store.find(checkout_request_id=CHECKOUT_ID),
    "replace": lambda store: store.replace(attrs.evolve(PAYMENT, amount=7)),
    "claim": lambda store: store.claim_due(PAYMENT.expires_at, 1, timedelta(seconds=9), ACCOUNTS),
    "keep": lambda store: store.keep_callback(KEPT),
    "kept": lambda store: store.kept_callbacks(checkout_request_id=CHECKOUT_ID),
    "drop": lambda store: store.drop_callback(KEPT.callback_id),
    "purge": lambda store: store.purge_callbacks(PAYMENT.expires_at, 1),
}
TOKEN_USES: dict[str, Callable[[Any], object]] = {
    "load": lambda store: store.load(APP),
    "save": lambda store: store.save(APP, new_token("2", renew_at=9_999.0)),
    "save what cannot be stored": lambda store: store.save(APP, new_token("\0")),
    "save without an end": lambda store: store.save(APP, new_token(renew_at=float("inf"))),
    "drop": lambda store: store.drop(APP, new_token()),
}

"""Signed callback URLs: a callback proves which payment it belongs to. Pure.

Safaricom signs nothing, so each push carries a callback URL of its own:
``<callback_url>/<transaction_no>.<tag>/``. The tag is the first 128 bits of an HMAC-SHA256 over
transaction_no, amount and account, in hex: no word that Safaricom bans can appear by chance.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from mpesa_stk.payments.transaction import Transaction

__all__ = ["is_genuine", "signed_url", "transaction_no_of"]

_TAG_LENGTH = 32
_TOKEN = re.compile(r"([0-9a-f-]{36})\.([0-9a-f]{32})")


def _tag(transaction: Transaction, secret: str) -> str:
    claim = f"{transaction.transaction_no}|{transaction.amount}|{transaction.account}"
    return hmac.new(secret.encode(), claim.encode(), hashlib.sha256).hexdigest()[:_TAG_LENGTH]


def signed_url(callback_url: str, transaction: Transaction, secret: str, /) -> str:
    """The callback URL of one payment."""
    tag = _tag(transaction, secret)
    return f"{callback_url.rstrip('/')}/{transaction.transaction_no}.{tag}/"


def transaction_no_of(token: str, /) -> str | None:
    """The payment that a token claims to belong to; None where it is no token at all."""
    match = _TOKEN.fullmatch(token)
    return match[1] if match else None


def is_genuine(token: str, transaction: Transaction, secrets: tuple[str, ...], /) -> bool:
    """Whether one of the secrets signed this token for this payment; takes constant time."""
    given = token.rpartition(".")[2].encode()
    verdicts = [
        hmac.compare_digest(given, _tag(transaction, secret).encode()) for secret in secrets
    ]
    return any(verdicts)

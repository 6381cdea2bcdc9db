"""Sign callback URLs, so that a callback's token proves its payment. Pure.

Safaricom does not sign callbacks, so each push has its own callback URL:
``<callback_url>/<transaction_no>.<tag>/``. The tag is the first 128 bits of an HMAC-SHA256 over
transaction_no, amount and account, in hex. Hex digits cannot form a word that Safaricom bans.
"""

from __future__ import annotations

import hashlib
import hmac
import re

_TAG_LENGTH = 32
_TOKEN = re.compile(r"([0-9a-f-]{36})\.([0-9a-f]{32})")


def signed_url(
    callback_url: str, secret: str, /, *, transaction_no: str, amount: int, account: str
) -> str:
    """Return the signed callback URL of one payment."""
    tag = _tag(transaction_no, amount, account, secret)
    return f"{callback_url.rstrip('/')}/{transaction_no}.{tag}/"


def transaction_no_of(token: str, /) -> str | None:
    """Return the transaction_no in a token, or None if it is malformed.

    The tag is not checked.
    """
    match = _TOKEN.fullmatch(token)
    return match[1] if match else None


def is_genuine(
    token: str, secrets: tuple[str, ...], /, *, transaction_no: str, amount: int, account: str
) -> bool:
    """Return whether one of the secrets signed this token for this payment.

    The comparison takes constant time.
    """
    given = token.rpartition(".")[2].encode()
    tags = [_tag(transaction_no, amount, account, secret).encode() for secret in secrets]
    verdicts = [hmac.compare_digest(given, tag) for tag in tags]
    return any(verdicts)


def _tag(transaction_no: str, amount: int, account: str, secret: str) -> str:
    claim = f"{transaction_no}|{amount}|{account}"
    return hmac.new(secret.encode(), claim.encode(), hashlib.sha256).hexdigest()[:_TAG_LENGTH]

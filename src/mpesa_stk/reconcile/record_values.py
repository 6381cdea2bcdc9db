"""Read single values of Safaricom's records: receipts, amounts, times, phones. Pure.

Each reader returns None if a value is not what it should be. It never guesses.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from mpesa_stk.daraja.protocol import NAIROBI
from mpesa_stk.privacy import printable

CENT = Decimal("0.01")
_RECEIPT = re.compile(r"[A-Za-z0-9]{6,20}")
# Thousands may have commas. A comma for the cents is refused, and so is a number with three decimals.
_AMOUNT = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3}){1,3}|[0-9]{1,12})(?:\.[0-9]{1,9})?")
_PORTAL_TIME = re.compile(
    r"([0-9]{1,2})([-/])([0-9]{1,2})\2(2[0-9]{3})(?: +([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?)?"
)
_PULL_TIME = re.compile(
    r"(2[0-9]{3}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?(Z|[+]0[03]:?00)?",
    re.IGNORECASE,
)
_PHONE = re.compile(r"\+?([0-9*]{8,15})(?![0-9A-Za-z*])")
_MOST_WORDS = 255


def receipt_of(text: str, /) -> str | None:
    """Return a receipt in capitals, or None."""
    return text.upper() if _RECEIPT.fullmatch(text) else None


def amount_of(text: str, /) -> Decimal | None:
    """Return shillings, perhaps negative, exactly as written, or None."""
    if not _AMOUNT.fullmatch(text):
        return None
    amount = Decimal(text.replace(",", ""))
    return amount if amount == amount.quantize(CENT) else None


def portal_time(text: str, /) -> tuple[datetime, timedelta] | None:
    """Read a time of the portal: ``25-09-2026 10:32:37``, or ``25/9/2026 10:32``, in Nairobi.

    Returns:
        The moment, aware, and how long the second, minute or day lasts that the text names. None if the
        text is anything else.
    """
    match = _PORTAL_TIME.fullmatch(text)
    if match is None:
        return None
    day, _, month, year, hour, minute, second = match.groups()
    try:
        moment = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            tzinfo=NAIROBI,
        )
    except ValueError:
        return None
    if hour is None:
        return moment, timedelta(days=1)
    return moment, timedelta(minutes=1) if second is None else timedelta(seconds=1)


def pull_time(text: str, /) -> datetime | None:
    """Read the time of a pulled row, or return None.

    Rows with ``Z`` were seen whose digits are Nairobi's (docs/daraja.md, section 11). So the digits are
    read as Nairobi's, with ``+03:00``, with ``Z`` and without either.
    """
    match = _PULL_TIME.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}+03:00").astimezone(timezone.utc)
    except ValueError:
        return None


def phone_of(text: str, /) -> str | None:
    """Return the phone number with which a text begins, as it is masked, or None."""
    match = _PHONE.match(text.strip())
    return match[1] if match and any(map(str.isdigit, match[1])) else None


def words_of(text: str, /) -> str | None:
    """Return a text on one line, or None if it is empty."""
    return printable(text).strip()[:_MOST_WORDS] or None

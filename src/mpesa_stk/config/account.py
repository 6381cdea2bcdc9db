"""The account that is paid: a paybill or a till. A leaf, pure.

The two differ on the wire and cannot be mixed: Daraja answers a mix with 2028 or SFC_IC0003
(docs/daraja.md, section 7).
"""

from __future__ import annotations

import re

import attrs

from mpesa_stk.errors import ConfigurationError

_SHORTCODE = re.compile(r"[0-9]{5,7}")
_TILL_NUMBER = re.compile(r"[0-9]{4,10}")
_TILL = re.compile(r"till (\S+) of store (\S+)")
_PAYBILL = re.compile(r"paybill (\S+)")
_RULES = {
    "shortcode": "must be a string of 5 to 7 digits",
    "store_number": "must be a string of 5 to 7 digits",
    "till_number": "must be a string of 4 to 10 digits",
}


def _refuse_unless(**valid: bool) -> None:
    """Raise one error that names every field that is not valid."""
    problems = tuple((field, _RULES[field]) for field, good in valid.items() if not good)
    if problems:
        raise ConfigurationError(problems)


def _has_shape(value: object, shape: re.Pattern[str]) -> bool:
    return isinstance(value, str) and shape.fullmatch(value) is not None


@attrs.frozen
class PayBill:
    """A paybill that is paid.

    Attributes:
        shortcode: The paybill's number, 5 to 7 digits.
    """

    shortcode: str

    def __attrs_post_init__(self) -> None:
        _refuse_unless(shortcode=_has_shape(self.shortcode, _SHORTCODE))

    @property
    def party_b(self) -> str:
        """PartyB on the wire: the paybill itself."""
        return self.shortcode

    @property
    def transaction_type(self) -> str:
        """Daraja's name for paying a paybill."""
        return "CustomerPayBillOnline"

    def __str__(self) -> str:
        return f"paybill {self.shortcode}"


@attrs.frozen(kw_only=True)
class Till:
    """A till (Buy Goods) that is paid.

    Attributes:
        store_number: The store or head-office number used at go-live, 5 to 7 digits. Daraja expects it as
            BusinessShortCode. The till number there gives "Merchant does not exist".
        till_number: The number that customers pay to.
    """

    store_number: str
    till_number: str

    def __attrs_post_init__(self) -> None:
        _refuse_unless(
            store_number=_has_shape(self.store_number, _SHORTCODE),
            till_number=_has_shape(self.till_number, _TILL_NUMBER),
        )

    @property
    def shortcode(self) -> str:
        """BusinessShortCode on the wire: the store number."""
        return self.store_number

    @property
    def party_b(self) -> str:
        """PartyB on the wire: the till."""
        return self.till_number

    @property
    def transaction_type(self) -> str:
        """Daraja's name for paying a till."""
        return "CustomerBuyGoodsOnline"

    def __str__(self) -> str:
        return f"till {self.till_number} of store {self.store_number}"


def short_names(account: str, /) -> tuple[str, ...]:
    """Return the short names of an account: its shortcode, or its till and store numbers."""
    till, paybill = _TILL.fullmatch(account), _PAYBILL.fullmatch(account)
    if till is not None:
        return till[1], till[2]
    return (paybill[1],) if paybill is not None else ()

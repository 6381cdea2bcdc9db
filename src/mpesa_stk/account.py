"""Who is paid: a paybill or a till. A leaf, pure.

They differ on the wire and cannot be mixed: Daraja answers a mix with 2028 or SFC_IC0003 (facts,
section 7).
"""

from __future__ import annotations

import re

import attrs

from mpesa_stk.errors import ConfigurationError

__all__ = ["PayBill", "Till"]

_SHORTCODE = re.compile(r"[0-9]{5,7}")
_TILL_NUMBER = re.compile(r"[0-9]{4,10}")


def _require(field: str, value: object, shape: re.Pattern[str], rule: str) -> None:
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise ConfigurationError(((field, rule),))


@attrs.frozen
class PayBill:
    """Money goes to a paybill.

    Attributes:
        shortcode: The paybill's number, 5 to 7 digits.
    """

    shortcode: str = attrs.field()

    @shortcode.validator
    def _check(self, _attribute: object, value: object) -> None:
        _require("shortcode", value, _SHORTCODE, "must be a string of 5 to 7 digits")

    @property
    def party_b(self) -> str:
        """Who is paid, on the wire: the paybill itself."""
        return self.shortcode

    @property
    def transaction_type(self) -> str:
        """Daraja's name for paying a paybill."""
        return "CustomerPayBillOnline"

    def __str__(self) -> str:
        return f"paybill {self.shortcode}"


@attrs.frozen(kw_only=True)
class Till:
    """Money goes to a till (Buy Goods).

    Attributes:
        store_number: The store or head-office number used at go-live, 5 to 7 digits. Daraja wants
            it as BusinessShortCode; the till there gives "Merchant does not exist".
        till_number: The number that customers pay to.
    """

    store_number: str = attrs.field()
    till_number: str = attrs.field()

    @store_number.validator
    def _check_store(self, _attribute: object, value: object) -> None:
        _require("store_number", value, _SHORTCODE, "must be a string of 5 to 7 digits")

    @till_number.validator
    def _check_till(self, _attribute: object, value: object) -> None:
        _require("till_number", value, _TILL_NUMBER, "must be a string of 4 to 10 digits")

    @property
    def shortcode(self) -> str:
        """BusinessShortCode on the wire: the store number."""
        return self.store_number

    @property
    def party_b(self) -> str:
        """Who is paid, on the wire: the till."""
        return self.till_number

    @property
    def transaction_type(self) -> str:
        """Daraja's name for paying a till."""
        return "CustomerBuyGoodsOnline"

    def __str__(self) -> str:
        return f"till {self.till_number} of store {self.store_number}"

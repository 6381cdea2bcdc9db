"""Read Kenyan mobile numbers as people type them. A leaf.

Safaricom documents only ``2547XXXXXXXX``, but ``2541XXXXXXXX`` is in use too. A number can move to another
operator, so the operator's prefix is not checked (docs/daraja.md, section 2).
"""

from __future__ import annotations

import re

import attrs

from mpesa_stk.errors import InvalidPhoneNumber
from mpesa_stk.privacy import hides_locals, masked_phone_repr

_MAX_TYPED = 40
# Many people keep the trunk zero after 254. The length shows that it is not a digit of the number.
_match = re.compile(r"(?:(?:\+|00)?2540?|0)?([17][0-9]{8})").fullmatch
# Text that is copied together with a number from a phone, a spreadsheet or a contact card.
_SCHEME = "tel:"
_SPACES = (
    "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_MARKS = (
    "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060"
    "\u2066\u2067\u2068\u2069\ufeff"
)
_PLAIN = str.maketrans(_SPACES + _DASHES, " " * len(_SPACES) + "-" * len(_DASHES), _MARKS)


def normalize_phone(text: str, /) -> str:
    """Return the MSISDN of a Kenyan mobile number, for example ``"254718643064"``.

    It accepts ``07…``, ``01…``, ``7…``, ``1…``, ``+254…``, ``254…`` and ``00254…``. There may be spaces,
    dashes, dots and brackets between the digits, and a zero after 254: ``+254 (0) 7…``, ``+254 07…``. It
    drops white space around the number, ``tel:`` in front, and the Unicode spaces, dashes and direction
    marks of a copied number.

    Args:
        text: The number as a person typed it.

    Raises:
        InvalidPhoneNumber: The text is anything else. The error says why and does not repeat the text.
    """
    if isinstance(text, str):
        match = _match(text) or _match(_compact(text))
        if match is not None:
            return "254" + match[1]
    rule = _why(text)
    del text  # some tools print a traceback with the locals of each frame
    raise InvalidPhoneNumber("phone_number", rule)


def _compact(text: str) -> str:
    """Remove the characters that people put between digits.

    A text that is too long gives ``""``.
    """
    if len(text) > _MAX_TYPED:
        return ""
    if not text.isascii():
        text = text.translate(_PLAIN)
    text = text.strip()
    if text[:4].lower() == _SCHEME:
        text = text[4:]
    text = text.replace(" ", "").replace("-", "").replace(".", "")
    return text.replace("(", "").replace(")", "")


def _why(text: object) -> str:
    """Return the rule that a number breaks, in words for a person."""
    if not isinstance(text, str):
        return f"must be a string, not {type(text).__name__}"
    if len(text) > _MAX_TYPED:
        return f"is longer than {_MAX_TYPED} characters"
    digits = _compact(text)
    if not digits:
        return "is empty"
    if not re.fullmatch(r"\+?[0-9]+", digits):
        return "may hold only the digits 0-9, spaces, dashes, dots, brackets and a leading +"
    if digits.startswith(("+", "00")) and not digits.startswith(("+254", "00254")):
        return "is not a Kenyan number (+254)"
    national = re.sub(r"^(?:(?:\+|00)?254(?:0(?=.{9}$))?|0)", "", digits)
    if len(national) != len("712345678"):
        length = "short" if len(national) < len("712345678") else "long"
        return f"is too {length}: nine digits must follow 0 or +254"
    return "is not a mobile number: those start with 07, 01, +2547 or +2541"


@attrs.frozen
class PhoneNumber:
    """A Kenyan mobile number. Its repr is masked.

    Attributes:
        msisdn: ``254`` and nine digits, as Daraja expects it.
    """

    msisdn: str = attrs.field(repr=masked_phone_repr)

    def __attrs_post_init__(self) -> None:
        if normalize_phone(self.msisdn) != self.msisdn:
            raise InvalidPhoneNumber("phone_number", "must be 254 and nine digits")

    @classmethod
    @hides_locals
    def parse(cls, text: str, /) -> PhoneNumber:
        """Read a number as a person typed it.

        Raises:
            InvalidPhoneNumber: The text is not a Kenyan mobile number (see `normalize_phone`).
        """
        return cls(normalize_phone(text))

    @property
    def e164(self) -> str:
        """International form: ``+254718643064``."""
        return "+" + self.msisdn

    @property
    def local(self) -> str:
        """The form printed in Kenya: ``0718643064``."""
        return "0" + self.msisdn[3:]

    @property
    def masked(self) -> str:
        """The form for logs and screens: ``254718***064``."""
        return f"{self.msisdn[:6]}***{self.msisdn[-3:]}"

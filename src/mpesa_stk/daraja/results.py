"""The catalogue of result codes: the meaning of each and the advice. Pure.

Source: docs/daraja.md, section 5. Evidence is ``official`` if Safaricom's own portal states the code,
``reported`` if only integrators do, and ``unknown`` for any other code.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Literal

import attrs

PAID_CODE = "0"
Language = Literal["en", "sw"]
Evidence = Literal["official", "reported", "unknown"]


class RetryAdvice(str, Enum):
    """Whether the customer may be asked for the same money again, with a new payment."""

    NO = "no"
    """Do not ask: the customer has paid, may still pay, or cannot pay."""
    YES = "yes"
    """Ask again after `wait_seconds`: no money moved and no prompt is open."""
    CONFIRM = "confirm"
    """Ask again only after making sure that this attempt did not go through."""
    OTHER_AMOUNT = "other_amount"
    """Ask for another amount: this one cannot work."""
    FIX_SETUP = "fix_setup"
    """Correct the merchant's settings before asking again."""


@attrs.frozen(kw_only=True)
class Result:
    """The meaning of a result code.

    Attributes:
        code: Daraja's code, always as a string (``"1032"``, ``"SFC_IC0003"``).
        meaning: Explanation for developers, in English.
        final: Whether this code settles the payment when a status query answers it.
        retry: Whether a new payment may be offered.
        wait_seconds: Seconds to wait before a new payment.
        evidence: ``official``, ``reported`` or ``unknown``.
    """

    code: str
    meaning: str
    final: bool
    retry: RetryAdvice
    wait_seconds: int = 0
    evidence: Evidence
    _english: str = attrs.field(alias="english", repr=False)
    _swahili: str = attrs.field(alias="swahili", repr=False)

    def message(self, language: Language = "en", /) -> str:
        """Return a message for the customer, in English (``en``) or Swahili (``sw``)."""
        return self._swahili if language == "sw" else self._english


_SETUP_EN = "This business cannot take M-Pesa payments right now. You have not been charged."
_SETUP_SW = "Biashara hii haiwezi kupokea malipo ya M-Pesa kwa sasa. Hujatozwa pesa."
_PROMPT_EN = "We could not show the M-Pesa prompt on your phone. Please try again in a moment."
_PROMPT_SW = (
    "Ombi la M-Pesa halikufika kwenye simu yako. Tafadhali jaribu tena baada ya muda mfupi."
)
_WAIT_EN = "Your payment is still being processed. Please do not pay again yet."
_WAIT_SW = "Malipo yako bado yanashughulikiwa. Tafadhali usilipe tena kwa sasa."
_UNSURE_EN = (
    "We could not confirm your payment. Please check your M-Pesa messages before paying again."
)
_UNSURE_SW = (
    "Hatukuweza kuthibitisha malipo yako. Tafadhali angalia ujumbe wa M-Pesa kabla ya kulipa tena."
)


def _entry(  # noqa: PLR0913 - one row of a table
    code: str,
    evidence: Evidence,
    retry: RetryAdvice,
    meaning: str,
    english: str,
    swahili: str,
    *,
    final: bool = True,
    wait_seconds: int = 0,
) -> Result:
    return Result(
        code=code,
        meaning=meaning,
        final=final,
        retry=retry,
        wait_seconds=wait_seconds,
        evidence=evidence,
        english=english,
        swahili=swahili,
    )


_CANCELLED: tuple[tuple[str, Evidence, str], ...] = (
    ("1031", "reported", "The payer cancelled the prompt: as 1032, in callbacks of 2021."),
    (
        "1032",
        "official",
        "The payer cancelled the prompt (some phones report a dismissed prompt so too).",
    ),
)

_ROWS = (
    _entry(
        PAID_CODE,
        "official",
        RetryAdvice.NO,
        "Paid.",
        "Payment received. Thank you.",
        "Malipo yamepokelewa. Asante.",
    ),
    _entry(
        "1",
        "official",
        RetryAdvice.YES,
        "The payer's balance is too low.",
        "Your M-Pesa balance is too low for this payment. Top up and try again.",
        "Salio lako la M-Pesa halitoshi. Ongeza pesa kisha ujaribu tena.",
    ),
    _entry(
        "2",
        "official",
        RetryAdvice.OTHER_AMOUNT,
        "The amount is below the minimum.",
        "This amount is below the M-Pesa minimum.",
        "Kiasi hiki ni chini ya kiwango cha chini cha M-Pesa.",
    ),
    _entry(
        "3",
        "official",
        RetryAdvice.OTHER_AMOUNT,
        "The amount is above the maximum of one transaction.",
        "This amount is above the M-Pesa limit for one payment.",
        "Kiasi hiki kinazidi kiwango cha juu cha malipo moja ya M-Pesa.",
    ),
    _entry(
        "4",
        "official",
        RetryAdvice.YES,
        "The payer would exceed the daily limit.",
        "This payment would exceed your daily M-Pesa limit. Please try again tomorrow.",
        "Malipo haya yatazidi kiwango chako cha M-Pesa cha siku. Tafadhali jaribu tena kesho.",
        wait_seconds=86_400,
    ),
    _entry(
        "8",
        "official",
        RetryAdvice.YES,
        "The receiver would exceed its maximum balance.",
        "The business cannot receive this payment right now. Please try again later.",
        "Biashara haiwezi kupokea malipo haya kwa sasa. Tafadhali jaribu tena baadaye.",
        wait_seconds=3_600,
    ),
    _entry(
        "17",
        "official",
        RetryAdvice.CONFIRM,
        "The same amount to the same payee within two minutes: look at the first attempt.",
        "You made the same payment moments ago. Check your M-Pesa messages before trying again.",
        "Ulifanya malipo kama haya muda mfupi uliopita. Angalia ujumbe wa M-Pesa kabla ya kujaribu tena.",
        wait_seconds=120,
    ),
    _entry(
        "20",
        "reported",
        RetryAdvice.NO,
        "The initiator could not be resolved (general list only, not in the Express table).",
        _SETUP_EN,
        _SETUP_SW,
    ),
    _entry(
        "26",
        "reported",
        RetryAdvice.CONFIRM,
        "M-Pesa is busy or blocks traffic; whether it is final is not known.",
        _UNSURE_EN,
        _UNSURE_SW,
        final=False,
        wait_seconds=120,
    ),
    _entry(
        "1001",
        "reported",
        RetryAdvice.YES,
        "Another M-Pesa session is open on that phone; this push is over.",
        "Another M-Pesa request is open on your phone. Finish it, wait a minute and try again.",
        "Kuna ombi lingine la M-Pesa kwenye simu yako. Limalize, subiri dakika moja kisha ujaribu tena.",
        wait_seconds=180,
    ),
    _entry(
        "1019",
        "official",
        RetryAdvice.YES,
        "The transaction expired before it was completed.",
        "The payment took too long and expired. Please try again.",
        "Muda wa malipo umeisha. Tafadhali jaribu tena.",
    ),
    _entry(
        "1025",
        "official",
        RetryAdvice.CONFIRM,
        "The prompt could not be sent, or its text is too long (over 182 characters).",
        _PROMPT_EN,
        _PROMPT_SW,
        wait_seconds=60,
    ),
    *(
        _entry(
            code,
            evidence,
            RetryAdvice.YES,
            meaning,
            "You cancelled the payment. You can try again when you are ready.",
            "Umeghairi malipo. Unaweza kujaribu tena ukiwa tayari.",
        )
        for code, evidence, meaning in _CANCELLED
    ),
    _entry(
        "1036",
        "reported",
        RetryAdvice.YES,
        "The prompt was not delivered; an old SIM may need an update by dialling *234#.",
        "The M-Pesa prompt did not reach your phone. Dial *234# to update your SIM, then try again.",
        "Ombi la M-Pesa halikufika. Piga *234# kusasisha laini yako, kisha ujaribu tena.",
    ),
    _entry(
        "1037",
        "official",
        RetryAdvice.CONFIRM,
        "The phone could not be reached, or nobody answered the prompt.",
        "Your phone could not be reached or the prompt was not answered. Please try again.",
        "Simu yako haikupatikana au hukujibu ombi. Tafadhali jaribu tena.",
        wait_seconds=60,
    ),
    _entry(
        "1101",
        "reported",
        RetryAdvice.FIX_SETUP,
        "The prompt's text is too long: shorten reference and business name.",
        _PROMPT_EN,
        _PROMPT_SW,
    ),
    _entry(
        "2001",
        "official",
        RetryAdvice.YES,
        "The payer typed a wrong PIN (not a fault of the merchant's credentials).",
        "The M-Pesa PIN was wrong. Please try again with the right PIN.",
        "PIN ya M-Pesa si sahihi. Tafadhali jaribu tena kwa PIN sahihi.",
    ),
    _entry(
        "2006",
        "reported",
        RetryAdvice.NO,
        "An account's state does not allow it (documented for other products, not for Express).",
        "M-Pesa declined this payment because of an account's status. Please contact Safaricom.",
        "M-Pesa imekataa malipo haya kwa sababu ya hali ya akaunti. Tafadhali wasiliana na Safaricom.",
    ),
    _entry(
        "2028",
        "official",
        RetryAdvice.FIX_SETUP,
        "Not permitted for this product: paybill and till are mixed up, or PartyB is wrong.",
        _SETUP_EN,
        _SETUP_SW,
    ),
    _entry(
        "2029",
        "reported",
        RetryAdvice.CONFIRM,
        "Named in one list without a meaning; treated as a code that is not known.",
        _UNSURE_EN,
        _UNSURE_SW,
        final=False,
    ),
    _entry(
        "4999",
        "reported",
        RetryAdvice.NO,
        "Still being processed (status query only).",
        _WAIT_EN,
        _WAIT_SW,
        final=False,
        wait_seconds=15,
    ),
    _entry(
        "8006",
        "official",
        RetryAdvice.NO,
        "The payer's PIN is locked.",
        "Your M-Pesa PIN is locked. Call Safaricom on 100 to unlock it.",
        "PIN yako ya M-Pesa imefungwa. Piga simu kwa Safaricom nambari 100 ili ifunguliwe.",
    ),
    _entry(
        "9999",
        "reported",
        RetryAdvice.CONFIRM,
        "The prompt could not be sent; like 1025.",
        _PROMPT_EN,
        _PROMPT_SW,
        wait_seconds=60,
    ),
    _entry(
        "E3008",
        "reported",
        RetryAdvice.YES,
        "Refused: the payer owes money on an M-Pesa credit product, such as Fuliza.",
        "M-Pesa declined this payment because of an unpaid loan. Pay from another phone, or later.",
        "M-Pesa imekataa malipo haya kwa sababu ya deni la mkopo. Lipa kwa simu nyingine, au baadaye.",
        wait_seconds=3_600,
    ),
    _entry(
        "SFC_IC0003",
        "reported",
        RetryAdvice.FIX_SETUP,
        "The operator does not exist: till number and transaction type do not fit together.",
        _SETUP_EN,
        _SETUP_SW,
    ),
    _entry(
        "500.001.1001",
        "reported",
        RetryAdvice.NO,
        "Still being processed (the status query answers it as an HTTP 500).",
        _WAIT_EN,
        _WAIT_SW,
        final=False,
        wait_seconds=15,
    ),
)

CATALOGUE: Mapping[str, Result] = MappingProxyType({row.code: row for row in _ROWS})
"""Every known code."""


def explain(code: int | str, /) -> Result:
    """Look up the meaning of a result code. It accepts any code.

    Args:
        code: A code as Daraja writes it, number or string.

    Returns:
        The catalogue's entry, or an entry with ``evidence="unknown"`` if the code is not in it.
    """
    text = str(code)
    known = CATALOGUE.get(text)
    if known is not None:
        return known
    return _entry(
        text,
        "unknown",
        RetryAdvice.CONFIRM,
        "Not a known code. In a callback it means not paid; in a query, not known yet.",
        _UNSURE_EN,
        _UNSURE_SW,
        final=False,
    )

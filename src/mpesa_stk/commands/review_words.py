"""Why a person must look at a payment, in plain words, and what to do about it. Pure.

docs/how-to/desk.md has the same words in a table.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from mpesa_stk.payments.state import Transaction
from mpesa_stk.privacy import printable

_SEPARATOR = "; "


def reasons_of(transaction: Transaction, /) -> list[str]:
    """Return the reasons why a person must look at a payment."""
    return transaction.needs_review.split(_SEPARATOR) if transaction.needs_review else []


@attrs.frozen
class ReviewWords:
    """A reason for a review.

    Attributes:
        why: The reason, in plain words.
        step: The step that a person takes.
    """

    why: str
    step: str


def words_for(reason: str, /) -> ReviewWords:
    """Return a reason in plain words, and what to do about it."""
    for known, words in WORDS.items():
        if reason == known or (known.endswith(" ...") and reason.startswith(known[:-4])):
            return words
    return ReviewWords(printable(reason), _LOOK_IT_UP)


_LOOK_IT_UP = (
    "Look for the payment in the M-Pesa statement. If it is there, resolve with --paid and its "
    "receipt; if it is not, with --not-paid."
)
_COMPARE = (
    "Compare amount, payer and time with the M-Pesa statement. The statement is right: resolve with "
    "--paid and its receipt, or with --not-paid."
)
_FORGED = (
    "If the statement does not show such a payment, the callback may be forged: set callback_secret, and "
    "resolve with --not-paid."
)

WORDS: Mapping[str, ReviewWords] = {
    "callback reports success without proof": ReviewWords(
        "Daraja posted a success without a receipt or an amount that can be read.",
        _LOOK_IT_UP,
    ),
    "callback has another amount": ReviewWords(
        "A callback names another amount than was asked for, so it was not taken as this payment.",
        _COMPARE,
    ),
    "callback has another receipt": ReviewWords(
        "Two callbacks name two receipts for this payment: perhaps the customer paid twice.",
        "Look for both receipts in the M-Pesa statement. If both are there, pay one back. Then resolve "
        "with a note alone.",
    ),
    "callback has another payer": ReviewWords(
        "A callback names the number of somebody else, so it was not taken as this payment.",
        f"{_COMPARE} {_FORGED}",
    ),
    "callback has a date ...": ReviewWords(
        "A callback names a time at which this payment cannot have been made.",
        f"{_COMPARE} See that the clock of your server is right.",
    ),
    "callback has the ...": ReviewWords(
        "A callback names a receipt or a prompt that another payment has already.",
        "Find the other payment by the receipt, and see in the M-Pesa statement whose it is. Resolve this "
        "one with --not-paid if it is the other's.",
    ),
    "callback names another ...": ReviewWords(
        "A callback came to the address of this payment, and names another prompt.",
        f"{_COMPARE} {_FORGED}",
    ),
    "callback cannot be read": ReviewWords(
        "Something was posted to the secret address of this payment that is no callback.",
        f"{_LOOK_IT_UP} `show` lists what is kept.",
    ),
    "callback came more than a day late": ReviewWords(
        "It was given up or had failed, and more than a day later a callback proved that it is paid.",
        "See that the customer got what was paid for, once, or pay the money back. Then resolve with a "
        "note alone.",
    ),
    "callback says not paid after a success": ReviewWords(
        "It is paid, and a later callback says that it is not. It stays paid.",
        "Look for the receipt in the M-Pesa statement. If it is there, or was taken back, say so in the "
        "note and resolve with it alone.",
    ),
    "query says paid after a callback's failure": ReviewWords(
        "The callback said that it failed, and Daraja's query says that it is paid.",
        _LOOK_IT_UP,
    ),
    "the push's outcome was never learnt": ReviewWords(
        "The request to the phone was sent, its answer was lost, and nothing came after it.",
        _LOOK_IT_UP,
    ),
    "Daraja never said how it ended": ReviewWords(
        "Daraja said until the end only that it is being processed, or could not be asked.",
        _LOOK_IT_UP,
    ),
    "record fits several payments or rows": ReviewWords(
        "Safaricom's record shows money that may be of this payment, or of another one that looks alike.",
        "The history names the receipts. Ask the customers for the code in their SMS, and resolve each "
        "payment with --paid and its receipt, or with --not-paid.",
    ),
    "record fits, and no query says paid": ReviewWords(
        "Safaricom's record shows such an amount at the till at the right time. It names no reference, and "
        "no status query said that this payment is paid.",
        "The history names the receipt. Ask the customer for the code in the SMS. If it is the same, "
        "resolve with --paid and the receipt.",
    ),
    "record shows money after a failure": ReviewWords(
        "The prompt was not paid, and Safaricom's record shows the same amount for the same reference: "
        "perhaps the customer paid by hand.",
        "The history names the receipt. If the money is for this payment, resolve with --paid and the "
        "receipt. Otherwise resolve with a note alone.",
    ),
    "record has another ...": ReviewWords(
        "Safaricom's record names another amount or another receipt than this payment has.",
        _COMPARE,
    ),
    "order paid twice": ReviewWords(
        "Two attempts for one order are paid.",
        "Pay one of the two back. `list --order` shows both with their receipts. Then resolve with a note "
        "alone.",
    ),
}
"""Words by reason. A reason that ends in dots stands for all that begin so."""

"""How a prompt can end, as data. Pure.

Codes and texts are those of the collected wire facts, section 5, and of the samples beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

__all__ = ["NOT_PERMITTED", "NO_RESPONSE", "OUTCOMES", "PAID", "WRONG_PIN", "Outcome"]

PAID = "paid"
WRONG_PIN = "wrong-pin"
NO_RESPONSE = "no-response"
NOT_PERMITTED = "not-permitted"


@attrs.frozen(kw_only=True)
class Outcome:
    """How a prompt ends.

    Attributes:
        code: Daraja's ResultCode; a string where Daraja writes one.
        description: Daraja's ResultDesc.
    """

    code: int | str
    description: str

    @property
    def paid(self) -> bool:
        """Whether money moves."""
        return self.code == 0


OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        PAID: Outcome(code=0, description="The service request is processed successfully."),
        "cancelled": Outcome(code=1032, description="Request cancelled by user"),
        WRONG_PIN: Outcome(code=2001, description="The initiator information is invalid."),
        "no-funds": Outcome(code=1, description="The balance is insufficient for the transaction."),
        "unreachable": Outcome(code=1037, description="DS timeout user cannot be reached."),
        NO_RESPONSE: Outcome(code=1037, description="No response from user."),
        "expired": Outcome(code=1019, description="Transaction has expired"),
        "below-minimum": Outcome(code=2, description="Declined due to limit rule."),
        "above-maximum": Outcome(
            code=3,
            description="Declined due to limit rule: greater than the maximum transaction amount.",
        ),
        "daily-limit": Outcome(
            code=4,
            description="Declined due to limit rule: would exceed daily transfer limit.",
        ),
        "balance-limit": Outcome(
            code=8,
            description="Declined due to limit rule: would exceed the maximum balance.",
        ),
        "rule-limited": Outcome(code=17, description="Rule limited."),
        "pin-locked": Outcome(code=8006, description="The security credential is locked."),
        "session-open": Outcome(
            code=1001,
            description="Unable to lock subscriber, a transaction is already in process for the "
            "current subscriber.",
        ),
        "wrong-operator": Outcome(code="SFC_IC0003", description="The operator does not exist."),
        NOT_PERMITTED: Outcome(
            code=2028,
            description="The request is not permitted according to product assignment.",
        ),
        "cancelled-1031": Outcome(code=1031, description="Request cancelled by user"),
        "bad-debt": Outcome(code="E3008", description="Error, the user has a bad debt contract."),
    }
)
"""How a prompt can end, by name."""

"""Faults of Daraja, its gateway and the network, as data. Pure.

A fault takes the place of one answer. Codes, texts and statuses are Daraja's own (docs/daraja.md,
sections 1, 3 and 4).
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType

import attrs

from mpesa_stk.daraja.exchange import HttpResponse
from mpesa_stk.simulator.pull_forms import PullForm

MOST_SECONDS = 3600.0
"""Longest delay of a slow answer."""
LOCKED_CODE = "500.001.1001"
LOCKED = "Unable to lock subscriber, a transaction is already in process for the current subscriber"
# For an id that Daraja does not know, or does not know yet (docs/daraja.md, section 4).
NO_SUCH_ID = "The transaction does not Exist"
_HEX = "0123456789abcdef"
_JSON = {"content-type": "application/json"}


class DeliveryFault(Enum):
    """A fault in the delivery of an answer."""

    NONE = "none"
    """The answer arrives."""
    NOTHING = "nothing"
    """The connection ends before a byte of it."""
    HALF = "half"
    """The connection ends in the middle of the body."""
    RESET = "reset"
    """The answer arrives, then the connection is reset."""
    DRIP = "drip"
    """The answer arrives byte by byte, with a second before each."""
    SLOW = "slow"
    """The answer arrives some seconds late."""


@attrs.frozen(kw_only=True)
class Fault:
    """A fault of one request.

    Attributes:
        executed: Whether Daraja carries out the request.
        answer: Makes the answer from an id for the request, or None for Daraja's usual answer.
        delivery: The fault in the delivery of the answer.
        seconds: Delay of a slow answer, or None for the ``slow_seconds`` of the simulator.
        kills_tokens: Whether all issued tokens become invalid, before the request is checked.
        form: The form of the answer to a pull, or None for the usual one.
        passes: Whether the next try of the same push succeeds: a token is refused once.
    """

    executed: bool = False
    answer: Callable[[str], HttpResponse] | None = None
    delivery: DeliveryFault = DeliveryFault.NONE
    seconds: float | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            attrs.validators.and_(attrs.validators.ge(0.0), attrs.validators.le(MOST_SECONDS))
        ),
    )
    kills_tokens: bool = False
    form: PullForm | None = None
    passes: bool = False


def daraja_answer(status: int, payload: Mapping[str, object], /) -> HttpResponse:
    """An answer of Daraja: a JSON object."""
    return HttpResponse(status=status, headers=_JSON, body=json.dumps(payload).encode())


def request_id(randomness: random.Random, /) -> str:
    """An id as in ``1c5b-4ba8-815c-ac45c57a3db01495926``."""
    parts = ["".join(randomness.choices(_HEX, k=length)) for length in (4, 4, 4, 12)]
    return "-".join(parts) + "".join(randomness.choices(string.digits, k=7))


def refusal(request_id: str, status: int, code: str, message: str, /) -> HttpResponse:
    """An error of Daraja."""
    body = {"requestId": request_id, "errorCode": code, "errorMessage": message}
    return daraja_answer(status, body)


def _refuses(status: int, code: str, message: str) -> Callable[[str], HttpResponse]:
    return lambda request_id: refusal(request_id, status, code, message)


def _says(status: int, body: bytes, **headers: str) -> Callable[[str], HttpResponse]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: HttpResponse(status=status, headers=fields, body=body)


_SPIKE_ARREST = {
    "fault": {
        "faultstring": "Spike arrest violation. Allowed rate : MessageRate{messagesPerPeriod=5, "
        "periodInMicroseconds=60000000, maxBurstMessageCount=1.0}",
        "detail": {"errorcode": "policies.ratelimit.SpikeArrestViolation"},
    }
}
_INCIDENT = "1234000560789012345-67890123456789012"
_BLOCK_PAGE = (
    "<html><head><title>Error</title></head><body>Request unsuccessful. "
    f"Incapsula incident ID: {_INCIDENT}</body></html>"
)

NO_ROWS = {
    "ResponseCode": "1001",
    "ResponseMessage": "No records found or Organization Name not available",
    "Response": [[]],
}
"""Daraja's answer to a pull without rows, and to a shortcode that it does not know or did not register."""


def _no_rows(reference: str) -> HttpResponse:
    return daraja_answer(200, {"ResponseRefID": reference, **NO_ROWS})


def _not_retrieved(reference: str) -> HttpResponse:
    words = {"ResponseCode": "500", "ResponseMessage": "Failed to retrieve transactions"}
    return daraja_answer(500, {"RequestID": reference, **words})


def _in_form(form: PullForm) -> Fault:
    return Fault(executed=True, form=form)


TOO_MANY = daraja_answer(429, _SPIKE_ARREST)
"""The gateway's answer to too many requests."""

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "token-refused-404": Fault(
            answer=_refuses(404, "404.001.03", "Invalid Access Token"), passes=True
        ),
        "token-refused-401": Fault(
            answer=_refuses(401, "404.001.03", "Invalid Access Token"), passes=True
        ),
        "token-dead": Fault(executed=True, kills_tokens=True, passes=True),
        "no-product": Fault(
            answer=_refuses(
                401, "401.003.01", "Error Occurred - Invalid API call as no apiproduct match found"
            )
        ),
        "wrong-credentials": Fault(answer=_refuses(500, LOCKED_CODE, "Wrong credentials")),
        "subscriber-locked": Fault(answer=_refuses(500, LOCKED_CODE, LOCKED)),
        "busy": Fault(
            answer=_refuses(500, "500.003.02", "System is busy. Please try again in few minutes.")
        ),
        "spike-arrest": Fault(
            answer=_refuses(500, "500.003.02", "Error Occurred: Spike Arrest Violation")
        ),
        "quota": Fault(answer=_refuses(500, "500.003.03", "Error Occurred: Quota Violation")),
        "rate-limited": Fault(answer=lambda _: TOO_MANY),
        "unavailable": Fault(answer=_says(503, b"")),
        "blocked": Fault(answer=_says(403, _BLOCK_PAGE.encode(), content_type="text/html")),
        "empty": Fault(answer=_says(200, b"")),
        "internal-error": Fault(answer=_refuses(500, "500.003.1001", "Internal Server Error")),
        "done-but-500": Fault(
            executed=True, answer=_refuses(500, "500.003.1001", "Internal Server Error")
        ),
        "dropped": Fault(delivery=DeliveryFault.NOTHING),
        "done-but-dropped": Fault(executed=True, delivery=DeliveryFault.NOTHING),
        "done-but-cut": Fault(executed=True, delivery=DeliveryFault.HALF),
        "done-then-reset": Fault(executed=True, delivery=DeliveryFault.RESET),
        "byte-by-byte": Fault(executed=True, delivery=DeliveryFault.DRIP),
        "slow": Fault(executed=True, delivery=DeliveryFault.SLOW),
        "does-not-exist": Fault(answer=_refuses(500, LOCKED_CODE, NO_SUCH_ID)),
        "no-text": Fault(answer=_refuses(500, LOCKED_CODE, "")),
        "no-text-200": Fault(answer=_refuses(200, LOCKED_CODE, "")),
        "empty-400": Fault(answer=_says(400, b"")),
        "done-but-no-text": Fault(executed=True, answer=_refuses(500, LOCKED_CODE, "")),
        # Those of Pull Transactions. For other steps, the ones that are executed have no effect.
        "pull-nothing": Fault(answer=_no_rows),
        "pull-failed": Fault(answer=_not_retrieved),
        "pull-no-product": Fault(answer=_refuses(401, "401.001", "Invalid Access Token")),
        "pull-repeats": _in_form(PullForm(paging="repeats")),
        "pull-page-index": _in_form(PullForm(paging="page")),
        "pull-page-fields": _in_form(PullForm(page_fields=True)),
        "pull-flat": _in_form(PullForm(flat=True)),
        "pull-zulu": _in_form(PullForm(zone="Z")),
        "pull-no-zone": _in_form(PullForm(zone="")),
        "pull-utc": _in_form(PullForm(zone="UTC")),
        "pull-spaced-keys": _in_form(PullForm(spaced_keys=True)),
        "pull-capital-keys": _in_form(PullForm(capital_keys=True)),
        "pull-cut-types": _in_form(PullForm(cut_types=True)),
        "pull-short-amounts": _in_form(PullForm(short_amounts=True)),
        "pull-text-phones": _in_form(PullForm(phones="text")),
        "pull-masked-phones": _in_form(PullForm(phones="masked")),
        "pull-cut-phones": _in_form(PullForm(phones="cut")),
    }
)
"""The faults that can be scripted for a request, by name."""

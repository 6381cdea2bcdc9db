"""Plain words for scenarios, faults and outcomes, in the groups of the page's menus. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

Groups = Mapping[str, Mapping[str, str]]
"""Title of a group -> name -> words."""

SCENARIO_WORDS: Groups = MappingProxyType(
    {
        "You answer the prompt": {
            "by-hand": "the phone waits a minute for your answer",
        },
        "The customer answers": {
            "paid": "the customer pays after a second",
            "paid-late": (
                "the customer pays after 90 seconds, long after a prompt would have closed"
            ),
            "paid-after-expiry": "the customer pays after 20 minutes, when everybody has given up",
            "cancelled": "the customer presses Cancel",
            "wrong-pin": "the customer types a wrong PIN",
            "pin-locked": "the PIN is locked",
            "no-funds": "there is not enough money",
            "unreachable": "the phone is off",
            "ignored": "the customer does not answer within a minute",
            "expired": "the transaction expires after a minute",
            "session-open": "another session is open on the phone",
            "below-minimum": "the amount is too low",
            "above-maximum": "the amount is too high",
            "daily-limit": "the customer's limit of the day is reached",
            "balance-limit": "the business may hold no more",
            "rule-limited": "the same amount again within two minutes",
            "wrong-operator": "till and type do not fit: a code that is a text",
            "not-permitted": "TransactionType or PartyB does not fit the account",
            "cancelled-1031": "the customer presses Cancel, and Daraja calls it 1031, as it did in 2021",
            "bad-debt": "the customer owes on an M-Pesa credit product: a code that is a text",
        },
        "The callback is lost, late, doubled or different": {
            "callback-lost": "the customer pays, and the callback never comes",
            "callback-twice": "the customer pays, and the callback comes twice",
            "callback-four-times": "the customer pays, and the callback comes four times",
            "callback-late": (
                "the customer pays; a query shows it first, and the callback with "
                "the receipt comes five minutes later"
            ),
            "callback-first": "the customer pays, and the callback comes before the push is answered",
            "masked-phone": "the customer pays, and the callback's phone number is masked",
            "no-phone": "the customer pays, and the callback names no phone",
            "bare-balance": "the customer pays, and the callback has a Balance without a value",
            "string-amount": "the customer pays, and the callback's amount is a text",
        },
        "The status query answers badly": {
            "pending-500": "the customer pays after 45 seconds, until then the query answers 500",
            "pending-4999": "the customer pays after 45 seconds, until then the query answers 4999",
            "query-says-failed": (
                "the customer pays, but the query says cancelled, and the callback comes late"
            ),
            "query-says-paid": "the customer cancels, but the query says paid",
            "query-limited": (
                "the customer pays, there is no callback, and five queries a minute are answered"
            ),
            "query-refused": (
                "the customer pays, there is no callback, and the first query is refused with 429"
            ),
            "pending-no-text": (
                "the customer pays after 45 seconds, until then the query answers "
                "500 500.001.1001 without a text"
            ),
            "pending-no-text-200": (
                "the customer pays after 45 seconds, until then the query answers "
                "that error under 200"
            ),
            "query-too-early": (
                "the customer pays, there is no callback, and the first query does "
                "not know the id yet"
            ),
        },
        "The push is refused": {
            "token-refused-404": "the token is refused with 404, once",
            "token-refused-401": "the token is refused with 401, once",
            "token-killed": "somebody else has fetched a newer token",
            "token-expires-early": "the token dies before its time",
            "no-product": "the push is refused: the app lacks the product",
            "subscriber-locked": "the push is refused: a prompt is open on that phone",
            "spike-arrest": "the push is refused: too many requests",
            "rate-limited": "the push is refused with 429",
            "busy": (
                "the push is answered that the system is busy; no prompt appears, "
                "but that answer does not prove it"
            ),
            "unavailable": "the push is answered 503 without a body, and no prompt appears",
            "blocked": "the push is refused: the firewall answers with a page of HTML",
        },
        "The push gets no clear answer": {
            "internal-error": "the push is answered 500, and no prompt appears",
            "done-but-500": (
                "the push is answered 500, the prompt appears all the same, and the customer pays"
            ),
            "dropped": "the connection ends without an answer, and no prompt appears",
            "done-but-dropped": (
                "the connection ends without an answer, the prompt appears, and the customer pays"
            ),
            "done-but-cut": "half of the answer arrives, the prompt appears, and the customer pays",
            "done-then-reset": "the answer arrives, then the connection is reset; the customer pays",
            "byte-by-byte": (
                "the answer comes at one byte a second, the prompt appears, and the customer pays"
            ),
            "slow": (
                "the answer comes after 20 seconds, and the callback overtakes it; "
                "the customer pays"
            ),
        },
    }
)
"""What happens in each scenario."""

FAULT_WORDS: Groups = MappingProxyType(
    {
        "The token is refused": {
            "token-refused-404": "404 404.001.03 Invalid Access Token",
            "token-refused-401": "401 404.001.03 Invalid Access Token",
            "token-dead": "all issued tokens become invalid; then the usual answer",
            "no-product": "401 401.003.01 no apiproduct match found",
        },
        "Daraja refuses the request": {
            "wrong-credentials": "500 500.001.1001 Wrong credentials",
            "subscriber-locked": "500 500.001.1001 Unable to lock subscriber",
            "does-not-exist": "500 500.001.1001 The transaction does not Exist",
            "busy": "500 500.003.02 System is busy",
            "spike-arrest": "500 500.003.02 Spike Arrest Violation",
            "quota": "500 500.003.03 Quota Violation",
            "rate-limited": "429 with the gateway's own fault body",
            "unavailable": "503 without a body",
            "blocked": "403, a page of HTML with an incident id",
            "empty": "200 without a body",
            "empty-400": "400 without a body: how a wrong key or secret is often answered",
            "internal-error": "500 500.003.1001",
            "no-text": "500 500.001.1001 with an empty text",
            "no-text-200": "200 500.001.1001 with an empty text",
            "dropped": "nothing: the connection ends",
        },
        "Daraja carries it out, and answers badly": {
            "done-but-500": "500 500.003.1001",
            "done-but-no-text": "500 500.001.1001 with an empty text",
            "done-but-dropped": "nothing: the connection ends",
            "done-but-cut": "status and length, then half of the body",
            "done-then-reset": "the answer, then the connection is reset",
            "byte-by-byte": "the answer, one byte a second",
            "slow": "the answer, after the seconds of --slow-seconds or of the script",
        },
        "Pull Transactions": {
            "pull-nothing": "200 with ResponseCode 1001 and no rows, although there may be some",
            "pull-failed": "500 Failed to retrieve transactions",
            "pull-no-product": "401 401.001 Invalid Access Token",
            "pull-repeats": "the first page, whatever OffSetValue says",
            "pull-page-index": "OffSetValue is the index of a page, not a number of rows",
            "pull-page-fields": "CurrentPage, PageSize, TotalPages and TotalRecords beside the rows",
            "pull-flat": "the rows in one list, not in a list within a list",
            "pull-zulu": "trxDate with the digits of Nairobi, and Z",
            "pull-no-zone": "trxDate with the digits of Nairobi, without a zone",
            "pull-utc": "trxDate with the digits of UTC, and Z: three hours away from what "
            "pull-zulu writes",
            "pull-spaced-keys": "a registration is answered with Response Status and Response Description",
            "pull-capital-keys": "the keys of rows begin with a capital",
            "pull-cut-types": "transactiontype is cut to 16 characters",
            "pull-short-amounts": "amounts with one decimal place, as in 2697.0",
            "pull-text-phones": "msisdn is a text",
            "pull-masked-phones": "msisdn is masked, as in 25470****123",
            "pull-cut-phones": "msisdn is a number of eight digits",
        },
    }
)
"""The answer in each fault. The last group is for the step ``pull`` alone."""

OUTCOME_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "paid": "paid",
        "cancelled": "the customer presses Cancel",
        "wrong-pin": "a wrong PIN",
        "no-funds": "not enough money",
        "unreachable": "the phone is off",
        "no-response": "no answer within a minute",
        "expired": "the transaction expires",
        "below-minimum": "the amount is too low",
        "above-maximum": "the amount is too high",
        "daily-limit": "the customer's limit of the day is reached",
        "balance-limit": "the business may hold no more",
        "rule-limited": "the same amount again within two minutes",
        "pin-locked": "the PIN is locked",
        "session-open": "another session is open on the phone",
        "wrong-operator": "till and type do not fit",
        "not-permitted": "type or PartyB does not fit the account",
        "cancelled-1031": "Cancel, with the code of 2021",
        "bad-debt": "the customer owes on a credit product",
    }
)
"""The way in which a prompt ends, in a few words."""

STEP_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "token": "token request",
        "push": "push request",
        "query": "status query",
        "pull": "pull request",
    }
)
"""The requests that a fault can meet."""

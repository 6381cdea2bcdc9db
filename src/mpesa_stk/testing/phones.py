"""The test phones by name: one for each scenario of the simulator. Pure.

The name is the scenario's, in capitals. `TEST_PHONES` has the same numbers by the scenario's own name.
"""

from __future__ import annotations

from mpesa_stk.simulator.scenarios import TEST_PHONES

# How the customer answers.
PAID = TEST_PHONES["paid"]
PAID_LATE = TEST_PHONES["paid-late"]
PAID_AFTER_EXPIRY = TEST_PHONES["paid-after-expiry"]
CANCELLED = TEST_PHONES["cancelled"]
WRONG_PIN = TEST_PHONES["wrong-pin"]
PIN_LOCKED = TEST_PHONES["pin-locked"]
NO_FUNDS = TEST_PHONES["no-funds"]
UNREACHABLE = TEST_PHONES["unreachable"]
IGNORED = TEST_PHONES["ignored"]
EXPIRED = TEST_PHONES["expired"]
SESSION_OPEN = TEST_PHONES["session-open"]
BELOW_MINIMUM = TEST_PHONES["below-minimum"]
ABOVE_MAXIMUM = TEST_PHONES["above-maximum"]
DAILY_LIMIT = TEST_PHONES["daily-limit"]
BALANCE_LIMIT = TEST_PHONES["balance-limit"]
RULE_LIMITED = TEST_PHONES["rule-limited"]
WRONG_OPERATOR = TEST_PHONES["wrong-operator"]
BY_HAND = TEST_PHONES["by-hand"]

# How the callback comes.
CALLBACK_LOST = TEST_PHONES["callback-lost"]
CALLBACK_TWICE = TEST_PHONES["callback-twice"]
CALLBACK_FOUR_TIMES = TEST_PHONES["callback-four-times"]
CALLBACK_LATE = TEST_PHONES["callback-late"]
CALLBACK_FIRST = TEST_PHONES["callback-first"]
MASKED_PHONE = TEST_PHONES["masked-phone"]
NO_PHONE = TEST_PHONES["no-phone"]
BARE_BALANCE = TEST_PHONES["bare-balance"]
STRING_AMOUNT = TEST_PHONES["string-amount"]

# How the status query answers.
PENDING_500 = TEST_PHONES["pending-500"]
PENDING_4999 = TEST_PHONES["pending-4999"]
QUERY_SAYS_FAILED = TEST_PHONES["query-says-failed"]
QUERY_SAYS_PAID = TEST_PHONES["query-says-paid"]
QUERY_LIMITED = TEST_PHONES["query-limited"]
QUERY_REFUSED = TEST_PHONES["query-refused"]

# How Daraja, its gateway and the network fail.
TOKEN_REFUSED_404 = TEST_PHONES["token-refused-404"]
TOKEN_REFUSED_401 = TEST_PHONES["token-refused-401"]
TOKEN_KILLED = TEST_PHONES["token-killed"]
TOKEN_EXPIRES_EARLY = TEST_PHONES["token-expires-early"]
NO_PRODUCT = TEST_PHONES["no-product"]
SUBSCRIBER_LOCKED = TEST_PHONES["subscriber-locked"]
SPIKE_ARREST = TEST_PHONES["spike-arrest"]
RATE_LIMITED = TEST_PHONES["rate-limited"]
BUSY = TEST_PHONES["busy"]
UNAVAILABLE = TEST_PHONES["unavailable"]
BLOCKED = TEST_PHONES["blocked"]
INTERNAL_ERROR = TEST_PHONES["internal-error"]
DONE_BUT_500 = TEST_PHONES["done-but-500"]
DROPPED = TEST_PHONES["dropped"]
DONE_BUT_DROPPED = TEST_PHONES["done-but-dropped"]
DONE_BUT_CUT = TEST_PHONES["done-but-cut"]
DONE_THEN_RESET = TEST_PHONES["done-then-reset"]
BYTE_BY_BYTE = TEST_PHONES["byte-by-byte"]

# New ones go here, so that the numbers above never change.
NOT_PERMITTED = TEST_PHONES["not-permitted"]
SLOW = TEST_PHONES["slow"]
PENDING_NO_TEXT = TEST_PHONES["pending-no-text"]
PENDING_NO_TEXT_200 = TEST_PHONES["pending-no-text-200"]
QUERY_TOO_EARLY = TEST_PHONES["query-too-early"]
CANCELLED_1031 = TEST_PHONES["cancelled-1031"]
BAD_DEBT = TEST_PHONES["bad-debt"]

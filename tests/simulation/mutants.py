"""One-line mutants of the rules: each should break a promise in some world. The data, and the hunt.

A mutant is (file, what stands there once, what stands there instead). `NAMED_TESTS` names those that no
world notices, and the test that does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import mpesa_stk

ROOT = Path(__file__).parents[2]
PACKAGE = Path(mpesa_stk.__file__).parent
_AT_ONCE = os.cpu_count() or 1
_PATIENCE = 900.0

_TABLE, _EFFECTS, _EVIDENCE = (
    "payments/transaction.py",
    "payments/effects.py",
    "payments/evidence.py",
)
_RECORDER, _CALLBACK, _CHECKOUT, _DUE = (
    "payments/recorder.py",
    "payments/callback.py",
    "payments/checkout.py",
    "payments/due.py",
)
_INTENTS, _ORDERS = "payments/intents.py", "payments/orders.py"
_REFUSALS, _STORE = "daraja/refusals.py", "stores/memory.py"

MUTANTS: tuple[tuple[str, str, str], ...] = (
    # the table of transitions
    (_TABLE, "Meaning.LOST: {_S.CREATED: _S.UNCERTAIN}", "Meaning.LOST: {_S.CREATED: _S.REJECTED}"),
    (_TABLE, "Meaning.LOST: {_S.CREATED: _S.UNCERTAIN}", "Meaning.LOST: {_S.CREATED: _S.FAILED}"),
    (_TABLE, "Meaning.ORPHANED: {_S.CREATED: _S.UNCERTAIN}", "Meaning.ORPHANED: {}"),
    (
        _TABLE,
        "Meaning.ORPHANED: {_S.CREATED: _S.UNCERTAIN}",
        "Meaning.ORPHANED: {_S.CREATED: _S.REJECTED}",
    ),
    (_TABLE, "Meaning.PAID: _TO_PAID", "Meaning.PAID: _TO_FAILED"),
    (_TABLE, "Meaning.UNPROVEN: {}", "Meaning.UNPROVEN: _TO_PAID"),
    (_TABLE, "Meaning.CONTRADICTED: {}", "Meaning.CONTRADICTED: _TO_PAID"),
    (
        _TABLE,
        "Meaning.QUERY_NOT_PAID: _TO_FAILED",
        "Meaning.QUERY_NOT_PAID: {**_TO_FAILED, _S.SUCCEEDED: _S.FAILED}",
    ),
    (_TABLE, "Meaning.NOTHING_NEW: {}", "Meaning.NOTHING_NEW: _TO_FAILED"),
    (_TABLE, "_S.PENDING: _S.EXPIRED}", "_S.PENDING: _S.FAILED}"),
    (_TABLE, "(_S.CREATED, _S.UNCERTAIN, _S.PENDING, _S.FAILED,", "(_S.CREATED, _S.PENDING,"),
    (_TABLE, "if contradiction(transaction, event.result, now):", "if False:"),
    (_TABLE, "return Meaning.UNPROVEN if isinstance", "return Meaning.PAID if isinstance"),
    (_TABLE, "failed = event.result.status is QueryStatus.FAILED", "failed = True"),
    (_TABLE, "if state.settled and NEWS & facts.keys():", "if False:"),
    (_TABLE, "return event.expires_at != transaction.expires_at", "return False"),
    (
        _TABLE,
        "return isinstance(event, Expired) and now < transaction.expires_at",
        "return False",
    ),
    (_TABLE, "if not facts and not _is_noted_always(transaction, event, entry):", "if not facts:"),
    # what contradicts a payment
    (_EVIDENCE, "if result.amount != transaction.amount:", "if False:"),
    (_EVIDENCE, "if known is not None and named is not None and known != named:", "if False:"),
    # the fields that events set
    (_EFFECTS, "if event.news != news_of(before):", "if False:"),
    (_EFFECTS, "if isinstance(event, ReportFailed):\n        return", "if False:\n        return"),
    (_EFFECTS, '_SETTLERS.get(meaning), "reported": False}', "_SETTLERS.get(meaning)}"),
    (_EFFECTS, "if before.state is _S.UNCERTAIN:", "if False:"),
    (
        _EFFECTS,
        "return before.needs_review if answered else _with_review(before.needs_review, _NEVER_SAID)",
        "return before.needs_review",
    ),
    (
        _EFFECTS,
        "    if before.state.settled:\n        return report_until",
        "    if False:\n        return",
    ),
    (_EFFECTS, "if settled.reported or settled.due_at is None:", "if True:"),
    (_EFFECTS, '"receipt_number": result.receipt_number,', '"receipt_number": None,'),
    # writes
    (
        _RECORDER,
        "is_first = await self.store.replace(after)",
        "is_first = (await self.store.replace(after)) in (True, False)",
    ),
    (
        _RECORDER,
        "if await self.store.replace(held) and self.clock.now() < until:",
        "if True:",
    ),
    (_RECORDER, "if not transaction.state.settled or transaction.due_at is None:", "if False:"),
    # callbacks
    (
        _CALLBACK,
        "if kept.transaction_no not in (None, transaction.transaction_no):",
        "if False:",
    ),
    (_CALLBACK, "        if not judgement.doubtful:\n", "        if True:\n"),
    (_CALLBACK, "        if transaction is None or not is_genuine(", "        if not is_genuine("),
    (_CALLBACK, "        if kept.callback_id not in {", "        if kept.callback_id in {"),
    (_CALLBACK, "if doubtful and body is not None:", "if False:"),
    (
        _CALLBACK,
        "        if body is not None:\n            await self._keep(body, result.checkout",
        "        if False:\n            await self._keep(body, result.checkout",
    ),
    (_CALLBACK, "            if claimed is None:\n                raise", "            raise"),
    ("payments/signing.py", "return any(verdicts)", "return bool(verdicts)"),
    # checkout
    (
        _INTENTS,
        "if known.state is not TransactionState.REJECTED or was_prompted(known):",
        "if known.state.settled or was_prompted(known):",
    ),
    (
        _INTENTS,
        "if known.state is not TransactionState.REJECTED or was_prompted(known):",
        "if not known.state.settled or known.paid:",
    ),
    (
        _INTENTS,
        "if await self._store.replace(after):",
        "if (await self._store.replace(after)) in (True, False):",
    ),
    (
        _CHECKOUT,
        "        except OutcomeUnknown as error:",
        "        except ZeroDivisionError as error:",
    ),
    (_INTENTS, "                await self._store.add(intent)\n", "                pass\n"),
    # orders
    (
        _ORDERS,
        "        if attempt.paid:\n            raise Already",
        "        if False:\n            raise Already",
    ),
    (
        _ORDERS,
        "        if not attempt.settled:\n            if diff",
        "        if False:\n            if diff",
    ),
    (_ORDERS, "if is_unresolved(attempt, now) and not unresolved_ok:", "if False:"),
    (
        _ORDERS,
        "        if attempt.paid:\n            return Already",
        "        if False:\n            return Already",
    ),
    (_ORDERS, "return None if paid_before else paid_slot(before.order)", "return None"),
    (
        _ORDERS,
        "return None if paid_before else paid_slot(before.order)",
        "return before.order_slot",
    ),
    (_ORDERS, "if meaning is Meaning.QUERY_NOT_PAID and not", "if meaning is not None and not"),
    (
        _ORDERS,
        "if state.settled and meaning in _FINAL:",
        "if state.settled:",
    ),
    (_ORDERS, "        return live_slot(before.order)\n", "        return None\n"),
    (_INTENTS, "error = obstacle(await self._others(ours))", "error = None"),
    (_EFFECTS, "_with_review(reasons, _PAID_TWICE)", "reasons"),
    (_RECORDER, 'if error.field != "order_slot" or paid_before:', "if True:"),
    (_STORE, '"receipt_number", "order_slot")\n_OF', '"receipt_number")\n_OF'),
    # what may be sent again
    ("daraja/retry.py", "return isinstance(error, NotSent)\n", "return True\n"),
    (
        "daraja/client_flow.py",
        'if error.reason != "token_refused" or spared:',
        "if spared:",
    ),
    (_REFUSALS, "return response.status in REFUSING_STATUSES\n", "return True\n"),
    (_REFUSALS, "return REFUSING_TEXTS[code].search(text) is not None", "return True"),
    ("daraja/protocol.py", "raise refusals.unknown(response, reason) from unreadable", "raise"),
    # the work that is due
    (_DUE, "if after.state.settled and not after.reported:", "if False:"),
    (_DUE, "if transaction.state is TransactionState.CREATED:", "if False:"),
    (
        _DUE,
        "held = await recorder.take_for_report(transaction) if ours or due else None",
        "held = transaction",
    ),
    (_DUE, "await recorder.record(held, Reported(news=news_of(held)))", "pass"),
    (
        _DUE,
        "            await self._tell_again(held, error, batch)\n        except Base",
        "            await recorder.record(held, Reported(news=news_of(held)))\n        except Base",
    ),
    (_DUE, "if transaction.checkout_request_id is None:", "if True:"),
    # the store in memory
    (_STORE, "if before is None or before.version != transaction.version:", "if before is None:"),
    (
        _STORE,
        "        for account in accounts:\n",
        "        for account in self._due:\n",
    ),
    (_STORE, '**self._kept_for.get(("transaction_no", transaction_no or ""), {}),', ""),
)

_OF_ORDERS = "tests/payments/test_orders.py"
_TWICE = "test_a_second_success_is_flagged_and_reported_with_both_receipts"
NAMED_TESTS: Mapping[str, str] = MappingProxyType(
    {
        # The store must fail just when a refusal is written, and the next push be lost before the retry.
        "return event.expires_at != transaction.expires_at": (
            "tests/payments/test_transaction_rules.py"
            "::test_refusal_of_an_earlier_try_is_not_of_this_one"
        ),
        # One world in 400 notices it, too: an answer must come while a worker gives the payment up.
        "return isinstance(event, Expired) and now < transaction.expires_at": (
            "tests/payments/test_transaction_rules.py"
            "::test_payment_that_was_started_anew_does_not_expire_by_what_came_before"
        ),
        # An open payment is never reported, and its outcome sets the field anew. Only a reader of the
        # store sees it.
        '_SETTLERS.get(meaning), "reported": False}': (
            "tests/payments/test_transaction_rules.py"
            "::test_late_acceptance_of_an_expired_payment_is_followed"
        ),
        # A push that is refused for other reasons shows no prompt, so to send it again breaks no promise.
        'if error.reason != "token_refused" or spared:': (
            "tests/test_client.py::test_a_missing_product_is_not_tried_again"
        ),
        # Each promise about orders is kept twice: by a look at the attempts, and by the place in the store.
        # So a world notices few of these.
        "        if attempt.paid:\n            raise Already": f"{_OF_ORDERS}::test_a_paid_order_is_paid",
        "        if attempt.paid:\n            return Already": (
            f"{_OF_ORDERS}::test_a_success_in_the_moment_of_the_next_checkout_stops_its_push"
        ),
        "        if not attempt.settled:\n            if diff": (
            f"{_OF_ORDERS}::test_another_payload_waits_for_the_attempt_that_is_open"
        ),
        "        return live_slot(before.order)\n": (
            f"{_OF_ORDERS}::test_a_rejected_key_is_not_pushed_while_another_attempt_is_open"
        ),
        "_with_review(reasons, _PAID_TWICE)": f"{_OF_ORDERS}::{_TWICE}",
        'if error.field != "order_slot" or paid_before:': f"{_OF_ORDERS}::{_TWICE}",
    }
)
"""What is replaced by mutants that break no promise, or too rarely, and the test that notices each."""


def hunt(seeds: int) -> int:
    """Run each mutant through the worlds, and count those that break a promise. 1 if one is missing."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        verdicts = list(pool.map(lambda mutant: verdict_on(mutant, seeds), MUTANTS))
    for (place, old, new), verdict in zip(MUTANTS, verdicts, strict=True):
        print(f"{verdict:<40.40}  {place}: {_short(old)} -> {_short(new)}")
    killed = sum(verdict != "SURVIVED" for verdict in verdicts)
    print(f"{killed} of {len(MUTANTS)} mutants were killed, in {seeds} seeds each")
    return 0


def mutated(mutant: tuple[str, str, str]) -> str:
    """The text of the mutant's file.

    Raises:
        ValueError: What it replaces does not stand there once.
    """
    place, old, new = mutant
    text = (PACKAGE / place).read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise ValueError(f"{place} has {text.count(old)} times: {old}")
    return text.replace(old, new)


def verdict_on(mutant: tuple[str, str, str], seeds: int) -> str:
    """The first broken promise, or the named test that fails, or SURVIVED."""
    test = NAMED_TESTS.get(mutant[1])
    command = [sys.executable, "-m", "tests.simulation.first_broken", str(seeds)]
    if test is not None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "mpesa_stk"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / mutant[0]).write_text(mutated(mutant), encoding="utf-8")
        environ = os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(  # noqa: S603 - our own scripts and tests
            command,
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    if test is not None:
        return f"test {test}" if done.returncode == 1 else "SURVIVED"
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()[-1:]
    return lines[-1] if lines else "SURVIVED"


def _short(text: str) -> str:
    return " ".join(text.split())

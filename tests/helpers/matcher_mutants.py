"""One-line mutants of the matcher, as data: each must fail a test of the matcher.

A mutant is (file, what stands there once, what stands there instead).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_RULES, _PAIRS, _RECORD = (
    "payments/matching.py",
    "payments/row_pairs.py",
    "payments/record_rows.py",
)
_REPORT, _EVIDENCE, _EFFECTS = (
    "payments/record_report.py",
    "payments/evidence.py",
    "payments/effects.py",
)
_FLOW = "payments/reconciling.py"

TESTS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys((_RULES, _PAIRS, _RECORD, _REPORT), "tests/payments/test_matching.py")
    | dict.fromkeys((_EVIDENCE, _EFFECTS), "tests/payments/test_transaction_rules.py")
    | {_FLOW: "tests/payments/test_reconcile.py"}
)
"""The tests that must notice a mutant, by its file."""

MUTANTS: tuple[tuple[str, str, str], ...] = (
    # the windows
    (_PAIRS, "earliest=timedelta(minutes=-1)", "earliest=timedelta(minutes=-2)"),
    (_PAIRS, "earliest=timedelta(minutes=-1)", "earliest=timedelta(0)"),
    (_PAIRS, "latest=timedelta(hours=24)", "latest=timedelta(hours=25)"),
    (_PAIRS, "latest=timedelta(minutes=5)", "latest=timedelta(minutes=6)"),
    (_PAIRS, "earliest=timedelta(0), latest", "earliest=timedelta(minutes=-1), latest"),
    (_PAIRS, "by_reference=True)", "by_reference=False)"),
    (_PAIRS, "bisect_left(self.times, earliest)", "bisect_right(self.times, earliest)"),
    (_PAIRS, "bisect_right(self.times, latest)", "bisect_left(self.times, latest)"),
    (_PAIRS, "return next(again, payment.created)", "return payment.created"),
    (_PAIRS, "for one in reversed(payment.history) if", "for one in payment.history if"),
    # what must be equal
    (_PAIRS, "_reference(payment.shown_reference, rule)", "_reference(payment.reference, rule)"),
    (_PAIRS, "return shown.strip() if", "return shown if"),
    (
        _PAIRS,
        "alike.setdefault((reference, row.amount), _Alike())",
        "alike.setdefault((reference, Decimal(100)), _Alike())",
    ),
    (_PAIRS, "if (shape, digits) in self.buckets:", "if True:"),
    # phones
    (_PAIRS, "first[-_NATIONAL:]\n", "first[:_NATIONAL]\n"),
    (_PAIRS, "return {national}", 'return {national, national[:-1] + "5"}'),
    (_PAIRS, 'forms = (f"254{national}", f"0{national}", national)', 'forms = (f"254{national}",)'),
    (_PAIRS, " | {national[_NATIONAL - first :]}", ""),
    (_PAIRS, '{form[len(form) - last :]}" for form', '" for form'),
    (_PAIRS, "{form[:first]}*", "*"),
    (_PAIRS, "return forgotten or digits in", "return digits in"),
    (_PAIRS, "            yield from self.buckets.values()\n", ""),
    # exactly one of each
    (
        _PAIRS,
        "return len(self.payments) == 1 and len(self.rows) == 1",
        "return len(self.payments) == 1",
    ),
    (
        _PAIRS,
        "return len(self.payments) == 1 and len(self.rows) == 1",
        "return len(self.rows) == 1",
    ),
    (_PAIRS, "            if depth > 0:", "            if False:"),
    (_PAIRS, "            if depth > 0:", "            if True:"),
    (_PAIRS, "steps[end - 1] -= 1", "steps[end] -= 1"),
    (_PAIRS, "                bucket.stretches.append((first, end))\n", ""),
    (_PAIRS, "    leaders[high] = low", "    del high, low"),
    # the rules
    (_RULES, "if receipt not in self._holders\n            and", "if True\n            and"),
    (_RULES, "            and receipt not in self._taken\n", ""),
    (_RULES, "            and row.kind in (None, self._kind)\n", ""),
    (_RULES, "if one.receipt_number is None and ended", "if ended"),
    (_RULES, "and ended_unpaid(one) is ended", ""),
    (
        _RULES,
        "        if self._rule is TILL:\n            return []",
        "        if False:\n            return []",
    ),
    (_RULES, "if row.receipt_number not in used]", "]"),
    (_RULES, "if not group.is_pair or not self._record.trusted:", "if not self._record.trusted:"),
    (_RULES, "if not group.is_pair or not self._record.trusted:", "if not group.is_pair:"),
    (_RULES, "return self._rule is PAYBILL or query_said_paid(group.payments[0])", "return True"),
    (_RULES, "entry.event == Meaning.QUERY_PAID.value for", "True for"),
    (
        _RULES,
        "return FITS_WITHOUT_QUERY if self._record.trusted else NOT_TRUSTED",
        "return FITS_WITHOUT_QUERY",
    ),
    (_RULES, "if (one.row.amount == one.transaction.amount) is equal)", "if equal)"),
    (_RULES, "if not one.transaction.paid)", ")"),
    (_RULES, "if one.transaction.paid)", ")"),
    (
        _RULES,
        "if one.paid and one.transaction_no not in found)",
        "if one.transaction_no not in found)",
    ),
    (_RULES, "if one.paid and one.transaction_no not in found)", "if one.paid)"),
    (_RULES, "if receipt not in claimed", "if receipt not in self._holders"),
    (_RULES, "record.touches(*time) and not", "not"),
    (_RULES, "[TAKEN_ELSEWHERE] if self._taken else []", "[]"),
    (
        _RULES,
        "return first, min(next(known, payment.updated), first + PAYBILL.latest)",
        "return first, next(known, payment.updated)",
    ),
    (
        _RULES,
        "return first, min(next(known, payment.updated), first + PAYBILL.latest)",
        "return first, first",
    ),
    (_RULES, "return payment.paid_at, payment.paid_at", "return payment.created, payment.updated"),
    # several statements, and what they cover
    (_RECORD, "_CLOCKS_DIFFER = timedelta(seconds=120)", "_CLOCKS_DIFFER = timedelta(seconds=121)"),
    (_RECORD, "_CLOCKS_DIFFER = timedelta(seconds=120)", "_CLOCKS_DIFFER = timedelta(seconds=119)"),
    (_RECORD, "return not apart or median(apart)", "return not apart or min(apart)"),
    (_RECORD, "return not apart or median(apart)", "return not apart or max(apart)"),
    (
        _RECORD,
        "abs((row.completed - paid_at).total_seconds())",
        "(row.completed - paid_at).total_seconds()",
    ),
    (_RECORD, "problems += [] if clocks else [CLOCKS_DISAGREE]", "pass"),
    (_RECORD, "trusted = clocks and not disagree", "trusted = clocks"),
    (_RECORD, "trusted = clocks and not disagree", "trusted = not disagree"),
    (_RECORD, "for one in covering) if trusted else ()", "for one in covering)"),
    (_RECORD, "one.amount != other.amount\n        or", "False\n        or"),
    (_RECORD, "        or abs(one.completed - other.completed) > _CLOCKS_DIFFER\n", ""),
    (_RECORD, "        or _differ(one.reference, other.reference)\n", ""),
    (_RECORD, "        or _differ(one.kind, other.kind)\n", ""),
    (_RECORD, "        or _phones_differ(one.phone_number, other.phone_number)\n", ""),
    (_RECORD, "disagree = disagree or _one_leaves_out(rows.values(), ordered, covering)", "pass"),
    (_RECORD, "and start + _CLOCKS_DIFFER <= row", "and start <= row"),
    (_RECORD, "< end - _CLOCKS_DIFFER", "< end"),
    (_RECORD, "kind=known.kind or row.kind", "kind=known.kind"),
    (_RECORD, "reference=known.reference or row.reference", "reference=known.reference"),
    (
        _RECORD,
        "phone_number=known.phone_number or row.phone_number",
        "phone_number=known.phone_number",
    ),
    (_RECORD, "    if not one.complete:\n        return NOT_COMPLETE\n", ""),
    (_RECORD, "if one.empty_answer and not works else None", "if False else None"),
    (_RECORD, "if one.empty_answer and not works else None", "if one.empty_answer else None"),
    (_RECORD, "if other.source is one.source)", "if other)"),
    (_RECORD, "any(row.receipt_number in holders for other", "any(True for other"),
    (_RECORD, "any(start <= first and last < end for", "any(start < first and last < end for"),
    (_RECORD, "any(start <= first and last < end for", "any(start <= first and last <= end for"),
    (_RECORD, "any(start <= first and last < end for", "any(start <= first < end for"),
    (_RECORD, "max(found[-1][1], end)", "end"),
    (_RECORD, "if found and start <= found[-1][1]:", "if found:"),
    (_RECORD, "if found and start <= found[-1][1]:", "if found and start < found[-1][1]:"),
    (_RECORD, "ordered = sorted(statements, key=_order)", "ordered = list(statements)"),
    (_RECORD, "key=lambda item: (item[1].completed, item[0])", "key=lambda item: item[0]"),
    # the report
    (_REPORT, "() if self.applied else self.receipts_added,", ""),
    (
        _REPORT,
        "return self.trusted and bool(self.covered) and not",
        "return bool(self.covered) and not",
    ),
    (_REPORT, "return self.trusted and bool(self.covered) and not", "return self.trusted and not"),
    (_REPORT, "applied=all(report.applied for", "applied=any(report.applied for"),
    (_REPORT, "trusted=all(report.trusted for", "trusted=any(report.trusted for"),
    # what a row means for a stored payment
    (_EVIDENCE, "if seen.amount != transaction.amount:", "if False:"),
    (_EVIDENCE, "return PAID_AFTER_FAILURE if ended_unpaid(transaction) else None", "return None"),
    (_EVIDENCE, "return failed or state is TransactionState.REJECTED", "return failed"),
    (_EVIDENCE, "return Meaning.NOTHING_NEW if known else meaning", "return meaning"),
    (_EVIDENCE, "if said or len(claims) >= _MOST_CLAIMS else", "if said else"),
    (_EFFECTS, '"settled_by": "record",\n', ""),
    (_EFFECTS, '"paid_at": event.paid_at.astimezone(timezone.utc),', ""),
    # the flow
    (_FLOW, "        if not report.trusted:\n", "        if False:\n"),
    (_FLOW, "if after.transaction.receipt_number == one.row.receipt_number:", "if True:"),
    (
        _FLOW,
        "payment = await self._callbacks.apply_kept(one.transaction)",
        "payment = one.transaction",
    ),
    (_FLOW, "if holder is not None and holder.account == account:", "if holder is not None:"),
    (_FLOW, "_LOOK_BACK = timedelta(hours=48)", "_LOOK_BACK = timedelta(hours=23)"),
    (_FLOW, "        if len(names) > 1:\n", "        if False:\n"),
    (_FLOW, "            if number in short_names(one.account)\n", ""),
    (_FLOW, "        found = await self._callbacks.apply_kept(found)\n", ""),
    (
        _FLOW,
        "return ClaimAnswer.IN_RECORD if fits(found, row) else",
        "return ClaimAnswer.IN_RECORD if True else",
    ),
)
"""Each breaks a rule. None may survive."""

"""The admin's export: the payments of a list as CSV, in the columns of ``mpesa-stk payments export``."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from django.db import models

from mpesa_stk.commands.payment_facts import View
from mpesa_stk.commands.payments_export import BOM, HEADINGS, cells_of
from mpesa_stk.contrib.django.admin_pages import transaction_of

__all__ = ["csv_lines"]

_AT_ONCE = 500


class _Line:
    """A file for a CSV writer. It returns the line."""

    def write(self, line: str) -> str:
        return line


def csv_lines(rows: Any, view: View, /) -> Iterator[str]:  # noqa: ANN401 - Django has no types
    """Return the lines of a file, for Excel too. A row that cannot be read is left out.

    The rows are read in parts by the index, so the memory for a million is that for a few hundred.
    """
    writer = csv.writer(_Line(), quoting=csv.QUOTE_NONNUMERIC)
    yield BOM + writer.writerow(HEADINGS)
    rows = rows.order_by("-created", "-transaction_no")
    part = list(rows[:_AT_ONCE])
    while part:
        for payment in part:
            transaction = transaction_of(payment)
            if transaction is not None:
                yield writer.writerow(cells_of(transaction, view))
        last = part[-1]
        earlier = models.Q(created__lt=last.created) | models.Q(transaction_no__lt=last.pk)
        part = list(rows.filter(earlier, created__lte=last.created)[:_AT_ONCE])

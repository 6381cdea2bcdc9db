"""Lists of the admin that stay fast beside a million rows: no COUNT, no DISTINCT and no sort of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.timezone import localtime

from mpesa_stk.commands.payment_facts import View
from mpesa_stk.contrib.django.host_settings import named_database
from mpesa_stk.contrib.django.models import Payment
from mpesa_stk.contrib.django.orm_database import alias_of

__all__ = [
    "AccountFilter",
    "PaymentRows",
    "ReadOnlyAdmin",
    "ShortPaginator",
    "accounts_of",
    "column",
    "store_alias",
    "view_for",
]

MOST_LISTED = 10_000
"""How many rows the pages of a list hold. Filters and the dates lead to older ones."""
MOST_ACCOUNTS = 50


def store_alias(model: type[models.Model], /) -> str:
    """Return the alias of the database to which the stores write."""
    return alias_of(model, named_database())


class ShortPaginator(Paginator):
    """Counts rows up to a limit only."""

    @cached_property  # type: ignore[untyped-decorator] # Django has no types
    def count(self) -> int:
        """How many rows the pages hold."""
        return int(self.object_list.order_by()[:MOST_LISTED].count())

    @property
    def is_cut(self) -> bool:
        """Whether there may be more rows."""
        return bool(self.count >= MOST_LISTED)


class ShortList(ChangeList):
    """A list that does not offer to show all rows where it shows all of them."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows of one page."""
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


class PaymentRows(models.QuerySet):
    """Payments, for a list with dates."""

    def datetimes(
        self, field_name: str, kind: str, *_order: object, **_options: object
    ) -> list[datetime]:
        """Return the years, months or days from the first row to the last.

        Django would read every row for those that have one.
        """
        ordered = self.order_by(field_name).values_list(field_name, flat=True)
        ends = [localtime(moment) for moment in (ordered.first(), ordered.last()) if moment]
        return list(_steps(ends[0], ends[-1], kind)) if ends else []


def _steps(first: datetime, last: datetime, kind: str) -> Iterator[datetime]:
    """Return the first moment of each year, month or day from one moment to another."""
    at = datetime(first.year, 1, 1, tzinfo=first.tzinfo)
    if kind != "year":
        at = at.replace(month=first.month)
    if kind == "day":
        at = at.replace(day=first.day)
    while at <= last:
        yield at
        if kind == "day":
            at += timedelta(days=1)
        else:
            months = at.month - 1 + (12 if kind == "year" else 1)
            at = at.replace(year=at.year + months // 12, month=months % 12 + 1)


def accounts_of(rows: Any, /) -> list[str]:  # noqa: ANN401 - Django has no types
    """Return the accounts that have payments. It reads one entry of an index for each."""
    found: list[str] = []
    names = rows.order_by("account").values_list("account", flat=True)
    while len(found) < MOST_ACCOUNTS:
        name = (names.filter(account__gt=found[-1]) if found else names).first()
        if name is None:
            break
        found.append(name)
    return found


class AccountFilter(admin.SimpleListFilter):
    """The payments of one account. It is shown if there are several."""

    title = "account"
    parameter_name = "account"

    def lookups(self, _request: object, _model_admin: object) -> list[tuple[str, str]]:
        """Return the accounts."""
        names = accounts_of(PaymentRows(Payment, using=store_alias(Payment)))
        return [(name, name) for name in names] if len(names) > 1 else []

    def queryset(self, _request: object, queryset: Any) -> Any:  # noqa: ANN401 - Django has no types
        """Return the payments of the account that is chosen."""
        return queryset if self.value() is None else queryset.filter(account=self.value())


def view_for(request: HttpRequest, /) -> View:
    """Return the view of personal data that a user may have."""
    return View(unmask=request.user.has_perm("mpesa_stk.see_phone"))


def column(title: str, show: Callable[[Any], str], /) -> Callable[[Any], str]:
    """Make a column of a list. No click sorts by it, because the whole table would be sorted."""

    def shown(row: Any) -> str:  # noqa: ANN401 - Django has no types
        return show(row)

    shown.short_description = title  # type: ignore[attr-defined] # Django reads it
    shown.__name__ = title.replace(" ", "_")
    return shown


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that only the library adds, changes and deletes."""

    actions = None
    list_per_page = 50
    list_max_show_all = 50
    show_full_result_count = False
    show_facets = getattr(getattr(admin, "ShowFacets", None), "NEVER", None)
    paginator = ShortPaginator
    sortable_by = ()

    class Media:
        """The style of the pages."""

        css: ClassVar = {"all": ("mpesa_stk/admin.css",)}

    def get_changelist(self, _request: HttpRequest, **_options: object) -> type[ShortList]:
        """Return the class of the list."""
        return ShortList

    def has_add_permission(self, _request: object) -> bool:
        """Return False. A checkout adds payments."""
        return False

    def has_change_permission(self, _request: object, _row: object = None) -> bool:
        """Return False. Events change payments."""
        return False

    def has_delete_permission(self, _request: object, _row: object = None) -> bool:
        """Return False. Payments are evidence."""
        return False

    def site_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return the values that each page of the admin site needs."""
        request.current_app = self.admin_site.name  # the host may have another site than Django's
        return dict(self.admin_site.each_context(request))

"""The admin: look for payments, read their story, decide about reviews, export.

No row is added, changed or deleted by hand. Only a decision about a payment writes, as `Payments.resolve`
does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from mpesa_stk.commands.payment_facts import moment
from mpesa_stk.contrib.django import admin_pages
from mpesa_stk.contrib.django.admin_callbacks import KeptCallbackAdmin
from mpesa_stk.contrib.django.admin_decision import DecisionForm, decide
from mpesa_stk.contrib.django.admin_export import csv_lines
from mpesa_stk.contrib.django.admin_lists import (
    AccountFilter,
    PaymentRows,
    ReadOnlyAdmin,
    column,
    store_alias,
    view_for,
)
from mpesa_stk.contrib.django.admin_search import numbers_for
from mpesa_stk.contrib.django.models import KeptCallback, Payment
from mpesa_stk.contrib.django.orm_store import DjangoTransactionStore

__all__ = ["PaymentAdmin"]

_RESOLVE = "mpesa_stk.resolve_payment"
_EXPORT = "mpesa_stk.export_payments"
_MOST_REVIEWS = 100


def _badge(payment: Payment) -> SafeString:
    """Return the state, in a colour, with a mark if a person must look at it."""
    badges = [(payment.state.lower(), payment.get_state_display())]
    if payment.in_review:
        badges.append(("review", "Review"))
    return format_html_join(" ", '<span class="mpesa-badge mpesa-{}">{}</span>', badges)


def _asked(payment: Payment) -> SafeString:
    """Return when the payment was asked for. In a narrow column only the space may break."""
    day, at = moment(payment.created)[:16].split(" ")
    return format_html('<span class="mpesa-at">{}</span> <span>{}</span>', day, at)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    """Payments, the last created first."""

    change_list_template = "mpesa_stk/admin/payments.html"
    date_hierarchy = "created"
    list_filter = ("in_review", "state", AccountFilter)
    ordering = ("-created", "-transaction_no")
    search_fields = ("transaction_no",)
    search_help_text = "Phone number, receipt, reference, order, or an id. Write it in full."

    def get_queryset(self, _request: HttpRequest) -> PaymentRows:
        """Return the payments, from the database to which the stores write."""
        return PaymentRows(Payment, using=store_alias(Payment))

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Return the columns. Phone numbers are masked, unless the user may see them."""
        view = view_for(request)
        return [
            column("asked", _asked),
            column("amount", lambda payment: f"{payment.amount:,}"),
            column("state", _badge),
            column("phone", view.phone),
            column("receipt", lambda payment: payment.receipt_number or "-"),
            column("reference", lambda payment: view.text(payment, payment.reference)),
            column("order", lambda payment: view.text(payment, payment.order) or "-"),
        ]

    def get_search_results(
        self,
        _request: HttpRequest,
        queryset: Any,  # noqa: ANN401 - Django has no types
        search_term: str,
    ) -> tuple[Any, bool]:
        """Find payments by a whole value that a customer knows, by its index."""
        if not search_term.strip():
            return queryset, False
        numbers = numbers_for(search_term.strip(), PaymentRows(Payment, using=store_alias(Payment)))
        return queryset.filter(pk__in=numbers), False

    def get_urls(self) -> list[Any]:
        """Add the pages of a decision and of an export."""
        own = [
            path("export/", self._page(self.export_view), name="mpesa_stk_payment_export"),
            path(
                "<path:object_id>/resolve/",
                self._page(self.resolve_view),
                name="mpesa_stk_payment_resolve",
            ),
        ]
        return [*own, *super().get_urls()]

    def _page(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        # A decision is stored at once, also if ATOMIC_REQUESTS is on.
        page: Callable[..., HttpResponse] = non_atomic_requests(self.admin_site.admin_view(view))
        return page

    # --- the list -----------------------------------------------------------------------------------

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and how many payments need a review."""
        reviews = self.get_queryset(request).filter(in_review=True)[:_MOST_REVIEWS].count()
        context = {
            "title": "Payments",
            "reviews": reviews,
            "most_reviews": _MOST_REVIEWS,
            "can_export": request.user.has_perm(_EXPORT),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def export_view(self, request: HttpRequest) -> HttpResponse:
        """Answer with the payments of the list as CSV."""
        if not self.has_view_permission(request) or not request.user.has_perm(_EXPORT):
            raise PermissionDenied
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(self._address("changelist") + "?e=1")
        lines = csv_lines(rows, view_for(request))
        answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="payments.csv"'
        return answer

    # --- one payment ----------------------------------------------------------------------------------

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002 - Django passes it
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the story and the facts of a payment."""
        payment = self._payment(request, object_id)
        if payment is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, unquote(object_id))
        view, transaction = view_for(request), admin_pages.transaction_of(payment)
        story: list[Any] = []
        if transaction is not None:
            kept = DjangoTransactionStore(store_alias(Payment)).kept_callbacks(
                checkout_request_id=transaction.checkout_request_id,
                transaction_no=transaction.transaction_no,
            )
            story = list(admin_pages.story_of_payment(transaction, kept, view))
        context = {
            **self._context(request, payment, "Payment"),
            "badge": _badge(payment),
            "story": story,
            "facts": admin_pages.facts_of(payment, view),
            "reviews": admin_pages.reviews_of(transaction) if transaction else [],
            "can_resolve": transaction is not None and request.user.has_perm(_RESOLVE),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "mpesa_stk/admin/payment.html", context)

    def resolve_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a decision about a payment, and write it."""
        payment = self._payment(request, object_id)
        if not request.user.has_perm(_RESOLVE):
            raise PermissionDenied
        if payment is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, unquote(object_id))
        transaction = admin_pages.transaction_of(payment)
        form = DecisionForm(request.POST or None)
        write = partial(decide, by=request.user.get_username(), using=store_alias(Payment))
        if form.is_valid() and write(form, payment.pk) is not None:
            # The note may name a phone number. The story shows it to those who may see it.
            decision = dict(form.fields["outcome"].choices)[form.cleaned_data["outcome"]]
            self.log_change(request, payment, decision)
            messages.success(request, "The decision is written.")
            return HttpResponseRedirect(self._address("change", payment))
        context = {
            **self._context(request, payment, "Decide about a payment"),
            "badge": _badge(payment),
            "form": form,
            "reference": view_for(request).text(payment, payment.reference),
            "reviews": admin_pages.reviews_of(transaction) if transaction else [],
        }
        return TemplateResponse(request, "mpesa_stk/admin/resolve.html", context)

    def _payment(self, request: HttpRequest, object_id: str) -> Payment | None:
        payment: Payment | None = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, payment):
            raise PermissionDenied
        return payment

    def _address(self, page: str, *payments: Payment) -> str:
        numbers = [quote(payment.pk) for payment in payments]
        name = f"admin:mpesa_stk_payment_{page}"
        return str(reverse(name, args=numbers, current_app=self.admin_site.name))

    def _context(self, request: HttpRequest, payment: Payment, title: str) -> dict[str, Any]:
        return {
            **self.site_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "payment": payment,
            "amount": f"KES {payment.amount:,}",
            "phone": view_for(request).phone(payment),
            "pages": {
                page: self._address(page, payment) for page in ("change", "resolve", "history")
            },
        }


admin.site.register(KeptCallback, KeptCallbackAdmin)

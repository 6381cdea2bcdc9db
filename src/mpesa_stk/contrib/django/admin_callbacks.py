"""The admin of kept callbacks: evidence that could not settle a payment yet."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from mpesa_stk.commands.payment_facts import moment
from mpesa_stk.contrib.django.admin_lists import ReadOnlyAdmin, column, store_alias, view_for
from mpesa_stk.contrib.django.models import KeptCallback

__all__ = ["KeptCallbackAdmin"]

_LONGEST_BODY = 20_000


class KeptCallbackAdmin(ReadOnlyAdmin):
    """Callbacks that could not settle a payment yet, the last received first."""

    ordering = ("-received", "callback_id")

    def get_queryset(self, _request: HttpRequest) -> Any:  # noqa: ANN401 - Django has no types
        """Return the callbacks, from the database to which the stores write."""
        return KeptCallback.objects.using(store_alias(KeptCallback))

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Return the columns. A CheckoutRequestID ends in the payer's number."""
        view = view_for(request)
        return [
            column("received", lambda kept: moment(kept.received)),
            column("why it is kept", lambda kept: kept.reason),
            column("prompt", lambda kept: view.checkout_id(kept.checkout_request_id) or "-"),
            column("payment", self._payment),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002 - Django passes it
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a callback. Its body holds a phone number."""
        kept: KeptCallback | None = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, kept):
            raise PermissionDenied
        if kept is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, unquote(object_id))
        view = view_for(request)
        body = bytes(kept.body)
        context = {
            **self.site_context(request),
            "title": "Kept callback",
            "opts": self.opts,
            "media": self.media,
            "facts": [
                ("received", moment(kept.received)),
                ("why it is kept", kept.reason),
                ("prompt", view.checkout_id(kept.checkout_request_id) or "-"),
                ("payment", self._payment(kept)),
                ("id", kept.callback_id),
            ],
            "body": body[:_LONGEST_BODY].decode(errors="replace") if view.unmask else None,
            "size": len(body),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "mpesa_stk/admin/callback.html", context)

    def _payment(self, kept: KeptCallback) -> str:
        """Return a link to the payment that the callback's address names."""
        if kept.transaction_no is None:
            return "-"
        address = reverse(
            "admin:mpesa_stk_payment_change",
            args=[quote(kept.transaction_no)],
            current_app=self.admin_site.name,
        )
        return format_html('<a href="{}">{}</a>', address, kept.transaction_no)  # type: ignore[no-any-return]

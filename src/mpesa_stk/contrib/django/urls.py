"""The URLs of the endpoints: ``path("payments/", include("mpesa_stk.contrib.django.urls"))``.

Each path works without its last slash, too, because Daraja and other machines follow no redirect. Several
accounts have the endpoints under ``<account>/``.
"""

from __future__ import annotations

from django.urls import path, re_path

from mpesa_stk.contrib.django import views
from mpesa_stk.contrib.django.mounting import APP_NAME

__all__ = ["app_name", "urlpatterns"]

app_name = APP_NAME

urlpatterns = [
    path("callback/", views.callback, {"path": "callback/"}, name="callback"),
    path("checkout/", views.payments, {"path": "checkout/"}, name="checkout"),
    path("query/", views.payments, {"path": "query/"}, name="query"),
    path("claim/", views.payments, {"path": "claim/"}, name="claim"),
    re_path(r"^(?P<path>(?:[^/]+/)?callback(?:/[^/]*)?/?)$", views.callback),
    re_path(r"^(?P<path>(?:[^/]+/)?(?:checkout|query|claim)/?)$", views.payments),
]
"""The names are for `django.urls.reverse`: ``reverse("mpesa_stk:checkout")``."""

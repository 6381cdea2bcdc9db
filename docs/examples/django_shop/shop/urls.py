"""URLs: the callback is exempt from Django's CSRF check, for Daraja has no token. Nothing else is."""

from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from shop import views

urlpatterns = [
    path("", views.page),
    re_path(r"^payments/callback(?:/|$)", csrf_exempt(views.payments)),
    re_path(r"^payments/", views.payments),
]

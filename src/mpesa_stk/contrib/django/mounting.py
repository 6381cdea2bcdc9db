"""Find where the host has included the endpoints in its URLs."""

from __future__ import annotations

from django.conf import settings
from django.urls import NoReverseMatch, reverse

__all__ = ["APP_NAME", "callback_path"]

APP_NAME = "mpesa_stk"
"""The namespace of the endpoints' URLs."""


def callback_path() -> str | None:
    """Return the path of the callback endpoint, or None if the host has not included the endpoints."""
    if getattr(settings, "ROOT_URLCONF", None) is None:
        return None
    try:
        return str(reverse(f"{APP_NAME}:callback"))
    except NoReverseMatch:
        return None

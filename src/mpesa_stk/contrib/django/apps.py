"""The Django app's configuration."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["MpesaStkConfig"]


class MpesaStkConfig(AppConfig):
    """M-Pesa payments in Django."""

    name = "mpesa_stk.contrib.django"
    label = "mpesa_stk"
    verbose_name = "M-Pesa"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let Django run the system checks of the payments."""
        from mpesa_stk.contrib.django.checks import (  # noqa: PLC0415 - it needs the models
            register_checks,
        )

        register_checks()

"""The app's configuration."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Connects the receivers of signals when Django starts."""

    name = "orders"

    def ready(self) -> None:
        """Import the receivers."""
        from orders import receivers  # noqa: F401, PLC0415 - Django is ready only here

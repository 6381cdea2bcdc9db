"""The version of this package. The build reads it here."""

from __future__ import annotations

__version__: str = "0.1.0"

"""URLs of a project without the endpoints."""

from __future__ import annotations

urlpatterns: list[object] = []

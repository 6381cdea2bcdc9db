"""URLs of a host that has Django's admin."""

from django.contrib import admin
from django.http import HttpResponse
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("favicon.ico", lambda _request: HttpResponse(status=204)),
]

"""URLs of a host that has Django's admin, and a site of its own beside it."""

from django.contrib import admin
from django.http import HttpResponse
from django.urls import path

from mpesa_stk.contrib.django.admin import PaymentAdmin
from mpesa_stk.contrib.django.admin_callbacks import KeptCallbackAdmin
from mpesa_stk.contrib.django.models import KeptCallback, Payment

desk = admin.AdminSite("desk")
desk.register(Payment, PaymentAdmin)
desk.register(KeptCallback, KeptCallbackAdmin)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("desk/", desk.urls),
    path("favicon.ico", lambda _request: HttpResponse(status=204)),
]

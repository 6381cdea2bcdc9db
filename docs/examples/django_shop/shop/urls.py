"""The pages, the admin, and the payment endpoints: checkout, query, claim and callback."""

from django.contrib import admin
from django.urls import include, path
from orders import views

urlpatterns = [
    path("", views.all_orders),
    path("orders/<number>", views.one_order),
    path("payments/", include("mpesa_stk.contrib.django.urls")),
    path("admin/", admin.site.urls),
]

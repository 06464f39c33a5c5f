from django.urls import path

from orders import views

urlpatterns = [
    path("", views.page),
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("api/version", views.version),
    path("api/orders", views.orders),
]

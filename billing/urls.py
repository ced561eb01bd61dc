"""URLs of the credits pages."""

from django.urls import path

from billing import views

app_name = "billing"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("receipts/<uuid:hold_id>/", views.receipt, name="receipt"),
]

"""URLs of the credits pages."""

from django.urls import path

from billing import topup_views, views, webhooks

app_name = "billing"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("export.csv", views.export, {"format_name": "csv"}, name="export_csv"),
    path("export.json", views.export, {"format_name": "json"}, name="export_json"),
    path("usage/", views.usage, name="usage"),
    path("who-pays/", views.who_pays, name="who_pays"),
    path("buy/", topup_views.buy, name="buy"),
    path("codes/", topup_views.redeem, name="redeem"),
    path("top-ups/", topup_views.order, name="order"),
    path("top-ups/<uuid:topup_id>/", topup_views.topup, name="topup"),
    path("sandbox/<uuid:topup_id>/", topup_views.sandbox_checkout, name="sandbox"),
    path("receipts/<uuid:hold_id>/", views.receipt, name="receipt"),
    path("webhooks/stripe/", webhooks.stripe_webhook, name="stripe_webhook"),
]

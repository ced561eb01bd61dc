"""URLs of the credits pages."""

from django.urls import path, re_path, register_converter

from accounts.callers.page_limits import limited
from billing import spending_views, statement_views, topup_views, views, webhooks
from billing.statements import MonthConverter

register_converter(MonthConverter, "month")

exported = limited("exports", lambda request: request.method == "GET")

app_name = "billing"
urlpatterns = [
    path("", limited("searches", lambda request: bool(request.GET.get("text")))(views.overview), name="overview"),
    path("export.csv", exported(views.export), {"format_name": "csv"}, name="export_csv"),
    path("export.json", exported(views.export), {"format_name": "json"}, name="export_json"),
    path("usage/", views.usage, name="usage"),
    path("who-pays/", views.who_pays, name="who_pays"),
    path("buy/", topup_views.buy, name="buy"),
    path("codes/", topup_views.redeem, name="redeem"),
    path("top-ups/", topup_views.order, name="order"),
    path("top-ups/<uuid:topup_id>/", topup_views.topup, name="topup"),
    path("sandbox/<uuid:topup_id>/", topup_views.sandbox_checkout, name="sandbox"),
    path("spending/", spending_views.spending, name="spending"),
    path("spending/alert/", spending_views.set_alert, name="set_alert"),
    path("spending/cap/", spending_views.set_cap, name="set_cap"),
    path("spending/automatic/", spending_views.set_automatic, name="set_automatic"),
    path("spending/automatic/off/", spending_views.stop_automatic, name="stop_automatic"),
    path("spending/card/", spending_views.save_card, name="save_card"),
    path("spending/card/refresh/", spending_views.refresh_card, name="refresh_card"),
    path("spending/card/remove/", spending_views.remove_card, name="remove_card"),
    path("sandbox/card/<uuid:card_id>/", spending_views.sandbox_card, name="sandbox_card"),
    path("statements/", statement_views.statements, name="statements"),
    path("statements/<month:month>/", statement_views.statement, name="statement"),
    path("statements/<month:month>.csv", exported(statement_views.statement_csv), name="statement_csv"),
    path("receipts/<uuid:hold_id>/", views.receipt, name="receipt"),
    re_path("^webhooks/stripe/?$", webhooks.stripe_webhook, name="stripe_webhook"),  # a redirect would lose the event
]

"""URLs of the credits pages."""

from django.urls import path, re_path, register_converter

from accounts.callers.page_limits import limited
from billing.pages import overview, spending, statements, topups
from billing.reporting.statements import MonthConverter
from billing.stripe import webhooks

register_converter(MonthConverter, "month")

exported = limited("exports", lambda request: request.method == "GET")

app_name = "billing"
urlpatterns = [
    path("", limited("searches", lambda request: bool(request.GET.get("text")))(overview.overview), name="overview"),
    path("export.csv", exported(overview.export), {"format_name": "csv"}, name="export_csv"),
    path("export.json", exported(overview.export), {"format_name": "json"}, name="export_json"),
    path("usage/", overview.usage, name="usage"),
    path("who-pays/", overview.who_pays, name="who_pays"),
    path("buy/", topups.buy, name="buy"),
    path("codes/", topups.redeem, name="redeem"),
    path("top-ups/", topups.order, name="order"),
    path("top-ups/<uuid:topup_id>/", topups.topup, name="topup"),
    path("sandbox/<uuid:topup_id>/", topups.sandbox_checkout, name="sandbox"),
    path("spending/", spending.spending, name="spending"),
    path("spending/alert/", spending.set_alert, name="set_alert"),
    path("spending/cap/", spending.set_cap, name="set_cap"),
    path("spending/automatic/", spending.set_automatic, name="set_automatic"),
    path("spending/automatic/off/", spending.stop_automatic, name="stop_automatic"),
    path("spending/card/", spending.save_card, name="save_card"),
    path("spending/card/refresh/", spending.refresh_card, name="refresh_card"),
    path("spending/card/remove/", spending.remove_card, name="remove_card"),
    path("sandbox/card/<uuid:card_id>/", spending.sandbox_card, name="sandbox_card"),
    path("statements/", statements.statements, name="statements"),
    path("statements/<month:month>/", statements.statement, name="statement"),
    path("statements/<month:month>.csv", exported(statements.statement_csv), name="statement_csv"),
    path("receipts/<uuid:hold_id>/", overview.receipt, name="receipt"),
    re_path("^webhooks/stripe/?$", webhooks.stripe_webhook, name="stripe_webhook"),  # a redirect would lose the event
]

"""The page of notifications. What concerns money that moved, or the account's safety, is always sent and not on it."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts.callers.requests import Request
from billing.models import SpendingPreferences
from billing.notices import low_balance
from billing.pages.spending_forms import AlertForm


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def notifications(request: Request) -> HttpResponse:
    """Show the alert of a low balance, and change it."""
    chosen = SpendingPreferences.objects.of(request.user.wallet)
    is_never_told = not (chosen.is_alert_on or settings.LOW_BALANCE_MICROCREDITS)
    now = {"is_on": chosen.is_alert_on, "below": None if is_never_told else chosen.alert_below_microcredits}
    form = AlertForm(request.POST if request.method == "POST" else None, initial=now)
    if form.is_valid():
        below = form.cleaned_data["below"] if form.cleaned_data["is_on"] else None
        low_balance.set_alert(user=request.user, below_microcredits=below)
        messages.success(request, _("Saved"))
        return redirect("settings:notifications")
    context = {"heading": _("Settings"), "section": "notifications", "form": form}
    return render(request, "billing/settings/notifications.html", context, status=422 if form.is_bound else 200)

"""Buying credits: packages, a custom amount, a code, and the page to which a checkout returns."""

from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.callers.requests import Request
from billing import ledger
from billing.currencies import decimals_of, from_minor, step_minor
from billing.models import Package, TopUp, TopUpState
from billing.pages.form_fields import MoneyField
from billing.templatetags.money import format_credits
from billing.topups import code_tries, orders, promotions, sandbox
from billing.topups.payments import PaymentError


class OrderForm(forms.Form):
    """A package or an amount of money, and the key that makes a double click harmless."""

    package = forms.ModelChoiceField(Package.objects.filter(is_active=True), required=False)
    amount = MoneyField(required=False)
    idempotency_key = forms.UUIDField()

    def offer(self) -> orders.Offer:
        """Return what was chosen. Raises InvalidAmount."""
        package, amount = self.cleaned_data["package"], self.cleaned_data["amount"]
        if package is not None:
            return orders.offer_of_package(package)
        if amount is None:
            raise orders.InvalidAmount(_("Choose a package or enter an amount."))
        return orders.offer_of_amount(amount)


@require_safe
@login_required
def buy(request: Request) -> HttpResponse:
    """What can be bought."""
    return _buy_page(request)


@require_POST
@login_required
def order(request: Request) -> HttpResponse:
    """Store the order and redirect to its checkout."""
    form = OrderForm(request.POST)
    if not form.is_valid():
        return _buy_page(request, error=next(iter(form.errors.values()))[0], status=422)
    key = str(form.cleaned_data["idempotency_key"])
    try:
        topup = orders.start_topup(user=request.user, offer=form.offer(), idempotency_key=key)
    except orders.InvalidAmount as error:
        return _buy_page(request, error=str(error), status=422)
    except orders.TopUpConflict as error:
        return _buy_page(request, error=str(error), status=409)
    except PaymentError as error:
        return _buy_page(request, error=str(error), status=503)
    # without a checkout URL: the answer that had it was lost, and the order has ended since
    return redirect(topup.checkout_url) if topup.checkout_url else redirect("billing:topup", topup_id=topup.pk)


@require_safe
@login_required
def topup(request: Request, topup_id: UUID) -> HttpResponse:
    """Show an order; a checkout returns to this page. Its state comes from the ledger, not from the address."""
    found = get_object_or_404(TopUp.objects.for_user(request.user).select_related("package"), pk=topup_id)
    return render(request, "billing/topups/topup.html", {"heading": _("Top-up"), "topup": found, "tab": "buy"})


@require_POST
@login_required
def redeem(request: Request) -> HttpResponse:
    """Credit a promotion code, unless too many codes were tried."""
    text = request.POST.get("code", "")[:60]
    try:
        code_tries.count_code_try(request=request)
        key = request.POST.get("idempotency_key", "")[:64].replace("\x00", "")
        redemption = promotions.redeem_code(user=request.user, text=text, idempotency_key=key)
    except promotions.InvalidCode as error:
        return _buy_page(request, code_error=str(error), code=text, status=422)
    except ledger.IdempotencyConflict:
        message = _("This form was already sent with another code. Send it again.")
        return _buy_page(request, code_error=message, code=text, status=409)
    except code_tries.TooManyTries as error:
        return _wait_page(request, error.wait_seconds, code=text)
    except code_tries.CannotCount:
        message = _("Codes cannot be redeemed just now. Try again in a minute.")
        return _buy_page(request, code_error=message, code=text, status=503)
    worth = format_credits(redemption.entry.amount_microcredits)
    text = _("{credits} credits were added to your balance.").format(credits=worth)
    messages.success(request, text, extra_tags="credits")
    return redirect("billing:overview")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def sandbox_checkout(request: Request, topup_id: UUID) -> HttpResponse:
    """Show the page that plays the payment provider. It exists only if the sandbox is switched on.

    A cancelled order cannot be paid here any more: its checkout is over, as it is at a real provider.
    """
    if sandbox.NAME not in settings.PAYMENT_PROVIDERS:
        raise Http404
    found = get_object_or_404(TopUp.objects.for_user(request.user), pk=topup_id, provider=sandbox.NAME)
    is_over = found.state == TopUpState.CANCELLED
    if is_over or request.method != "POST":
        context = {"heading": _("Sandbox checkout"), "topup": found, "tab": "buy"}
        return render(
            request, "billing/topups/sandbox.html", context, status=HTTPStatus.GONE if is_over else HTTPStatus.OK
        )
    try:
        sandbox.play(topup=found, action=request.POST.get("action", ""))
    except (KeyError, orders.TopUpConflict):
        return HttpResponse(_("The sandbox cannot do that with this order."), status=409)
    return redirect("billing:topup", topup_id=found.pk)


def _wait_page(request: Request, wait_seconds: int, **context: Any) -> HttpResponse:
    minutes = -(-wait_seconds // 60)
    words = ngettext("Too many tries. Wait {n} minute.", "Too many tries. Wait {n} minutes.", minutes)
    page = _buy_page(request, code_error=words.format(n=minutes), status=429, **context)
    page["Retry-After"] = str(wait_seconds)
    return page


def _buy_page(request: Request, status: int = 200, **context: Any) -> HttpResponse:
    (least, most), currency = settings.TOPUP_MINOR_BOUNDS, settings.TOPUP_CURRENCY
    page = {
        "heading": _("Buy credits"),
        "tab": "buy",
        "wallet": request.user.wallet,
        "packages": Package.objects.filter(is_active=True),
        "least": from_minor(least, currency),
        "most": from_minor(most, currency),
        "step": from_minor(step_minor(currency), currency),
        "currency": currency.upper(),
        "credits_per_unit": settings.CREDITS_PER_MINOR_UNIT * 10 ** decimals_of(currency),
        "new_key": uuid4(),
    }
    return render(request, "billing/topups/buy.html", page | context, status=status)

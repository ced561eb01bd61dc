"""The spending page: the low-balance alert, the monthly cap, the saved card, the automatic top-up."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.callers.requests import Request
from accounts.models import User
from billing.ledger import caps
from billing.models import AutomaticTopUp, SavedCard, SpendingPreferences
from billing.notices import low_balance
from billing.pages.spending_forms import AlertForm, AutomaticForm, CapForm
from billing.topups import automatic as automatic_topups
from billing.topups import cards, sandbox
from billing.topups.payments import PaymentError


@require_safe
@login_required
def spending(request: Request) -> HttpResponse:
    """What is set now, and the forms to change it."""
    return _page(request)


@require_POST
@login_required
def set_alert(request: Request) -> HttpResponse:
    """Turn the alert on or off."""
    form = AlertForm(request.POST, auto_id="alert_%s")
    if not form.is_valid():
        return _page(request, status=422, alert_form=form)
    is_on = form.cleaned_data["is_on"]
    low_balance.set_alert(user=request.user, below_microcredits=form.cleaned_data["below"] if is_on else None)
    _say(request, _("Saved. You will be told.") if is_on else _("Saved. You will not be told."))
    return redirect("billing:spending")


@require_POST
@login_required
def set_cap(request: Request) -> HttpResponse:
    """Set, change or lift the monthly cap."""
    form = CapForm(request.POST, auto_id="cap_%s")
    if not form.is_valid():
        return _page(request, status=422, cap_form=form)
    cap = form.cleaned_data["cap"]
    caps.set_cap(user=request.user, cap_microcredits=cap)
    _say(request, _("Saved. There is no cap.") if cap is None else _("Saved. The cap holds from now on."))
    return redirect("billing:spending")


@require_POST
@login_required
def set_automatic(request: Request) -> HttpResponse:
    """Show the consent text; turn the automatic top-up on when exactly that text comes back."""
    form = AutomaticForm(request.POST, auto_id="automatic_%s")
    card = SavedCard.objects.filter(wallet=request.user.wallet).exclude(method_reference="").first()
    if not form.is_valid() or card is None:
        return _page(request, status=422, automatic_form=form)
    chosen = {
        "offer": form.cleaned_data["offer"],
        "below_microcredits": form.cleaned_data["below"],
        "ceiling_minor": form.cleaned_data["ceiling"],
    }
    consent = automatic_topups.describe_consent(card=card, **chosen)
    if request.POST.get("consent") != consent:
        context = {"heading": _("Automatic top-up"), "tab": "spending", "form": form, "consent": consent}
        return render(request, "billing/spending/automatic.html", context)
    try:
        automatic_topups.turn_on(user=request.user, **chosen)
    except automatic_topups.ConsentRefused as error:
        return _page(request, status=409, error=str(error), automatic_form=form)
    _say(request, _("Automatic top-up is on."))
    return redirect("billing:spending")


@require_POST
@login_required
def stop_automatic(request: Request) -> HttpResponse:
    """Turn it off."""
    automatic_topups.turn_off(user=request.user)
    _say(request, _("Automatic top-up is off."))
    return redirect("billing:spending")


@require_POST
@login_required
def save_card(request: Request) -> HttpResponse:
    """Redirect to the provider's page for entering a card."""
    try:
        return redirect(cards.start_card_setup(user=request.user))
    except PaymentError as error:
        return _page(request, status=503, error=str(error))


@require_POST
@login_required
def refresh_card(request: Request) -> HttpResponse:
    """Ask the provider about a card whose report is late."""
    try:
        is_saved = cards.refresh_card(user=request.user)
    except PaymentError as error:
        return _page(request, status=503, error=str(error))
    _say(request, _("Your card is saved.") if is_saved else _("No card was entered yet."))
    return redirect("billing:spending")


@require_POST
@login_required
def remove_card(request: Request) -> HttpResponse:
    """Forget the card; the automatic top-up ends with it."""
    try:
        cards.remove_card(user=request.user)
    except PaymentError as error:
        return _page(request, status=503, error=str(error))
    _say(request, _("The card is removed."))
    return redirect("billing:spending")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def sandbox_card(request: Request, card_id: UUID) -> HttpResponse:
    """The page that plays the provider's form for cards; it exists only where the sandbox is switched on."""
    if sandbox.NAME not in settings.PAYMENT_PROVIDERS:
        raise Http404
    card = get_object_or_404(SavedCard, pk=card_id, wallet__user=request.user, provider=sandbox.NAME)
    if request.method != "POST":
        return render(request, "billing/topups/sandbox_card.html", {"heading": _("Sandbox card"), "tab": "spending"})
    try:
        sandbox.enter_card(card=card, choice=request.POST.get("card", ""))
    except KeyError:
        return HttpResponse(_("The sandbox has no such card."), status=409)
    return redirect("billing:spending")


def _say(request: Request, text: str) -> None:
    messages.success(request, text, extra_tags="credits")


def _page(request: Request, status: int = 200, **context: Any) -> HttpResponse:
    """Render the page with all current settings. `context` may hold a submitted form with its errors."""
    wallet = request.user.wallet
    chosen = SpendingPreferences.objects.of(wallet)
    automatic = AutomaticTopUp.objects.filter(wallet=wallet).select_related("package").first()
    is_never_told = not (chosen.is_alert_on or settings.LOW_BALANCE_MICROCREDITS)
    alert = {"is_on": chosen.is_alert_on, "below": None if is_never_told else chosen.alert_below_microcredits}
    page = {
        "heading": _("Spending"),
        "tab": "spending",
        "wallet": wallet,
        "cap_room": caps.read_room_microcredits(wallet),
        "automatic": automatic,
        "ordered_minor": _ordered_minor(request.user, automatic),
        "card": SavedCard.objects.filter(wallet=wallet).first(),
        "alert_form": AlertForm(initial=alert, auto_id="alert_%s"),
        "cap_form": CapForm(initial={"cap": wallet.monthly_cap_microcredits}, auto_id="cap_%s"),
        "automatic_form": AutomaticForm(initial=_initial(automatic), auto_id="automatic_%s"),
    }
    return render(request, "billing/spending/spending.html", page | context, status=status)


def _ordered_minor(user: User, automatic: AutomaticTopUp | None) -> int:
    """What automatic top-ups came to this month, in smallest units of their own currency. At most one query."""
    return 0 if automatic is None else automatic_topups.ordered_minor(user=user, currency=automatic.currency)


def _initial(automatic: AutomaticTopUp | None) -> dict[str, Any]:
    """Return the values that were agreed to last, unless they were in another currency."""
    if automatic is None or automatic.currency != settings.TOPUP_CURRENCY:
        return {"below": settings.LOW_BALANCE_MICROCREDITS or None}
    return {
        "below": automatic.below_microcredits,
        "package": automatic.package_id,
        "amount": None if automatic.package_id else automatic.amount_minor,
        "ceiling": automatic.ceiling_minor,
    }

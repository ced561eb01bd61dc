"""The credits pages: the balance with its history, use by day and model, and the receipt of one answer."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from accounts.callers.requests import Request
from billing.ledger import owed_microcredits
from billing.ledger.caps import count_spent
from billing.models import EntryKind, Grant, Hold, Wallet
from billing.notices.low_balance import is_low
from billing.reporting.charts import draw_usage
from billing.reporting.exports import export_response
from billing.reporting.history import HistoryForm, LatestPaginator, entries_of, open_at
from billing.reporting.usage import RANGES_DAYS, last_days, parse_range, summarise_usage

ENTRIES_A_PAGE = 50

GRANTS_SHOWN = 50


@require_safe
@login_required
def overview(request: Request) -> HttpResponse:
    """Show balance, held, and the movements that the filters ask for, the latest first.

    The parameter `entry` asks for the page that shows this entry.
    """
    form = HistoryForm(request.GET)
    entries = form.narrow_latest(entries_of(request.user)).select_related("hold")
    opening = open_at(entries, request.GET.get("entry", ""), ENTRIES_A_PAGE)
    page = LatestPaginator(opening.entries, ENTRIES_A_PAGE).get_page(request.GET.get("page") or opening.page)
    context = {"heading": _("Credits"), "tab": "overview", "wallet": request.user.wallet, "form": form}
    context |= {"page": page, "begins_with": opening.begins_with}
    unspent = Grant.objects.for_user(request.user).unspent().in_spending_order().select_related("entry")
    grants = list(unspent[:GRANTS_SHOWN])
    context |= {"owed": owed_microcredits(wallet=request.user.wallet), "is_low": is_low(request.user.wallet)}
    context |= {"grants": grants} | _outlook(request.user.wallet, grants)
    return render(request, "billing/overview.html", context)


def _outlook(wallet: Wallet, grants: list[Grant]) -> dict[str, Any]:
    """What the month has used of the cap, if there is one, and the grant that expires next, if one does."""
    month = None
    if wallet.monthly_cap_microcredits is not None:
        used = count_spent(wallet).microcredits
        month = {"cap_microcredits": wallet.monthly_cap_microcredits, "used_microcredits": used}
    soonest = grants[0] if grants and grants[0].expires_at else None
    return {"month": month, "next_to_expire": soonest}


@require_safe
@login_required
def export(request: Request, format_name: str) -> HttpResponse | StreamingHttpResponse:
    """Return the same movements as a file. An invalid filter is refused, because a file cannot show a message."""
    form = HistoryForm(request.GET)
    if not form.is_valid():
        return HttpResponse(form.errors_as_text(), status=400, content_type="text/plain; charset=utf-8")
    return export_response(form.narrow(entries_of(request.user)), format_name)


@require_safe
@login_required
def usage(request: Request) -> HttpResponse:
    """Charged credits by day and model, as a chart and as tables."""
    days = parse_range(request.GET.get("days"))
    since, until = last_days(days)
    used = summarise_usage(request.user, since=since, until=until)
    context = {"heading": _("Usage"), "tab": "usage", "ranges": RANGES_DAYS, "days": days, "usage": used}
    return render(request, "billing/reporting/usage.html", context | {"chart": draw_usage(used)})


@require_safe
@cache_control(private=True, no_cache=True)
def who_pays(request: HttpRequest) -> HttpResponse:
    """Explain to everybody what the customer pays for and what is free. As `/`, it differs for customers."""
    page = "who_pays" if request.user.is_authenticated else "who_pays_for_strangers"
    shown = {"tab": "who_pays", "cache_percent": settings.ANSWER_CACHE_PRICE_PERCENT}
    return render(request, f"billing/{page}.html", {"heading": _("Who pays for what"), **shown})


@require_safe
@login_required
def receipt(request: Request, hold_id: UUID) -> HttpResponse:
    """Show what one answer cost and why, and what was refunded of it."""
    hold = get_object_or_404(Hold.objects.filter(wallet__user=request.user), pk=hold_id)
    entries = list(hold.entries.order_by("pk"))
    refunds = [entry for entry in entries if entry.kind == EntryKind.REFUND]
    charge = next((entry for entry in entries if entry.kind == EntryKind.USAGE), None)
    context = {
        "heading": _("Receipt"),
        "hold": hold,
        "entry": charge,
        "seller": settings.SELLER,
        "refunds": refunds,
        "refunded": sum(entry.amount_microcredits for entry in refunds),
    }
    return render(request, "billing/receipt.html", context)

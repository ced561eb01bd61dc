"""The credits pages: the balance with its history, and the receipt of one answer."""

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from accounts.http import Request
from billing.models import EntryKind, Hold, LedgerEntry


@require_safe
@login_required
def overview(request: Request) -> HttpResponse:
    """Balance, held, and every movement, the latest first."""
    entries = LedgerEntry.objects.for_user(request.user).select_related("hold")
    page = Paginator(entries, 50).get_page(request.GET.get("page"))
    context = {"heading": _("Credits"), "wallet": request.user.wallet, "page": page}
    return render(request, "billing/overview.html", context)


@require_safe
@login_required
def receipt(request: Request, hold_id: UUID) -> HttpResponse:
    """What one answer cost and why."""
    hold = get_object_or_404(Hold.objects.filter(wallet__user=request.user), pk=hold_id)
    entry = hold.entries.filter(kind=EntryKind.USAGE).first()
    return render(request, "billing/receipt.html", {"heading": _("Receipt"), "hold": hold, "entry": entry})

"""Where the receipt of a ledger entry is."""

from uuid import UUID

from django import template
from django.urls import reverse

from billing.models import LedgerEntry

register = template.Library()


@register.filter
def receipt_url(entry: LedgerEntry) -> str:
    """The receipt of the answer or of the top-up that moved these credits; empty when there is none."""
    if entry.hold_id:
        return reverse("billing:receipt", args=[entry.hold_id])
    origin, _colon, number = entry.idempotency_key.partition(":")
    if origin not in {"topup", "topup-bonus"}:
        return ""
    try:
        return reverse("billing:topup", args=[UUID(number)])
    except ValueError:
        return ""

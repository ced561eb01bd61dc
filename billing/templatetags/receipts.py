"""Links to the receipt of a ledger entry and to the entry itself, and the names of kinds."""

from uuid import UUID

from django import template
from django.urls import reverse
from django.utils.text import capfirst

from billing.models import EntryKind, LedgerEntry

register = template.Library()


@register.filter
def receipt_url(entry: LedgerEntry) -> str:
    """Return the URL of the receipt of the answer or the top-up that moved these credits; empty if there is none."""
    if entry.hold_id:
        return reverse("billing:receipt", args=[entry.hold_id])
    origin, _colon, number = entry.idempotency_key.partition(":")
    if origin not in {"topup", "topup-bonus"}:
        return ""
    try:
        return reverse("billing:topup", args=[UUID(number)])
    except ValueError:
        return ""


@register.filter
def receipt_number(entry: LedgerEntry) -> str:
    """The number of the receipt of an entry: its year and its own number, as in 'T-2026-000260'."""
    return f"T-{entry.created_at:%Y}-{entry.pk:06d}"


@register.filter
def entry_url(entry: LedgerEntry) -> str:
    """Return the URL of the entry in its customer's history: the page that shows it, at its row."""
    return f"{reverse('billing:overview')}?entry={entry.pk}#entry-{entry.pk}"


@register.filter
def kind_label(kind: str) -> str:
    """What a kind of movement is called: top_up is 'Top-up'."""
    return capfirst(str(EntryKind(kind).label))

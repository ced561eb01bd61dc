"""Whose a receipt, a payment or an answer's hold is. Every look-up uses an index; none reads a whole table."""

import re
from datetime import UTC
from uuid import UUID

from django.db.models import Q

from billing.models import Adjustment, Hold, LedgerEntry, Refund, TopUp

RECEIPT = re.compile(r"T-(\d{4})-(\d{6,18})", re.IGNORECASE)
LEAST_OF_A_REFERENCE = 6  # characters; fewer would begin many references


def find_by_receipt(text: str) -> list[int]:
    """The ids of the users whose receipt has this number, as in T-2026-000260: one or none."""
    written = RECEIPT.fullmatch(text)
    if written is None:
        return []
    year, number = map(int, written.groups())
    entries = LedgerEntry.objects.filter(pk=number).values_list("wallet__user_id", "created_at")
    return [user_id for user_id, at in entries if at.astimezone(UTC).year == year]


def find_by_id(number: UUID) -> list[int]:
    """The ids of the users to whom the top-up, hold, refund or adjustment with this id belongs."""
    found = [
        *TopUp.objects.filter(pk=number).values_list("user_id", flat=True),
        *Hold.objects.filter(pk=number).values_list("wallet__user_id", flat=True),
        *Adjustment.objects.filter(pk=number).values_list("wallet__user_id", flat=True),
    ]
    for pair in Refund.objects.filter(pk=number).values_list("hold__wallet__user_id", "topup__user_id"):
        found += [user_id for user_id in pair if user_id is not None]
    return found


def find_by_reference(text: str, *, most: int) -> list[int]:
    """The ids of the users with a payment or checkout whose reference at the provider begins with this text."""
    if len(text) < LEAST_OF_A_REFERENCE:
        return []
    found: list[int] = []
    for field in ("payment_reference", "checkout_reference"):
        begins = TopUp.objects.filter(~Q(**{field: ""}), **{f"{field}__startswith": text})
        found += begins.values_list("user_id", flat=True)[:most]
    return found

"""Corrections of a wallet by hand."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from billing.models.ledger import LedgerEntry, Wallet


class AdjustmentState(models.TextChoices):
    """WAITING for a second person, then DONE or REJECTED."""

    WAITING = "waiting", _("waiting for approval")
    DONE = "done", _("done")
    REJECTED = "rejected", _("rejected")


class Adjustment(models.Model):
    """One correction, up or down. Within the limits of `billing.approvals`, one person both requests and decides it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="adjustments")
    amount_microcredits = models.BigIntegerField()
    reason = models.CharField(max_length=200)
    state = models.CharField(max_length=10, choices=AdjustmentState.choices, default=AdjustmentState.WAITING)
    idempotency_key = models.CharField(max_length=200, unique=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField(auto_now_add=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    entry = models.OneToOneField(
        LedgerEntry, on_delete=models.PROTECT, null=True, blank=True, related_name="adjustment"
    )

    class Meta:
        verbose_name = _("adjustment")
        verbose_name_plural = _("adjustments")
        indexes = [
            models.Index(
                name="billing_adjustment_waiting", fields=["requested_at"], condition=Q(state=AdjustmentState.WAITING)
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="billing_adjustment_has_an_amount_and_a_reason",
                condition=~Q(amount_microcredits=0) & ~Q(reason=""),
            ),
            models.CheckConstraint(
                name="billing_adjustment_decided_unless_waiting",
                condition=Q(state=AdjustmentState.WAITING, decided_by__isnull=True, decided_at__isnull=True)
                | ~Q(state=AdjustmentState.WAITING) & Q(decided_by__isnull=False, decided_at__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_adjustment_done_has_its_entry",
                condition=Q(state=AdjustmentState.DONE, entry__isnull=False)
                | ~Q(state=AdjustmentState.DONE) & Q(entry__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"adjustment {self.pk}"

"""Corrections of a wallet by hand."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from billing.models.ledger import LedgerEntry, Wallet


class AdjustmentState(models.TextChoices):
    """WAITING for a second person, then DONE or REJECTED, or LAPSED when nobody decided in time."""

    WAITING = "waiting", _("waiting for approval")
    DONE = "done", _("done")
    REJECTED = "rejected", _("rejected")
    LAPSED = "lapsed", _("lapsed")


class Adjustment(models.Model):
    """One correction, up or down. Within the limits of `billing.approvals`, one person both requests and decides it.

    The customer reads `reason`, and only staff `note`. Credits that are given expire `expires_after_days` after the
    decision; null means never.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="adjustments")
    amount_microcredits = models.BigIntegerField()
    reason = models.CharField(max_length=200)
    note = models.CharField(max_length=500, blank=True, default="", db_default="")
    expires_after_days = models.PositiveSmallIntegerField(null=True, blank=True)
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
            models.Index(name="billing_adjustment_by_time", fields=["-requested_at"]),
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
                | Q(state=AdjustmentState.LAPSED, decided_by__isnull=True, decided_at__isnull=False)
                | ~Q(state__in=[AdjustmentState.WAITING, AdjustmentState.LAPSED])
                & Q(decided_by__isnull=False, decided_at__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_adjustment_expires_only_what_is_given",
                condition=Q(expires_after_days__isnull=True) | Q(amount_microcredits__gt=0, expires_after_days__gt=0),
            ),
            models.CheckConstraint(
                name="billing_adjustment_done_has_its_entry",
                condition=Q(state=AdjustmentState.DONE, entry__isnull=False)
                | ~Q(state=AdjustmentState.DONE) & Q(entry__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"adjustment {self.pk}"

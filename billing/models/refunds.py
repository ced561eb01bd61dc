"""Refunds that staff make: of one answer, or of one payment."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from billing.models.ledger import Hold
from billing.models.topups import TopUp


class RefundState(models.TextChoices):
    """WAITING for a second person, then APPROVED and being sent, REJECTED or LAPSED, then DONE or FAILED.

    A refund of a payment may still fail after it was done: the bank may send the money back days later.
    """

    WAITING = "waiting", _("waiting for approval")
    APPROVED = "approved", _("approved")
    DONE = "done", _("done")
    FAILED = "failed", _("failed")
    REJECTED = "rejected", _("rejected")
    LAPSED = "lapsed", _("lapsed")


class Refund(models.Model):
    """One refund. `amount` is in microcredits for an answer, in minor units of its currency for a payment.

    If the provider of a payment cannot be reached, the approved refund stays approved. It is sent again under the same
    key at `next_try_at` (null means now), so it is made exactly once even after a crash. A refund that the provider
    refused, or that the bank sent back, has failed: `error` says why, and its amount can be refunded again.
    `provider_reference` is the provider's id of it (a Stripe Refund). The customer reads `reason`, only staff `note`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    hold = models.ForeignKey(Hold, on_delete=models.PROTECT, null=True, blank=True, related_name="refunds")
    topup = models.ForeignKey(TopUp, on_delete=models.PROTECT, null=True, blank=True, related_name="refunds")
    amount = models.BigIntegerField()
    reason = models.CharField(max_length=200)
    note = models.CharField(max_length=500, blank=True, default="", db_default="")
    state = models.CharField(max_length=10, choices=RefundState.choices, default=RefundState.WAITING)
    idempotency_key = models.CharField(max_length=100, unique=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField(auto_now_add=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    provider_reference = models.CharField(max_length=255, blank=True)

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        permissions = [
            ("make_refund", _("Can refund answers and payments, and decide on what others ask for")),
            ("request_refund", _("Can ask for refunds of answers")),
        ]
        indexes = [
            models.Index(name="billing_refund_by_time", fields=["-requested_at"]),
            models.Index(name="billing_refund_decided", fields=["decided_at"]),
            models.Index(
                name="billing_refund_to_send", fields=["next_try_at"], condition=Q(state=RefundState.APPROVED)
            ),
            models.Index(
                name="billing_refund_waiting", fields=["requested_at"], condition=Q(state=RefundState.WAITING)
            ),
            models.Index(name="billing_refund_failed", fields=["decided_at"], condition=Q(state=RefundState.FAILED)),
        ]
        constraints = [
            models.CheckConstraint(
                name="billing_refund_of_an_answer_or_a_payment",
                condition=Q(hold__isnull=False, topup__isnull=True) | Q(hold__isnull=True, topup__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_refund_has_an_amount_and_a_reason", condition=Q(amount__gt=0) & ~Q(reason="")
            ),
            models.CheckConstraint(
                name="billing_refund_decided_unless_waiting",
                condition=Q(state=RefundState.WAITING, decided_by__isnull=True)
                | Q(state=RefundState.LAPSED, decided_by__isnull=True, decided_at__isnull=False)
                | ~Q(state__in=[RefundState.WAITING, RefundState.LAPSED])
                & Q(decided_by__isnull=False, decided_at__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_refund_failed_is_of_a_payment_and_says_why",
                condition=~Q(state=RefundState.FAILED) | Q(topup__isnull=False) & ~Q(error=""),
            ),
        ]

    def __str__(self) -> str:
        return f"refund {self.pk}"

"""Sums of all entries of the ledger by day, for reports. `billing.reporting.ledger_days` writes and reads them."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class LedgerDay(models.Model):
    """The entries of one day that are of one kind, origin and model, over all wallets.

    The day is one of the reports' time zone. `origin` tells entries of one kind apart (`ledger_days.ORIGIN`). Tokens
    and `priced_microcredits` (the tokens of the holds times their prices) are of usage alone. All rows can be summed
    again from the entries.
    """

    day = models.DateField()
    kind = models.CharField(max_length=12)
    origin = models.CharField(max_length=16, blank=True)
    model_key = models.CharField(max_length=64, blank=True)
    is_from_cache = models.BooleanField(default=False)
    entries_count = models.BigIntegerField()
    amount_microcredits = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField()
    completion_tokens = models.BigIntegerField()
    priced_microcredits = models.BigIntegerField()

    class Meta:
        verbose_name = _("day of the ledger")
        verbose_name_plural = _("days of the ledger")
        constraints = [
            models.UniqueConstraint(
                name="billing_ledger_day_one_row", fields=["day", "kind", "origin", "model_key", "is_from_cache"]
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.day}"


class LedgerDaysMark(models.Model):
    """The entry up to which the days are summed, and the time zone of the days. One row at most."""

    last_entry = models.BigIntegerField(default=0)
    time_zone = models.CharField(max_length=64)

    class Meta:
        constraints = [models.CheckConstraint(name="billing_ledger_days_mark_is_one_row", condition=Q(pk=1))]

    def __str__(self) -> str:
        return f"days are summed up to entry {self.last_entry}"

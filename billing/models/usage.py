"""Sums of the ledger's usage entries by day. `billing.reporting.usage` writes and reads them."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from billing.models.ledger import Wallet


class UsageDay(models.Model):
    """The answers of one wallet, UTC day, model and API key, summed over the entries up to `UsageMark.last_entry`.

    `api_key_id` is 0 for answers that were requested without a key. All rows can be summed again from the entries.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="usage_days", db_index=False)
    day = models.DateField()
    model_key = models.SlugField(max_length=64, db_index=False)
    api_key_id = models.BigIntegerField()
    answers_count = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField()
    completion_tokens = models.BigIntegerField()
    charged_microcredits = models.BigIntegerField()

    class Meta:
        verbose_name = _("usage of a day")
        verbose_name_plural = _("usage by day")
        constraints = [
            models.UniqueConstraint(
                name="billing_usage_one_row_a_day", fields=["wallet", "day", "model_key", "api_key_id"]
            )
        ]

    def __str__(self) -> str:
        return f"usage of wallet {self.wallet_id} on {self.day}"


class UsageMark(models.Model):
    """The entry up to which usage is summed. One row at most."""

    last_entry = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(name="billing_usage_mark_is_one_row", condition=Q(pk=1))]

    def __str__(self) -> str:
        return f"usage is summed up to entry {self.last_entry}"

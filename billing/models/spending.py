"""What customers decide about their spending (alert, card, automatic top-up), and the stored counts for the caps."""

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey
from billing.models.ledger import Wallet
from billing.models.topups import Package

ALERT_BESIDE_OFF_MICROCREDITS = 5_000_000  # used while the alert is off: a threshold must be above zero even then


def default_alert_microcredits() -> int:
    """Return the threshold of the alert until a customer chooses one. Above zero even where the alert is off."""
    return int(settings.LOW_BALANCE_MICROCREDITS) or ALERT_BESIDE_OFF_MICROCREDITS


class SpendingPreferencesQuerySet(models.QuerySet["SpendingPreferences"]):
    """Reads and changes the preferences of a wallet, whether it has a row or not."""

    def of(self, wallet: Wallet) -> "SpendingPreferences":
        """Return the wallet's row, or an unsaved one with the defaults. One query."""
        is_alert_on = bool(settings.LOW_BALANCE_MICROCREDITS)
        return self.filter(wallet=wallet).first() or SpendingPreferences(wallet=wallet, is_alert_on=is_alert_on)

    def change(self, wallet: Wallet, **changed: Any) -> None:
        """Save these fields. In a new row, the deployment's default says whether the alert is on."""
        made = {"is_alert_on": bool(settings.LOW_BALANCE_MICROCREDITS)} | changed
        self.update_or_create(wallet=wallet, defaults=changed, create_defaults=made)


class SpendingPreferences(models.Model):
    """When a customer wants an alert, and the stored count of the month's spending.

    A wallet without a row has the defaults. `counted_*` is the stored count for a wallet with a monthly cap: what the
    entries up to `counted_entry_id` spent in the month that begins on `counted_month`. `billing.ledger.caps` adds the
    entries since.
    """

    wallet = models.OneToOneField(Wallet, on_delete=models.PROTECT, primary_key=True, related_name="spending")
    is_alert_on = models.BooleanField(default=True)
    alert_below_microcredits = models.BigIntegerField(default=default_alert_microcredits)
    counted_entry_id = models.BigIntegerField(default=0)
    counted_month = models.DateField(null=True)
    counted_microcredits = models.BigIntegerField(default=0)

    objects = SpendingPreferencesQuerySet.as_manager()

    class Meta:
        verbose_name = _("spending preferences")
        verbose_name_plural = _("spending preferences")
        constraints = [
            models.CheckConstraint(
                name="billing_spending_alert_is_positive", condition=Q(alert_below_microcredits__gt=0)
            ),
        ]

    def __str__(self) -> str:
        return f"spending preferences of wallet {self.wallet_id}"


class KeySpending(models.Model):
    """The stored count of a month's spending with an API key that has a cap; see `SpendingPreferences`."""

    api_key = models.OneToOneField(ApiKey, on_delete=models.CASCADE, primary_key=True, related_name="spending")
    counted_entry_id = models.BigIntegerField(default=0)
    counted_month = models.DateField(null=True)
    counted_microcredits = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"spending with key {self.api_key_id}"


class SavedCard(models.Model):
    """A card that a customer lets us charge. The row exists before the provider is asked to keep the card.

    `customer_reference` and `method_reference` are the provider's ids. Without a `method_reference` the card cannot be
    charged yet.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.OneToOneField(Wallet, on_delete=models.PROTECT, related_name="card")
    provider = models.CharField(max_length=20)
    customer_reference = models.CharField(max_length=255, blank=True)
    setup_reference = models.CharField(max_length=255, blank=True)
    method_reference = models.CharField(max_length=255, blank=True)
    brand = models.CharField(max_length=30, blank=True)
    last4 = models.CharField(max_length=4, blank=True)
    saved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("saved card")
        verbose_name_plural = _("saved cards")
        constraints = [
            models.CheckConstraint(
                name="billing_card_saved_has_its_time",
                condition=Q(method_reference="", saved_at__isnull=True)
                | ~Q(method_reference="") & Q(saved_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.brand} {self.last4}".strip() or f"card {self.pk}"

    @property
    def is_usable(self) -> bool:
        """Whether it can be charged."""
        return bool(self.method_reference)


class AutomaticTopUp(models.Model):
    """What a customer consented to: below which balance we buy what, and at most how much a calendar month (UTC).

    Money is in minor units. `amount_minor` is the price that was consented to, of the package or of a custom amount.
    After a decline nothing is charged before `next_attempt_at`.
    """

    wallet = models.OneToOneField(Wallet, on_delete=models.PROTECT, primary_key=True, related_name="automatic_topup")
    is_on = models.BooleanField(default=False)
    below_microcredits = models.BigIntegerField()
    package = models.ForeignKey(Package, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    amount_minor = models.PositiveIntegerField()
    currency = models.CharField(max_length=3)
    ceiling_minor = models.PositiveIntegerField()
    consent_text = models.TextField()
    consented_at = models.DateTimeField()
    declines_count = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("automatic top-up")
        verbose_name_plural = _("automatic top-ups")
        constraints = [
            models.CheckConstraint(
                name="billing_automatic_order_fits_its_ceiling",
                condition=Q(amount_minor__gt=0, amount_minor__lte=F("ceiling_minor"), below_microcredits__gt=0),
            ),
            models.CheckConstraint(name="billing_automatic_has_a_consent", condition=~Q(consent_text="")),
        ]

    def __str__(self) -> str:
        return f"automatic top-up of wallet {self.wallet_id}"

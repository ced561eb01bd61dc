"""Wallets, prices, holds, entries and grants. Amounts are in microcredits: 1 credit = 1,000,000 microcredits.

The database enforces the rules, with the constraints below and the triggers of `billing/ledger/walls`. The triggers
move the balance when an entry is inserted, move `held` when a hold is opened or closed, and refuse all other changes
(docs/adr/0001, 0028). Only `billing.ledger` writes these tables.
"""

import uuid
from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Case, F, Q, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.models.kept import Kept

MICROCREDITS_PER_CREDIT = 1_000_000


class Wallet(Kept):
    """The credits of one user, and how many of them are held for answers that still run.

    Three amounts may be null: the monthly cap, and the two thresholds of `billing.ledger.thresholds` (null while no
    action waits for a low balance). They are columns of the wallet so that the path of an answer reads them without
    another query.
    """

    MAY_CHANGE = ("monthly_cap_microcredits", "armed_alert_microcredits", "armed_refill_microcredits")

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="wallet")
    balance_microcredits = models.BigIntegerField(default=0, editable=False)
    held_microcredits = models.BigIntegerField(default=0, editable=False)
    monthly_cap_microcredits = models.BigIntegerField(null=True, blank=True, editable=False)
    armed_alert_microcredits = models.BigIntegerField(null=True, blank=True, editable=False)
    armed_refill_microcredits = models.BigIntegerField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("wallet")
        verbose_name_plural = _("wallets")
        permissions = [("adjust_wallet", _("Can adjust the credits of a wallet"))]
        constraints = [
            models.CheckConstraint(
                name="billing_wallet_holds_are_covered",
                condition=Q(held_microcredits__gte=0, held_microcredits__lte=F("balance_microcredits")),
            ),
            models.CheckConstraint(
                name="billing_wallet_cap_is_positive",
                condition=Q(monthly_cap_microcredits__isnull=True) | Q(monthly_cap_microcredits__gt=0),
            ),
        ]

    def __str__(self) -> str:
        return f"wallet {self.pk}"

    @property
    def available_microcredits(self) -> int:
        """The microcredits that a new hold may take."""
        return self.balance_microcredits - self.held_microcredits

    @property
    def is_below_an_armed_threshold(self) -> bool:
        """Whether the available credits are below an armed threshold."""
        armed = (self.armed_alert_microcredits, self.armed_refill_microcredits)
        return any(below is not None and self.available_microcredits < below for below in armed)


class PriceQuerySet(models.QuerySet["Price"]):
    """Reads of prices."""

    def in_effect(self) -> "PriceQuerySet":
        """Versions whose date has come."""
        return self.filter(effective_at__lte=timezone.now())

    def current(self, model_key: str) -> "Price | None":
        """The newest version that is in effect now, or None for a model nobody has priced."""
        return self.in_effect().filter(model_key=model_key).order_by("-effective_at", "-pk").first()


class Price(Kept):
    """One version of a model's prices. A new price is a new row; the database refuses to edit an old one."""

    model_key = models.SlugField(max_length=64)
    prompt_microcredits_per_token = models.BigIntegerField()
    completion_microcredits_per_token = models.BigIntegerField()
    effective_at = models.DateTimeField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PriceQuerySet.as_manager()

    class Meta:
        verbose_name = _("price")
        verbose_name_plural = _("prices")
        constraints = [
            models.UniqueConstraint(name="billing_price_one_a_moment", fields=["model_key", "effective_at"]),
            models.CheckConstraint(
                name="billing_price_is_positive",
                condition=Q(prompt_microcredits_per_token__gt=0, completion_microcredits_per_token__gt=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_key} from {self.effective_at:%Y-%m-%d %H:%M}"


class HoldState(models.TextChoices):
    """ACTIVE, then exactly one of the others."""

    ACTIVE = "active", _("active")
    SETTLED = "settled", _("settled")
    RELEASED = "released", _("released")
    EXPIRED = "expired", _("expired")


class HoldLimit(models.TextChoices):
    """The limit that left room for fewer tokens than were requested."""

    BALANCE = "balance", _("your balance")
    MONTHLY_CAP = "monthly_cap", _("your monthly cap")
    KEY_CAP = "key_cap", _("the monthly cap of the API key")


class Hold(Kept):
    """The worst-case cost of one answer, set aside before it runs, with the prices that it was promised.

    `amount = prompt tokens x prompt price + most completion tokens x completion price`. Once settled, `charged` is the
    same sum with the tokens that were generated. Constraints enforce both sums. With `is_from_cache` the prices are
    those of an answer from the cache, and the held amount is charged in full. `limited_by` names the limit if the hold
    covers fewer tokens than were requested.
    """

    MAY_CHANGE = ("state", "completion_tokens", "charged_microcredits", "closed_at")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="holds")
    reference = models.CharField(max_length=100)
    api_key = models.ForeignKey(
        "accounts.ApiKey", models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    state = models.CharField(max_length=10, choices=HoldState.choices, default=HoldState.ACTIVE)
    model_key = models.SlugField(max_length=64, db_index=False)
    prompt_microcredits_per_token = models.BigIntegerField()
    completion_microcredits_per_token = models.BigIntegerField()
    is_from_cache = models.BooleanField(default=False)
    prompt_tokens = models.PositiveIntegerField()
    max_completion_tokens = models.PositiveIntegerField()
    limited_by = models.CharField(max_length=12, choices=HoldLimit.choices, blank=True, default="", db_default="")
    amount_microcredits = models.BigIntegerField()
    completion_tokens = models.PositiveIntegerField(null=True, blank=True)
    charged_microcredits = models.BigIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        indexes = [
            models.Index(name="billing_hold_active", fields=["expires_at"], condition=Q(state=HoldState.ACTIVE)),
            models.Index(name="billing_hold_latest", fields=["-created_at", "-id"]),
            models.Index(
                name="billing_hold_of_a_key", fields=["api_key", "closed_at"], condition=Q(api_key__isnull=False)
            ),
        ]
        constraints = [
            models.UniqueConstraint(name="billing_hold_one_a_reference", fields=["reference"]),
            models.CheckConstraint(
                name="billing_hold_amount_is_the_worst_case",
                condition=Q(
                    prompt_tokens__gt=0,
                    max_completion_tokens__gt=0,
                    prompt_microcredits_per_token__gt=0,
                    completion_microcredits_per_token__gt=0,
                    amount_microcredits=F("prompt_tokens") * F("prompt_microcredits_per_token")
                    + F("max_completion_tokens") * F("completion_microcredits_per_token"),
                ),
            ),
            models.CheckConstraint(
                name="billing_hold_charge_is_tokens_times_prices",
                condition=Q(state=HoldState.SETTLED, charged_microcredits__isnull=False)
                & Q(
                    charged_microcredits=F("prompt_tokens") * F("prompt_microcredits_per_token")
                    + F("completion_tokens") * F("completion_microcredits_per_token"),
                    completion_tokens__lte=F("max_completion_tokens"),
                )
                | ~Q(state=HoldState.SETTLED) & Q(charged_microcredits__isnull=True, completion_tokens__isnull=True),
            ),
            models.CheckConstraint(
                name="billing_hold_is_closed_unless_active",
                condition=Q(state=HoldState.ACTIVE, closed_at__isnull=True)
                | ~Q(state=HoldState.ACTIVE) & Q(closed_at__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_hold_limit_exists", condition=Q(limited_by__in=["", *HoldLimit.values])
            ),
            models.CheckConstraint(
                name="billing_hold_from_cache_is_charged_whole",
                condition=Q(is_from_cache=False)
                | Q(state=HoldState.ACTIVE)
                | Q(state=HoldState.SETTLED, completion_tokens=F("max_completion_tokens")),
            ),
        ]

    def __str__(self) -> str:
        return f"hold {self.pk}"

    @property
    def prompt_cost_microcredits(self) -> int:
        """What the prompt costs."""
        return self.prompt_tokens * self.prompt_microcredits_per_token

    @property
    def completion_cost_microcredits(self) -> int:
        """What the answer cost; 0 until the hold is settled."""
        return (self.completion_tokens or 0) * self.completion_microcredits_per_token


class EntryKind(models.TextChoices):
    """Why credits moved."""

    TOP_UP = "top_up", _("top-up")
    BONUS = "bonus", _("bonus")
    PROMOTION = "promotion", _("promotion")
    USAGE = "usage", _("usage")
    REFUND = "refund", _("refund")
    ADJUSTMENT = "adjustment", _("adjustment")
    EXPIRY = "expiry", _("expiry")
    CHARGEBACK = "chargeback", _("chargeback")


# The system account on the other side of each kind. It loses what a wallet gains, so the books sum to zero.
CONTRA_ACCOUNTS: dict[str, str] = {
    EntryKind.TOP_UP: "payments",
    EntryKind.BONUS: "marketing",
    EntryKind.PROMOTION: "marketing",
    EntryKind.USAGE: "revenue",
    EntryKind.REFUND: "revenue",
    EntryKind.ADJUSTMENT: "adjustments",
    EntryKind.EXPIRY: "breakage",
    EntryKind.CHARGEBACK: "payments",
}
GRANT_KINDS = (EntryKind.TOP_UP, EntryKind.BONUS, EntryKind.PROMOTION)
CREDIT_KINDS = (*GRANT_KINDS, EntryKind.REFUND)
DEBIT_KINDS = (EntryKind.USAGE, EntryKind.EXPIRY)


class LedgerEntry(Kept):
    """One movement of credits. Never changed, never deleted. The database sets `balance_after_microcredits`."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="entries", db_index=False)
    kind = models.CharField(max_length=12, choices=EntryKind.choices)
    amount_microcredits = models.BigIntegerField()
    balance_after_microcredits = models.BigIntegerField(default=0, editable=False)
    idempotency_key = models.CharField(max_length=200)
    inputs_hash = models.CharField(max_length=64)
    hold = models.ForeignKey(Hold, on_delete=models.PROTECT, null=True, blank=True, related_name="entries")
    reason = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")
        indexes = [
            models.Index(name="billing_entry_of_a_wallet", fields=["wallet", "-id"]),
            # To find the few entries that are not usage when a customer has a million answers.
            models.Index(name="billing_entry_no_usage", fields=["wallet", "-id"], condition=~Q(kind=EntryKind.USAGE)),
            BrinIndex(name="billing_entry_created", fields=["created_at"], autosummarize=True),
            models.Index(name="billing_entry_of_a_kind", fields=["kind", "-id"], condition=~Q(kind=EntryKind.USAGE)),
            models.Index(
                name="billing_entry_by_somebody", fields=["created_by"], condition=Q(created_by__isnull=False)
            ),
        ]
        constraints = [
            models.UniqueConstraint(name="billing_entry_one_a_key", fields=["idempotency_key"]),
            models.CheckConstraint(
                name="billing_entry_amount_has_the_sign_of_its_kind",
                condition=Q(kind__in=CREDIT_KINDS, amount_microcredits__gt=0)
                | Q(kind__in=DEBIT_KINDS, amount_microcredits__lt=0)
                | ~Q(kind__in=[*CREDIT_KINDS, *DEBIT_KINDS]) & ~Q(amount_microcredits=0),
            ),
            models.CheckConstraint(
                name="billing_entry_usage_names_its_hold",
                condition=~Q(kind=EntryKind.USAGE) | Q(hold__isnull=False),
            ),
            models.CheckConstraint(name="billing_entry_kind_is_known", condition=Q(kind__in=EntryKind.values)),
            models.CheckConstraint(
                name="billing_entry_adjustment_has_an_author_and_a_reason",
                condition=~Q(kind=EntryKind.ADJUSTMENT) | Q(created_by__isnull=False) & ~Q(reason=""),
            ),
            models.CheckConstraint(
                name="billing_entry_refund_names_its_hold_and_why",
                condition=~Q(kind=EntryKind.REFUND) | Q(hold__isnull=False) & ~Q(reason=""),
            ),
            models.UniqueConstraint(
                name="billing_entry_one_usage_a_hold", fields=["hold"], condition=Q(kind=EntryKind.USAGE)
            ),
        ]

    def __str__(self) -> str:
        return f"entry {self.pk}"

    @property
    def contra_account(self) -> str:
        """The system account on the other side of this entry."""
        return CONTRA_ACCOUNTS[self.kind]


class GrantQuerySet(models.QuerySet["Grant"]):
    """Reads of grants."""

    def for_user(self, user: Any) -> "GrantQuerySet":
        return self.filter(wallet__user=user)

    def unspent(self) -> "GrantQuerySet":
        """Those with credits left."""
        return self.filter(is_spent=False)

    def due(self) -> "GrantQuerySet":
        """Those that have expired and have credits left."""
        return self.unspent().filter(expires_at__lte=timezone.now())

    def in_spending_order(self) -> "GrantQuerySet":
        """Those that expire soonest first, those that never expire last; of equals, unpaid credits before paid ones."""
        is_paid = Case(When(entry__kind=EntryKind.TOP_UP, then=1), default=0)
        return self.order_by(F("expires_at").asc(nulls_last=True), is_paid, "pk")


class Grant(Kept):
    """Credits that came in by one entry, and how many of them are left. The entry has the same amount and says why."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="grants")
    entry = models.OneToOneField(LedgerEntry, on_delete=models.PROTECT, related_name="grant")
    amount_microcredits = models.BigIntegerField()
    remaining_microcredits = models.BigIntegerField()
    # The indexes use this instead of remaining_microcredits, so they do not change with every use of a grant.
    is_spent = models.GeneratedField(
        expression=Q(remaining_microcredits=0),  # type: ignore[arg-type]  # Django documents it, its stubs do not
        output_field=models.BooleanField(),
        db_persist=True,
    )
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = GrantQuerySet.as_manager()

    class Meta:
        verbose_name = _("grant")
        verbose_name_plural = _("grants")
        indexes = [
            models.Index(
                name="billing_grant_unspent",
                fields=["wallet", "expires_at"],
                condition=Q(is_spent=False),
            ),
            models.Index(name="billing_grant_due", fields=["expires_at"], condition=Q(is_spent=False)),
            models.Index(name="billing_grant_expires", fields=["expires_at"], condition=Q(expires_at__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="billing_grant_remainder_within_amount",
                condition=Q(
                    amount_microcredits__gt=0,
                    remaining_microcredits__gte=0,
                    remaining_microcredits__lte=F("amount_microcredits"),
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"grant {self.pk}"


class GrantUse(Kept):
    """The part of an entry that one grant paid for (negative), or got back by a refund (positive)."""

    grant = models.ForeignKey(Grant, on_delete=models.PROTECT, related_name="uses")
    # Without an index of its own: the constraint below has one that begins with it.
    entry = models.ForeignKey(LedgerEntry, on_delete=models.PROTECT, related_name="uses", db_index=False)
    amount_microcredits = models.BigIntegerField()

    class Meta:
        verbose_name = _("use of a grant")
        verbose_name_plural = _("uses of grants")
        constraints = [
            models.UniqueConstraint(name="billing_grant_use_one_a_pair", fields=["entry", "grant"]),
            models.CheckConstraint(name="billing_grant_use_is_not_zero", condition=~Q(amount_microcredits=0)),
        ]

    def __str__(self) -> str:
        return f"use {self.pk} of grant {self.grant_id}"

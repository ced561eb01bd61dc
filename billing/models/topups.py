"""How credits come in (packages, orders, events of payments, promotion codes), and the debts of payments taken back."""

import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Upper
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.currencies import UnknownCurrency, format_money, known_currency, step_minor
from billing.models.kept import Kept
from billing.models.ledger import LedgerEntry, Wallet


class Package(models.Model):
    """Credits at a price, some with a bonus. Money is in smallest units (cents of `usd`, whole `jpy`)."""

    name = models.CharField(max_length=60)
    price_minor = models.PositiveIntegerField()
    currency = models.CharField(max_length=3, default="usd")
    credits_microcredits = models.BigIntegerField()
    bonus_microcredits = models.BigIntegerField(default=0)
    is_active = models.BooleanField(default=True)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        verbose_name = _("package")
        verbose_name_plural = _("packages")
        ordering = ["position", "pk"]
        constraints = [
            models.CheckConstraint(
                name="billing_package_is_worth_something",
                condition=Q(price_minor__gt=0, credits_microcredits__gt=0, bonus_microcredits__gte=0),
            ),
            models.CheckConstraint(
                name="billing_package_bonus_within_its_credits",
                condition=Q(bonus_microcredits__lte=F("credits_microcredits")),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def total_microcredits(self) -> int:
        """What the customer gets, bonus included."""
        return self.credits_microcredits + self.bonus_microcredits

    def clean(self) -> None:
        """For forms: a currency that is known, a price that can be paid in it. Raises ValidationError."""
        try:
            self.currency = known_currency(self.currency)
        except UnknownCurrency as error:
            raise ValidationError({"currency": _("This is the code of no currency in use.")}) from error
        step = step_minor(self.currency)
        if self.price_minor is not None and self.price_minor % step:
            message = _("Prices go in steps of {step}.").format(step=format_money(step, self.currency))
            raise ValidationError({"price_minor": message})


class TopUpState(models.TextChoices):
    """CREATED with the order, PAID once the provider says so. FAILED and CANCELLED end the order without credits."""

    CREATED = "created", _("waiting for payment")
    PENDING = "pending", _("payment is being processed")
    PAID = "paid", _("paid")
    FAILED = "failed", _("payment failed")
    CANCELLED = "cancelled", _("cancelled")


OPEN_STATES = (TopUpState.CREATED, TopUpState.PENDING)


class TopUpQuerySet(models.QuerySet["TopUp"]):
    """Reads of orders."""

    def automatic(self) -> "TopUpQuerySet":
        """Those of the automatic top-up."""
        return self.filter(automatic_ceiling_minor__isnull=False)

    def open(self) -> "TopUpQuerySet":
        """Those that may still be paid."""
        return self.filter(state__in=OPEN_STATES)

    def for_user(self, user: Any) -> "TopUpQuerySet":
        """This user's own, the latest first."""
        return self.filter(user=user).order_by("-created_at")


class TopUp(models.Model):
    """An order of credits. The row exists before any checkout does, and fixes what will be credited.

    `checkout_reference` is the provider's id of the checkout (a Stripe Checkout Session), `payment_reference` that of
    the payment (a Stripe PaymentIntent). A provider can complete only its own orders. `clawed_back_microcredits` is
    what refunds and disputes have taken back so far, including what is still owed. `refund_readings` counts how often
    `refunded_minor` was read from the provider, so that an older reading does not overwrite a newer one. An automatic
    order (`billing.topups.automatic`) stores the sum of the month's automatic orders including itself, and the
    customer's ceiling at that time.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="topups")
    package = models.ForeignKey(Package, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    provider = models.CharField(max_length=20)
    state = models.CharField(max_length=10, choices=TopUpState.choices, default=TopUpState.CREATED)
    amount_minor = models.PositiveIntegerField()
    currency = models.CharField(max_length=3)
    credits_microcredits = models.BigIntegerField()
    bonus_microcredits = models.BigIntegerField(default=0)
    idempotency_key = models.CharField(max_length=100)
    inputs_hash = models.CharField(max_length=64)
    checkout_reference = models.CharField(max_length=255, blank=True)
    checkout_url = models.URLField(max_length=2000, blank=True)
    payment_reference = models.CharField(max_length=255, blank=True)
    refunded_minor = models.PositiveIntegerField(default=0)
    disputed_minor = models.PositiveIntegerField(default=0)
    refund_readings = models.PositiveIntegerField(default=0)
    clawed_back_microcredits = models.BigIntegerField(default=0)
    claw_back_steps = models.PositiveSmallIntegerField(default=0)
    automatic_month_minor = models.PositiveIntegerField(null=True, blank=True)
    automatic_ceiling_minor = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    paid_at = models.DateTimeField(null=True, blank=True)

    objects = TopUpQuerySet.as_manager()

    class Meta:
        verbose_name = _("top-up")
        verbose_name_plural = _("top-ups")
        indexes = [
            models.Index(name="billing_topup_of_user", fields=["user", "-created_at"]),
            models.Index(name="billing_topup_by_time", fields=["-created_at"]),
            models.Index(name="billing_topup_disputed", fields=["created_at"], condition=Q(disputed_minor__gt=0)),
            # For staff, who find a payment by the start of its reference.
            *(
                models.Index(
                    name=f"billing_topup_by_{kind}",
                    fields=[f"{kind}_reference"],
                    opclasses=["varchar_pattern_ops"],
                    condition=~Q(**{f"{kind}_reference": ""}),
                )
                for kind in ("payment", "checkout")
            ),
        ]
        constraints = [
            models.UniqueConstraint(name="billing_topup_one_an_idempotency_key", fields=["user", "idempotency_key"]),
            models.UniqueConstraint(
                name="billing_topup_one_a_checkout",
                fields=["provider", "checkout_reference"],
                condition=~Q(checkout_reference=""),
            ),
            models.UniqueConstraint(
                name="billing_topup_one_a_payment",
                fields=["provider", "payment_reference"],
                condition=~Q(payment_reference=""),
            ),
            models.CheckConstraint(
                name="billing_topup_is_worth_something",
                condition=Q(amount_minor__gt=0, credits_microcredits__gt=0, bonus_microcredits__gte=0),
            ),
            models.CheckConstraint(
                name="billing_topup_takes_back_at_most_what_it_gave",
                condition=Q(
                    refunded_minor__lte=F("amount_minor"),
                    disputed_minor__lte=F("amount_minor"),
                    clawed_back_microcredits__gte=0,
                    clawed_back_microcredits__lte=F("credits_microcredits") + F("bonus_microcredits"),
                ),
            ),
            models.CheckConstraint(
                name="billing_topup_paid_has_its_time",
                condition=Q(state=TopUpState.PAID, paid_at__isnull=False)
                | ~Q(state=TopUpState.PAID) & Q(paid_at__isnull=True),
            ),
            models.UniqueConstraint(
                name="billing_topup_one_automatic_at_a_time",
                fields=["user"],
                condition=Q(automatic_ceiling_minor__isnull=False, state__in=OPEN_STATES),
            ),
            models.CheckConstraint(
                name="billing_topup_automatic_within_its_ceiling",
                condition=Q(automatic_ceiling_minor__isnull=True, automatic_month_minor__isnull=True)
                | Q(
                    automatic_ceiling_minor__isnull=False,
                    automatic_month_minor__isnull=False,
                    automatic_month_minor__gte=F("amount_minor"),
                    automatic_month_minor__lte=F("automatic_ceiling_minor"),
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"top-up {self.pk}"

    @property
    def is_automatic(self) -> bool:
        """Whether the automatic top-up made this order because the balance fell."""
        return self.automatic_ceiling_minor is not None

    @property
    def total_microcredits(self) -> int:
        """What the customer gets, bonus included."""
        return self.credits_microcredits + self.bonus_microcredits


class PaymentEvent(models.Model):
    """A provider's message as it came. It is stored before anything else is done, and processed once."""

    provider = models.CharField(max_length=20)
    event_id = models.CharField(max_length=255)
    type = models.CharField(max_length=100)
    payload = models.JSONField()
    received_at = models.DateTimeField(auto_now_add=True)
    processed_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name = _("payment event")
        verbose_name_plural = _("payment events")
        indexes = [
            models.Index(name="billing_event_failing", fields=["received_at"], condition=Q(processed_at__isnull=True)),
        ]
        constraints = [
            models.UniqueConstraint(name="billing_payment_event_once", fields=["provider", "event_id"]),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class PromotionCodeQuerySet(models.QuerySet["PromotionCode"]):
    """Reads of codes."""

    def spelled(self, text: str) -> "PromotionCodeQuerySet":
        """The code somebody typed, in any case and with blanks around it."""
        return self.filter(code=text.strip().upper())


class PromotionCode(models.Model):
    """Credits for everybody who knows the code, within its limits. The code is stored in upper case.

    `created_by` is null if no person made it. While `is_waiting`, it cannot be redeemed: a second person must approve
    it first (`approvals`).
    """

    code = models.CharField(max_length=40)
    credits_microcredits = models.BigIntegerField()
    expires_after_days = models.PositiveSmallIntegerField(null=True, blank=True)
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField(null=True, blank=True)
    most_redemptions = models.PositiveIntegerField(null=True, blank=True)
    most_per_user = models.PositiveSmallIntegerField(default=1)
    is_for_new_users = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    batch = models.CharField(max_length=60, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    is_waiting = models.BooleanField(_("waiting for approval"), default=False, editable=False)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    redemptions_count = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PromotionCodeQuerySet.as_manager()

    class Meta:
        verbose_name = _("promotion code")
        verbose_name_plural = _("promotion codes")
        constraints = [
            models.UniqueConstraint(fields=["code"], name="billing_code_is_unique"),
            models.CheckConstraint(name="billing_code_is_upper_case", condition=Q(code=Upper("code"))),
            models.CheckConstraint(
                name="billing_code_is_worth_something",
                condition=Q(credits_microcredits__gt=0, most_per_user__gt=0),
            ),
            models.CheckConstraint(
                name="billing_code_within_its_limit",
                condition=Q(most_redemptions__isnull=True) | Q(redemptions_count__lte=F("most_redemptions")),
            ),
            models.CheckConstraint(
                name="billing_code_is_approved_by_another",
                condition=Q(approved_by__isnull=True) | Q(is_waiting=False) & ~Q(approved_by=F("created_by")),
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Redemption(models.Model):
    """One use of a code by one user. `number` counts that user's uses, so that two simultaneous uses collide.

    `idempotency_key` names the request that made it, so that a retry finds it; it is empty if none was sent.
    """

    code = models.ForeignKey(PromotionCode, on_delete=models.PROTECT, related_name="redemptions")
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="redemptions")
    number = models.PositiveSmallIntegerField()
    entry = models.OneToOneField(LedgerEntry, on_delete=models.PROTECT, related_name="redemption")
    idempotency_key = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("redemption")
        verbose_name_plural = _("redemptions")
        constraints = [
            models.UniqueConstraint(name="billing_redemption_once_a_number", fields=["code", "wallet", "number"]),
            models.UniqueConstraint(
                name="billing_redemption_once_a_key",
                fields=["wallet", "idempotency_key"],
                condition=~Q(idempotency_key=""),
            ),
        ]

    def __str__(self) -> str:
        return f"redemption {self.pk}"


class Debt(Kept):
    """Credits that a refund or dispute took back after they were spent. While any is left, the wallet cannot spend."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="debts")
    topup = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="debts")
    amount_microcredits = models.BigIntegerField()
    remaining_microcredits = models.BigIntegerField()
    idempotency_key = models.CharField(max_length=200, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("debt")
        verbose_name_plural = _("debts")
        indexes = [
            models.Index(name="billing_debt_open", fields=["wallet"], condition=Q(remaining_microcredits__gt=0)),
        ]
        constraints = [
            models.CheckConstraint(
                name="billing_debt_remainder_within_amount",
                condition=Q(
                    amount_microcredits__gt=0,
                    remaining_microcredits__gte=0,
                    remaining_microcredits__lte=F("amount_microcredits"),
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"debt {self.pk}"


class DebtPayment(Kept):
    """A part of a debt that an entry paid, or that a won dispute cancelled (then `entry` is null). Append-only."""

    debt = models.ForeignKey(Debt, on_delete=models.PROTECT, related_name="payments")
    entry = models.ForeignKey(
        LedgerEntry, on_delete=models.PROTECT, null=True, blank=True, related_name="debt_payments"
    )
    amount_microcredits = models.BigIntegerField()
    idempotency_key = models.CharField(max_length=200, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("payment of a debt")
        verbose_name_plural = _("payments of debts")
        constraints = [
            models.CheckConstraint(name="billing_debt_payment_is_positive", condition=Q(amount_microcredits__gt=0)),
        ]

    def __str__(self) -> str:
        return f"payment of debt {self.debt_id}"

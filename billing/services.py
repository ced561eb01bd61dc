"""Rules of the house about credits, on top of the ledger."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing import ledger
from billing.models import MICROCREDITS_PER_CREDIT, EntryKind, LedgerEntry, Package, Price


def give_signup_bonus(*, user: User) -> LedgerEntry | None:
    """Grant the sign-up bonus, once in the life of an account; None when the setting gives none."""
    key = f"signup-bonus:{user.pk}"
    given = LedgerEntry.objects.filter(idempotency_key=key).first()
    if given is not None or not settings.SIGNUP_BONUS_MICROCREDITS:
        return given
    return ledger.grant(
        user=user,
        kind=EntryKind.BONUS,
        amount_microcredits=settings.SIGNUP_BONUS_MICROCREDITS,
        idempotency_key=key,
        reason="sign-up bonus",
        expires_at=timezone.now() + timedelta(days=settings.SIGNUP_BONUS_DAYS),
    )


@transaction.atomic
def adjust_credits(*, user: User, amount_microcredits: int, idempotency_key: str, reason: str, by: User) -> LedgerEntry:
    """Correct a wallet by hand, up or down, and note it in the audit log, in one transaction, once for each key.

    Raises what `ledger.adjust` does, and IdempotencyConflict for a key that gave another reason.
    """
    ledger.lock_wallet(user=user)
    earlier = LedgerEntry.objects.filter(idempotency_key=idempotency_key).first()
    if earlier is not None and earlier.reason != reason:
        raise ledger.IdempotencyConflict(f"{idempotency_key} was used with another reason")
    entry = ledger.adjust(
        user=user, amount_microcredits=amount_microcredits, idempotency_key=idempotency_key, reason=reason, by=by
    )
    if earlier is None:
        audit.record(actor=by, action="credits adjusted", subject=user, microcredits=amount_microcredits, reason=reason)
    return entry


class PriceExists(Exception):
    """The model has another price from this very moment."""


@transaction.atomic
def add_price(
    *,
    model_key: str,
    prompt_microcredits_per_token: int,
    completion_microcredits_per_token: int,
    effective_at: datetime,
    by: User,
) -> Price:
    """Add a version of a model's prices, in microcredits per token; earlier ones stay. Raises PriceExists.

    Holds that were made before keep the prices they were promised.
    """
    try:
        with transaction.atomic():
            price = Price.objects.create(
                model_key=model_key,
                prompt_microcredits_per_token=prompt_microcredits_per_token,
                completion_microcredits_per_token=completion_microcredits_per_token,
                effective_at=effective_at,
                created_by=by,
            )
    except IntegrityError as error:
        if "billing_price_one_a_moment" not in str(error):
            raise
        raise PriceExists(_("This model has another price from that moment.")) from error
    audit.record(actor=by, action="price added", model=model_key, price=price.pk)
    return price


def set_first_price(*, model_key: str, prompt_microcredits: int, completion_microcredits: int) -> None:
    """Price a model that has no price yet, in microcredits per token; staff add later versions."""
    Price.objects.get_or_create(
        model_key=model_key,
        effective_at=datetime(2026, 1, 1, tzinfo=UTC),
        defaults={
            "prompt_microcredits_per_token": prompt_microcredits,
            "completion_microcredits_per_token": completion_microcredits,
        },
    )


def seed_packages() -> None:
    """Add the packages that a new deployment starts with; where there are any, staff decide."""
    if Package.objects.exists():
        return
    credit = MICROCREDITS_PER_CREDIT
    Package.objects.bulk_create(
        Package(
            name=name,
            price_minor=price_minor,
            currency=settings.TOPUP_CURRENCY,
            credits_microcredits=price_minor * settings.CREDITS_PER_MINOR_UNIT * credit,
            bonus_microcredits=bonus * credit,
            position=position,
        )
        for position, (name, price_minor, bonus) in enumerate(
            [(_("Small"), 500, 0), (_("Medium"), 2000, 100), (_("Large"), 5000, 500)]
        )
    )

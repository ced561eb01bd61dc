"""Rules of the house about credits, on top of the ledger."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing import ledger, mailboxes
from billing.models import MICROCREDITS_PER_CREDIT, EntryKind, LedgerEntry, Package, Price
from billing.templatetags.money import format_credits

PRICE_IS_LATE = timedelta(minutes=1)  # between "now" on a form and its arrival
MOST_PRICE = 10**9  # microcredits per token
MOST_OF_A_PACKAGE = 2  # times what its money buys without one


@transaction.atomic
def give_signup_bonus(*, user: User, email: str) -> LedgerEntry | None:
    """Grant the sign-up bonus for a confirmed address: once in the life of an account, and once a mailbox.

    None for a mailbox that had it before, by another account or another spelling, and when the setting gives none.
    """
    key = mailboxes.bonus_key(user.pk)
    given = LedgerEntry.objects.filter(idempotency_key=key).first()
    if given is not None or not settings.SIGNUP_BONUS_MICROCREDITS:
        return given
    if not mailboxes.keep_mailbox(email=email):
        return None
    return ledger.grant(
        user=user,
        kind=EntryKind.BONUS,
        amount_microcredits=settings.SIGNUP_BONUS_MICROCREDITS,
        idempotency_key=key,
        reason="sign-up bonus",
        expires_at=timezone.now() + timedelta(days=settings.SIGNUP_BONUS_DAYS),
    )


class PriceExists(Exception):
    """The model has another price from this very moment, or these prices already."""


class PriceRefused(Exception):
    """The price would have begun in the past."""


def plan_price(
    *,
    model_key: str,
    prompt_microcredits_per_token: int,
    completion_microcredits_per_token: int,
    effective_at: datetime | None = None,
) -> Price:
    """A version of a model's prices that may be added; it is not saved. Raises what `add_price` does.

    One that was to begin within the last minute, as long as a form takes, begins now: what was sold before stays so.
    """
    now = timezone.now()
    if effective_at is not None and effective_at < now - PRICE_IS_LATE:
        raise PriceRefused(_("A price cannot begin in the past."))
    planned = Price(
        model_key=model_key,
        prompt_microcredits_per_token=prompt_microcredits_per_token,
        completion_microcredits_per_token=completion_microcredits_per_token,
        effective_at=max(effective_at or now, now),
    )
    current = Price.objects.current(model_key)
    if planned.effective_at == now and current is not None and _tokens_of(planned) == _tokens_of(current):
        raise PriceExists(_("These are the model's prices already."))
    return planned


@transaction.atomic
def add_price(
    *,
    model_key: str,
    prompt_microcredits_per_token: int,
    completion_microcredits_per_token: int,
    effective_at: datetime | None = None,
    by: User,
) -> Price:
    """Add a version of a model's prices, in microcredits per token; earlier ones stay.

    Without a moment it begins now. Holds that were made before keep the prices they were promised. Raises PriceRefused
    for a moment in the past, PriceExists where these are the prices already or others begin at that moment.
    """
    price = plan_price(
        model_key=model_key,
        prompt_microcredits_per_token=prompt_microcredits_per_token,
        completion_microcredits_per_token=completion_microcredits_per_token,
        effective_at=effective_at,
    )
    before = Price.objects.filter(model_key=model_key, effective_at__lt=price.effective_at)
    earlier = before.order_by("-effective_at", "-pk").first()
    price.created_by = by
    try:
        with transaction.atomic():
            price.save(force_insert=True)
    except IntegrityError as error:
        if "billing_price_one_a_moment" not in str(error):
            raise
        raise PriceExists(_("This model has another price from that moment.")) from error
    changed = audit.differences(_tokens_of(earlier) if earlier else {}, _tokens_of(price))
    begins = price.effective_at.isoformat()
    audit.record(actor=by, action="price added", model=model_key, price=price.pk, effective_at=begins, **changed)
    return price


def _tokens_of(price: Price) -> dict[str, int]:
    return {
        "prompt_microcredits_per_token": price.prompt_microcredits_per_token,
        "completion_microcredits_per_token": price.completion_microcredits_per_token,
    }


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


class PackageRefused(Exception):
    """The package would give far more or less than its money buys; the message says the bounds."""


def refuse_package(package: Package) -> None:
    """Raise PackageRefused unless a package gives, with its bonus, about what its money buys without it.

    That is CREDITS_PER_MINOR_UNIT credits a minor unit: at least half of it, at most twice of it.
    """
    if package.currency.lower() != settings.TOPUP_CURRENCY:
        raise PackageRefused(_("Packages are sold in {currency}.").format(currency=settings.TOPUP_CURRENCY.upper()))
    if package.bonus_microcredits > package.credits_microcredits:
        raise PackageRefused(_("A bonus is at most as much as the credits that are bought."))
    usual = package.price_minor * settings.CREDITS_PER_MINOR_UNIT * MICROCREDITS_PER_CREDIT
    least, most = usual // MOST_OF_A_PACKAGE, usual * MOST_OF_A_PACKAGE
    if not least <= package.credits_microcredits + package.bonus_microcredits <= most:
        text = _("For this price a package gives between {least} and {most} credits, its bonus included.")
        raise PackageRefused(text.format(least=format_credits(least), most=format_credits(most)))


@transaction.atomic
def save_package(*, package: Package, by: User) -> Package:
    """Add a package, or change one, and note it in the audit log. Orders keep what they promised.

    Raises PackageRefused.
    """
    refuse_package(package)
    before = Package.objects.select_for_update().filter(pk=package.pk).values().first()
    package.save()
    changed = audit.differences(before or {}, Package.objects.filter(pk=package.pk).values().get())
    action = "package added" if before is None else "package changed"
    audit.record(actor=by, action=action, package=package.pk, **changed)
    return package


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

"""Packages of credits: what staff may offer for a price."""

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing.models import MICROCREDITS_PER_CREDIT, Package
from billing.templatetags.money import format_credits

MOST_OF_A_PACKAGE = 2  # times the credits that its price buys without a package


class PackageRefused(Exception):
    """The package would give far more or less than its money buys; the message says the bounds."""


def packages_on_sale() -> list[Package]:
    """What customers can buy, in the operator's order; nothing where no payment provider is set up. One query.

    Packages of an earlier TOPUP_CURRENCY are left out.
    """
    packages = Package.objects.filter(is_active=True, currency__iexact=settings.TOPUP_CURRENCY)
    return list(packages) if settings.PAYMENT_PROVIDERS else []


def refuse_package(package: Package) -> None:
    """Raise PackageRefused unless a package, with its bonus, gives about as many credits as its price buys without it.

    Without a package, a minor unit buys CREDITS_PER_MINOR_UNIT credits. A package gives at least half and at most twice
    as many. Its currency must be TOPUP_CURRENCY, and its bonus at most as much as its credits.
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
    """Add the packages that a new deployment starts with. Does nothing if there are any: then staff decide."""
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

"""Orders of credits: stored before any checkout, completed once, and taken back exactly.

Providers call `complete_topup`, `fail_topup`, `set_refunded` and `set_disputed`. Each is one transaction that locks the
order first and then the wallet. Each may be called again, in any order, with the same result.
"""

import hashlib
import json
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from billing import ledger
from billing.currencies import format_amount, format_money, step_minor
from billing.models import MICROCREDITS_PER_CREDIT, AutomaticTopUp, EntryKind, Package, TopUp, TopUpState
from billing.notices.notices import notify
from billing.templatetags.money import format_credits
from billing.topups.payments import default_provider
from core.repeats import asked_the_same


class InvalidAmount(Exception):
    """The amount cannot be bought; the message says what can."""


class TopUpConflict(Exception):
    """The idempotency key was used for another order, or the report does not fit the order."""


class StaleReading(Exception):
    """While this process asked the provider, another one asked and stored its answer. Ask again."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What is bought: money in smallest units of a currency, credits in microcredits."""

    amount_minor: int
    currency: str
    credits_microcredits: int
    bonus_microcredits: int = 0
    package: Package | None = None


def offer_of_package(package: Package) -> Offer:
    """What a package gives."""
    return Offer(
        package.price_minor,
        package.currency.lower(),
        package.credits_microcredits,
        package.bonus_microcredits,
        package,
    )


def offer_of_amount(amount_minor: int) -> Offer:
    """Return what a custom amount buys: CREDITS_PER_MINOR_UNIT credits for each smallest unit of TOPUP_CURRENCY.

    Raises InvalidAmount if the amount is out of bounds or not a multiple of the currency's step.
    """
    (least, most), currency = settings.TOPUP_MINOR_BOUNDS, settings.TOPUP_CURRENCY
    if type(amount_minor) is not int or not least <= amount_minor <= most:
        bounds = {"least": format_amount(least, currency), "most": format_money(most, currency)}
        raise InvalidAmount(_("Choose an amount between {least} and {most}.").format(**bounds))
    if amount_minor % step_minor(currency):
        step = format_money(step_minor(currency), currency)
        raise InvalidAmount(_("Choose an amount in steps of {step}.").format(step=step))
    credits_microcredits = amount_minor * settings.CREDITS_PER_MINOR_UNIT * MICROCREDITS_PER_CREDIT
    return Offer(amount_minor, currency, credits_microcredits)


def start_topup(*, user: User, offer: Offer, idempotency_key: str) -> TopUp:
    """Store the order, then open its checkout; the same key returns the same order and checkout.

    Raises TopUpConflict if the key ordered something else, and payments.PaymentError if the provider cannot open a
    checkout. In that case the order stays without one, and a call with the same key tries again.
    """
    provider = default_provider()
    topup = store_order(user, offer, idempotency_key, provider.name)
    if topup.checkout_url or topup.state != TopUpState.CREATED:
        return topup
    checkout = provider.start_checkout(topup)
    TopUp.objects.filter(pk=topup.pk, checkout_reference="").update(
        checkout_reference=checkout.reference, checkout_url=checkout.url
    )
    topup.refresh_from_db()
    return topup


@transaction.atomic
def complete_topup(*, topup_id: UUID, provider: str, amount_minor: int, currency: str, payment_reference: str) -> TopUp:
    """Credit an order that was paid, once. A late payment of a failed or cancelled order is credited too.

    Raises TopUpConflict if the provider, amount or currency is not the order's, or for a second payment. Then nothing
    is credited and a person must look.
    """
    topup = lock_order(topup_id, provider)
    if (amount_minor, currency.lower()) != (topup.amount_minor, topup.currency.lower()):
        wanted, paid = format_money(topup.amount_minor, topup.currency), format_money(amount_minor, currency)
        raise TopUpConflict(f"{topup} is for {wanted}, paid were {paid}")
    if topup.state == TopUpState.PAID:
        if topup.payment_reference != payment_reference:
            raise TopUpConflict(f"{topup} was paid twice: by {topup.payment_reference} and by {payment_reference}")
        return topup
    topup.state = TopUpState.PAID
    topup.paid_at = timezone.now()
    topup.payment_reference = payment_reference
    topup.save(update_fields=["state", "paid_at", "payment_reference"])
    if topup.is_automatic:
        _end_back_off(topup)
    ledger.grant(
        user=topup.user,
        kind=EntryKind.TOP_UP,
        amount_microcredits=topup.credits_microcredits,
        idempotency_key=f"topup:{topup.pk}",
        reason="top-up",
    )
    if topup.bonus_microcredits:
        ledger.grant(
            user=topup.user,
            kind=EntryKind.BONUS,
            amount_microcredits=topup.bonus_microcredits,
            idempotency_key=f"topup-bonus:{topup.pk}",
            reason="bonus of the package",
        )
    return topup


def _end_back_off(topup: TopUp) -> None:
    """Forget earlier declines, since the card works now, and tell the customer, who was away, what was charged."""
    AutomaticTopUp.objects.filter(wallet__user=topup.user).update(declines_count=0, next_attempt_at=None)
    notify(
        user_id=topup.user_id,
        name="automatic_paid",
        price=format_money(topup.amount_minor, topup.currency),
        credits=format_credits(topup.total_microcredits),
        path=f"/credits/top-ups/{topup.pk}/",
    )


@transaction.atomic
def fail_topup(*, topup_id: UUID, provider: str, state: TopUpState) -> TopUp:
    """Note that an order is pending, failed or was cancelled. A late report does not change a paid order."""
    topup = lock_order(topup_id, provider)
    if topup.state != TopUpState.PAID:
        topup.state = state
        topup.save(update_fields=["state"])
    return topup


@transaction.atomic
def wait_for_payment(*, topup_id: UUID, provider: str) -> TopUp:
    """Note that the payment is being processed, unless the order has ended. A later payment may still complete it."""
    topup = lock_order(topup_id, provider)
    if topup.state == TopUpState.CREATED:
        topup.state = TopUpState.PENDING
        topup.save(update_fields=["state"])
    return topup


@transaction.atomic
def set_refunded(*, topup_id: UUID, provider: str, refunded_minor: int, reading: int) -> TopUp:
    """Set how much of a payment has been refunded in total, and take or give back credits to match.

    `reading` is the order's `refund_readings` from before the provider was asked. It ensures that readings are stored
    in the order in which they were made. So the total may also fall, when a bank sends a refund back. Raises
    StaleReading if another reading was stored meanwhile.
    """
    topup = lock_order(topup_id, provider)
    if topup.refund_readings != reading:
        raise StaleReading(f"{topup}: reading {reading} was overtaken by {topup.refund_readings}")
    topup.refund_readings += 1
    topup.refunded_minor = min(refunded_minor, topup.amount_minor)
    return _balance_claw_back(topup, taken="payment refunded", given="refund failed")


@transaction.atomic
def set_disputed(*, topup_id: UUID, provider: str, disputed_minor: int) -> TopUp:
    """Set how much of a payment is disputed now, in minor units: the amount when opened or lost, 0 when won."""
    topup = lock_order(topup_id, provider)
    topup.disputed_minor = min(disputed_minor, topup.amount_minor)
    return _balance_claw_back(topup, taken="payment disputed", given="dispute won")


def _balance_claw_back(topup: TopUp, *, taken: str, given: str) -> TopUp:
    """Take or give back credits until the total taken matches the part of the payment that was refunded or disputed.

    The total is rounded down, so all credits are taken only when the whole payment was given back.
    """
    if topup.state != TopUpState.PAID:
        raise TopUpConflict(f"{topup} was not paid")
    returned_minor = min(topup.refunded_minor + topup.disputed_minor, topup.amount_minor)
    target = topup.total_microcredits * returned_minor // topup.amount_minor
    change = target - topup.clawed_back_microcredits
    step = topup.claw_back_steps + bool(change)
    key = f"claw-back:{topup.pk}:{step}"
    if change > 0:
        ledger.claw_back(topup=topup, amount_microcredits=change, idempotency_key=key, reason=taken)
    elif change < 0:
        ledger.give_back(topup=topup, amount_microcredits=-change, idempotency_key=key, reason=given)
    topup.clawed_back_microcredits = target
    topup.claw_back_steps = step
    changed = ["refunded_minor", "disputed_minor", "refund_readings", "clawed_back_microcredits", "claw_back_steps"]
    topup.save(update_fields=changed)
    return topup


def store_order(
    user: User,
    offer: Offer,
    idempotency_key: str,
    provider: str,
    *,
    automatic_month_minor: int | None = None,
    automatic_ceiling_minor: int | None = None,
) -> TopUp:
    """Store an order, once for each key of a user. The last two arguments are for automatic orders only.

    Raises TopUpConflict if the key ordered something else, and IntegrityError for a second open automatic order.
    """
    amounts = [offer.amount_minor, offer.currency, offer.credits_microcredits, offer.bonus_microcredits]
    # Only the id of a package counts: a retry is the same request even if staff have changed the price meanwhile.
    inputs = [provider, *(amounts if offer.package is None else ["package", offer.package.pk])]
    inputs_hash = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
    try:
        with transaction.atomic():
            return TopUp.objects.create(
                user=user,
                package=offer.package,
                provider=provider,
                amount_minor=offer.amount_minor,
                currency=offer.currency,
                credits_microcredits=offer.credits_microcredits,
                bonus_microcredits=offer.bonus_microcredits,
                idempotency_key=idempotency_key,
                inputs_hash=inputs_hash,
                automatic_month_minor=automatic_month_minor,
                automatic_ceiling_minor=automatic_ceiling_minor,
            )
    except IntegrityError:
        earlier = TopUp.objects.filter(user=user, idempotency_key=idempotency_key).first()
        if earlier is None:
            raise
        if not asked_the_same(earlier, inputs_hash=inputs_hash):
            raise TopUpConflict(_("This form was already sent with another amount. Reload the page.")) from None
        return earlier


def lock_order(topup_id: UUID, provider: str) -> TopUp:
    """Lock and return an order of this provider. Raises TopUpConflict if the provider has no such order."""
    topup = TopUp.objects.select_for_update(of=("self",)).select_related("user").filter(pk=topup_id).first()
    if topup is None or topup.provider != provider:
        raise TopUpConflict(f"{provider} has no order {topup_id}")
    return topup

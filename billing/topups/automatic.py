"""Automatic top-ups: they buy what a customer consented to when the balance falls. See docs/adr/0008.

The order is stored before the card is charged. If the answer to a charge is lost, the charge is requested again under
the order's own key. The answer and the webhook may both end the order; only the first of them has an effect. Locks are
taken in this order: order, automatic top-up, wallet. No transaction waits for the network.
"""

import logging
from datetime import timedelta
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import F, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing import ledger
from billing.currencies import format_money
from billing.ledger.thresholds import call_if_low
from billing.models import OPEN_STATES, AutomaticTopUp, Package, SavedCard, TopUp, TopUpState, Wallet
from billing.notices.notices import notify
from billing.templatetags.money import format_credits
from billing.topups import orders
from billing.topups.payments import AUTHENTICATION_REQUIRED, Charge, ChargeOutcome, PaymentError, provider_named
from core.days import first_moment, month_of, this_month

logger = logging.getLogger(__name__)

BACK_OFF = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))  # after each decline; one more turns it off
CHARGE_AGAIN_AFTER = timedelta(minutes=2)  # an order that was not answered
GIVE_UP_AFTER = timedelta(hours=23)  # before a provider forgets the order's key
PAGE = "/credits/spending/"


class ConsentRefused(Exception):
    """The automatic top-up cannot be turned on like this; the message says why."""


def describe_consent(*, offer: orders.Offer, below_microcredits: int, ceiling_minor: int, card: SavedCard) -> str:
    """Return the text that the customer agrees to. It is stored with the date of the consent."""
    return _(
        "When fewer than {below} credits are free, Tally charges {price} to {card} and adds {credits} credits, without "
        "asking again; at most {ceiling} in a calendar month (UTC). I can turn this off at any time."
    ).format(
        below=format_credits(below_microcredits),
        price=format_money(offer.amount_minor, offer.currency),
        card=f"{card.brand.capitalize()} •••• {card.last4}",
        credits=format_credits(offer.credits_microcredits + offer.bonus_microcredits),
        ceiling=format_money(ceiling_minor, offer.currency),
    )


@transaction.atomic
def turn_on(*, user: User, offer: orders.Offer, below_microcredits: int, ceiling_minor: int) -> AutomaticTopUp:
    """Store the consent and arm the threshold; if the balance is below it already, queue a review on commit.

    Raises ConsentRefused without a usable card or with figures that do not fit.
    """
    card = SavedCard.objects.filter(wallet=user.wallet).first()
    if card is None or not card.is_usable:
        raise ConsentRefused(_("Save a card first."))
    if ceiling_minor < offer.amount_minor:
        raise ConsentRefused(_("The most a month must be at least the price of one top-up."))
    if below_microcredits < 1:
        raise ConsentRefused(_("The balance to fall below must be above zero."))
    text = describe_consent(offer=offer, below_microcredits=below_microcredits, ceiling_minor=ceiling_minor, card=card)
    automatic, _created = AutomaticTopUp.objects.update_or_create(
        wallet=user.wallet,
        defaults={
            "is_on": True,
            "below_microcredits": below_microcredits,
            "package": offer.package,
            "amount_minor": offer.amount_minor,
            "currency": offer.currency,
            "ceiling_minor": ceiling_minor,
            "consent_text": text,
            "consented_at": timezone.now(),
            "declines_count": 0,
            "next_attempt_at": None,
        },
    )
    audit.record(actor=user, action="automatic top-up turned on", subject=user, consent=text)
    wallet = _set_armed(user, below_microcredits)
    call_if_low(wallet)
    return automatic


@transaction.atomic
def turn_off(*, user: User) -> None:
    """Turn it off immediately: an order that was not charged yet is not charged any more."""
    if AutomaticTopUp.objects.filter(wallet__user=user, is_on=True).update(is_on=False):
        _set_armed(user, None)
        audit.record(actor=user, action="automatic top-up turned off", subject=user)


def buy_if_due(*, wallet_id: int, needed_microcredits: int | None = None) -> TopUp | None:
    """Order and charge if this wallet's automatic top-up is due; return the order, or None.

    `needed_microcredits` is what a refused answer needed. Then credits are also bought if the balance is below that,
    provided that one top-up is enough. If the process dies after the order is stored, the order stays open and the
    sweep charges it.
    """
    try:
        topup = _order_if_due(wallet_id, needed_microcredits or 0)
    except IntegrityError:  # a constraint, should the checks fail: another order is open, or the ceiling is reached
        logger.exception("automatic top-up of wallet %s", wallet_id)
        return None
    if topup is not None:
        charge(topup_id=topup.pk)
    return topup


def charge(*, topup_id: UUID) -> None:
    """Charge an open automatic order to the saved card. Repeated and simultaneous calls charge the card once.

    An order whose consent or card is gone is cancelled. If the card had been charged and the answer was lost, the
    webhook or `reconciliation` still completes the order.
    """
    topup = TopUp.objects.automatic().open().select_related("user").filter(pk=topup_id).first()
    if topup is None:
        return
    card = SavedCard.objects.filter(wallet__user=topup.user, provider=topup.provider).first()
    is_on = AutomaticTopUp.objects.filter(wallet__user=topup.user, is_on=True).exists()
    if not is_on or card is None or card.saved_at is None or card.saved_at > topup.created_at:
        orders.fail_topup(topup_id=topup.pk, provider=topup.provider, state=TopUpState.CANCELLED)
        return
    try:
        answer = provider_named(topup.provider).charge_card(topup, card)
    except (PaymentError, KeyError) as error:  # KeyError: this deployment no longer has the provider
        logger.warning("%s could not be charged: %r", topup, error)
        if timezone.now() - topup.created_at > GIVE_UP_AFTER:
            note_decline(topup_id=topup.pk, provider=topup.provider, code="unreachable")
        return
    _note_answer(topup, answer)


@transaction.atomic
def note_decline(*, topup_id: UUID, provider: str, code: str) -> None:
    """End an automatic order that was declined, and notify the customer.

    The next attempt waits longer after each decline (BACK_OFF). After the last of them the automatic top-up is turned
    off. Both the answer and the webhook call this; the second call finds the order ended and changes nothing. Raises
    orders.TopUpConflict for an order that is not automatic.
    """
    topup = orders.lock_order(topup_id, provider)
    if not topup.is_automatic:
        raise orders.TopUpConflict(f"{topup} is not automatic")
    if topup.state not in OPEN_STATES:
        return
    topup.state = TopUpState.FAILED
    topup.save(update_fields=["state"])
    automatic = AutomaticTopUp.objects.select_for_update().get(wallet__user=topup.user)
    if not automatic.is_on:
        return
    automatic.declines_count += 1
    is_over = automatic.declines_count > len(BACK_OFF)
    price = format_money(topup.amount_minor, topup.currency)
    if is_over:
        _stop(automatic, topup.user, "automatic_off", price=price)
        return
    automatic.next_attempt_at = timezone.now() + BACK_OFF[automatic.declines_count - 1]
    automatic.save(update_fields=["declines_count", "next_attempt_at"])
    wants_customer = code == AUTHENTICATION_REQUIRED
    notify(
        user_id=topup.user_id,
        name="automatic_authenticate" if wants_customer else "automatic_declined",
        path="/credits/buy/" if wants_customer else PAGE,
        price=price,
        again_at=f"{automatic.next_attempt_at:%Y-%m-%d %H:%M} UTC",
    )


def due_wallet_ids() -> list[int]:
    """Return wallets whose automatic top-up may be due: a review was lost, or a date has come. 1,000 at most."""
    free = F("wallet__balance_microcredits") - F("wallet__held_microcredits")
    waiting = AutomaticTopUp.objects.filter(is_on=True, below_microcredits__gt=free)
    due = waiting.filter(Q(next_attempt_at=None) | Q(next_attempt_at__lte=timezone.now()))
    return list(due.order_by("pk").values_list("pk", flat=True)[:1000])


def stuck_order_ids() -> list[UUID]:
    """Return automatic orders whose charge was not answered in time, the oldest first. 200 at most."""
    stuck = TopUp.objects.automatic().open().filter(created_at__lt=timezone.now() - CHARGE_AGAIN_AFTER)
    return list(stuck.order_by("created_at").values_list("pk", flat=True)[:200])


def ordered_minor(*, user: User, currency: str) -> int:
    """Return the sum of this month's (UTC) automatic orders in this currency, in minor units.

    Orders that failed or were cancelled do not count.
    """
    ordered = TopUp.objects.automatic().filter(user=user, currency=currency, created_at__gte=first_moment(this_month()))
    counted = ordered.filter(state__in=[*OPEN_STATES, TopUpState.PAID])
    return counted.aggregate(total=Sum("amount_minor"))["total"] or 0


@transaction.atomic
def _order_if_due(wallet_id: int, needed_microcredits: int) -> TopUp | None:
    """Lock the automatic top-up and store the order; return None when it is not due."""
    automatic = AutomaticTopUp.objects.select_for_update().filter(wallet_id=wallet_id, is_on=True).first()
    if automatic is None:
        return None
    wallet = Wallet.objects.select_related("user").get(pk=wallet_id)  # read after the lock, so it is current
    offer = _offer_of(automatic)
    if not _is_due(automatic, wallet, offer, needed_microcredits):
        return None
    agreed = (automatic.amount_minor, automatic.currency)
    if offer is None or (offer.amount_minor, offer.currency) != agreed:
        _stop(automatic, wallet.user, "automatic_changed", price=format_money(*agreed))
        return None
    month_minor = ordered_minor(user=wallet.user, currency=offer.currency) + offer.amount_minor
    if month_minor > automatic.ceiling_minor:
        _wait_for_next_month(automatic, wallet.user)
        return None
    topup = orders.store_order(
        wallet.user,
        offer,
        f"automatic:{uuid4()}",
        wallet.card.provider,
        automatic_month_minor=month_minor,
        automatic_ceiling_minor=automatic.ceiling_minor,
    )
    _set_armed(wallet.user, None)
    return topup


def _is_due(automatic: AutomaticTopUp, wallet: Wallet, offer: orders.Offer | None, needed_microcredits: int) -> bool:
    """Whether to order now: the balance is low enough, no order is open, and no date must come first.

    Never for a customer who owes credits, has no card or may not log in.
    """
    free, below = wallet.available_microcredits, automatic.below_microcredits
    gain = offer.credits_microcredits + offer.bonus_microcredits if offer else 0
    if needed_microcredits <= free + gain:
        below = max(below, needed_microcredits)
    is_early = automatic.next_attempt_at is not None and automatic.next_attempt_at > timezone.now()
    if free >= below or is_early or not wallet.user.is_active:
        return False
    has_card = SavedCard.objects.filter(wallet=wallet).exclude(method_reference="").exists()
    has_open_order = TopUp.objects.automatic().open().filter(user=wallet.user).exists()
    return has_card and not has_open_order and not ledger.owed_microcredits(wallet=wallet)


def _offer_of(automatic: AutomaticTopUp) -> orders.Offer | None:
    """Return what is bought today; None when the package is withdrawn or the amount is out of today's bounds."""
    package: Package | None = automatic.package
    if package is not None:
        return orders.offer_of_package(package) if package.is_active else None
    try:
        return orders.offer_of_amount(automatic.amount_minor)
    except orders.InvalidAmount:
        return None


def _note_answer(topup: TopUp, answer: Charge) -> None:
    match answer.outcome:
        case ChargeOutcome.PAID:
            orders.complete_topup(
                topup_id=topup.pk,
                provider=topup.provider,
                amount_minor=topup.amount_minor,
                currency=topup.currency,
                payment_reference=answer.payment_reference,
            )
        case ChargeOutcome.PENDING:
            orders.wait_for_payment(topup_id=topup.pk, provider=topup.provider)
        case ChargeOutcome.DECLINED:
            note_decline(topup_id=topup.pk, provider=topup.provider, code=answer.code)


def _stop(automatic: AutomaticTopUp, user: User, notice: str, **figures: str) -> None:
    """Turn the automatic top-up off on our side, and notify the customer."""
    automatic.is_on = False
    automatic.save(update_fields=["is_on", "declines_count"])
    _set_armed(user, None)
    notify(user_id=user.pk, name=notice, path=PAGE, **figures)


def _wait_for_next_month(automatic: AutomaticTopUp, user: User) -> None:
    automatic.next_attempt_at = first_moment(month_of(first_moment(this_month()) + timedelta(days=31)))
    automatic.save(update_fields=["next_attempt_at"])
    _set_armed(user, None)
    ceiling = format_money(automatic.ceiling_minor, automatic.currency)
    notify(user_id=user.pk, name="automatic_ceiling", path=PAGE, ceiling=ceiling)


def _set_armed(user: User, below_microcredits: int | None) -> Wallet:
    """Set the wallet's refill threshold, or disarm it with None; return the wallet, locked."""
    wallet = ledger.lock_wallet(user=user)
    wallet.armed_refill_microcredits = below_microcredits
    wallet.save(update_fields=["armed_refill_microcredits"])
    return wallet

"""The card that a customer lets us charge. The provider asks for it and keeps it; we store its name and last digits."""

import logging
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing import ledger
from billing.models import AutomaticTopUp, SavedCard
from billing.topups.payments import KeptCard, PaymentError, default_provider, provider_named

logger = logging.getLogger(__name__)


def start_card_setup(*, user: User) -> str:
    """Return the URL of the provider's page for entering a card. The row exists before the provider is asked.

    Raises payments.PaymentError, also if the customer has a saved card: it must be removed first.
    """
    provider = default_provider()
    card, _created = SavedCard.objects.get_or_create(wallet=user.wallet, defaults={"provider": provider.name})
    if card.is_usable:
        raise PaymentError(_("A card is saved already. Remove it first."))
    if card.provider != provider.name:  # the deployment has another provider now
        card.delete()
        card = SavedCard.objects.create(wallet=user.wallet, provider=provider.name)
    setup = provider.start_card_setup(card)
    SavedCard.objects.filter(pk=card.pk).update(
        customer_reference=setup.customer_reference, setup_reference=setup.reference
    )
    return setup.url


@transaction.atomic
def keep_card(*, card_id: UUID, provider: str, kept: KeptCard) -> bool:
    """Store the card that a customer entered; repeating it changes nothing. False if the row was removed meanwhile."""
    card = SavedCard.objects.select_for_update(of=("self",)).select_related("wallet__user").filter(pk=card_id).first()
    if card is None or card.provider != provider:
        logger.warning("a card was entered for %s, which is gone", card_id)
        return False
    if card.method_reference == kept.method_reference:
        return True
    card.method_reference, card.brand, card.last4 = kept.method_reference, kept.brand, kept.last4
    card.saved_at = timezone.now()
    card.save(update_fields=["method_reference", "brand", "last4", "saved_at"])
    owner = card.wallet.user
    audit.record(actor=owner, action="card saved", subject=owner, brand=kept.brand, last4=kept.last4)
    return True


def refresh_card(*, user: User) -> bool:
    """Ask the provider whether a card was entered, in case its report is late or lost; return whether one is saved now.

    Raises payments.PaymentError.
    """
    card = SavedCard.objects.filter(wallet=user.wallet).first()
    if card is None or card.is_usable or not card.setup_reference:
        return card is not None and card.is_usable
    kept = provider_named(card.provider).read_card(card)
    return kept is not None and keep_card(card_id=card.pk, provider=card.provider, kept=kept)


def remove_card(*, user: User) -> None:
    """Turn the automatic top-up off, have the provider forget the card, and delete it here. Raises PaymentError.

    The automatic top-up is turned off first. So nothing more is charged, even if the provider fails or the process
    dies.
    """
    card = SavedCard.objects.filter(wallet=user.wallet).first()
    if card is None:
        return
    with transaction.atomic():
        AutomaticTopUp.objects.filter(wallet=user.wallet).update(is_on=False)
        wallet = ledger.lock_wallet(user=user)
        wallet.armed_refill_microcredits = None
        wallet.save(update_fields=["armed_refill_microcredits"])
    if card.is_usable:
        provider_named(card.provider).forget_card(card)
    with transaction.atomic():
        SavedCard.objects.filter(pk=card.pk).delete()
        audit.record(actor=user, action="card removed", subject=user, brand=card.brand, last4=card.last4)

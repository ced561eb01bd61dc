"""What the tests of automatic top-ups share: cards, consents, and a balance that falls."""

from datetime import timedelta
from uuid import uuid4

from django.core import mail

from billing import ledger, tasks
from billing.models import AutomaticTopUp, SavedCard, TopUp, Wallet
from billing.topups import automatic as automatic_topups
from billing.topups import cards, orders, sandbox
from tests.billing.holds import open_hold
from tests.billing.stripe.signing import deliver
from tests.support.cast import CREDIT, fund

BELOW = 10 * CREDIT
CHARGE = 10 * 20 + 100 * 40


def save_sandbox_card(user, choice="approve"):
    cards.start_card_setup(user=user)
    sandbox.enter_card(card=SavedCard.objects.get(wallet__user=user), choice=choice)


def save_stripe_card(server, user, behaviour="approve"):
    cards.start_card_setup(user=user)
    session = SavedCard.objects.get(wallet__user=user).setup_reference
    assert deliver(server.enter_card(session, behaviour)) == 200


def turn_on(user, amount_minor=2_000, ceiling_minor=6_000, below=BELOW, package=None):
    offer = orders.offer_of_package(package) if package else orders.offer_of_amount(amount_minor)
    return automatic_topups.turn_on(user=user, offer=offer, below_microcredits=below, ceiling_minor=ceiling_minor)


def answer(user):
    ledger.settle(hold_id=open_hold(user, 10, 100).pk, completion_tokens=100)


def low(user, choice="approve", **options):
    """A user whose automatic top-up is on and has just become due."""
    save_sandbox_card(user, choice)
    fund(user, BELOW)
    turn_on(user, **options)
    answer(user)


def spend_down(user):
    """Take the balance below the threshold again, by hand, and let the sweep see it."""
    free = Wallet.objects.get(user=user).available_microcredits
    if free:
        ledger.adjust(user=user, amount_microcredits=-free, idempotency_key=str(uuid4()), reason="test", by=user)
    tasks.sweep_spending()


def pass_time(**much):
    """Let back-off be over by this much."""
    for automatic in AutomaticTopUp.objects.exclude(next_attempt_at=None):
        AutomaticTopUp.objects.filter(pk=automatic.pk).update(
            next_attempt_at=automatic.next_attempt_at - timedelta(**much)
        )


def balance(user):
    return Wallet.objects.get(user=user).balance_microcredits


def states():
    return list(TopUp.objects.order_by("created_at").values_list("state", flat=True))


def automatic_of(user):
    return AutomaticTopUp.objects.get(wallet__user=user)


def subjects():
    return [sent.subject for sent in mail.outbox]

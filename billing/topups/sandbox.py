"""A payment provider for development: a page of ours plays it. Production settings do not know it."""

from collections.abc import Callable
from functools import partial

from django.urls import reverse

from billing.models import RefundState, SavedCard, TopUp, TopUpState
from billing.topups import cards, orders
from billing.topups.payments import (
    AUTHENTICATION_REQUIRED,
    CardSetup,
    Charge,
    ChargeOutcome,
    Checkout,
    KeptCard,
    ProviderRefund,
)

NAME = "sandbox"

# The cards one can save here, and what becomes of a charge. Numbers end as those of Stripe's own test cards do.
CARDS: dict[str, tuple[KeptCard, ChargeOutcome, str]] = {
    "approve": (KeptCard("approve", "visa", "4242"), ChargeOutcome.PAID, ""),
    "decline": (KeptCard("decline", "visa", "0341"), ChargeOutcome.DECLINED, "card_declined"),
    "authenticate": (KeptCard("authenticate", "visa", "3184"), ChargeOutcome.DECLINED, AUTHENTICATION_REQUIRED),
}


class SandboxProvider:
    """Keeps `payments.Provider`; the buyer's choices arrive through `play`."""

    name = NAME

    def start_checkout(self, topup: TopUp) -> Checkout:
        """The page that plays the provider."""
        return Checkout(f"sandbox-{topup.pk}", reverse("billing:sandbox", args=[topup.pk]))

    def refund(self, topup: TopUp, amount_minor: int, idempotency_key: str) -> None:
        """Nobody holds the money here, so there is nothing to ask for."""

    def refunds_of(self, topup: TopUp) -> list[ProviderRefund]:
        """What was approved has been given back: nobody else keeps a list."""
        approved = topup.refunds.filter(state__in=[RefundState.APPROVED, RefundState.DONE])
        return [ProviderRefund(f"sandbox-{one.pk}", f"refund:{one.pk}", one.amount, True) for one in approved]

    def start_card_setup(self, card: SavedCard) -> CardSetup:
        """The page that plays the provider's form for cards."""
        url = reverse("billing:sandbox_card", args=[card.pk])
        return CardSetup(f"sandbox-customer-{card.pk}", f"sandbox-{card.pk}", url)

    def read_card(self, card: SavedCard) -> KeptCard | None:
        """The page tells at once, so there is never more to know."""
        return None

    def forget_card(self, card: SavedCard) -> None:
        """Nobody kept it."""

    def charge_card(self, topup: TopUp, card: SavedCard) -> Charge:
        """As the saved card behaves."""
        _kept, outcome, code = CARDS[card.method_reference]
        return Charge(outcome, f"sandbox-payment-{topup.pk}", code)


def enter_card(*, card: SavedCard, choice: str) -> None:
    """Do as the customer who enters one of CARDS would. Raises KeyError for any other."""
    cards.keep_card(card_id=card.pk, provider=NAME, kept=CARDS[choice][0])


def play(*, topup: TopUp, action: str) -> None:
    """Do as the buyer or the provider would. Raises KeyError for an unknown action, TopUpConflict as `topups` does."""
    pay = partial(
        orders.complete_topup,
        amount_minor=topup.amount_minor,
        currency=topup.currency,
        payment_reference=f"sandbox-payment-{topup.pk}",
    )
    actions: dict[str, Callable[..., TopUp]] = {
        "pay": pay,
        "pending": partial(orders.fail_topup, state=TopUpState.PENDING),
        "fail": partial(orders.fail_topup, state=TopUpState.FAILED),
        "cancel": partial(orders.fail_topup, state=TopUpState.CANCELLED),
        "dispute": partial(orders.set_disputed, disputed_minor=topup.amount_minor),
        "win": partial(orders.set_disputed, disputed_minor=0),
    }
    actions[action](topup_id=topup.pk, provider=NAME)

"""A payment provider for development. A page of ours plays the provider. Production settings do not include it."""

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

# The cards that can be saved here, and the outcome of a charge. The last digits are those of Stripe's test cards.
CARDS: dict[str, tuple[KeptCard, ChargeOutcome, str]] = {
    "approve": (KeptCard("approve", "visa", "4242"), ChargeOutcome.PAID, ""),
    "decline": (KeptCard("decline", "visa", "0341"), ChargeOutcome.DECLINED, "card_declined"),
    "authenticate": (KeptCard("authenticate", "visa", "3184"), ChargeOutcome.DECLINED, AUTHENTICATION_REQUIRED),
}


class SandboxProvider:
    """Implements `payments.Provider`. The choices of the buyer arrive through `play`."""

    name = NAME

    def start_checkout(self, topup: TopUp) -> Checkout:
        """The page that plays the provider."""
        return Checkout(f"sandbox-{topup.pk}", reverse("billing:sandbox", args=[topup.pk]))

    def refund(self, topup: TopUp, amount_minor: int, idempotency_key: str) -> None:
        """Do nothing: nobody holds money here."""

    def refunds_of(self, topup: TopUp) -> list[ProviderRefund]:
        """Return all approved refunds as done, since no provider keeps a list."""
        approved = topup.refunds.filter(state__in=[RefundState.APPROVED, RefundState.DONE])
        return [ProviderRefund(f"sandbox-{one.pk}", f"refund:{one.pk}", one.amount, True) for one in approved]

    def start_card_setup(self, card: SavedCard) -> CardSetup:
        """The page that plays the provider's form for cards."""
        url = reverse("billing:sandbox_card", args=[card.pk])
        return CardSetup(f"sandbox-customer-{card.pk}", f"sandbox-{card.pk}", url)

    def read_card(self, card: SavedCard) -> KeptCard | None:
        """Return None: the page reports a card immediately, so there is nothing more to read."""
        return None

    def forget_card(self, card: SavedCard) -> None:
        """Do nothing: no provider keeps the card."""

    def charge_card(self, topup: TopUp, card: SavedCard) -> Charge:
        """Return the outcome that belongs to the saved card."""
        _kept, outcome, code = CARDS[card.method_reference]
        return Charge(outcome, f"sandbox-payment-{topup.pk}", code)


def enter_card(*, card: SavedCard, choice: str) -> None:
    """Do what happens when the customer enters one of CARDS. Raises KeyError for any other."""
    cards.keep_card(card_id=card.pk, provider=NAME, kept=CARDS[choice][0])


def play(*, topup: TopUp, action: str) -> None:
    """Do what the buyer or the provider would do. Raises KeyError for an unknown action, and orders.TopUpConflict."""
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

"""A payment provider for development: a page of ours plays it. Production settings do not know it."""

from collections.abc import Callable
from functools import partial

from django.urls import reverse

from billing import topups
from billing.models import TopUp, TopUpState
from billing.payments import Checkout

NAME = "sandbox"


class SandboxProvider:
    """Keeps `payments.Provider`; the buyer's choices arrive through `play`."""

    name = NAME

    def start_checkout(self, topup: TopUp) -> Checkout:
        """The page that plays the provider."""
        return Checkout(f"sandbox-{topup.pk}", reverse("billing:sandbox", args=[topup.pk]))

    def refund(self, topup: TopUp, amount_minor: int, idempotency_key: str) -> None:
        """Nobody holds the money here, so there is nothing to ask for."""


def play(*, topup: TopUp, action: str) -> None:
    """Do as the buyer or the provider would. Raises KeyError for an unknown action, TopUpConflict as `topups` does."""
    pay = partial(
        topups.complete_topup,
        amount_minor=topup.amount_minor,
        currency=topup.currency,
        payment_reference=f"sandbox-payment-{topup.pk}",
    )
    actions: dict[str, Callable[..., TopUp]] = {
        "pay": pay,
        "pending": partial(topups.fail_topup, state=TopUpState.PENDING),
        "fail": partial(topups.fail_topup, state=TopUpState.FAILED),
        "cancel": partial(topups.fail_topup, state=TopUpState.CANCELLED),
        "dispute": partial(topups.set_disputed, disputed_minor=topup.amount_minor),
        "win": partial(topups.set_disputed, disputed_minor=0),
    }
    actions[action](topup_id=topup.pk, provider=NAME)

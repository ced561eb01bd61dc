"""The one small interface that payment providers keep, and which providers there are."""

from dataclasses import dataclass
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from billing.models import TopUp


class PaymentError(Exception):
    """The provider refused or could not be reached. Nothing was charged or credited."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where the customer pays, and the provider's name for it."""

    reference: str
    url: str


class Provider(Protocol):
    """A way to take money. What it reports later comes through `topups.complete_topup` and its siblings."""

    name: str

    def start_checkout(self, topup: TopUp) -> Checkout:
        """Open a checkout for an order that is already stored. Raises PaymentError."""
        ...

    def refund(self, topup: TopUp, amount_minor: int, idempotency_key: str) -> None:
        """Give money back, once for each key. Raises PaymentError."""
        ...


def provider_named(name: str) -> Provider:
    """The provider an order was made with. Raises KeyError for one that this deployment does not have."""
    provider: Provider = import_string(settings.PAYMENT_PROVIDERS[name])()
    return provider


def default_provider() -> Provider:
    """The first of PAYMENT_PROVIDERS. Raises PaymentError where there is none."""
    for name in settings.PAYMENT_PROVIDERS:
        return provider_named(name)
    raise PaymentError("No payment provider is set up.")

"""The one small interface that payment providers keep, and which providers there are."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from billing.models import SavedCard, TopUp


class PaymentError(Exception):
    """The provider refused or could not be reached. Nothing was charged or credited."""


class PaymentRefused(PaymentError):
    """The provider refused for good, and the message is its reason: the same request would be refused again."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where the customer pays, and the provider's name for it."""

    reference: str
    url: str


@dataclass(frozen=True, slots=True)
class CardSetup:
    """Where the customer enters a card to keep, and the provider's names for the customer and for this page."""

    customer_reference: str
    reference: str
    url: str


@dataclass(frozen=True, slots=True)
class KeptCard:
    """A card that the provider keeps and may charge for us."""

    method_reference: str
    brand: str
    last4: str


class ChargeOutcome(Enum):
    """What became of a charge that nobody was there for."""

    PAID = "paid"
    PENDING = "pending"
    DECLINED = "declined"


AUTHENTICATION_REQUIRED = "authentication_required"  # the code of a bank that wants to ask its customer


@dataclass(frozen=True, slots=True)
class Charge:
    """The answer to a charge: the provider's name for the payment, and why it was declined if it was."""

    outcome: ChargeOutcome
    payment_reference: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """A refund as the provider has it. `key` is ours, empty for one made in its dashboard.

    `is_live` means that the customer has the money or is getting it; otherwise `reason` says why not.
    """

    reference: str
    key: str
    amount_minor: int
    is_live: bool
    reason: str = ""


class Provider(Protocol):
    """A way to take money. What it reports later comes through `topups.complete_topup` and its siblings."""

    name: str

    def start_checkout(self, topup: TopUp) -> Checkout:
        """Open a checkout for an order that is already stored. Raises PaymentError."""
        ...

    def refund(self, topup: TopUp, amount_minor: int, idempotency_key: str) -> None:
        """Give money back, once for each key. Raises PaymentRefused, or PaymentError where it may be tried again."""
        ...

    def refunds_of(self, topup: TopUp) -> list[ProviderRefund]:
        """Every refund of an order's payment as of now, whoever made it. Raises PaymentError."""
        ...

    def start_card_setup(self, card: SavedCard) -> CardSetup:
        """Open a page where the customer enters a card for us to keep. Raises PaymentError."""
        ...

    def read_card(self, card: SavedCard) -> KeptCard | None:
        """What came of the last page, or None while nothing did. Raises PaymentError."""
        ...

    def forget_card(self, card: SavedCard) -> None:
        """Keep the card no longer; once more does no harm. Raises PaymentError."""
        ...

    def charge_card(self, topup: TopUp, card: SavedCard) -> Charge:
        """Charge an automatic order, which is stored, to a kept card: once for each order, however often asked.

        Raises PaymentError where that is not known to have been done or declined.
        """
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

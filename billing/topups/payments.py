"""The interface that payment providers implement, and the providers that are configured."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from billing.models import SavedCard, TopUp


class PaymentError(Exception):
    """The provider refused or could not be reached. Nothing was charged or credited."""


class PaymentRefused(PaymentError):
    """The provider refused for good and would refuse the same request again. The message is its reason."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """The page where the customer pays, and the provider's id of the checkout."""

    reference: str
    url: str


@dataclass(frozen=True, slots=True)
class CardSetup:
    """The page where the customer enters a card to keep, and the provider's ids of the customer and of this page."""

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
    """The outcome of a charge that was made without the customer."""

    PAID = "paid"
    PENDING = "pending"
    DECLINED = "declined"


AUTHENTICATION_REQUIRED = "authentication_required"  # the code when the bank wants the customer to confirm the charge


@dataclass(frozen=True, slots=True)
class Charge:
    """The answer to a charge: the provider's id of the payment, and, if it was declined, the code that says why."""

    outcome: ChargeOutcome
    payment_reference: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """A refund as the provider has it. `key` is our key, empty for a refund made in the provider's dashboard.

    `is_live` means that the customer has the money or is getting it; otherwise `reason` says why not.
    """

    reference: str
    key: str
    amount_minor: int
    is_live: bool
    reason: str = ""


class Provider(Protocol):
    """A payment provider. Its later reports are passed to `complete_topup` and similar functions of `orders`."""

    name: str

    def start_checkout(self, topup: TopUp) -> Checkout:
        """Open a checkout for an order that is already stored. Raises PaymentError."""
        ...

    def refund(self, topup: TopUp, amount_minor: int, idempotency_key: str) -> None:
        """Give money back, once for each key. Raises PaymentRefused, or PaymentError where it may be tried again."""
        ...

    def refunds_of(self, topup: TopUp) -> list[ProviderRefund]:
        """Return all current refunds of an order's payment, those from the dashboard too. Raises PaymentError."""
        ...

    def start_card_setup(self, card: SavedCard) -> CardSetup:
        """Open a page where the customer enters a card for us to keep. Raises PaymentError."""
        ...

    def read_card(self, card: SavedCard) -> KeptCard | None:
        """Return the card that was entered on the setup page, or None if none was yet. Raises PaymentError."""
        ...

    def forget_card(self, card: SavedCard) -> None:
        """Make the provider delete the card; repeating it does no harm. Raises PaymentError."""
        ...

    def charge_card(self, topup: TopUp, card: SavedCard) -> Charge:
        """Charge a stored automatic order to a kept card. Repeated calls charge it once.

        Raises PaymentError if it is not known whether the charge was made or declined.
        """
        ...


def provider_named(name: str) -> Provider:
    """Return the provider of this name. Raises KeyError if this deployment does not have it."""
    provider: Provider = import_string(settings.PAYMENT_PROVIDERS[name])()
    return provider


def default_provider() -> Provider:
    """Return the first of PAYMENT_PROVIDERS. Raises PaymentError if there is none."""
    for name in settings.PAYMENT_PROVIDERS:
        return provider_named(name)
    raise PaymentError("No payment provider is set up.")

"""The low-balance alert: one e-mail each time the free credits fall below the customer's threshold.

The balance is checked after an answer was charged, and by the sweep; what is held for running answers is not free. The
alert is armed again when credits come in that raise the free credits to the threshold. A hold that ends does not arm
it, so that many simultaneous answers near the threshold cause one e-mail, not many.
"""

from django.db import transaction
from django.db.models import F

from accounts.models import User
from billing import ledger
from billing.ledger.thresholds import alert_threshold, save_armed
from billing.models import SpendingPreferences, Wallet
from billing.notices.notices import notify
from billing.templatetags.money import format_credits


@transaction.atomic
def set_alert(*, user: User, below_microcredits: int | None) -> None:
    """Set the threshold of this customer's alert in free microcredits; None turns it off. Raises ValueError below 1."""
    if below_microcredits is not None and below_microcredits < 1:
        raise ValueError("a threshold is at least a microcredit")
    wallet = ledger.lock_wallet(user=user)
    chosen: dict[str, bool | int] = {"is_alert_on": below_microcredits is not None}
    if below_microcredits is not None:
        chosen |= {"alert_below_microcredits": below_microcredits}
    SpendingPreferences.objects.change(wallet, **chosen)
    is_above = below_microcredits is not None and wallet.available_microcredits >= below_microcredits
    wallet.armed_alert_microcredits = below_microcredits if is_above else None
    save_armed(wallet)


@transaction.atomic
def tell_if_low(*, wallet_id: int) -> bool:
    """Queue the e-mail if the wallet fell below its threshold and was not reported yet; return whether it was queued.

    One conditional update claims the alert, so of any number of simultaneous calls one sends it.
    """
    free = F("balance_microcredits") - F("held_microcredits")
    fell = Wallet.objects.filter(pk=wallet_id, armed_alert_microcredits__gt=free)
    if not fell.update(armed_alert_microcredits=None):
        return False
    wallet = Wallet.objects.get(pk=wallet_id)
    below = alert_threshold(wallet)
    if below is None or wallet.available_microcredits >= below:  # the deployment's default has changed since
        wallet.armed_alert_microcredits = below
        save_armed(wallet)
        return False
    notify(
        user_id=wallet.user_id,
        name="low_balance",
        available=format_credits(wallet.available_microcredits),
        below=format_credits(below),
        path="/credits/",
    )
    return True


def is_low(wallet: Wallet) -> bool:
    """Whether the credits page shows a warning: the wallet is below the threshold, reported or not. One query."""
    threshold = alert_threshold(wallet)
    return threshold is not None and wallet.available_microcredits < threshold


def low_wallet_ids() -> list[int]:
    """Return up to 1,000 wallets that fell below their threshold and were not reported yet.

    Either a review was lost, or credits expired.
    """
    free = F("balance_microcredits") - F("held_microcredits")
    low = Wallet.objects.filter(armed_alert_microcredits__gt=free).order_by("pk")
    return list(low.values_list("pk", flat=True)[:1000])

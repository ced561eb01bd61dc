"""The low-balance alert: one e-mail each time what is free falls below the customer's threshold.

It is judged when an answer has been charged (what running answers hold is not free), and by the sweep. It is armed
again when credits come in that lift what is free to the threshold: a hold that ends does not arm it, so that many
answers at once near the threshold are one e-mail, not many.
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
    """Tell this customer when what is free falls below this, or never (None). Raises ValueError for less than 1."""
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
    """Queue the e-mail if the wallet fell below its threshold and nobody has said so; whether it was queued.

    Claimed by one conditional update, so of any number of calls at once one tells.
    """
    free = F("balance_microcredits") - F("held_microcredits")
    fell = Wallet.objects.filter(pk=wallet_id, armed_alert_microcredits__gt=free)
    if not fell.update(armed_alert_microcredits=None):
        return False
    wallet = Wallet.objects.get(pk=wallet_id)
    below = alert_threshold(wallet)
    if below is None or wallet.available_microcredits >= below:  # the deployment's default changed since it was armed
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
    """Whether the credits page says so: below the threshold, told or not. One query."""
    threshold = alert_threshold(wallet)
    return threshold is not None and wallet.available_microcredits < threshold


def low_wallet_ids() -> list[int]:
    """Wallets that fell below their threshold without anybody having been told: a call was lost, or credits expired."""
    free = F("balance_microcredits") - F("held_microcredits")
    low = Wallet.objects.filter(armed_alert_microcredits__gt=free).order_by("pk")
    return list(low.values_list("pk", flat=True)[:1000])

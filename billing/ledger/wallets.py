"""Opening and locking wallets, and reading what they owe."""

from django.db.models import Sum

from accounts.models import User
from billing.models import Wallet


def open_wallet(*, user: User) -> Wallet:
    """Return the user's wallet. Makes an empty one if there is none."""
    return Wallet.objects.get_or_create(user=user)[0]


def owed_microcredits(*, wallet: Wallet) -> int:
    """Return the microcredits that the wallet owes for payments that were taken back."""
    open_debts = wallet.debts.filter(remaining_microcredits__gt=0)
    return open_debts.aggregate(total=Sum("remaining_microcredits"))["total"] or 0


def lock_wallet(*, user: User) -> Wallet:
    """Lock the user's wallet until the transaction ends, and return it. Other transactions that lock it wait."""
    return Wallet.objects.select_for_update().get(user=user)

"""Who waits for a wallet to run low, and how they are called: two nullable amounts on the wallet.

`armed_alert_microcredits` and `armed_refill_microcredits` are set while the balance is above them and taken away by
whoever acts on them, so the path of an answer compares two numbers it has, and asks the database nothing.
"""

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

from accounts.models import User
from billing.models import AutomaticTopUp, SpendingPreferences, Wallet

REVIEW = "billing.review_spending"


def call_if_low(wallet: Wallet) -> None:
    """After credits were spent: call `review_spending` on commit if somebody waits for that. No query.

    A call that is lost, with the broker or with this process, is made up for by `sweep_spending`.
    """
    if wallet.is_below_an_armed_threshold:
        transaction.on_commit(lambda: call_review(wallet_id=wallet.pk), robust=True)


def call_review(*, wallet_id: int, needed_microcredits: int | None = None) -> None:
    """Queue a review of a wallet. Outside a transaction; with the broker away, the sweep does it later."""
    figures = {"wallet_id": wallet_id, "needed_microcredits": needed_microcredits}
    try:
        current_app.send_task(REVIEW, kwargs=figures, queue="default")
    except OperationalError:
        return


def call_after_refusal(*, user: User, needed_microcredits: int) -> None:
    """After an answer was refused for want of credits: have them bought, if the customer has consented to that.

    Outside the transaction that was refused: it took everything with it.
    """
    is_on = AutomaticTopUp.objects.filter(wallet__user=user, is_on=True)
    wallet_id = is_on.values_list("wallet_id", flat=True).first()
    if wallet_id is not None:
        call_review(wallet_id=wallet_id, needed_microcredits=needed_microcredits)


def arm(wallet: Wallet) -> None:
    """After credits came in: whoever had acted waits again, if the balance is above their threshold now.

    The wallet is locked. Asks only where nobody waits.
    """
    before = (wallet.armed_alert_microcredits, wallet.armed_refill_microcredits)
    if wallet.armed_alert_microcredits is None:
        alert = alert_threshold(wallet)
        wallet.armed_alert_microcredits = alert if alert and wallet.available_microcredits >= alert else None
    if wallet.armed_refill_microcredits is None:
        wallet.armed_refill_microcredits = refill_threshold(wallet)
    if before != (wallet.armed_alert_microcredits, wallet.armed_refill_microcredits):
        save_armed(wallet)


def save_armed(wallet: Wallet) -> None:
    """Write who waits. Only these columns: the database guards the others."""
    wallet.save(update_fields=["armed_alert_microcredits", "armed_refill_microcredits"])


def alert_threshold(wallet: Wallet) -> int | None:
    """Below how many microcredits the customer wants to be told; None where they do not."""
    chosen = SpendingPreferences.objects.of(wallet)
    return chosen.alert_below_microcredits if chosen.is_alert_on else None


def refill_threshold(wallet: Wallet) -> int | None:
    """Below how many microcredits credits are bought automatically; None where they are not, or not before a date.

    Whatever waits for a date is left to the sweep.
    """
    is_on = AutomaticTopUp.objects.filter(wallet=wallet, is_on=True, next_attempt_at=None)
    return is_on.values_list("below_microcredits", flat=True).first()

"""The two thresholds on a wallet that start an action when the free credits fall below them.

`armed_alert_microcredits` starts the low-balance alert, `armed_refill_microcredits` the automatic top-up. A threshold
is armed (not null) while its action waits to happen, and the code that acts sets it to null. So the path of an answer
compares numbers that it already has, without a query.
"""

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

from accounts.models import User
from billing.models import AutomaticTopUp, SpendingPreferences, Wallet

REVIEW = "billing.review_spending"


def call_if_low(wallet: Wallet) -> None:
    """After credits were spent: queue `review_spending` on commit if the wallet is below an armed threshold. No query.

    If the call is lost, with the broker or with this process, `sweep_spending` does the review later.
    """
    if wallet.is_below_an_armed_threshold:
        transaction.on_commit(lambda: call_review(wallet_id=wallet.pk), robust=True)


def call_review(*, wallet_id: int, needed_microcredits: int | None = None) -> None:
    """Queue a review of a wallet. Call this outside a transaction. If the broker is away, the sweep does it later."""
    figures = {"wallet_id": wallet_id, "needed_microcredits": needed_microcredits}
    try:
        current_app.send_task(REVIEW, kwargs=figures, queue="default")
    except OperationalError:
        return


def call_after_refusal(*, user: User, needed_microcredits: int) -> None:
    """After an answer was refused for lack of credits: have them bought, if the customer has consented to that.

    Call this outside the refused transaction, because that was rolled back with everything in it.
    """
    is_on = AutomaticTopUp.objects.filter(wallet__user=user, is_on=True)
    wallet_id = is_on.values_list("wallet_id", flat=True).first()
    if wallet_id is not None:
        call_review(wallet_id=wallet_id, needed_microcredits=needed_microcredits)


def arm(wallet: Wallet) -> None:
    """After credits came in: arm the thresholds that are not armed, the alert only if enough credits are free.

    The wallet is locked. Makes queries only for a threshold that is not armed.
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
    """Save the two armed thresholds, and no other columns, because the database guards those."""
    wallet.save(update_fields=["armed_alert_microcredits", "armed_refill_microcredits"])


def alert_threshold(wallet: Wallet) -> int | None:
    """Return the free microcredits below which the customer wants an alert, or None if they want none."""
    chosen = SpendingPreferences.objects.of(wallet)
    return chosen.alert_below_microcredits if chosen.is_alert_on else None


def refill_threshold(wallet: Wallet) -> int | None:
    """Return the free microcredits below which credits are bought automatically.

    None if that is off or waits for a date. The sweep handles those that wait for a date.
    """
    is_on = AutomaticTopUp.objects.filter(wallet=wallet, is_on=True, next_attempt_at=None)
    return is_on.values_list("below_microcredits", flat=True).first()

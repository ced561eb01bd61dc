"""Periodic work of billing. Queue: default; the proofs, which take long, have one of their own."""

import logging
from functools import partial

from celery import shared_task

from billing import ledger, purge
from billing.ledger.verification import proofs
from billing.notices import low_balance
from billing.refunds import payouts
from billing.reporting import usage
from billing.stripe import reconciliation
from billing.topups import automatic

logger = logging.getLogger(__name__)


@shared_task(name="billing.expire_holds", queue="default")
def expire_holds() -> None:
    """Free holds that outlived their time."""
    expired = ledger.expire_holds()
    if expired:
        logger.warning("%d holds expired: something did not close them", expired)


@shared_task(name="billing.send_approved_refunds", queue="default")
def send_approved_refunds() -> None:
    """Carry out approved refunds that were interrupted or put off."""
    payouts.send_approved_refunds()


@shared_task(name="billing.expire_grants", queue="default")
def expire_grants() -> None:
    """Take back what is left of grants whose time is over."""
    ledger.expire_grants()


@shared_task(name="billing.sum_usage", queue="default")
def sum_usage() -> None:
    """Sum what was used since the last time, by day."""
    while usage.sum_new_usage():
        pass


@shared_task(name="billing.verify_ledger", queue="proof")
def verify_ledger() -> None:
    """Prove all of the ledger and shout when it does not hold."""
    proofs.prove_and_shout(is_since_last=False)


@shared_task(name="billing.verify_what_is_new", queue="proof")
def verify_what_is_new() -> None:
    """Prove what is new in the ledger and shout when it does not hold."""
    proofs.prove_and_shout(is_since_last=True)


@shared_task(name="billing.reconcile_payments", queue="default")
def reconcile_payments() -> None:
    """Compare the last days of payments with Stripe and shout about each difference."""
    for finding in reconciliation.reconcile():
        logger.critical("payments do not agree: %s", finding)


@shared_task(name="billing.review_spending", queue="default")
def review_spending(*, wallet_id: int, needed_microcredits: int | None = None) -> None:
    """A wallet ran low, or an answer was refused: tell the customer, buy credits, as they have chosen."""
    low_balance.tell_if_low(wallet_id=wallet_id)
    automatic.buy_if_due(wallet_id=wallet_id, needed_microcredits=needed_microcredits)


@shared_task(name="billing.sweep_spending", queue="default")
def sweep_spending() -> None:
    """Review the wallets whose call was lost or whose date has come, and ask again about unanswered charges."""
    work = [partial(automatic.charge, topup_id=found) for found in automatic.stuck_order_ids()]
    wallet_ids = sorted({*low_balance.low_wallet_ids(), *automatic.due_wallet_ids()})
    for step in [*work, *(partial(review_spending, wallet_id=wallet_id) for wallet_id in wallet_ids)]:
        try:
            step()
        except Exception:  # one customer's trouble is not the next one's
            logger.exception("sweep of spending: %s", step.keywords)


@shared_task(name="billing.purge", queue="default")
def purge_billing() -> None:
    """Delete old notices and empty old webhook events."""
    deleted, emptied = purge.purge_notices(), purge.empty_events()
    logger.info("%d old notices were deleted, %d old webhook events emptied", deleted, emptied)

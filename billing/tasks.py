"""Periodic tasks of billing. They run in the queue `default`; the proofs take long and run in the queue `proof`."""

import logging
from functools import partial

from celery import shared_task

from billing import adjustments, closing, ledger, purge
from billing.ledger.verification import proofs
from billing.models import Refund
from billing.notices import low_balance
from billing.refunds import payouts, requests
from billing.reporting import ledger_days, usage
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


@shared_task(name="billing.lapse_requests", queue="default")
def lapse_requests() -> None:
    """Let refunds and adjustments lapse on which no second person decided in time."""
    adjustments.lapse_overdue()
    requests.lapse_overdue(Refund.objects.all())


@shared_task(name="billing.expire_grants", queue="default")
def expire_grants() -> None:
    """Take back what is left of grants whose time is over."""
    ledger.expire_grants()


@shared_task(name="billing.close_accounts", queue="default")
def close_accounts() -> None:
    """Close the accounts whose owners asked for it and did not change their mind."""
    closed = closing.close_due_accounts()
    if closed:
        logger.info("%d accounts were closed", closed)


@shared_task(name="billing.sum_usage", queue="default")
def sum_usage() -> None:
    """Add new usage to the sums by day, and new entries to the days of the reports."""
    while usage.sum_new_usage():
        pass
    while ledger_days.sum_new_days():
        pass


@shared_task(name="billing.verify_ledger", queue="proof")
def verify_ledger() -> None:
    """Prove all of the ledger and log each fault as critical."""
    proofs.prove_and_shout(is_since_last=False)


@shared_task(name="billing.verify_what_is_new", queue="proof")
def verify_what_is_new() -> None:
    """Prove what is new in the ledger and log each fault as critical."""
    proofs.prove_and_shout(is_since_last=True)


@shared_task(name="billing.reconcile_payments", queue="default")
def reconcile_payments() -> None:
    """Compare the last days of payments with Stripe and log each difference as critical."""
    findings = reconciliation.reconcile()
    for finding in findings:
        logger.critical("payments do not agree: %s", finding)
    reconciliation.payments_compared.send(sender=None, findings=findings)


@shared_task(name="billing.review_spending", queue="default")
def review_spending(*, wallet_id: int, needed_microcredits: int | None = None) -> None:
    """After a wallet ran low or an answer was refused: alert the customer and buy credits, as they have chosen."""
    low_balance.tell_if_low(wallet_id=wallet_id)
    automatic.buy_if_due(wallet_id=wallet_id, needed_microcredits=needed_microcredits)


@shared_task(name="billing.sweep_spending", queue="default")
def sweep_spending() -> None:
    """Review the wallets whose review was lost or is due now, and repeat charges that were never answered."""
    work = [partial(automatic.charge, topup_id=found) for found in automatic.stuck_order_ids()]
    wallet_ids = sorted({*low_balance.low_wallet_ids(), *automatic.due_wallet_ids()})
    for step in [*work, *(partial(review_spending, wallet_id=wallet_id) for wallet_id in wallet_ids)]:
        try:
            step()
        except Exception:  # a failure for one customer must not stop the others
            logger.exception("sweep of spending: %s", step.keywords)


@shared_task(name="billing.purge", queue="default")
def purge_billing() -> None:
    """Delete old notices and empty old webhook events."""
    deleted, emptied = purge.purge_notices(), purge.empty_events()
    logger.info("%d old notices were deleted, %d old webhook events emptied", deleted, emptied)

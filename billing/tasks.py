"""Periodic work of billing. Queue: default."""

import logging

from celery import shared_task

from billing import ledger, reconciliation, refunds, verification

logger = logging.getLogger(__name__)


@shared_task(name="billing.expire_holds", queue="default")
def expire_holds() -> None:
    """Free holds that outlived their time."""
    expired = ledger.expire_holds()
    if expired:
        logger.warning("%d holds expired: something did not close them", expired)


@shared_task(name="billing.send_approved_refunds", queue="default")
def send_approved_refunds() -> None:
    """Carry out approved refunds that were interrupted."""
    refunds.send_approved_refunds()


@shared_task(name="billing.expire_grants", queue="default")
def expire_grants() -> None:
    """Take back what is left of grants whose time is over."""
    ledger.expire_grants()


@shared_task(name="billing.verify_ledger", queue="default")
def verify_ledger() -> None:
    """Prove the ledger and shout when it does not hold."""
    for fault in verification.verify().faults:
        logger.critical("ledger fault: %s", fault)


@shared_task(name="billing.reconcile_payments", queue="default")
def reconcile_payments() -> None:
    """Compare the last days of payments with Stripe and shout about each difference."""
    for finding in reconciliation.reconcile():
        logger.critical("payments do not agree: %s", finding)

"""Periodic work of billing. Queue: default."""

import logging

from celery import shared_task

from billing import ledger, verification

logger = logging.getLogger(__name__)


@shared_task(name="billing.expire_holds", queue="default")
def expire_holds() -> None:
    """Free holds that outlived their time."""
    expired = ledger.expire_holds()
    if expired:
        logger.warning("%d holds expired: something did not close them", expired)


@shared_task(name="billing.verify_ledger", queue="default")
def verify_ledger() -> None:
    """Prove the ledger and shout when it does not hold."""
    for fault in verification.verify().faults:
        logger.critical("ledger fault: %s", fault)

"""Periodic work of accounts. Queue: default."""

import logging

from celery import shared_task

from accounts import purge

logger = logging.getLogger(__name__)


@shared_task(name="accounts.purge", queue="default")
def purge_accounts() -> None:
    """Delete log-ins that ended long ago."""
    logger.info("%d log-ins that had ended were deleted", purge.purge_logins())

"""The Celery task of chat."""

import logging

from celery import shared_task

from chat import conversations

logger = logging.getLogger(__name__)


@shared_task(name="chat.erase_deleted", queue="default")
def erase_deleted() -> None:
    """Erase the conversations whose deletion can be taken back no more."""
    erased = conversations.erase_deleted_conversations()
    if erased:
        logger.info("%d deleted conversations were erased", erased)

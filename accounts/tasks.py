"""The Celery tasks of accounts: sending mail, and periodic work.

Tasks that send mail wait for the mail server, so they have their own queue `mail` and a worker; the rest use `default`.
"""

import logging

from celery import shared_task

from accounts import data_archives, purge
from accounts.login import second_factor
from accounts.mail import outbox

logger = logging.getLogger(__name__)


@shared_task(name=outbox.DELIVER, queue=outbox.QUEUE)
def deliver_mail(*, mail_id: int) -> None:
    """Send one mail."""
    outbox.deliver_mail(mail_id=mail_id)


@shared_task(name="accounts.queue_due_mails", queue=outbox.QUEUE)
def queue_due_mails() -> None:
    """Queue the mails that are due. It uses the same queue: while that is long, this task expires and adds nothing."""
    outbox.queue_due_mails()


@shared_task(name="accounts.give_up_old_mails", queue="default")
def give_up_old_mails() -> None:
    """Give up mails that nobody has sent for a day, and log that as critical. This sends nothing."""
    given_up = outbox.give_up_old_mails()
    if given_up:
        logger.critical("%d mails were given up: they waited for a day. Is there a mail worker?", given_up)


@shared_task(name="accounts.purge", queue="default")
def purge_accounts() -> None:
    """Delete log-ins that ended long ago, old mails and notes; encrypt secrets with the newest SECRET_KEY."""
    logins, mails, notes = purge.purge_logins(), purge.purge_mails(), purge.purge_admin_log()
    logger.info("deleted: %d log-ins that had ended, %d old mails, %d notes of the admin", logins, mails, notes)
    logger.info("%d secrets of second factors were encrypted anew", second_factor.renew_secrets())


@shared_task(name=data_archives.MAKE, queue="default")
def make_archive(*, archive_id: str) -> None:
    """Make the archive of one user's data."""
    data_archives.make_archive(archive_id=archive_id)


@shared_task(name="accounts.queue_archives", queue="default")
def queue_archives() -> None:
    """Queue the archives whose task was lost or whose worker died, and delete those that have expired."""
    data_archives.queue_due_archives()
    data_archives.delete_expired_archives()

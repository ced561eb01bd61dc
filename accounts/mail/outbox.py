"""The outbox: each mail is a row, written in the transaction that it belongs to; the mail worker sends it afterwards.

`OutboxBackend` is Django's EMAIL_BACKEND, so it takes every mail of Tally, including allauth's. The mail worker sends
with DELIVERY_EMAIL_BACKEND. A request that causes a mail never waits for a mail server (docs/adr/0032).

If a worker dies or loses the database after the mail server accepted a mail, but before the row says so, its claim
lapses. Then the mail is sent again with the same Message-ID, by which many mailboxes recognise a duplicate.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from email.utils import make_msgid
from urllib.parse import urlsplit

from celery import current_app
from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.mail.letters import write_html
from accounts.models import OutgoingMail, OutgoingMailQuerySet

logger = logging.getLogger(__name__)

DELIVER = "accounts.deliver_mail"
QUEUE = "mail"
PAUSES = [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8, 15, 30, 60)]  # after each failure; two hours in all
CLAIM_IN_TIMEOUTS = 20  # sending waits about a dozen times for the mail server, EMAIL_TIMEOUT seconds each
UNFINISHED_FOR = timedelta(days=1)  # then a mail is given up: its links have expired
MOST_QUEUED_AT_ONCE = 500


class OutboxBackend(BaseEmailBackend):
    """Writes mails into the outbox instead of sending them."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write each mail in the caller's transaction; return how many. Raises ValueError for copies or attachments."""
        for message in email_messages:
            _write(message)
        return len(email_messages)


def deliver_mail(*, mail_id: int) -> None:
    """Send a mail if it is due. If that fails, it is tried again after each of PAUSES, and then given up.

    Call it outside any transaction. While it waits for the mail server, it holds no row lock and no connection to the
    database.
    """
    mail = _claim(mail_id)
    if mail is None:
        return
    if not connection.in_atomic_block:  # always so in a task, not in many tests
        connection.close()
    try:
        _message_of(mail).send()
    except Exception as error:  # noqa: BLE001  a backend may raise any exception; the row and the log keep it
        _note_failure(mail, error)
    else:
        _finish(OutgoingMail.objects.filter(pk=mail.pk), sent_at=Now())


def queue_due_mails() -> int:
    """Queue the mails that are due: for their next try, or because the broker lost their task. Return how many."""
    due = OutgoingMail.objects.due().order_by("due_at")
    mail_ids = list(due.values_list("pk", flat=True)[:MOST_QUEUED_AT_ONCE])
    for mail_id in mail_ids:
        _queue(mail_id)
    return len(mail_ids)


def give_up_old_mails() -> int:
    """Give up mails that have waited for a day, because there is no mail worker; return how many."""
    return _finish(OutgoingMail.objects.filter(created_at__lt=Now() - UNFINISHED_FOR), given_up_at=Now())


def _write(message: EmailMessage) -> None:
    if message.cc or message.bcc or message.attachments:
        raise ValueError("The outbox keeps neither copies nor attachments.")
    alternatives = getattr(message, "alternatives", [])
    html = "".join(str(content) for content, mimetype in alternatives if mimetype == "text/html")
    is_html_alone = message.content_subtype == "html"
    headers = {"Message-ID": make_msgid(domain=urlsplit(settings.PUBLIC_URL).hostname), **message.extra_headers}
    if message.reply_to:
        headers["Reply-To"] = ", ".join(message.reply_to)
    mail = OutgoingMail.objects.create(
        recipients=[str(address) for address in message.to],
        sender=str(message.from_email),
        subject=str(message.subject),
        text="" if is_html_alone else str(message.body),
        html=str(message.body) if is_html_alone else html or _html_of(message),
        headers={name: str(value) for name, value in headers.items()},
    )
    transaction.on_commit(lambda: _queue(mail.pk), robust=True)  # `queue_due_mails` queues it if this fails


def _html_of(message: EmailMessage) -> str:
    """The look that all mails have, for one that is text alone."""
    return write_html(subject=str(message.subject), text=str(message.body))


def _queue(mail_id: int) -> None:
    current_app.send_task(DELIVER, kwargs={"mail_id": mail_id}, queue=QUEUE)


def _claim(mail_id: int) -> OutgoingMail | None:
    """Claim a mail that is due, by a conditional update: only one of several concurrent tasks gets it."""
    lapses_after = timedelta(seconds=CLAIM_IN_TIMEOUTS * settings.EMAIL_TIMEOUT)
    due = OutgoingMail.objects.due().filter(pk=mail_id)
    if not due.update(due_at=Now() + lapses_after, tries_count=F("tries_count") + 1):
        return None
    return OutgoingMail.objects.filter(pk=mail_id).first()


def _message_of(mail: OutgoingMail) -> EmailMessage:
    backend = get_connection(settings.DELIVERY_EMAIL_BACKEND)
    message = EmailMultiAlternatives(
        mail.subject, mail.text, mail.sender, mail.recipients, connection=backend, headers=mail.headers
    )
    if mail.html:
        message.attach_alternative(mail.html, "text/html")
    return message


def _note_failure(mail: OutgoingMail, error: Exception) -> None:
    """Set the time of the next try, or give up. Changes nothing if the claim lapsed and another task has the mail."""
    claimed = OutgoingMail.objects.filter(pk=mail.pk, tries_count=mail.tries_count)
    said = repr(error)[:500]
    if mail.tries_count > len(PAUSES):
        _finish(claimed, given_up_at=Now(), error=said)
        logger.critical("mail %d was given up after %d tries: %s", mail.pk, mail.tries_count, said)
        return
    claimed.unfinished().update(due_at=Now() + PAUSES[mail.tries_count - 1], error=said)
    logger.warning("mail %d was not sent, try %d: %s", mail.pk, mail.tries_count, said)


def _finish(mails: OutgoingMailQuerySet, **end: Now | str) -> int:
    """Record how these mails ended, and delete their text; return how many."""
    return mails.unfinished().update(text="", html="", **end)

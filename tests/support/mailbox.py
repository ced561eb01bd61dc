"""The mailbox of the tests: mails go through the outbox, as in production, and end in Django's `mail.outbox`."""

from django.core import mail

from accounts.mail.outbox import deliver_mail
from accounts.models import OutgoingMail


def read_mails() -> list[mail.EmailMessage]:
    """Send what is due, as the mail worker does; return everything that was sent in this test."""
    for mail_id in OutgoingMail.objects.due().order_by("pk").values_list("pk", flat=True):
        deliver_mail(mail_id=mail_id)
    return mail.outbox

"""What customers are told about their money: written down with what happened, mailed by a worker, read in the API."""

from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.models import User
from billing.models import Notice

SEND = "billing.send_notice"
LOST_AFTER = timedelta(hours=1)  # the task itself tries again for half an hour
GIVEN_UP_AFTER = timedelta(days=2)  # old news by mail would be worse than none; the API still has it


def notify(*, user_id: int, name: str, path: str, **figures: str) -> None:
    """Write the notice templates/billing/mail/<name>.txt, and queue its mail on commit; `path` is the page it leads to.

    If this process or the broker dies between the commit and the queue, `send_lost_notices` queues it an hour later.
    """
    notice = Notice.objects.create(user_id=user_id, name=name, path=path, figures=figures)
    transaction.on_commit(lambda: _queue(notice.pk), robust=True)


def words_of(notice: Notice) -> tuple[str, str]:
    """Subject and text: the first line of the template, and the rest."""
    figures = {**notice.figures, "url": url_of(notice)}
    text = render_to_string(f"billing/mail/{notice.name}.txt", figures)
    subject, _blank, body = text.strip().partition("\n")
    return subject.strip(), body.strip()


def url_of(notice: Notice) -> str:
    """The page that it leads to."""
    return f"{settings.PUBLIC_URL}{notice.path}"


@transaction.atomic
def send_notice(*, notice_id: int) -> None:
    """Mail a notice, unless that was done. Raises what the mail server's library does.

    The row is locked, so two tasks send one mail; only dying between the mail and the commit may send it twice.
    """
    unsent = Notice.objects.select_for_update(of=("self",)).filter(pk=notice_id, sent_at=None)
    notice = unsent.select_related("user").first()
    if notice is None or not notice.user.is_active:
        return
    subject, body = words_of(notice)
    send_mail(subject, f"{body}\n", None, [notice.user.email])
    notice.sent_at = timezone.now()
    notice.save(update_fields=["sent_at"])


def send_lost_notices() -> int:
    """Queue again what was not mailed within an hour; return how many."""
    now = timezone.now()
    lost = Notice.objects.filter(
        sent_at=None, created_at__lt=now - LOST_AFTER, created_at__gt=now - GIVEN_UP_AFTER, user__is_active=True
    )
    notice_ids = list(lost.order_by("pk").values_list("pk", flat=True)[:500])
    for notice_id in notice_ids:
        _queue(notice_id)
    return len(notice_ids)


def read_notices(*, user: User, up_to: int) -> int:
    """Note that the customer has read their notices up to this one; return how many were new to them."""
    unread = Notice.objects.filter(user=user, read_at=None, pk__lte=up_to)
    return unread.update(read_at=timezone.now())


def _queue(notice_id: int) -> None:
    current_app.send_task(SEND, kwargs={"notice_id": notice_id}, queue="default")

"""What customers are told about their money: stored with the event that it reports, sent by e-mail, read in the API."""

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone, translation

from accounts.models import User
from accounts.profile import language_of
from billing.models import Notice


@transaction.atomic
def notify(*, user_id: int, name: str, path: str, **figures: str) -> None:
    """Store the notice templates/billing/mail/<name>.txt and its mail; `path` is the page that it links to.

    Both are rows of the caller's transaction; the mail worker sends the mail (accounts/mail/outbox.py). A suspended
    customer gets no mail, but finds the notice in the API.
    """
    notice = Notice.objects.create(user_id=user_id, name=name, path=path, figures=figures)
    customer = User.objects.filter(pk=user_id, is_active=True).only("email", "language").first()
    if customer is not None:
        with translation.override(language_of(customer)):
            subject, body = words_of(notice)
            send_mail(subject, f"{body}\n", None, [customer.email])


def words_of(notice: Notice) -> tuple[str, str]:
    """Return subject and text: the first line of the rendered template, and the rest."""
    figures = {**notice.figures, "url": url_of(notice)}
    text = render_to_string(f"billing/mail/{notice.name}.txt", figures)
    subject, _blank, body = text.strip().partition("\n")
    return subject.strip(), body.strip()


def url_of(notice: Notice) -> str:
    """Return the URL of the page that the notice links to."""
    return f"{settings.PUBLIC_URL}{notice.path}"


def read_notices(*, user: User, up_to: int) -> int:
    """Note that the customer has read their notices up to this one; return how many were new to them."""
    unread = Notice.objects.filter(user=user, read_at=None, pk__lte=up_to)
    return unread.update(read_at=timezone.now())

"""E-mails about money to the customer: queued with the transaction they tell of, sent by a worker, tried again."""

from functools import partial
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string

from accounts.models import User

SEND = "billing.send_notice"


def notify(*, user_id: int, name: str, path: str, **figures: str) -> None:
    """Queue the mail templates/billing/mail/<name>.txt on commit; `path` is the page it leads to.

    If this process or the broker dies between the commit and the queue, the mail is lost; the pages say the same.
    """
    task = {"user_id": user_id, "name": name, "path": path, "figures": figures}
    transaction.on_commit(partial(current_app.send_task, SEND, kwargs=task, queue="default"), robust=True)


def send_notice(*, user_id: int, name: str, path: str, figures: dict[str, Any]) -> None:
    """Render and send: the first line of the template is the subject. Raises what the mail server's library does."""
    user = User.objects.get(pk=user_id)
    text = render_to_string(f"billing/mail/{name}.txt", {**figures, "url": f"{settings.PUBLIC_URL}{path}"})
    subject, _blank, body = text.strip().partition("\n")
    send_mail(subject.strip(), body.strip() + "\n", None, [user.email])

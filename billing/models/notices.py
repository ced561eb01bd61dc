"""What customers were told about their money."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class Notice(models.Model):
    """One message to a customer, by e-mail and in the API; written in the transaction that it tells of.

    Whether the e-mail was sent is the outbox's to say (accounts.OutgoingMail).
    Its words come from templates/billing/mail/<name>.txt, with these figures; `path` is the page it leads to.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notices")
    name = models.CharField(max_length=40)
    path = models.CharField(max_length=200)
    figures = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        indexes = [models.Index(name="billing_notice_of_user", fields=["user", "-id"])]

    def __str__(self) -> str:
        return f"{self.name} to {self.user_id}"

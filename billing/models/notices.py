"""What customers were told about their money."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class Notice(models.Model):
    """One message to a customer, by e-mail and in the API, written in the same transaction as what it reports.

    The outbox (accounts.OutgoingMail) says whether the e-mail was sent. The text comes from
    templates/billing/mail/<name>.txt and is filled with `figures`; `path` is the page that it links to.
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

"""What customers were told about their money."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Notice(models.Model):
    """One message to a customer, by e-mail and in the API; written in the transaction that it tells of.

    Its words come from templates/billing/mail/<name>.txt, with these figures; `path` is the page it leads to.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notices")
    name = models.CharField(max_length=40)
    path = models.CharField(max_length=200)
    figures = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        indexes = [
            models.Index(name="billing_notice_of_user", fields=["user", "-id"]),
            models.Index(name="billing_notice_unsent", fields=["created_at"], condition=Q(sent_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.name} to {self.user_id}"

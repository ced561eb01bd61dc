"""What staff write about customers."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

MOST_CHARACTERS = 2000


class NoteQuerySet(models.QuerySet["Note"]):
    """Reads of notes."""

    def about(self, user: Any) -> "NoteQuerySet":
        """The notes about a customer, the latest first."""
        return self.filter(customer=user).select_related("author").order_by("-pk")


class Note(models.Model):
    """An internal note about a customer, who does not see it. It is not changed, and is deleted with the account.

    `form_id` names the page on which it was written: a form that is sent twice makes one note.
    """

    customer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    text = models.TextField(max_length=MOST_CHARACTERS)
    form_id = models.UUIDField(unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = NoteQuerySet.as_manager()

    class Meta:
        verbose_name = _("internal note")
        verbose_name_plural = _("internal notes")
        default_permissions = ("view", "add")
        constraints = [models.CheckConstraint(name="backoffice_note_has_a_text", condition=~Q(text=""))]

    def __str__(self) -> str:
        return f"note {self.pk}"

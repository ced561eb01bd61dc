"""The mailboxes that had the sign-up bonus."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from billing.models.kept import Kept


class BonusMailbox(Kept):
    """A mailbox that had the sign-up bonus, as a keyed hash (`billing.topups.bonus_mailboxes`).

    The row stays when the account is closed. It holds nothing but the hash: a number or a time would lead to the entry
    of the bonus, and so to the account.
    """

    mailbox_hash = models.CharField(primary_key=True, max_length=64)

    class Meta:
        verbose_name = _("mailbox that had the bonus")
        verbose_name_plural = _("mailboxes that had the bonus")
        constraints = [
            models.CheckConstraint(
                name="billing_bonus_mailbox_is_a_hash", condition=Q(mailbox_hash__regex="^[0-9a-f]{64}$")
            ),
        ]

    def __str__(self) -> str:
        return f"mailbox {self.mailbox_hash[:8]}"

"""What happens to notes when an account is closed."""

from typing import Any

from django.dispatch import receiver

from accounts.closing import account_closing
from accounts.models import User
from backoffice.models import Note


@receiver(account_closing, dispatch_uid="backoffice.erase_notes")
def erase_notes(user: User, **_kwargs: Any) -> None:
    """Delete what staff wrote about the customer: it is personal data, which goes with the account."""
    Note.objects.filter(customer=user).delete()

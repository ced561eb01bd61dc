"""What inference does when an account is closed."""

from typing import Any

from django.dispatch import receiver

from accounts.closing import account_closing
from accounts.models import User
from inference.models import Generation


@receiver(account_closing, dispatch_uid="inference.erase_texts")
def erase_texts(user: User, **_kwargs: Any) -> None:
    """Empty the answers. The rows stay: each is the other half of a charge."""
    Generation.objects.for_user(user).update(text="", end_user="")

"""What `manage.py check --deploy` says about the settings of staff."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register


@register(Tags.security, deploy=True)
def check_second_factor_of_staff(**_kwargs: Any) -> list[CheckMessage]:
    """An error where demo accounts are to enter the pages of staff without a second factor."""
    if not settings.STAFF_WITHOUT_SECOND_FACTOR:
        return []
    words = (
        "STAFF_WITHOUT_SECOND_FACTOR is for development alone: staff would enter the admin by a password that is known."
    )
    return [Error(words, hint="Remove it.", id="accounts.E001")]

"""What a user chose for the pages: their times are shown in the user's zone, their words in the user's language."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.utils import timezone, translation

from accounts.models import User


def activate(user: User) -> None:
    """Use the zone and the language of this user until the request ends. An unknown zone leaves it at UTC."""
    try:
        timezone.activate(ZoneInfo(user.time_zone))
    except (ZoneInfoNotFoundError, ValueError):
        timezone.deactivate()
    if user.language in dict(settings.LANGUAGES):
        translation.activate(user.language)

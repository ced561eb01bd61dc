"""What a user chose for the pages: their times are shown in the user's zone. The language: accounts.pages.languages."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.utils import timezone

from accounts.models import User


def activate(user: User) -> None:
    """Use the zone of this user until the request ends. An unknown zone leaves it at UTC."""
    try:
        timezone.activate(ZoneInfo(user.time_zone))
    except (ZoneInfoNotFoundError, ValueError):
        timezone.deactivate()

"""Changes that users make to their own profile."""

from functools import cache
from zoneinfo import available_timezones

from django.conf import settings
from django.utils import translation

from accounts.models import User

AREAS = ("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")


def change_profile(*, user: User, **names: str) -> User:
    """Set `first_name`, `last_name`, `language`, `time_zone` or `look`, and return the user."""
    for field, value in names.items():
        setattr(user, field, value)
    user.save(update_fields=list(names) or None)
    return user


def language_of(user: User) -> str:
    """The language in which this user is written to: the chosen one, or else the one that is active."""
    return user.language or translation.get_language() or settings.LANGUAGE_CODE


@cache
def time_zones() -> tuple[str, ...]:
    """The names of the time zones that one can choose: UTC, then places such as Europe/Berlin."""
    return ("UTC", *sorted(name for name in available_timezones() if name.partition("/")[0] in AREAS and "/" in name))

"""The demo accounts of the staff of a development machine, which may enter without a second factor."""

from django.conf import settings

from accounts.models import User

DEMO_ADDRESSES = ("staff@example.com", "operator@example.com")  # `manage.py seed_demo` makes them


def may_do_without(user: User) -> bool:
    """Whether this is a demo account on a development machine whose settings let such accounts in without a factor."""
    is_development = settings.DEBUG and settings.STAFF_WITHOUT_SECOND_FACTOR
    return bool(is_development and user.email in DEMO_ADDRESSES)

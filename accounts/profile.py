"""What people change about their account."""

from accounts.models import User


def change_profile(*, user: User, **names: str) -> User:
    """Set `first_name` and `last_name`, those that are given."""
    for field, value in names.items():
        setattr(user, field, value)
    user.save(update_fields=list(names) or None)
    return user

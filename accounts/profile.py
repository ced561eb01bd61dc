"""Changes that users make to their own profile."""

from accounts.models import User


def change_profile(*, user: User, **names: str) -> User:
    """Set `first_name`, `last_name` or both, and return the user."""
    for field, value in names.items():
        setattr(user, field, value)
    user.save(update_fields=list(names) or None)
    return user
